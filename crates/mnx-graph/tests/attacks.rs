//! Weight files that break one rule each, and files that chance made.

mod common;

use common::{Parts, small_file, small_int8_file};
use mnx_graph::{Error, FileError, FileKind, Limits, Model, OpenOptions, Wanted};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Opens with default options; a success is a failed test.
fn refused(bytes: Vec<u8>) -> Error {
    Model::from_bytes(bytes).expect_err("the file breaks a rule")
}

/// The small file with one change.
fn with(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::small();
    change(&mut parts);
    parts.build()
}

/// The small file with one change of its header.
fn header(pointer: &str, value: Value) -> Vec<u8> {
    with(|parts| *parts.header.pointer_mut(pointer).expect("a place in the header") = value)
}

macro_rules! assert_refused {
    ($($bytes:expr => $pattern:pat $(if $guard:expr)?,)+) => {$(
        let error = refused($bytes);
        assert!(matches!(&error, $pattern $(if $guard)?), "{}: found {error:?}", stringify!($bytes));
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    )+};
}

#[test]
fn the_parts_put_together_are_a_file() {
    Model::from_bytes(with(|_| ())).unwrap();
}

#[test]
fn first_fields() {
    assert_refused! {
        Vec::new() => Error::File(FileError::Foreign { .. }),
        b"GIF89a and so on, a picture of some length".to_vec() => Error::File(FileError::Foreign { found }) if found == b"GIF8",
        b"PK\x03\x04 and so on, a zip file of some length".to_vec() =>
            Error::WrongKind { expected: Wanted::WeightFile, found: FileKind::Zip },
        with(|p| p.magic = *b"MNXV") => Error::File(FileError::Foreign { .. }),
        b"MN".to_vec() => Error::File(FileError::Truncated { found: 2, .. }),
        with(|p| p.version = 3) => Error::File(FileError::Version { understood: [1, 2], found: 3 }),
        with(|p| p.version = 0) => Error::File(FileError::Version { found: 0, .. }),
        with(|p| p.header_len = Some(u64::MAX)) => Error::Limit { limit: 0x10_0000, found: u64::MAX, .. },
        with(|p| p.header_len = Some(0x10_0001)) => Error::Limit { found: 0x10_0001, .. },
        with(|p| p.header_len = Some(0x10_0000)) => Error::File(FileError::Truncated { .. }),
        with(|p| p.header_len = Some(0)) => Error::File(FileError::Checksum { what, .. }) if what == "header",
        with(|p| p.header_crc = Some(1)) => Error::File(FileError::Checksum { what, expected: 1, .. }) if what == "header",
        with(|p| p.reserved = 1 << 24) => Error::File(FileError::NotZero { offset: 23, found: 1, .. }),
        with(|p| p.padding = 7) => Error::File(FileError::NotZero { after, found: 7, .. }) if after == "the header",
    }
    let message = refused(with(|p| p.version = 3)).to_string();
    assert!(message.contains("understands, 1 or 2, found version 3"), "{message}");
}

#[test]
fn header_text() {
    let small = Parts::small();
    assert_refused! {
        small.build_with(b"") => Error::File(FileError::Header { .. }),
        small.build_with(b"{\"spec\": {") => Error::File(FileError::Header { .. }),
        small.build_with(b"\xff\xfe") => Error::File(FileError::Header { .. }),
        small.build_with("[".repeat(1 << 20).as_bytes()) => Error::File(FileError::Header { .. }),
        small.build_with(format!("{} x", small.header).as_bytes()) => Error::File(FileError::Header { .. }),
        header("/spec", json!(null)) => Error::File(FileError::Header { .. }),
        header("/tensors", json!({})) => Error::File(FileError::Header { .. }),
        with(|p| { p.header["more"] = json!(1); }) => Error::File(FileError::Header { message }) if message.contains("more"),
        with(|p| { p.header["spec"]["more"] = json!(1); }) => Error::File(FileError::Header { message }) if message.contains("more"),
        with(|p| { p.header["tensors"][0]["more"] = json!(1); }) => Error::File(FileError::Header { message }) if message.contains("more"),
        with(|p| { p.header.as_object_mut().unwrap().remove("tensors"); }) => Error::File(FileError::Header { message }) if message.contains("tensors"),
        header("/tensors/0/offset", json!(-1)) => Error::File(FileError::Header { .. }),
        header("/tensors/0/length", json!(1.5)) => Error::File(FileError::Header { .. }),
        header("/tensors/0/dims/0", json!(1e30)) => Error::File(FileError::Header { .. }),
        header("/spec/width", json!("wide")) => Error::File(FileError::Header { .. }),
    }
}

