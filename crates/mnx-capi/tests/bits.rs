//! What C gets has the bits of the Rust library, and both are those of `bits.txt`, which the C program `tests/c/bits.c` is
//! compared with, too. `MNX_WRITE_BITS=1` writes it anew, on a CPU with fused multiply-add.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use mnx::{Classifier, Detector, Isa, Model, Picture, Session, SessionOptions, TensorView};
use mnx_capi::mnx_status::MNX_OK;
use mnx_capi::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn model_path(name: &str) -> PathBuf {
    let file = match name {
        "cifar" => "mobilenext-0.35-cifar10.mnx",
        "imagenet" => "imagenet/mobilenetv2-1.0-imagenet-int8.mnx",
        _ => "bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx",
    };
    root().join("crates/mnx-infer/model").join(file)
}

fn picture_path(name: &str) -> PathBuf {
    root().join("testdata").join(name)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a path in UTF-8")).unwrap()
}

/// The numbers of `tests/c/test.h`.
fn ramp(shape: [usize; 4]) -> Vec<f32> {
    (0..shape.iter().product()).map(|i: usize| ((i * 37 % 256) as i32 - 128) as f32 / 64.0).collect()
}

/// FNV-1a of the bits.
fn checksum(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn ok(status: mnx_status) {
    // SAFETY: the library's string, read at once.
    assert_eq!(status, MNX_OK, "{}", unsafe { CStr::from_ptr(mnx_last_error()) }.to_string_lossy());
}

/// A model as C opens it.
fn open(name: &str) -> *mut mnx_model {
    let mut model = null_mut();
    // SAFETY: a string and room for a handle.
    ok(unsafe { mnx_model_open(c_path(&model_path(name)).as_ptr(), &mut model) });
    model
}

/// Every output and the features of a network as C gets them: names and values.
fn by_c(name: &str, shape: [usize; 4], isa: &CStr) -> Vec<(String, Vec<f32>)> {
    let (model, input) = (open(name), ramp(shape));
    let (mut options, mut session, mut count) = (null_mut(), null_mut(), 0);
    let mut given = Vec::new();
    // SAFETY: live handles, and room for what is asked for.
    unsafe {
        ok(mnx_options_new(&mut options));
        ok(mnx_options_set_isa(options, isa.as_ptr()));
        ok(mnx_session_new(model, options, &mut session));
        mnx_options_free(options);
        ok(mnx_session_outputs(session, shape.as_ptr(), &mut count));
        for index in 0..count {
            let (mut name, mut sizes): (*const c_char, _) = (null(), [0; 4]);
            ok(mnx_session_output(session, shape.as_ptr(), index, &mut name, sizes.as_mut_ptr()));
            let mut values = vec![f32::NAN; sizes.iter().product()];
            let output = mnx_output { name, data: values.as_mut_ptr(), len: values.len() };
            ok(mnx_session_run_outputs(session, input.as_ptr(), input.len(), shape.as_ptr(), &output, 1));
            given.push((CStr::from_ptr(name).to_str().unwrap().to_owned(), values));
        }
        let mut features = 0;
        if mnx_model_features(model, &mut features) == MNX_OK {
            let mut values = vec![f32::NAN; shape[0] * features];
            let (at, len) = (values.as_mut_ptr(), values.len());
            ok(mnx_session_features(session, input.as_ptr(), input.len(), shape.as_ptr(), at, len));
            given.push(("features".into(), values));
        }
        mnx_session_free(session);
        mnx_model_free(model);
    }
    given
}

/// The same as Rust gets them.
fn by_rust(name: &str, shape: [usize; 4], isa: Isa) -> Vec<(String, Vec<f32>)> {
    let model = Model::open(model_path(name)).unwrap();
    let input = ramp(shape);
    let input = TensorView::new(shape, &input).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().isa(isa)).unwrap();
    let outputs = session.run(input).unwrap();
    let mut given: Vec<_> = outputs.iter().map(|(name, values)| (name.to_owned(), values.data().to_vec())).collect();
    if model.network().classifier().is_some() {
        given.push(("features".into(), session.features(input).unwrap().data().to_vec()));
    }
    given
}

