//! One group per kernel, on the layer shapes of MobileNeXt 0.35, 1.0 and 1.4 and of ResNet-50's dense layers at 224 x 224,
//! for every ISA of this CPU.
//!
//! Names are `kernel/isa/Cin-Cout@size`, with `+relu6` after it for depthwise and pointwise layers that have one in f32, and any
//! part of a name is a filter. Kernels of int8 end in `-int8`, ISAs with dot products of bytes in `-dot`:
//!
//! ```sh
//! cargo bench -p mnx-benches --bench kernels -- dw3x3s1/           # one kernel, in f32
//! cargo bench -p mnx-benches --bench kernels -- '^pw/avx2/'        # on one ISA
//! cargo bench -p mnx-benches --bench kernels -- pw-int8/           # in int8
//! cargo bench -p mnx-benches --bench kernels -- '@7(\+relu6)?$'    # small planes, by regular expression
//! cargo bench -p mnx-benches --bench kernels                       # all of them: some eight minutes
//! ```
//!
//! The flags are Criterion's: `-- --list` prints the names. `roofline` and `tiles` measure layers of any width, and your own.
//!
//! `Gelem/s` reads as GFLOP/s, of int8 kernels as GMAC/s. The classifier reads each weight once: twice its GFLOP/s are GB/s, and
//! its GMAC/s.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mnx_benches::{Run, SIDE, found, instructions, nothing_found, runs, shapes, short, widths};

fn kernels(c: &mut Criterion) {
    for of_kernel in runs(&shapes(widths(), SIDE)).chunk_by(|a, b| a.row.name == b.row.name) {
        let mut group = c.benchmark_group(of_kernel[0].row.name);
        for &Run { row, cpu, shape } in of_kernel {
            short(&mut group, row.isa, shape.operations());
            group.throughput(Throughput::Elements(shape.operations()));
            group.bench_function(format!("{}/{shape}", instructions(row)), |b| {
                found();
                let weights = shape.weights();
                b.iter(shape.runner(cpu, &weights))
            });
        }
    }
}

criterion_group!(benches, kernels, nothing_found);
criterion_main!(benches);
