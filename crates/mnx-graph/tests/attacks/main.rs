//! Weight files that break one rule each, and files that chance made.

#[path = "../common/mod.rs"]
mod common;

use common::{Parts, small_file, small_int8_file};
use int8::row;
use mnx_graph::{Error, FileError, FileKind, Limits, Model, OpenOptions, Session, SessionOptions, Wanted};
use mnx_tensor::Tensor;
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! assert_refused {
    ($($bytes:expr => $pattern:pat $(if $guard:expr)?,)+) => {$(
        let error = refused($bytes);
        assert!(matches!(&error, $pattern $(if $guard)?), "{}: found {error:?}", stringify!($bytes));
        let message = error.to_string();
        assert!(!message.contains(char::is_control) && message.chars().count() < 600, "{message}");
    )+};
}

mod detector;
mod dtype;
mod int8;

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
        // Words of a stranger, on many lines.
        with(|p| { p.header["spec"]["a\n".repeat(1000)] = json!(1); }) => Error::File(FileError::Header { .. }),
        header("/spec/stages/0/block", json!("a\n".repeat(1000))) => Error::File(FileError::Header { .. }),
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
        header("/tensors/4/name", json!("a\n".repeat(1000))) => e if entry(e, 4, "name"),
        header("/tensors/0/dims", json!(vec![1; 1000])) => e if entry(e, 0, "dims"),
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
    assert!(matches!(limited(|l| l.weights = 400), Err(Error::Limit { limit: 400, .. })));
    // How long an inference takes is known before it is begun, and it does not begin.
    let model = limited(|l| l.macs = 1000).unwrap();
    let shape = [1, model.spec().channels, 512, 512];
    let error = mnx_graph::Session::new(&model).unwrap().prepare(shape).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 1000, .. }), "{error}");
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
            let lens = (0..6).map(|i| model.weights(i).unwrap()).map(|(w, b)| (w.len(), b.len()));
            prop_assert!(lens.eq([(432, 16), (144, 16), (192, 16), (192, 32), (216, 32), (320, 16)]));
        }
    }

    /// In int8 as well, and what opens runs, or says what its kernels do not take.
    #[test]
    fn damaged_int8_payloads_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut parts = Parts::small_int8();
        let at = at.index(parts.payload.len());
        parts.payload[at] = byte;
        if let Ok(model) = Model::from_bytes_with(parts.build(), &OpenOptions::new().verify_checksums(false)) {
            let input = Tensor::from_slice([1, 3, 2, 3], &[0.5; 18]).unwrap();
            let session = Session::with(&model, SessionOptions::new().threads(1));
            if let Ok(mut session) = session && session.prepare(input.shape()).is_ok() {
                prop_assert_eq!(session.run(input.view()).unwrap().data().len(), 3);
            }
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
