//! A warm run on one thread allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mnx::{
    Classifier, DetectOptions, Detector, Frame, Isa, Model, PostProcessor, Session, SessionOptions, Spec, Tensor,
};

#[path = "../../mnx-graph/src/testing.rs"]
mod random;

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        CALLS.with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(f: impl FnOnce()) -> u64 {
    let before = CALLS.with(Cell::get);
    f();
    CALLS.with(Cell::get) - before
}

#[test]
fn a_warm_run_on_one_thread_allocates_nothing() {
    // The counter does count.
    assert!(calls(|| drop(std::hint::black_box(vec![1_u8; 100]))) >= 2);

    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    spec.width = 0.1;
    let files = [
        ("f32", mnx::init(&spec, 1).unwrap()),
        ("int8", random::RandomNetwork::int8(&spec, 1).file()),
        ("mixed", random::RandomNetwork::new(&spec, 1, |index, _| mnx::Arithmetic::ALL[index % 3 % 2]).file()),
    ];
    let mut detector = Spec::family("ssdlite-mobilenext").unwrap();
    detector.width = 0.1;
    let detectors = [
        ("detector", mnx::init(&detector, 1).unwrap()),
        ("int8 detector", random::RandomNetwork::int8(&detector, 1).file()),
    ];
    for (arithmetic, file) in files.into_iter().chain(detectors) {
        let model = Model::from_bytes(file).unwrap();
        for (isa, batch) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]) {
            let input = Tensor::zeros([batch, 3, 32, 32]).unwrap();
            let mut session = Session::with(&model, SessionOptions::new().threads(1).isa(isa)).unwrap();
            let mut run = || calls(|| assert!(session.run(input.view()).is_ok()));
            assert!(run() > 0, "the first run lays out memory");
            for _ in 0..3 {
                assert_eq!(run(), 0, "{arithmetic}, {isa}, batch {batch}");
            }
            if model.network().classifier().is_none() {
                continue;
            }
            let mut features = || calls(|| assert!(session.features(input.view()).is_ok()));
            features();
            assert_eq!(features(), 0, "{arithmetic}, {isa}, batch {batch}: features");
        }
    }
}

/// Two sizes of batch in turn, as the last batch of a list is smaller.
#[test]
fn shapes_in_turn_keep_their_memory() {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    spec.width = 0.1;
    let model = Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    let inputs = [4, 3, 2, 1, 5].map(|batch| Tensor::zeros([batch, 3, 32, 32]).unwrap());
    let mut run = |input: &Tensor| calls(|| assert!(session.run(input.view()).is_ok()));
    inputs[..4].iter().for_each(|input| assert!(run(input) > 0));
    inputs[..4].iter().rev().for_each(|input| assert_eq!(run(input), 0));
    // Now 4 x 3 x 32 x 32 came last: a fifth shape takes the place of that which came first.
    assert!(run(&inputs[4]) > 0);
    [0, 1, 2, 4].iter().for_each(|&index| assert_eq!(run(&inputs[index]), 0));
    assert!(run(&inputs[3]) > 0);
    let bytes = session.arena_bytes();
    session.forget();
    assert_eq!((session.arena_bytes(), bytes > 0), (0, true));
}

#[test]
fn a_warm_classifier_allocates_nothing() {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    spec.width = 0.1;
    spec.labels = Some((0..10).map(|class| format!("class {class}")).collect());
    let model = Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap();
    let mut classifier = Classifier::with(&model, SessionOptions::new().threads(1)).unwrap();
    let mut predictions = Vec::new();
    let pixels = vec![77; 3 * 60 * 40];
    let frames = [
        Frame::rgb8(&pixels, 60, 40, 180).unwrap(),
        Frame::bgr8(&pixels, 60, 40, 180).unwrap(),
        Frame::grey8(&pixels, 60, 40, 60).unwrap(),
        Frame::nv12([&pixels, &pixels], 60, 40, [60, 60], mnx::Yuv::Bt601).unwrap(),
    ];
    for frame in frames {
        let mut classify = || calls(|| classifier.classify_into(frame, 5, &mut predictions).unwrap());
        classify();
        assert_eq!(classify(), 0, "{frame:?}");
        assert_eq!(calls(|| assert_eq!(classifier.logits(frame).unwrap().len(), 10)), 0);
        classifier.embedding(frame).unwrap();
        assert_eq!(calls(|| assert!(classifier.embedding(frame).is_ok())), 0);
    }
    assert_eq!((predictions.len(), predictions[0].label.is_some()), (5, true));
}

/// Pictures differ: a few boxes in one, as many as there can be in the next.
#[test]
fn boxes_are_found_without_allocating() {
    let spec = r#"{"taps": [{"block": 1}], "extras": [], "priors": [{"scales": [[0.4, 1.0], [0.4, 4.0]]}],
        "coder": {"centre": 0.1, "size": 0.2}, "scores": "SCORES", "score": 0.01, "iou": 0.45, "top": 100}"#;
    for scores in ["softmax", "sigmoid"] {
        let spec: mnx::DetectorSpec = serde_json::from_str(&spec.replace("SCORES", scores)).unwrap();
        let (classes, priors) = (21, spec.priors(&[(20, 20)], 320).unwrap());
        let rows = priors.len();
        let mut post = PostProcessor::new(&spec, classes, priors, 320).unwrap();
        for options in [DetectOptions::new(), DetectOptions::new().score(0.0).iou(1.0).top(usize::MAX)] {
            post.set_options(options).unwrap();
            for seen in [0, 1, 100, rows] {
                let mut logits = vec![0.0; rows * classes];
                logits.chunks_mut(classes).skip(seen).for_each(|row| row[0] = 30.0);
                let boxes: Vec<f32> = (0..rows * 4).map(|i| (i % 7) as f32 - 3.0).collect();
                let calls = calls(|| assert!(post.process(&logits, &boxes, 640, 480).is_ok()));
                assert_eq!(calls, 0, "{scores}, {seen} of {rows}");
            }
        }
    }
}

/// Preprocessing, inference and boxes together.
#[test]
fn a_warm_detector_allocates_nothing() {
    let mut spec = Spec::family("ssdlite-mobilenext").unwrap();
    spec.width = 0.1;
    spec.set_resolution(64);
    let model = Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap();
    let mut detector = Detector::with(&model, SessionOptions::new().threads(1)).unwrap();
    let pixels = vec![128; 90 * 70 * 3];
    let mut detect = || {
        let frame = Frame::rgb8(&pixels, 90, 70, 270).unwrap();
        calls(|| assert!(detector.detect(frame).is_ok_and(|found| found.count() > 0)))
    };
    detect();
    assert_eq!(detect(), 0);
}
