//! A warm run on one thread allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mnx::{Isa, Model, Session, SessionOptions, Spec, Tensor};

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
