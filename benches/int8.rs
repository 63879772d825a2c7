//! Prints how fast each int8 kernel computes the layers of MobileNeXt and ResNet-50, beside the f32 kernel that the same CPU takes.
//!
//! ```text
//! cargo bench -p mnx-benches --bench int8 -- [--width W] [FILTER]      e.g. avx2, or pw-int8/avx512-dot
//! ```
//!
//! Whole planes, one thread, in turns; medians. `-dot` marks rows with instructions for dot products of bytes.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{Shape, Turns, shapes};
use mnx_tensor::part::{Planes, PlanesMut};
use mnx_tensor::peak::dot_peak;
use mnx_tensor::{AlignedBytes, Arithmetic, BlockedShape, Cpu, Int8Weights, Isa, Operation, Part, Requantize, table};

const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(3);

/// An int8 layer with weights, input and output of its own.
struct Int8 {
    shape: Shape,
    weights: Vec<i8>,
    bias: Vec<i32>,
    factors: Vec<f32>,
}

impl Int8 {
    fn new(shape: Shape) -> Int8 {
        let weights: Vec<i8> = (0..shape.operation.int8_weights_len(shape.cin, shape.cout)).map(weight).collect();
        let channels = if weights.is_empty() { 0 } else { shape.cout };
        Int8 { shape, weights, bias: vec![100; channels], factors: vec![1.0 / 1024.0; channels] }
    }

    /// The layer with the kernel that suits a CPU.
    fn on(&self, cpu: Cpu) -> Int8Weights<'_> {
        let Shape { operation, cin, cout, .. } = self.shape;
        let requantize = Requantize { zero_in: 7, ..Requantize::PLAIN };
        Int8Weights::new(cpu, operation, [cin, cout], &self.weights, &self.bias, &self.factors, requantize)
            .expect("a layer of the kernel table")
    }

    /// Each call computes one picture.
    fn runner(&self, cpu: Cpu) -> impl FnMut() + use<'_> {
        let Shape { operation, cin, cout, .. } = self.shape;
        let (geometry, made) = (self.shape.geometry(), self.on(cpu));
        let bytes = |len| AlignedBytes::try_zeroed(len).expect("memory for a small layer");
        let shape = |of, channels, height, width| BlockedShape::of(of, channels, height, width).expect("a small shape");
        let (layer, is_linear) = (made.layer(), operation == Operation::Linear);
        let from = shape(layer.input(), cin, geometry.height, geometry.width);
        let to = shape(layer.output(), cout, geometry.out_height, geometry.out_width);
        let (mut src, mut dst) = (bytes(from.bytes()), bytes(to.bytes().max(cout * size_of::<f32>())));
        let mut scratch = bytes(layer.scratch_bytes(&geometry));
        src.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7919 % 251) as u8);
        let out_stride = match operation {
            Operation::Linear => cout * size_of::<f32>(),
            Operation::Pool => to.blocking.pixel_bytes(),
            _ => to.plane,
        };
        move || {
            let layer = made.layer();
            let part = Part {
                src: Planes { ptr: src.as_ptr(), stride: from.plane },
                dst: PlanesMut { ptr: dst.as_mut_ptr(), stride: out_stride },
                residual: None,
                geometry,
                scratch: scratch.as_mut_ptr(),
                pixels: (0..if is_linear { 1 } else { geometry.out_height * geometry.out_width }).into(),
                channels: (0..layer.groups()).into(),
            };
            // SAFETY: input, output and scratch are whole, each in a buffer of its own.
            unsafe { layer.run(&part) }
        }
    }
}

/// From -127 to 127.
fn weight(i: usize) -> i8 {
    (i * 7919 % 255) as i8 | 1
}

/// Seconds of one call, the median of turns.
fn seconds(mut run: impl FnMut(), rounds: usize, turn: Duration) -> f64 {
    run();
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let (start, mut calls) = (Instant::now(), 0.0);
            while calls == 0.0 || start.elapsed() < turn {
                run();
                calls += 1.0;
            }
            start.elapsed().as_secs_f64() / calls
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let Turns { rounds, turn, width, filter } = Turns::from_args(ROUNDS, TURN);
    let (peak, isa) = dot_peak(Duration::from_millis(20));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GMAC/s", "% of int8 peak", "f32 µs", "x f32"]);
    let layers: Vec<Int8> = shapes(&[width]).into_iter().map(Int8::new).collect();
    for cpu in Cpu::available().into_iter().filter(|cpu| cpu.isa() != Isa::Scalar) {
        let is_of_cpu = |row: &&table::Kernel| {
            (row.arithmetic, row.isa, row.dot_products) == (Arithmetic::Int8, cpu.isa(), cpu.dot_products())
                && row.tuned_for == cpu.tuned_for()
        };
        for row in table::rows().filter(is_of_cpu) {
            for layer in layers.iter().filter(|layer| layer.shape.operation == row.operation) {
                let dot = if row.dot_products { "-dot" } else { "" };
                let name = format!("{}/{}{dot}/{}", row.name, row.isa, layer.shape);
                if !name.contains(&filter) {
                    continue;
                }
                eprint!("\r\x1b[K{name}");
                let int8 = seconds(layer.runner(cpu), rounds, turn);
                let f32 = seconds(layer.shape.runner(cpu), rounds, turn);
                let rate = layer.shape.operations() as f64 / 2.0 / int8 / 1e9;
                let (macs, share) = if layer.shape.multiplies() {
                    (format!("{rate:.1}"), format!("{:.0}", 100.0 * rate / peak))
                } else {
                    ("-".into(), "-".into())
                };
                let times = [1e6 * int8, 1e6 * f32].map(|us| format!("{us:.1}"));
                table.add_row([&name, &times[0], &macs, &share, &times[1], &format!("{:.2}", f32 / int8)]);
            }
        }
    }
    eprint!("\r\x1b[K");
    (1..6).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    println!("int8 peak of one thread {peak:.1} GMAC/s ({isa}); medians of {rounds} turns\n\n{table}");
}