#[test]
fn spec() {
    assert_refused! {
        header("/spec/width", json!(0.0)) => Error::Spec { field, .. } if field == "width",
        header("/spec/width", json!(1e300)) => Error::Limit { .. },
        header("/spec/stages/0/stride", json!(3)) => Error::Spec { field, .. } if field == "stages[0].stride",
        header("/spec/stages/0/repeats", json!(usize::MAX)) => Error::Limit { limit: 4096, .. },
        header("/spec/stages/0/channels", json!(1 << 30)) => Error::Limit { limit: 65_536, .. },
        header("/spec/classes", json!(65_537)) => Error::Limit { limit: 65_536, found: 65_537, .. },
        header("/spec/labels", json!(["cat"])) => Error::Spec { field, .. } if field == "labels",
    }
}

#[test]
fn tensor_table() {
    let entry = |error: &Error, index: usize, name: &str| match error {
        Error::File(FileError::TensorEntry { index: i, field, .. }) => *i == index && *field == name,
        _ => false,
    };
    let grown = |p: &mut Parts| {
        p.header["tensors"].as_array_mut().unwrap().push(json!({
            "name": "more", "dtype": "f32", "dims": [1], "packing": "bias16", "offset": 0, "length": 64, "crc32": 0
        }))
    };
    assert_refused! {
        with(|p| { p.header["tensors"].as_array_mut().unwrap().pop(); }) => Error::File(FileError::TensorCount { expected: 12, found: 11 }),
        with(grown) => Error::File(FileError::TensorCount { expected: 12, found: 13 }),
        with(|p| p.header["tensors"].as_array_mut().unwrap().swap(2, 3)) => e if entry(e, 2, "name"),
        header("/tensors/4/name", json!("features.1.conv.4.weight")) => e if entry(e, 4, "name"),
        header("/tensors/0/dtype", json!("f16")) => e if entry(e, 0, "dtype"),
        header("/tensors/0/dims", json!([12, 3, 9])) => e if entry(e, 0, "dims"),
        header("/tensors/0/dims", json!([13, 3, 3, 3])) => e if entry(e, 0, "dims"),
        header("/tensors/0/dims/0", json!(usize::MAX)) => e if entry(e, 0, "dims"),
        header("/tensors/2/packing", json!("pw16")) => e if entry(e, 2, "packing"),
        header("/tensors/1/packing", json!("nchw")) => e if entry(e, 1, "packing"),
        header("/tensors/0/offset", json!(64)) => e if entry(e, 0, "offset"),
        header("/tensors/1/offset", json!(0)) => e if entry(e, 1, "offset"), // an overlap
        header("/tensors/1/offset", json!(1792)) => e if entry(e, 1, "offset"), // a hole
        header("/tensors/1/offset", json!(u64::MAX)) => e if entry(e, 1, "offset"),
        header("/tensors/0/length", json!(1724)) => e if entry(e, 0, "length"),
        header("/tensors/0/length", json!(u64::MAX)) => e if entry(e, 0, "length"),
    }
    let message = refused(header("/tensors/0/dims", json!([13, 3, 3, 3]))).to_string();
    assert!(message.contains("features.0.0.weight: expected dims [12, 3, 3, 3]"), "{message}");
    assert!(message.contains("found [13, 3, 3, 3]"), "{message}");
}

