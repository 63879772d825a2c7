//! A classifier's or detector's input counts against the model's limit for a session's memory, and where there is no memory for
//! it, that is an error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mnx::{
    Classifier, DetectOptions, Detector, DetectorSpec, Error, ErrorKind, Fit, Frame, Interpolation, Model, OpenOptions,
    PostProcessor, Preprocessing, Preprocessor, SessionOptions, Spec,
};

/// The system's allocator, which refuses requests of more than a limit.
struct Limited;

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

fn fits(bytes: usize) -> bool {
    bytes <= LIMIT.load(Ordering::Relaxed)
}

// SAFETY: passes on to the system's allocator what it does not refuse.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        if fits(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        if fits(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        if fits(size) { unsafe { System.realloc(ptr, layout, size) } } else { std::ptr::null_mut() }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// The limit is the process's: one test at a time.
fn one() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A weight file of some kilobytes for pictures of any size.
fn file(family: &str, side: usize) -> Vec<u8> {
    let mut spec = Spec::family(family).unwrap();
    (spec.width, spec.classes) = (0.1, 3);
    spec.set_resolution(side);
    mnx::init(&spec, 1).unwrap()
}

fn classes(model: &Model, picture: Frame<'_>) -> Result<(), Error> {
    Classifier::with(model, SessionOptions::new().threads(1))?.classify(picture, 3).map(drop)
}

fn boxes(model: &Model, picture: Frame<'_>) -> Result<(), Error> {
    Detector::with(model, SessionOptions::new().threads(1))?.detect(picture).map(drop)
}

#[test]
fn the_input_counts_against_the_arena() {
    let _one = one();
    let grey = vec![128; 3];
    let picture = Frame::rgb8(&grey, 1, 1, 3).unwrap();
    let run = [("mobilenext", classes as fn(&Model, Frame<'_>) -> _), ("ssdlite-mobilenext", boxes)];
    for (family, run) in run {
        let file = file(family, 320);
        let with = |arena: u64| {
            let mut options = OpenOptions::new();
            options.limits.arena_bytes = arena;
            run(&Model::from_bytes_with(file.clone(), &options).unwrap(), picture)
        };
        let model = Model::from_bytes(file.clone()).unwrap();
        let mut session = mnx::Session::with(&model, SessionOptions::new().threads(1)).unwrap();
        session.prepare([1, 3, 320, 320]).unwrap();
        let arena = session.arena_bytes() as u64;
        // Floats, and bytes of the resized picture.
        let input = 3 * 5 * 320 * 320;
        with(arena + input).unwrap();
        for arena in [arena + input - 1, arena, 3 * 4 * 320 * 320] {
            let error = with(arena).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{family}, {arena}: {error}");
        }
    }
}

#[test]
fn no_memory_for_the_input_is_an_error() {
    let _one = one();
    let grey = vec![128; 64 * 48 * 3];
    let picture = Frame::rgb8(&grey, 64, 48, 64 * 3).unwrap();
    let run = [("mobilenext", classes as fn(&Model, Frame<'_>) -> _), ("ssdlite-mobilenext", boxes)];
    for (family, run) in run {
        let model = Model::from_bytes(file(family, 640)).unwrap();
        run(&model, picture).unwrap();
        let mut refused = 0;
        // From what the input takes to less than the resized picture.
        for kilobytes in [4800, 4799, 2400, 1199, 800, 400, 200, 100] {
            LIMIT.store(kilobytes << 10, Ordering::Relaxed);
            let result = run(&model, picture);
            LIMIT.store(usize::MAX, Ordering::Relaxed);
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::Memory, "{family}, {kilobytes} kB: {error}");
                refused += 1;
            }
        }
        assert!(refused > 4, "{family}: {refused}");
    }
}

/// What a few kilobytes ask for is refused before anything of that size is there.
#[test]
fn small_files_of_huge_pictures_are_refused() {
    let _one = one();
    let mut options = OpenOptions::new();
    options.limits.arena_bytes = 1 << 28;
    for side in [6_000, 12_000, 23_000] {
        let model = Model::from_bytes_with(file("mobilenext", side), &options).unwrap();
        LIMIT.store(1 << 28, Ordering::Relaxed);
        let error = Classifier::with(&model, SessionOptions::new().threads(1)).unwrap_err();
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(error.kind(), ErrorKind::Limit, "{side}: {error}");
    }
}

/// Where there is no memory for the boxes that new options ask for, the options are as before.
#[test]
fn options_of_a_detector_stay_where_there_is_no_memory() {
    let _one = one();
    let spec: DetectorSpec = serde_json::from_str(
        r#"{"taps": [{"block": 1}], "extras": [], "priors": [{"scales": [[0.01, 1.0]]}], "scores": "softmax",
            "coder": {"centre": 0.1, "size": 0.2}, "score": 0.1, "iou": 0.5, "top": 10}"#,
    )
    .unwrap();
    let priors = spec.priors(&[(50, 50)], 320).unwrap();
    let (scores, boxes) = (vec![0.0; 2 * priors.len()], vec![0.0; 4 * priors.len()]);
    let mut post = PostProcessor::new(&spec, 2, priors, 320).unwrap();
    LIMIT.store(16 << 10, Ordering::Relaxed);
    let error = post.set_options(DetectOptions::new().score(0.9).top(2500)).unwrap_err();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert_eq!(post.process(&scores, &boxes, 640, 480).unwrap().len(), 10);
}

/// Each pixel of a picture that is squashed has weights, which take more memory than the picture.
#[test]
fn no_memory_for_the_weights_of_a_thin_picture_is_an_error() {
    let _one = one();
    let grey = vec![128; 4_000_000];
    for interpolation in [Interpolation::BilinearAntialiased, Interpolation::Bicubic] {
        let mut preprocessing = Preprocessing::new(24, [0.5; 3], [0.5; 3]);
        (preprocessing.fit, preprocessing.interpolation) = (Fit::Squash, interpolation);
        let mut preprocessor = Preprocessor::new(24, &preprocessing).unwrap();
        let mut input = vec![0.0; preprocessor.elements()];
        for (width, height) in [(1, grey.len()), (grey.len(), 1)] {
            let picture = Frame::grey8(&grey, width, height, width).unwrap();
            LIMIT.store(16 << 20, Ordering::Relaxed);
            let result = preprocessor.process_into(picture, &mut input);
            LIMIT.store(usize::MAX, Ordering::Relaxed);
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Memory, "{width} x {height}");
            preprocessor.process_into(picture, &mut input).unwrap();
            // What was taken is kept.
            preprocessor = Preprocessor::new(24, &preprocessing).unwrap();
        }
    }
}
