//! Each block of MobileNeXt 0.35, 1.0 and 1.4 at 224 x 224, for every ISA of this CPU, on one thread.
//!
//! A block is timed inside the whole network, so that what is in the caches is what an inference finds there. Names are
//! `block/isa/width/features.N` (0 is the stem), then `pool` and `classifier`:
//!
//! ```sh
//! cargo bench -p mnx-benches --bench blocks -- block/avx2/1.0/      # one network
//! cargo bench -p mnx-benches --bench blocks -- '/1.0/features\.3$'  # one block, by regular expression
//! cargo bench -p mnx-benches --bench blocks                         # all of them: some three minutes
//! ```
//!
//! `Gelem/s` reads as GFLOP/s; of the pool, additions.
#![allow(missing_docs)]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mnx_benches::{SIDE, found, model, nothing_found, pictures, short, widths};
use mnx_graph::{Session, SessionOptions, StepInfo};
use mnx_tensor::{Isa, Tensor};

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("block");
    let input = pictures(1);
    for &width in widths() {
        let model = model(width);
        for isa in Isa::available() {
            let session = Session::with(&model, SessionOptions::new().threads(1).isa(isa));
            let mut session = session.expect("an ISA that is there");
            let steps = session.steps(input.shape()).expect("an input that the network takes");
            // Each iteration runs the whole network.
            short(&mut group, isa, 2 * model.network().macs(SIDE, SIDE));
            for block in steps.chunk_by(|a, b| a.block == b.block) {
                let name = &block[0].block;
                group.throughput(Throughput::Elements(operations(block)));
                group.bench_function(format!("{isa}/{width:?}/{name}"), |b| {
                    found();
                    b.iter_custom(|iterations| time(&mut session, &input, name, iterations));
                });
            }
        }
    }
}

/// Time that so many inferences spend in one block.
fn time(session: &mut Session, input: &Tensor, block: &str, iterations: u64) -> Duration {
    let profile = session.profile(input.view(), iterations as usize).expect("an input that the network takes");
    profile.steps.iter().filter(|row| row.step.block == block).flat_map(|row| &row.times).sum()
}

/// Floating-point operations; of the pool, which multiplies nothing, its additions.
fn operations(block: &[StepInfo]) -> u64 {
    match block.iter().map(StepInfo::macs).sum() {
        0 => block.iter().flat_map(|step| &step.layers).map(|layer| layer.input.iter().product::<usize>() as u64).sum(),
        macs => 2 * macs,
    }
}

criterion_group!(benches, blocks, nothing_found);
criterion_main!(benches);