#[test]
fn payload() {
    let features = 20 * 16;
    // Three blocks of 288 bytes: the only tensor whose end is not that of a cache line.
    let (offset, length) = Parts::small().tensor(8);
    assert_eq!(length % 64, 32);
    assert_refused! {
        with(|p| p.payload.truncate(p.payload.len() - 64)) => Error::File(FileError::Truncated { .. }),
        with(|p| p.payload.extend([0; 64])) => Error::File(FileError::TrailingBytes { .. }),
        with(|p| p.payload.push(0)) => Error::File(FileError::TrailingBytes { .. }),
        with(|p| p.payload[offset + length] = 1) => Error::File(FileError::NotZero { after, found: 1, .. }) if after == "features.1.conv.8.weight",
        with(|p| p.payload[offset + length + 31] = 2) => Error::File(FileError::NotZero { found: 2, .. }),
        with(|p| p.payload[0] ^= 1) => Error::File(FileError::Checksum { what, .. }) if what == "features.0.0.weight",
        with(|p| { p.header["tensors"][10]["crc32"] = json!(0); }) => Error::File(FileError::Checksum { what, .. }) if what == "classifier.1.weight",
        with(|p| p.set(10, features - 1, 1.0)) => Error::File(FileError::UnusedLane { tensor, index: 319, .. }) if tensor == "classifier.1.weight",
        with(|p| p.set(11, 3, -0.0)) => Error::File(FileError::UnusedLane { tensor, index: 3, .. }) if tensor == "classifier.1.bias",
        with(|p| p.set(2, 72 + 7, f32::NAN)) => Error::File(FileError::UnusedLane { tensor, index: 79, .. }) if tensor == "features.1.conv.0.weight",
        with(|p| p.set(4, 0, f32::NAN)) => Error::File(FileError::NotFinite { tensor, index: 0, .. }) if tensor == "features.1.conv.3.weight",
        with(|p| p.set(10, 18, f32::NEG_INFINITY)) => Error::File(FileError::NotFinite { tensor, index: 18, .. }) if tensor == "classifier.1.weight",
    }
}

/// The small int8 file with one change.
fn int8(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::small_int8();
    change(&mut parts);
    parts.build()
}

/// The small int8 file with another value for a key of a tensor's row.
fn row(tensor: &str, key: &str, value: Value) -> Vec<u8> {
    int8(|p| {
        let index = p.find(tensor);
        p.header["tensors"][index][key] = value;
    })
}

#[test]
fn an_int8_file_breaks_no_rule() {
    let model = Model::from_bytes(int8(|_| ())).unwrap();
    let names: Vec<_> = model.arithmetic().iter().map(|arithmetic| arithmetic.name()).collect();
    assert_eq!(names, ["int8", "int8", "f32", "int8", "int8", "int8"]);
}

#[test]
fn versions_have_the_header_that_is_theirs() {
    let removed = |p: &mut Parts| p.header.as_object_mut().unwrap().remove("arithmetic").unwrap();
    assert_refused! {
        int8(|p| p.version = 1) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        with(|p| p.version = 2) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        with(|p| p.header["arithmetic"] = json!(null)) => Error::File(FileError::Header { .. }),
        with(|p| p.header["arithmetic"] = json!(vec!["f32"; 6])) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        int8(|p| { removed(p); }) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        int8(|p| { removed(p); p.version = 1; }) => Error::File(FileError::TensorCount { expected: 12, .. }),
    }
}

#[test]
fn arithmetic() {
    let arithmetic = |index: usize, value: Value| int8(|p| p.header["arithmetic"][index] = value);
    assert_refused! {
        int8(|p| p.header["arithmetic"] = json!([])) => Error::File(FileError::LayerCount { expected: 6, found: 0 }),
        int8(|p| p.header["arithmetic"].as_array_mut().unwrap().push(json!("int8"))) => Error::File(FileError::LayerCount { found: 7, .. }),
        arithmetic(4, json!("bf16\n")) => Error::File(FileError::Arithmetic { layer, found, .. }) if layer == "features.1.conv.8" && found == "bf16\n",
        arithmetic(4, json!(8)) => Error::File(FileError::Header { .. }),
        int8(|p| p.header["arithmetic"] = json!("int8")) => Error::File(FileError::Header { .. }),
        arithmetic(0, json!("int4")) => Error::File(FileError::Arithmetic { found, .. }) if found == "int4",
        // Another arithmetic than the table was made for: other tensors, or others in their place.
        arithmetic(2, json!("int8")) => Error::File(FileError::TensorCount { .. }),
        arithmetic(5, json!("f32")) => Error::File(FileError::TensorCount { .. }),
        int8(|p| p.header["arithmetic"] = json!(["int8", "int8", "int8", "f32", "int8", "int8"])) => Error::File(FileError::TensorEntry { .. }),
        int8(|p| p.header["arithmetic"] = json!(vec!["f32"; 6])) => Error::File(FileError::TensorCount { expected: 12, .. }),
    }
}

