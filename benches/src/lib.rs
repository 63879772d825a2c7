//! What the benches share: networks with random weights, the layer shapes in them, and kernels on buffers of
//! their own.
//!
//! Throughput counts floating-point operations, two per multiply-add: `Gelem/s` reads as GFLOP/s. In int8 it counts
//! multiply-adds: GMAC/s.

mod arguments;
// The command line has it, and no other program needs it.
#[path = "../../crates/mnx-infer/src/commands/timing/cpu.rs"]
mod cpu;
mod grammar;
mod runner;
mod runs;
mod shape;
mod shapes;
mod turns;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use mnx_graph::{Model, Spec, init};
use mnx_tensor::{AlignedBuf, Isa, Tensor};

pub use arguments::{Common, Layers, arguments, refuse};
pub use grammar::{ShapeError, kernels};
pub use runner::Weights;
pub use runs::{Run, cpu_of, instructions, parts_of_names, runs};
pub use shape::Shape;
pub use shapes::shapes;
pub use turns::{Peaks, Spread, median, progress, time};

/// Height and width of every input.
pub const SIDE: usize = 224;

/// Width multipliers that are benched.
pub const WIDTHS: [f64; 3] = [0.35, 1.0, 1.4];

/// All of them; only the smallest when the benches run as tests, once each.
pub fn widths() -> &'static [f64] {
    // `cargo bench` says `--bench`, `cargo test` does not.
    let said = |word: &str| std::env::args().any(|arg| arg == word);
    if said("--bench") && !said("--test") { &WIDTHS } else { &WIDTHS[..1] }
}

/// The model's name of this machine's CPU.
pub fn cpu_name() -> String {
    cpu::name()
}

static FOUND: AtomicBool = AtomicBool::new(false);

/// A bench of Criterion's runs: the filter has let it through.
pub fn found() {
    FOUND.store(true, Ordering::Relaxed);
}

/// The last of a bench's groups: Criterion says nothing where no name matches.
pub fn nothing_found(_: &mut Criterion) {
    let said = |word: &str| std::env::args().any(|arg| arg.starts_with(word));
    // With these nothing is to run; tests are filtered by names that only some programs have.
    let may_be_nothing = said("--list") || said("--load-baseline") || !said("--bench");
    if !may_be_nothing && !FOUND.load(Ordering::Relaxed) {
        eprintln!("error: nothing to measure: no name matches the filter (--list prints the names)");
        std::process::exit(1);
    }
}

/// Short runs, for there are many of them, but long enough for ten iterations of so many floating-point operations.
pub fn short(group: &mut BenchmarkGroup<WallTime>, isa: Isa, operations: u64) {
    let per_second = if isa == Isa::Scalar { 10e9 } else { 50e9 };
    let ten = Duration::from_secs_f64(10.0 * operations as f64 / per_second);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(ten.max(Duration::from_millis(300)));
    // Every sample equally long: the fewest runs of what takes long.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
}

/// MobileNeXt of this width with 1000 classes and random weights.
pub fn model(width: f64) -> Model {
    let weights = init(&spec(width), 1).expect("a network within the limits");
    Model::from_bytes(weights).expect("a weight file that was just made")
}

/// A batch of pictures `[N, 3, 224, 224]`.
pub fn pictures(batch: usize) -> Tensor {
    let shape = [batch, 3, SIDE, SIDE];
    Tensor::from_slice(shape, &fill(shape.iter().product())).expect("as many values as the shape says")
}

fn spec(width: f64) -> Spec {
    let mut spec = Spec::family("mobilenext").expect("a family that exists");
    spec.width = width;
    spec
}

/// Numbers of order 1: no denormals, nothing that a clamp makes constant.
fn fill(len: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(len);
    for (i, value) in buffer.iter_mut().enumerate() {
        *value = ((i * 7919 % 1999) as f32 - 999.0) / 999.0;
    }
    buffer
}
