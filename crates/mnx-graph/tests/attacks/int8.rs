//! Files with int8 layers.

use mnx_graph::{Error, FileError, Limits, Model, OpenOptions, Session, SessionOptions};
use serde_json::{Value, json};

use super::common::{Parts, small_int8_file};
use super::{header, refused, with};

/// The small int8 file with one change.
fn int8(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::small_int8();
    change(&mut parts);
    parts.build()
}

/// The small int8 file with another value for a key of a tensor's row.
pub fn row(tensor: &str, key: &str, value: Value) -> Vec<u8> {
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
        arithmetic(4, json!("bf16\n")) => Error::File(FileError::Arithmetic { layer, found, .. }) if layer == "features.1.conv.8" && found == "bf16\\n",
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
        row(depthwise, "dtype", json!("f8")) => e if element(e),
        row(depthwise, "dtype", json!("f16")) => e if entry(e, depthwise, "dtype"),
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
    let expected =
        "expected an element type that this program understands, f32, bf16, f16, u8, i8 or i32, found \"f16\\n\"";
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
    // 255 less the zero point, times so many pixels: more than 32 bits of addresses hold, which is another error.
    if cfg!(target_pointer_width = "32") {
        return;
    }
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