#[test]
fn tensor_table_of_int8_layers() {
    let entry = |error: &Error, name: &str, key: &str| match error {
        Error::File(FileError::TensorEntry { tensor, field, .. }) => tensor == name && *field == key,
        _ => false,
    };
    let element = |error: &Error| matches!(error, Error::File(FileError::Element { tensor, .. }) if tensor == "features.1.conv.0.weight");
    let (depthwise, stem) = ("features.1.conv.0.weight", "features.0.0.weight");
    assert_refused! {
        row(depthwise, "dtype", json!("f16")) => e if element(e),
        row(depthwise, "dtype", json!("")) => e if element(e),
        row(depthwise, "dtype", json!("I8")) => e if element(e),
        row(depthwise, "dtype", json!("u8")) => e if entry(e, depthwise, "dtype"),
        row("input.zero_point", "dtype", json!("i8")) => e if entry(e, "input.zero_point", "dtype"),
        row("classifier.1.bias", "dtype", json!("f32")) => e if entry(e, "classifier.1.bias", "dtype"),
        row("features.1.conv.3.bias", "dtype", json!("i32")) => e if entry(e, "features.1.conv.3.bias", "dtype"),
        row(depthwise, "name", json!("features.1.conv.0.weights")) => e if entry(e, depthwise, "name"),
        row("pool.output.scale", "name", json!("classifier.1.output.scale")) => e if entry(e, "pool.output.scale", "name"),
        row(stem, "packing", json!("dense16")) => e if entry(e, stem, "packing"),
        row(stem, "packing", json!("dense16x8")) => e if entry(e, stem, "packing"),
        row("input.scale", "packing", json!("bias16")) => e if entry(e, "input.scale", "packing"),
        row(stem, "dims", json!([12, 4, 3, 3])) => e if entry(e, stem, "dims"),
        row(stem, "dims", json!([usize::MAX, usize::MAX, 3, 3])) => e if entry(e, stem, "dims"),
        row("input.scale", "dims", json!([2])) => e if entry(e, "input.scale", "dims"),
        row("input.scale", "dims", json!([])) => e if entry(e, "input.scale", "dims"),
        // Four bytes an element where there is one.
        row(stem, "length", json!(16 * 4 * 9 * 4)) => e if entry(e, stem, "length"),
        row(stem, "length", json!(u64::MAX)) => e if entry(e, stem, "length"),
        row("input.zero_point", "length", json!(4)) => e if entry(e, "input.zero_point", "length"),
        row("input.zero_point", "offset", json!(0)) => e if entry(e, "input.zero_point", "offset"), // an overlap
        row("input.zero_point", "offset", json!(4)) => e if entry(e, "input.zero_point", "offset"),
        row(stem, "offset", json!(192)) => e if entry(e, stem, "offset"), // a hole
        int8(|p| p.header["tensors"].as_array_mut().unwrap().swap(0, 1)) => e if entry(e, "input.scale", "name"),
        int8(|p| { p.header["tensors"].as_array_mut().unwrap().pop(); }) => Error::File(FileError::TensorCount { .. }),
    }
    let message = refused(row(depthwise, "dtype", json!("f16\n"))).to_string();
    let expected = "expected an element type that this program understands, f32, u8, i8 or i32, found \"f16\\n\"";
    assert!(message.contains(depthwise) && message.ends_with(expected), "{message}");
    // In version 1 there is one, whatever else the program understands.
    assert!(matches!(
        refused(header("/tensors/0/dtype", json!("i8"))),
        Error::File(FileError::TensorEntry { field: "dtype", .. })
    ));
}

