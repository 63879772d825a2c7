//! Files of detectors.

use mnx_graph::{Error, FileError, Limits, Model, OpenOptions, Session, SessionOptions, Spec, write_model};
use mnx_tensor::Tensor;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::common::{Parts, numbered};
use super::{refused, with};

/// A tap inside a block, one at its end, an extra block, and priors by both rules.
fn small_file() -> Vec<u8> {
    let table = r#"{
        "stem": {"channels": 12, "stride": 2},
        "stages": [{"ratio": 2, "channels": 20, "repeats": 1, "stride": 2}],
        "resolution": 16, "classes": 3, "labels": ["none", "cat", "dog"],
        "detector": {
            "taps": [{"block": 1, "at": "expanded"}, {"block": 1}],
            "extras": [{"block": "depthwise_first", "hidden": 5, "channels": 9}],
            "last_head": "pointwise", "depthwise_bias": true,
            "priors": [
                {"scales": [[0.2, 1.0]]},
                {"sizes": {"stride": 4, "min": 4, "max": 8, "ratios": [2]}},
                {"scales": [[0.8, 1.0], [0.9, 0.5]]}
            ],
            "coder": {"centre": 0.1, "size": 0.2}, "scores": "softmax", "score": 0.1, "iou": 0.5, "top": 10
        }
    }"#;
    let mut bytes = Vec::new();
    write_model(&Spec::from_json(table).unwrap(), &Limits::default(), numbered(), &mut bytes).unwrap();
    bytes
}

fn detector(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::of(&small_file());
    change(&mut parts);
    parts.build()
}

/// With one change in the spec.
fn spec(pointer: &str, value: Value) -> Vec<u8> {
    detector(|p| *p.header["spec"].pointer_mut(pointer).expect("a place in the spec") = value)
}

fn field(error: &Error, name: &str) -> bool {
    matches!(error, Error::Spec { field, .. } if field == name)
}

#[test]
fn a_detector_breaks_no_rule_and_runs() {
    let file = detector(|_| ());
    assert_eq!(file[4], 2, "detectors are of version 2");
    let model = Model::from_bytes(file).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    let input = Tensor::zeros([2, 3, 16, 24]).unwrap();
    let outputs = session.run(input.view()).unwrap();
    let shapes: Vec<_> = outputs.iter().map(|(name, view)| (name, view.shape())).collect();
    let priors = (8 * 12) + (4 * 6) * 4 + (2 * 3) * 2;
    assert_eq!(shapes, [("scores", [2, priors, 3, 1]), ("boxes", [2, priors, 4, 1])]);
    assert!(matches!(session.features(input.view()), Err(Error::ExpectedClassifier { .. })));
}

#[test]
fn versions() {
    let removed = |p: &mut Parts| drop(p.header.as_object_mut().unwrap().remove("arithmetic").unwrap());
    assert_refused! {
        detector(|p| p.version = 1) => Error::File(FileError::Header { message }) if message.contains("detector"),
        detector(|p| { removed(p); p.version = 1; }) => Error::File(FileError::Header { message }) if message.contains("detector"),
        detector(removed) => Error::File(FileError::Header { message }) if message.contains("arithmetic"),
        with(|p| p.header["spec"]["detector"] = Parts::of(&small_file()).header["spec"]["detector"].clone()) =>
            Error::File(FileError::Header { message }) if message.contains("detector"),
    }
}

/// Another arithmetic than the table was made for: other tensors.
#[test]
fn ends_of_heads_in_int8() {
    let last = Parts::of(&small_file()).header["arithmetic"].as_array().unwrap().len() - 1;
    assert_refused! {
        detector(|p| p.header["arithmetic"][last] = json!("int8")) => Error::File(FileError::TensorCount { .. }),
        detector(|p| p.header["arithmetic"][last] = json!("bf16")) => Error::File(FileError::Arithmetic { .. }),
    }
}

