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
use mnx_tensor::Isa;
use mnx_tensor::table::{self, Kernels};

fn kernels(c: &mut Criterion) {
    let tables: Vec<&'static Kernels> = Isa::available().into_iter().filter_map(table::kernels).collect();
    let shapes = shapes(widths());
    for (name, _) in tables.first().map(|kernels| kernels.list()).into_iter().flatten() {
        let mut group = c.benchmark_group(name);
        for &kernels in &tables {
            for shape in shapes.iter().filter(|shape| shape.kernel(kernels) == name) {
                short(&mut group, kernels.isa, shape.operations());
                group.throughput(Throughput::Elements(shape.operations()));
                group.bench_function(format!("{}/{shape}", kernels.isa), |b| b.iter(shape.runner(kernels)));
            }
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