#[test]
fn payload_of_int8_layers() {
    let set = |tensor: &str, at: usize, bytes: &[u8]| {
        int8(|p| {
            let index = p.find(tensor);
            p.set_bytes(index, at, bytes);
        })
    };
    let scale = |tensor: &str, value: f32| set(tensor, 0, &value.to_le_bytes());
    let out = |error: &Error, name: &str, value: &str| match error {
        Error::File(FileError::Value { tensor, index: 0, found, .. }) => tensor == name && found == value,
        _ => false,
    };
    let lane = |error: &Error, name: &str, at: usize, found: &str| match error {
        Error::File(FileError::UnusedLane { tensor, index, value }) => tensor == name && *index == at && value == found,
        _ => false,
    };
    let (stem, bias, scales) = ("features.0.0.weight", "features.0.0.bias", "features.0.0.weight.scale");
    assert_refused! {
        scale("input.scale", 0.0) => e if out(e, "input.scale", "0.0"),
        scale("input.scale", -0.0) => e if out(e, "input.scale", "-0.0"),
        scale("input.scale", -1.0) => e if out(e, "input.scale", "-1.0"),
        scale("pool.output.scale", f32::INFINITY) => e if out(e, "pool.output.scale", "inf"),
        scale("pool.output.scale", f32::NAN) => e if out(e, "pool.output.scale", "NaN"),
        scale("features.1.conv.0.output.scale", 1e-39) => e if out(e, "features.1.conv.0.output.scale", "1e-39"),
        scale(scales, 2e19) => e if out(e, scales, "2e19"),
        scale(scales, f32::from_bits(1)) => e if out(e, scales, "1e-45"),
        set(stem, 0, &[0x80]) => e if out(e, stem, "-128"),
        // Channels 12 to 15 of 16, and the fourth input of three.
        set(stem, 12 * 4, &[0x80]) => e if lane(e, stem, 48, "-128"),
        set(stem, 3, &[1]) => e if lane(e, stem, 3, "1"),
        set(bias, 12 * 4, &5_i32.to_le_bytes()) => e if lane(e, bias, 12, "5"),
        set(scales, 12 * 4, &(-0.0_f32).to_le_bytes()) => e if lane(e, scales, 12, "-0.0"),
        int8(|p| p.payload[4] = 1) => Error::File(FileError::NotZero { after, .. }) if after == "input.scale",
        int8(|p| p.payload[65] = 1) => Error::File(FileError::NotZero { after, .. }) if after == "input.zero_point",
        int8(|p| p.payload[64] ^= 1) => Error::File(FileError::Checksum { what, .. }) if what == "input.zero_point",
    }
    // Scales are few: they are checked even where weights are not.
    let trusting = OpenOptions::new().verify_checksums(false);
    let open = |bytes: Vec<u8>| Model::from_bytes_with(bytes, &trusting).unwrap_err();
    assert!(matches!(open(scale("input.scale", 0.0)), Error::File(FileError::Value { .. })));
    assert!(matches!(open(set(stem, 3, &[1])), Error::File(FileError::UnusedLane { .. })));
    // Weights are many.
    Model::from_bytes_with(set(stem, 0, &[0x80]), &trusting).unwrap();
}