#[test]
fn taps_heads_and_priors() {
    assert_refused! {
        spec("/detector/taps/0/block", json!(2)) => e if field(e, "detector.taps[0].block"),
        spec("/detector/taps/0/block", json!(u32::MAX)) => e if field(e, "detector.taps[0].block"),
        spec("/detector/taps/0/block", json!(-1)) => Error::File(FileError::Header { .. }),
        spec("/detector/taps/0/block", json!(0)) => e if field(e, "detector.taps[0].at"),
        spec("/detector/taps/1/block", json!(0)) => e if field(e, "detector.taps[1]"),
        spec("/detector/taps/0/at", json!("middle")) => Error::File(FileError::Header { .. }),
        spec("/detector/taps", json!([])) => e if field(e, "detector.taps"),
        spec("/detector/taps", json!([{"block": 1}])) => e if field(e, "detector.priors"),
        spec("/detector/priors", json!([])) => e if field(e, "detector.priors"),
        spec("/detector/priors/0/scales", json!([])) => e if field(e, "detector.priors[0].scales"),
        spec("/detector/priors/1/sizes/stride", json!(0.0)) => e if field(e, "detector.priors[1].stride"),
        spec("/detector/extras/0/hidden", json!(0)) => e if field(e, "detector.extras[0].hidden"),
        spec("/detector/extras/0/hidden", json!(70_000)) => Error::Limit { .. },
        spec("/detector/extras/0/channels", json!(u32::MAX)) => Error::Limit { .. },
        spec("/detector/score", json!(1.5)) => e if field(e, "detector.score"),
        spec("/detector/iou", json!(-0.1)) => e if field(e, "detector.iou"),
        spec("/detector/top", json!(0)) => e if field(e, "detector.top"),
        spec("/detector/top", json!(4_000_000_000_u64)) => Error::Limit { what, limit: 4096, .. } if what == "detector.top",
        spec("/detector/coder/size", json!(0.0)) => e if field(e, "detector.coder.size"),
        spec("/classes", json!(1)) => e if field(e, "classes"),
        // More priors than the file has numbers for.
        spec("/detector/priors/0/scales", json!([[0.2, 1.0], [0.3, 1.0]])) => Error::File(FileError::TensorEntry { .. }),
        spec("/detector/priors/0/scales", json!(vec![[0.2, 1.0]; 30_000])) => Error::Limit { what, .. } if what.contains("cls_headers.0"),
        detector(|p| p.header["spec"]["detector"]["anchors"] = json!(1)) => Error::File(FileError::Header { .. }),
        detector(|p| p.header["spec"]["detector"] = json!({})) => Error::File(FileError::Header { .. }),
        // A classifier's layers, but a detector's file.
        detector(|p| drop(p.header["spec"].as_object_mut().unwrap().remove("detector"))) => Error::File(FileError::LayerCount { .. }),
    }
}

/// Grids that would have more priors than any memory has room for.
#[test]
fn huge_grids() {
    let scales = json!(vec![[0.2, 1.0]; 5000]);
    let huge = detector(|p| {
        let spec = &mut p.header["spec"];
        spec["detector"]["priors"][0]["scales"] = scales;
        (spec["resolution"], spec["preprocessing"]["resize"]) = (json!(20_000), json!(20_000));
    });
    assert_refused! { huge => Error::Limit { what, .. } if what.contains("heads of a picture of 20000 x 20000"), }
    // A session's input may be larger than the spec's.
    let mut limits = Limits::default();
    (limits.elements, limits.priors) = (10_000, u64::MAX);
    let model = Model::from_bytes_with(small_file(), &OpenOptions::new().limits(limits)).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    session.prepare([1, 3, 16, 16]).unwrap();
    let error = session.prepare([1, 3, 3000, 3000]).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 10_000, .. }), "{error}");
    // Each prior may be compared with all boxes that are kept.
    let mut limits = Limits::default();
    limits.priors = 204;
    let model = Model::from_bytes_with(small_file(), &OpenOptions::new().limits(limits)).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    session.prepare([1, 3, 16, 24]).unwrap();
    let error = session.prepare([1, 3, 24, 24]).unwrap_err();
    assert!(matches!(&error, Error::Limit { what, limit: 204, .. } if what == "priors for 3 x 24 x 24"), "{error}");
}

proptest! {
    /// Whatever a changed byte of the header makes, opening says so or gives a detector that runs.
    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte: u8) {
        let parts = Parts::of(&small_file());
        let mut header = serde_json::to_vec(&parts.header).unwrap();
        let at = at.index(header.len());
        header[at] = byte;
        if let Ok(model) = Model::from_bytes(parts.build_with(&header)) {
            let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
            let input = Tensor::zeros([1, 3, 9, 11]).unwrap();
            let _ = session.run(input.view());
        }
    }
}