#[test]
fn outputs_have_the_bits_of_the_rust_library() {
    let cases = [("cifar", [2, 3, 32, 32]), ("imagenet", [1, 3, 65, 48]), ("bccd", [3, 3, 64, 49])];
    let mut lines = BTreeSet::new();
    for isa in Isa::available() {
        for (name, shape) in cases {
            let (of_c, of_rust) = (by_c(name, shape, &CString::new(isa.name()).unwrap()), by_rust(name, shape, isa));
            assert_eq!(of_c.len(), of_rust.len());
            for ((c_name, c_values), (rust_name, rust_values)) in of_c.iter().zip(&of_rust) {
                assert_eq!((c_name, bits(c_values)), (rust_name, bits(rust_values)), "{name} on {isa}");
                let class = match (name, isa.fuses()) {
                    ("cifar", true) => "fused",
                    ("cifar", false) => "scalar",
                    _ => "any",
                };
                lines.insert(format!("{name}/{c_name} {class} {:016x}", checksum(c_values)));
            }
        }
    }
    for (what, values) in picture() {
        lines.insert(format!("imagenet/chelsea/{what} any {:016x}", checksum(&values)));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bits.txt");
    if std::env::var_os("MNX_WRITE_BITS").is_some() {
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    let unknown: Vec<_> = lines.iter().filter(|line| !stored.lines().any(|stored| stored == *line)).collect();
    assert!(unknown.is_empty(), "not in bits.txt: {unknown:#?}");
}

/// Logits and embedding of a picture, as C and Rust get them.
fn picture() -> [(&'static str, Vec<f32>); 2] {
    let path = picture_path("pictures/chelsea.png");
    let model = Model::open(model_path("imagenet")).unwrap();
    let mut classifier = Classifier::new(&model).unwrap();
    let picture = Picture::open(&path).unwrap();
    let logits = classifier.logits(&picture).unwrap().to_vec();
    let embedding = classifier.embedding(&picture).unwrap().to_vec();
    let best = classifier.classify(&picture, 3).unwrap();

    let (model, mut classifier, mut picture) = (open("imagenet"), null_mut(), null_mut());
    let (mut of_c, mut embedding_of_c) = (vec![f32::NAN; logits.len()], vec![f32::NAN; embedding.len()]);
    // SAFETY: plain numbers and pointers.
    let mut frame: mnx_frame = unsafe { std::mem::zeroed() };
    frame.struct_size = size_of::<mnx_frame>();
    let mut found = 0;
    let mut predictions = [mnx_prediction { index: 0, probability: 0.0, label: null() }; 3];
    // SAFETY: live handles, and room for what is asked for.
    unsafe {
        ok(mnx_classifier_new(model, null(), &mut classifier));
        mnx_model_free(model);
        ok(mnx_picture_open(c_path(&path).as_ptr(), &mut picture));
        ok(mnx_picture_frame(picture, &mut frame));
        ok(mnx_classifier_logits(classifier, &frame, of_c.as_mut_ptr(), of_c.len()));
        ok(mnx_classifier_embedding(classifier, &frame, embedding_of_c.as_mut_ptr(), embedding_of_c.len()));
        ok(mnx_classifier_classify(classifier, &frame, predictions.as_mut_ptr(), 3, &mut found));
        for (of_c, of_rust) in predictions.iter().zip(&best) {
            let label = CStr::from_ptr(of_c.label).to_str().unwrap();
            assert_eq!((of_c.index, of_c.probability.to_bits()), (of_rust.index, of_rust.probability.to_bits()));
            assert_eq!(Some(label), of_rust.label.as_deref());
        }
        mnx_picture_free(picture);
        mnx_classifier_free(classifier);
    }
    assert_eq!(found, 3);
    assert_eq!((bits(&of_c), bits(&embedding_of_c)), (bits(&logits), bits(&embedding)));
    [("logits", of_c), ("embedding", embedding_of_c)]
}

#[test]
fn normalisation_is_that_of_the_rust_library() {
    for name in ["cifar", "imagenet", "bccd"] {
        let of_rust = Model::open(model_path(name)).unwrap().spec().preprocessing.clone();
        let (model, mut mean, mut deviation) = (open(name), [f32::NAN; 3], [f32::NAN; 3]);
        // SAFETY: a live handle, and room for three values each.
        unsafe {
            ok(mnx_model_normalisation(model, mean.as_mut_ptr(), deviation.as_mut_ptr()));
            mnx_model_free(model);
        }
        assert_eq!((mean, deviation), (of_rust.mean, of_rust.std));
    }
}

#[test]
fn boxes_have_the_bits_of_the_rust_library() {
    let path = picture_path("bccd/JPEGImages/BloodImage_00031.jpg");
    let model = Model::open(model_path("bccd")).unwrap();
    let mut detector = Detector::new(&model).unwrap();
    let picture = Picture::open(&path).unwrap();
    let of_rust: Vec<_> = detector.detect(&picture).unwrap().collect();
    assert!(of_rust.len() > 5);

    let (model, mut detector, mut found) = (open("bccd"), null_mut(), 0);
    let nothing = mnx_detection { index: 0, score: 0.0, xmin: 0.0, ymin: 0.0, xmax: 0.0, ymax: 0.0, label: null() };
    let mut boxes = vec![nothing; 100];
    // SAFETY: live handles, and room for what is asked for.
    unsafe {
        ok(mnx_detector_new(model, null(), &mut detector));
        ok(mnx_detector_detect_file(detector, c_path(&path).as_ptr(), boxes.as_mut_ptr(), boxes.len(), &mut found));
    }
    assert_eq!(found, of_rust.len());
    for (c, rust) in boxes.iter().zip(&of_rust) {
        assert_eq!(c.index, rust.index);
        assert_eq!(
            bits(&[c.score, c.xmin, c.ymin, c.xmax, c.ymax]),
            bits(&[rust.score, rust.xmin, rust.ymin, rust.xmax, rust.ymax])
        );
        // SAFETY: the model's string; the detector lives.
        assert_eq!(unsafe { CStr::from_ptr(c.label) }.to_str().ok(), rust.label.as_deref());
    }
    // SAFETY: handles of this test, not used again.
    unsafe {
        mnx_detector_free(detector);
        mnx_model_free(model);
    }
}