/// Scales that are each in range, but not what follows from them.
#[test]
fn factors_of_int8_layers() {
    let scales = |scales: &[(&str, usize, f32)]| {
        int8(|p| {
            for &(tensor, channel, value) in scales {
                let index = p.find(tensor);
                p.set(index, channel, value);
            }
        })
    };
    let factor = |error: &Error, name: &str, place: Option<usize>, value: f64| match error {
        Error::File(FileError::Factor { layer, channel, found }) => {
            layer == name && *channel == place && (found / value - 1.0).abs() < 1e-3
        }
        _ => false,
    };
    let (stem, scale, out) = ("features.0.0", "features.0.0.weight.scale", "features.0.0.output.scale");
    assert_refused! {
        scales(&[("input.scale", 0, 1e-30), (scale, 0, 1e-30), (scale, 1, 1e-30)]) => e if factor(e, stem, Some(0), 1e-60 * 19.0),
        scales(&[("input.scale", 0, 1e10), (scale, 7, 1e10)]) => e if factor(e, stem, Some(7), 1e20 * 19.0),
        scales(&[(out, 0, 1e19), (scale, 3, 1e-30)]) => e if factor(e, stem, Some(3), 0.2 * 1e-49),
        scales(&[(out, 0, 1e-37)]) => Error::File(FileError::Factor { layer, channel: Some(0), .. }) if layer == stem,
        scales(&[("pool.output.scale", 0, 1e-30), ("classifier.1.weight.scale", 2, 1e-30)]) => e if factor(e, "classifier.1", Some(2), 1e-60),
    }
    let error = refused(scales(&[("input.scale", 0, 1e10), (scale, 7, 1e10)])).to_string();
    let expected =
        "weight file: layer features.0.0, channel 7: expected scales whose factor is from 2^-126 to 2^64, found 1.9";
    assert!(error.starts_with(expected), "{error}");
    // The bounds themselves are factors.
    for (weight, fits) in [(2_f32.powi(-66), true), (2_f32.powi(-67), false), (2_f32.powi(64), true)] {
        let bytes = int8(|p| {
            let (input, scale) = (p.find("pool.output.scale"), p.find("classifier.1.weight.scale"));
            p.set(input, 0, if weight < 1.0 { 2_f32.powi(-60) } else { 1.0 });
            (0..3).for_each(|channel| p.set(scale, channel, weight));
        });
        assert_eq!(Model::from_bytes(bytes).is_ok(), fits, "{weight}");
    }
}

/// A bias so large that a sum could leave 32 bits: just not, and just so.
#[test]
fn sums_of_int8_layers() {
    let (stem, bias) = ("features.0.0", "features.0.0.bias");
    let model = Model::from_bytes(int8(|_| ())).unwrap();
    let packed = model.int8_weights(0).unwrap();
    let weights = packed.packing.unpack(packed.weight, &[12, 3, 3, 3]).unwrap();
    let zero = model.quantization("input").unwrap().zero_point;
    for (channel, sign) in [(0, 1), (11, -1)] {
        let magnitude: i64 = weights[channel * 27..][..27].iter().map(|&w| i64::from(w).abs()).sum();
        let most = i64::from(i32::MAX) - magnitude * i64::from(zero.max(255 - zero));
        let with_bias = |value: i64| {
            int8(|p| {
                let index = p.find(bias);
                p.set_bytes(index, 4 * channel, &(value as i32).to_le_bytes());
            })
        };
        Model::from_bytes(with_bias(sign * most)).unwrap();
        let error = refused(with_bias(sign * (most + 1)));
        assert!(
            matches!(&error, Error::File(FileError::Sums { layer, channel: at, found: 0x8000_0000 }) if layer == stem && *at == channel),
            "{error:?}"
        );
        let text = format!(
            "weight file: layer {stem}, channel {channel}: expected sums of at most 2147483647, found up to 2147483648"
        );
        assert_eq!(error.to_string(), text);
    }
    assert!(matches!(
        refused(int8(|p| {
            let index = p.find(bias);
            p.set_bytes(index, 0, &i32::MIN.to_le_bytes());
        })),
        Error::File(FileError::Sums { channel: 0, .. })
    ));
}

