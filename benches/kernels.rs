//! One group per kernel, on the layer shapes of MobileNeXt 0.35, 1.0 and 1.4 and of ResNet-50's dense layers at 224 x 224,
//! for every ISA of this CPU.
//!
//! Names are `kernel/isa/Cin-Cout@size`, with `+relu6` after it for depthwise and pointwise layers that have one, and any
//! part of a name is a filter:
//!
//! ```sh
//! cargo bench -p mnx-benches -- dw3x3s1                       # one kernel
//! cargo bench -p mnx-benches -- pw/avx2                       # on one ISA
//! cargo bench -p mnx-benches --bench kernels -- '@7$'         # small planes, by regular expression
//! cargo bench -p mnx-benches --bench kernels                  # all of them: some three minutes
//! ```
//!
//! `Gelem/s` reads as GFLOP/s. The classifier reads each weight once: twice its GFLOP/s are GB/s.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mnx_benches::{shapes, short, widths};
use mnx_tensor::{Arithmetic, Cpu, TunedFor, table};

fn kernels(c: &mut Criterion) {
    let shapes = shapes(widths());
    // Every row that this CPU can run, among the rows of the same name.
    let rows = || table::rows().filter(|row| row.isa.is_available() && row.arithmetic == Arithmetic::F32);
    let mut names: Vec<_> = rows().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut group = c.benchmark_group(name);
        for row in rows().filter(|row| row.name == name) {
            let cpu = Cpu::choose(Some(row.isa), Some(row.tuned_for)).expect("a row that this CPU can run");
            for shape in shapes.iter().filter(|shape| shape.kernel(cpu).name == name) {
                short(&mut group, row.isa, shape.operations());
                group.throughput(Throughput::Elements(shape.operations()));
                let of_core =
                    if row.tuned_for == TunedFor::Any { String::new() } else { format!("-{}", row.tuned_for) };
                group.bench_function(format!("{}{of_core}/{shape}", row.isa), |b| b.iter(shape.runner(cpu)));
            }
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
