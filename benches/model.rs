//! MobileNeXt 0.35, 1.0 and 1.4 at 224 x 224 as a whole: every ISA of this CPU, one thread and one per physical core,
//! batches of 1 and 8.
//!
//! Names are `model/isa/width/tTHREADS/bBATCH`:
//!
//! ```sh
//! cargo bench -p mnx-benches --bench model -- model/avx2/1.0/t1/b1  # the usual latency
//! cargo bench -p mnx-benches --bench model -- '/t1/b8$'             # by regular expression
//! cargo bench -p mnx-benches --bench model                          # all of them: some two minutes, mostly scalar
//! ```
//!
//! `Gelem/s` reads as GFLOP/s.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mnx_benches::{SIDE, found, model, nothing_found, pictures, short, widths};
use mnx_graph::{Session, SessionOptions, default_threads};
use mnx_tensor::Isa;

fn models(c: &mut Criterion) {
    let mut group = c.benchmark_group("model");
    for &width in widths() {
        let model = model(width);
        let operations = 2 * model.network().macs(SIDE, SIDE);
        let cores = default_threads();
        for isa in Isa::available() {
            let mut threads = vec![1, cores];
            threads.dedup();
            for (threads, batch) in threads.into_iter().flat_map(|threads| [(threads, 1), (threads, 8)]) {
                let options = SessionOptions::new().threads(threads).isa(isa);
                let input = pictures(batch);
                let operations = operations * batch as u64;
                short(&mut group, isa, operations);
                group.throughput(Throughput::Elements(operations));
                group.bench_function(format!("{isa}/{width:?}/t{threads}/b{batch}"), |b| {
                    found();
                    let mut session = Session::with(&model, options.clone()).expect("an ISA that is there");
                    b.iter(|| session.run(input.view()).map(|logits| logits.data()[0]));
                });
            }
        }
    }
}

criterion_group!(benches, models, nothing_found);
criterion_main!(benches);
