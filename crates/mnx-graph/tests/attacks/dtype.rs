//! Files whose classifier has weights of 16 bits.

use mnx_graph::{ClassifierDtype, Error, FileError, Model, OpenOptions, Session, SessionOptions, init_with};
use mnx_tensor::Tensor;
use serde_json::json;

use super::common::{Parts, small_spec};
use super::{int8, refused, with};

const WEIGHT: &str = "classifier.1.weight";

/// The small network with one change of its file.
fn stored(dtype: ClassifierDtype, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::of(&init_with(&small_spec(), 1, dtype).unwrap());
    change(&mut parts);
    parts.build()
}

fn key(dtype: ClassifierDtype, tensor: &str, key: &str, value: serde_json::Value) -> Vec<u8> {
    stored(dtype, |p| {
        let index = p.find(tensor);
        p.header["tensors"][index][key] = value;
    })
}

fn bits(dtype: ClassifierDtype, at: usize, bits: u16) -> Vec<u8> {
    stored(dtype, |p| {
        let index = p.find(WEIGHT);
        p.set_bytes(index, 2 * at, &bits.to_le_bytes());
    })
}

#[test]
fn the_table_says_the_type_of_the_classifier_alone() {
    use ClassifierDtype::{Bf16, F16};
    let entry = |error: &Error, name: &str, key: &str| match error {
        Error::File(FileError::TensorEntry { tensor, field, .. }) => tensor == name && *field == key,
        _ => false,
    };
    let stem = "features.0.0.weight";
    assert_refused! {
        // Only the classifier's weight has a type to choose, and only where it is not in int8.
        key(Bf16, stem, "dtype", json!("bf16")) => e if entry(e, stem, "dtype"),
        key(Bf16, "classifier.1.bias", "dtype", json!("bf16")) => e if entry(e, "classifier.1.bias", "dtype"),
        int8::row(WEIGHT, "dtype", json!("f16")) => e if entry(e, WEIGHT, "dtype"),
        key(F16, WEIGHT, "dtype", json!("i8")) => e if entry(e, WEIGHT, "dtype"),
        key(F16, WEIGHT, "dtype", json!("f64")) =>
            Error::File(FileError::Element { tensor, found, .. }) if tensor == WEIGHT && found == "f64",
        // f32 takes twice the room.
        key(F16, WEIGHT, "dtype", json!("f32")) => e if entry(e, WEIGHT, "length"),
        key(F16, WEIGHT, "packing", json!("linear16x4")) => e if entry(e, WEIGHT, "packing"),
        key(F16, WEIGHT, "length", json!(16 * 20 * 2 - 1)) => e if entry(e, WEIGHT, "length"),
        key(F16, WEIGHT, "length", json!(16 * 20 * 4)) => e if entry(e, WEIGHT, "length"),
        key(F16, WEIGHT, "name", json!("classifier.1.weights")) => e if entry(e, WEIGHT, "name"),
        // Version 1 has f32 alone.
        with(|p| { let at = p.find(WEIGHT); p.header["tensors"][at]["dtype"] = json!("bf16"); }) => e if entry(e, WEIGHT, "dtype"),
        stored(Bf16, |p| p.version = 1) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        stored(Bf16, |p| { p.payload.truncate(p.payload.len() - 64); }) => Error::File(FileError::Truncated { .. }),
    }
    // The other type of 16 bits is another meaning of the same bytes.
    assert!(Model::from_bytes(key(F16, WEIGHT, "dtype", json!("bf16"))).is_ok());
}

#[test]
fn weights_of_16_bits_are_finite_and_unused_lanes_zero() {
    use ClassifierDtype::{Bf16, F16};
    let not_finite = |error: &Error, at: usize, shown: &str| match error {
        Error::File(FileError::NotFinite { tensor, index, value }) => {
            (tensor.as_str(), *index) == (WEIGHT, at) && format!("{value}") == shown
        }
        _ => false,
    };
    assert_refused! {
        bits(F16, 0, 0x7c00) => e if not_finite(e, 0, "inf"),
        bits(F16, 17, 0xfc00) => e if not_finite(e, 17, "-inf"),
        bits(F16, 2, 0x7c01) => e if not_finite(e, 2, "NaN"),
        bits(Bf16, 0, 0x7f80) => e if not_finite(e, 0, "inf"),
        bits(Bf16, 2, 0xff80) => e if not_finite(e, 2, "-inf"),
        bits(Bf16, 1, 0xffff) => e if not_finite(e, 1, "NaN"),
        // Three classes: the fourth lane is nobody's.
        bits(F16, 3, 1) => Error::File(FileError::UnusedLane { tensor, index: 3, value }) if tensor == WEIGHT && value.starts_with("5.9"),
        bits(Bf16, 19, 0x8000) => Error::File(FileError::UnusedLane { tensor, index: 19, value }) if tensor == WEIGHT && value == "-0.0",
    }
    // An infinity of f16 is a number of bf16, and the largest of each are fine.
    for (dtype, number) in [(Bf16, 0x7c00), (Bf16, 0x7f7f), (F16, 0x7bff), (F16, 0x0001), (Bf16, 0x0001)] {
        assert!(Model::from_bytes(bits(dtype, 0, number)).is_ok(), "{dtype:?} {number:#06x}");
    }
    // Nobody who leaves the check out gets more than wrong numbers.
    let unchecked = OpenOptions::new().verify_checksums(false);
    let model = Model::from_bytes_with(bits(F16, 0, 0x7c01), &unchecked).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    let logits = session.run(Tensor::zeros([1, 3, 8, 8]).unwrap().view()).unwrap();
    assert!(logits.data()[0].is_nan() && logits.data()[1].is_finite());
}