/// What an average pool in int8 computes depends on the picture's size.
#[test]
fn pools_of_int8_networks() {
    use mnx_graph::{Session, SessionOptions};
    let prepare = |bytes: Vec<u8>, shape: [usize; 4]| {
        let model = Model::from_bytes(bytes).unwrap();
        Session::with(&model, SessionOptions::new().threads(1)).unwrap().prepare(shape)
    };
    let scales = |of_input: f32, of_output: f32| {
        int8(|p| {
            // What the last block makes and the factors around it, so that only the pool's is out of range.
            let names = ["features.1.conv.8.output.scale", "pool.output.scale"].map(|name| p.find(name));
            p.set(names[0], 0, of_input);
            p.set(names[1], 0, of_output);
        })
    };
    prepare(int8(|_| ()), [1, 3, 64, 64]).unwrap();
    let small = scales(1e-18, 1.8e19);
    prepare(small.clone(), [1, 3, 4, 4]).unwrap();
    let error = prepare(small, [1, 3, 400, 400]).unwrap_err();
    assert!(matches!(&error, Error::Average { height: 100, width: 100, .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("average pool of 100 x 100 in int8: expected a factor from 2^-126 to 2^64, found 5."),
        "{error}"
    );
    // 255 less the zero point, times so many pixels.
    let zero = Model::from_bytes(int8(|_| ())).unwrap().quantization("features.1.conv.8.output").unwrap().zero_point;
    let most = i32::MAX as usize / usize::from(255 - zero);
    let error = prepare(int8(|_| ()), [1, 3, 4, 4 * (most + 1)]).unwrap_err();
    assert!(
        matches!(&error, Error::Average { height: 1, found, .. } if found.parse::<u64>().unwrap() > 0x7fff_ffff),
        "{error}"
    );
}

/// Tensors of int8 layers count as others do.
#[test]
fn limits_hold_for_int8_files() {
    let limited = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Model::from_bytes_with(small_int8_file(), &OpenOptions::new().limits(limits)).unwrap_err()
    };
    let count = Parts::small_int8().header["tensors"].as_array().unwrap().len();
    assert_eq!(count, 6 * 2 + 5 + 7 * 2);
    assert!(matches!(limited(|l| l.tensors = 30), Error::Limit { limit: 30, found: 31, .. }));
    let mut limits = Limits::default();
    limits.tensors = 31;
    Model::from_bytes_with(small_int8_file(), &OpenOptions::new().limits(limits)).unwrap();
    assert!(matches!(limited(|l| l.elements = 500), Error::Limit { limit: 500, .. }));
    assert!(matches!(limited(|l| l.header_bytes = 64), Error::Limit { limit: 64, .. }));
}

#[test]
fn what_does_not_need_a_checksum_is_checked_without() {
    let trusting = OpenOptions::new().verify_checksums(false);
    let open = |bytes: Vec<u8>| Model::from_bytes_with(bytes, &trusting);
    assert!(matches!(open(with(|p| p.set(11, 3, 1.0))), Err(Error::File(FileError::UnusedLane { .. }))));
    assert!(matches!(open(with(|p| p.header_crc = Some(0))), Err(Error::File(FileError::Checksum { .. }))));
    assert!(matches!(open(with(|p| p.payload.push(0))), Err(Error::File(FileError::TrailingBytes { .. }))));
    let padding = |p: &mut Parts| {
        let (offset, length) = p.tensor(8);
        p.payload[offset + length] = 1;
    };
    assert!(matches!(open(with(padding)), Err(Error::File(FileError::NotZero { .. }))));
    open(with(|p| p.set(4, 0, f32::NAN))).unwrap();
}

#[test]
fn limits_can_be_set() {
    let limited = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Model::from_bytes_with(small_file(), &OpenOptions::new().limits(limits))
    };
    assert!(matches!(limited(|l| l.header_bytes = 64), Err(Error::Limit { limit: 64, .. })));
    assert!(matches!(limited(|l| l.tensors = 11), Err(Error::Limit { limit: 11, .. })));
    assert!(matches!(limited(|l| l.channels = 19), Err(Error::Limit { limit: 19, .. })));
    assert!(matches!(limited(|l| l.elements = 400), Err(Error::Limit { limit: 400, .. })));
    let model = limited(|l| (l.tensors, l.channels, l.arena_bytes) = (12, 20, 1)).unwrap();
    assert_eq!(model.limits().arena_bytes, 1);
    // No limit at all on the header is no licence to overflow.
    let mut limits = Limits::default();
    limits.header_bytes = u64::MAX;
    let options = OpenOptions::new().limits(limits);
    for header_len in [u64::MAX, u64::MAX - 24, i64::MAX as u64, i64::MAX as u64 - 64, 1 << 40] {
        let file = with(|p| p.header_len = Some(header_len));
        let error = Model::from_bytes_with(file, &options).unwrap_err();
        assert!(matches!(error, Error::Limit { .. } | Error::File(FileError::Truncated { .. })), "{error}");
    }
}

