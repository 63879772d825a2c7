//! One group per kernel, on the layer shapes of MobileNeXt-1.0 at 224 x 224, for every ISA of this CPU.
//!
//! An element is a floating-point operation, so `Gelem/s` reads as GFLOP/s; for the classifier throughput is that of the weights' bytes.
//! `cargo bench --bench kernels -- dw3x3s1/avx2` runs a part; names are `kernel/isa/Cin-Cout@size`.
#![allow(missing_docs)]

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mnx_benches::{Bench, Kind, Shape};
use mnx_tensor::Isa;

/// Cin, Cout, size of the input.
type Row = (usize, usize, usize);

const DW_S1: [Row; 8] = [
    (32, 32, 112),
    (144, 144, 56),
    (192, 192, 28),
    (288, 288, 14),
    (384, 384, 14),
    (576, 576, 7),
    (960, 960, 7),
    (1280, 1280, 7),
];
const DW_S2: [Row; 4] = [(96, 96, 112), (192, 192, 56), (288, 288, 28), (576, 576, 14)];
const PW: [Row; 18] = [
    (32, 16, 112),
    (16, 96, 112),
    (96, 32, 56),
    (32, 144, 56),
    (144, 32, 56),
    (32, 192, 56),
    (192, 32, 28),
    (32, 192, 28),
    (48, 288, 28),
    (288, 48, 14),
    (48, 288, 14),
    (64, 384, 14),
    (384, 64, 14),
    (96, 576, 14),
    (576, 96, 7),
    (160, 960, 7),
    (960, 160, 7),
    (208, 1280, 7),
];

fn run(group: &mut BenchmarkGroup<WallTime>, kind: Kind, stride: usize, rows: &[Row]) {
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800)).sample_size(20);
    for isa in Isa::available() {
        for &(cin, cout, size) in rows {
            let shape = Shape { cin, cout, size, stride };
            let Some(mut bench) = Bench::new(isa, kind, shape) else { continue };
            group.throughput(match kind {
                Kind::Linear => Throughput::Bytes(bench.weight_bytes()),
                Kind::Pool => Throughput::Elements(bench.macs()),
                _ => Throughput::Elements(2 * bench.macs()),
            });
            group.bench_function(format!("{isa}/{cin}-{cout}@{size}"), |b| b.iter(|| bench.run()));
        }
    }
}

fn kernels(c: &mut Criterion) {
    run(&mut c.benchmark_group("dw3x3s1"), Kind::Depthwise, 1, &DW_S1);
    run(&mut c.benchmark_group("dw3x3s2"), Kind::Depthwise, 2, &DW_S2);
    run(&mut c.benchmark_group("pw"), Kind::Pointwise, 1, &PW);
    run(&mut c.benchmark_group("dense3x3s1"), Kind::Dense, 1, &[(3, 16, 32)]);
    run(&mut c.benchmark_group("dense3x3s2"), Kind::Dense, 2, &[(3, 32, 224)]);
    run(&mut c.benchmark_group("pool"), Kind::Pool, 1, &[(1280, 1280, 7)]);
    run(&mut c.benchmark_group("linear"), Kind::Linear, 1, &[(1280, 1000, 1)]);
}

criterion_group!(benches, kernels);
criterion_main!(benches);