#[test]
fn a_flip_of_any_byte_is_found() {
    for file in [small_file(), small_int8_file()] {
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (at % 8);
            refused(damaged);
        }
    }
}

#[test]
fn every_shorter_file_is_truncated() {
    for file in [small_file(), small_int8_file()] {
        for len in 1..file.len() {
            let error = refused(file[..len].to_vec());
            assert!(
                matches!(error, Error::File(FileError::Truncated { found, .. }) if found == len as u64),
                "{len} bytes: {error:?}"
            );
        }
    }
}

/// Attacks that must fail alike when a file is read and mapped: nothing large is allocated on a small file's word.
#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no temporary folder")]
fn files_are_judged_as_bytes_are() {
    let huge = with(|p| {
        p.header["spec"]["classes"] = json!(65_536);
        p.header["spec"]["labels"] = json!(null);
        p.header["tensors"][10]["dims"] = json!([65_536, 20]);
        p.header["tensors"][10]["length"] = json!(65_536 * 20 * 4);
        p.header["tensors"][11]["dims"] = json!([65_536]);
        let offset = p.tensor(10).0;
        p.header["tensors"][11]["offset"] = json!(offset + 65_536 * 20 * 4);
        p.header["tensors"][11]["length"] = json!(65_536 * 4);
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attack.mnx");
    let attacks = [
        huge,
        with(|p| p.version = 9),
        with(|p| p.payload[70] ^= 1),
        small_file()[..100].to_vec(),
        row("input.scale", "dtype", json!("f64")),
    ];
    for bytes in attacks {
        std::fs::write(&path, &bytes).unwrap();
        let expected = format!("{}: {}", path.display(), refused(bytes));
        assert_eq!(Model::open(&path).unwrap_err().to_string(), expected);
        // SAFETY: nobody else knows the file.
        #[cfg(feature = "memmap2")]
        assert_eq!(unsafe { Model::open_mmap(&path) }.unwrap_err().to_string(), expected);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_file(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Model::from_bytes(bytes).is_err());
    }

    /// Past the header's checksum: whatever the header says, opening ends in a model or an error.
    #[test]
    fn damaged_headers_do_not_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0..40_usize, int8 in any::<bool>(),
    ) {
        let small = if int8 { Parts::small_int8() } else { Parts::small() };
        let mut text = small.header.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        text.drain(at..(at + cut).min(text.len()));
        let _ = Model::from_bytes(small.build_with(&text));
    }

    /// Numbers of any size, anywhere in the header.
    #[test]
    fn any_number_anywhere_does_not_panic(
        at in any::<prop::sample::Index>(), value in any::<u64>(), shift in 0..64, int8 in any::<bool>(),
    ) {
        let mut small = if int8 { Parts::small_int8() } else { Parts::small() };
        let mut numbers = Vec::new();
        collect(&mut small.header, &mut numbers);
        let count = numbers.len();
        *numbers[at.index(count)] = json!(value >> shift);
        let _ = Model::from_bytes(small.build());
    }

    /// Without checksums a damaged payload still gives slices of the right lengths, or an error.
    #[test]
    fn damaged_payloads_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let file = with(|p| { let at = at.index(p.payload.len()); p.payload[at] = byte; });
        if let Ok(model) = Model::from_bytes_with(file, &OpenOptions::new().verify_checksums(false)) {
            let lens = (0..6).map(|i| model.weights(i)).map(|(w, b)| (w.len(), b.len()));
            prop_assert!(lens.eq([(432, 16), (144, 16), (192, 16), (192, 32), (216, 32), (320, 16)]));
        }
    }
}

/// All numbers of a JSON value.
fn collect<'a>(value: &'a mut Value, numbers: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => numbers.push(value),
        Value::Array(values) => values.iter_mut().for_each(|v| collect(v, numbers)),
        Value::Object(map) => map.values_mut().for_each(|v| collect(v, numbers)),
        _ => {}
    }
}
