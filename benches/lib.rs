//! What the benches share: networks with random weights, the layer shapes in them, and kernels on buffers of
//! their own.
//!
//! Throughput counts floating-point operations, two per multiply-add: `Gelem/s` reads as GFLOP/s.

use std::fmt;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode};
use mnx_graph::{Activation, LayerKind, Model, Network, PlacedLayer, Spec, init};
use mnx_tensor::part::{Geometry, Planes, PlanesMut, Span};
use mnx_tensor::table::Kernel;
use mnx_tensor::{AlignedBuf, BLOCK, BlockedShape, Clamp, Cpu, Isa, Layer, Operation, PANEL, Part, Tensor, Tuning};

/// Height and width of every input.
pub const SIDE: usize = 224;

/// Width multipliers that are benched; only the smallest when the benches run as tests, once each.
pub fn widths() -> &'static [f64] {
    const ALL: [f64; 3] = [0.35, 1.0, 1.4];
    // `cargo bench` says `--bench`, `cargo test` does not.
    let said = |word: &str| std::env::args().any(|arg| arg == word);
    if said("--bench") && !said("--test") { &ALL } else { &ALL[..1] }
}

/// How a bench that measures in turns runs, and what it measures.
#[derive(Debug)]
pub struct Turns {
    /// How often everything gets a turn.
    pub rounds: usize,
    /// How long a turn takes at least.
    pub turn: Duration,
    /// The width multiplier of the MobileNeXt whose layers are measured.
    pub width: f64,
    /// Which names to measure; empty for all.
    pub filter: String,
}

impl Turns {
    /// From the command line: `[--width W] [FILTER]`. As a test it runs once, on the least.
    ///
    /// # Panics
    /// For a width that is no number.
    pub fn from_args(rounds: usize, turn: Duration) -> Turns {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let mut turns = if args.iter().any(|arg| arg == "--bench") {
            Turns { rounds, turn, width: 1.0, filter: String::new() }
        } else {
            Turns { rounds: 1, turn: turn / 100, width: 0.1, filter: String::new() }
        };
        let mut rest = args.into_iter().filter(|arg| arg != "--bench");
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--width" => {
                    turns.width = rest.next().and_then(|w| w.parse().ok()).expect("--width takes a width multiplier")
                }
                _ => turns.filter = arg,
            }
        }
        turns
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

/// What the time of a kernel depends on: what it computes, size of the square input, channels, whether it clamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// What it computes.
    pub operation: Operation,
    size: usize,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// ReLU6 or nothing.
    clamps: bool,
}

/// The dense layers of ResNet-50 and its max pool.
fn resnet50() -> impl Iterator<Item = Shape> {
    let conv = |(size, channels, stride)| Shape {
        operation: Operation::Conv { kernel: 3, stride },
        size,
        cin: channels,
        cout: channels,
        clamps: true,
    };
    let conv3x3 = [(56, 64, 1), (56, 128, 2), (28, 128, 1), (28, 256, 2), (14, 256, 1), (14, 512, 2), (7, 512, 1)];
    let stem = Operation::Dense { kernel: 7, stride: 2 };
    let stem = Shape { operation: stem, size: SIDE, cin: 3, cout: 64, clamps: true };
    let pool = Operation::MaxPool { kernel: 3, stride: 2 };
    let pool = Shape { operation: pool, size: SIDE / 2, cin: 64, cout: 64, clamps: false };
    conv3x3.into_iter().map(conv).chain([stem, pool])
}

/// The shapes of the layers of MobileNeXt of these widths and of ResNet-50, each once, by size. MobileNeXt has no dense
/// layer at stride 1: that is the stem of the CIFAR network.
pub fn shapes(widths: &[f64]) -> Vec<Shape> {
    let mut shapes =
        vec![Shape { operation: Operation::Dense { kernel: 3, stride: 1 }, size: 32, cin: 3, cout: 16, clamps: true }];
    shapes.extend(resnet50());
    for &width in widths {
        let network = Network::new(&spec(width)).expect("a network within the limits");
        let layers: Vec<PlacedLayer> = network.place(SIDE, SIDE).collect();
        shapes.extend(layers.iter().filter_map(Shape::of));
        // The pool stands between the last convolution and the classifier.
        if let [.., last, _] = layers[..] {
            let channels = last.layer.cout;
            shapes.push(Shape {
                operation: Operation::Pool,
                size: last.output.0,
                cin: channels,
                cout: channels,
                clamps: false,
            });
        }
    }
    shapes.sort();
    shapes.dedup();
    shapes
}

impl Shape {
    fn of(placed: &PlacedLayer) -> Option<Shape> {
        let &PlacedLayer { layer, input: (size, _), .. } = placed;
        let stride = layer.stride;
        let operation = match layer.kind {
            LayerKind::Dense3x3 => Operation::Dense { kernel: 3, stride },
            LayerKind::Depthwise3x3 => Operation::Depthwise { kernel: 3, stride },
            LayerKind::Pointwise => Operation::Pointwise,
            LayerKind::Linear => Operation::Linear,
            _ => return None,
        };
        let (cin, clamps) = (layer.cin, layer.activation != Activation::Linear);
        Some(Shape { operation, size, cin, cout: layer.cout, clamps })
    }

    /// The layer with weights of its own, and the kernels that suit a CPU.
    fn layer<'w>(&self, cpu: Cpu, weights: &'w [f32], bias: &'w [f32]) -> Layer<'w> {
        let clamp = if self.clamps { Clamp::RELU6 } else { Clamp::NONE };
        Layer::new(cpu, self.operation, [self.cin, self.cout], weights, bias, clamp)
            .expect("a layer of the kernel table")
    }

    /// The kernel that computes it.
    pub fn kernel(&self, cpu: Cpu) -> &'static Kernel {
        let weights = AlignedBuf::zeroed(self.operation.weights_len(self.cin, self.cout));
        self.layer(cpu, &weights, &AlignedBuf::zeroed(self.operation.bias_len(self.cout))).kernel()
    }

    /// Rows and columns of the output.
    fn side(&self) -> usize {
        if self.operation == Operation::Pool { 1 } else { self.size.div_ceil(self.operation.stride()) }
    }

    /// Weights before packing.
    fn weights(&self) -> usize {
        let filter = self.operation.kernel().pow(2);
        match self.operation {
            Operation::Depthwise { .. } => self.cout * filter,
            Operation::Pool | Operation::MaxPool { .. } => 0,
            _ => self.cin * self.cout * filter,
        }
    }

    /// Floating-point operations: two per multiply-add; of the pools, their additions or comparisons.
    pub fn operations(&self) -> u64 {
        let operations = match self.operation {
            Operation::MaxPool { kernel, .. } => self.side().pow(2) * self.cout * kernel.pow(2),
            Operation::Pool => self.size.pow(2) * self.cin,
            _ => 2 * self.side().pow(2) * self.weights(),
        };
        operations as u64
    }

    /// Whether its operations are multiply-adds.
    pub fn multiplies(&self) -> bool {
        self.weights() > 0
    }

    /// Bytes of input, weights and output, each once.
    pub fn bytes(&self) -> usize {
        4 * (self.cin * self.size.pow(2) + self.weights() + self.cout * self.side().pow(2))
    }

    /// Bytes that are in use at a time: all of them, but of a depthwise layer of stride 2 a strip and what becomes of it.
    pub fn working_set(&self) -> usize {
        let strip =
            self.strips().map(|rows| self.geometry().reads(rows, self.operation).len() * self.size * PANEL * 4).max();
        strip.map_or(self.bytes(), |bytes| bytes + bytes / 4)
    }

    /// Output rows for each of which the pointwise layer before a depthwise one of stride 2 leaves a strip of a panel's
    /// channels in the cache, as in a plan; nothing for other layers.
    fn strips(&self) -> impl Iterator<Item = Span> + use<> {
        let strided = matches!(self.operation, Operation::Depthwise { stride: 2, .. });
        let (rows, parts) = (self.side(), (self.size.pow(2) * PANEL * 4).div_ceil(Tuning::DEFAULT.rows_bytes));
        (0..if strided { parts } else { 0 }).map(move |i| (rows * i / parts..rows * (i + 1) / parts).into())
    }

    /// Sizes of input and output, and the padding.
    pub fn geometry(&self) -> Geometry {
        let (size, side, pad) = (self.size, self.side(), self.operation.kernel() / 2);
        Geometry { height: size, width: size, out_height: side, out_width: side, pad_top: pad, pad_left: pad }
    }

    /// The layer with weights, input and output of its own: each call computes one picture.
    pub fn runner(self, cpu: Cpu) -> impl FnMut() {
        let Shape { operation, size, cin, cout, .. } = self;
        let (side, geometry) = (self.side(), self.geometry());
        let blocked = |channels, side| BlockedShape::new(channels, side, side).expect("a small shape");
        // Of what conv3x3 reads: the zeros around it are there already.
        let is_conv = matches!(operation, Operation::Conv { .. });
        let around = if is_conv { geometry.padded_row(operation) } else { size };
        const FLOAT: usize = size_of::<f32>();
        let (from, to) = (blocked(cin, around), blocked(cout, side));
        let (src, mut dst) = (fill(from.len()), fill(to.len()));
        let (weights, bias) = (fill(operation.weights_len(cin, cout)), fill(operation.bias_len(cout)));
        let mut scratch = AlignedBuf::zeroed(operation.scratch_bytes(cin) / size_of::<f32>());
        // Blocked input has room for a planar one and for features.
        let (stride, out_stride) = match operation {
            Operation::Dense { .. } => (size * size * FLOAT, to.plane),
            Operation::Pool => (from.plane, BLOCK * FLOAT),
            Operation::Linear => (cin * FLOAT, cout * FLOAT),
            _ => (from.plane, to.plane),
        };
        move || {
            let layer = self.layer(cpu, &weights, &bias);
            let whole = Part {
                src: Planes { ptr: src.as_ptr().cast(), stride },
                dst: PlanesMut { ptr: dst.as_mut_ptr().cast(), stride: out_stride },
                residual: None,
                geometry,
                scratch: scratch.as_mut_ptr().cast(),
                pixels: (0..side * side).into(),
                channels: (0..layer.groups()).into(),
            };
            let of_rows = |rows: Span| Span { start: rows.start * side, end: rows.end * side };
            // SAFETY: all extents are those of the buffers, which this shape made; strips of input are where their rows would be.
            unsafe {
                match operation {
                    Operation::Conv { .. } => {
                        for rows in pairs_of_rows(side, operation.stride() * around * cin * 4) {
                            layer.run(&Part { pixels: of_rows(rows), ..whole });
                        }
                    }
                    Operation::Depthwise { stride: 2, .. } => {
                        for rows in self.strips() {
                            for start in (0..layer.groups()).step_by(PANEL / BLOCK) {
                                let channels = (start..layer.groups().min(start + PANEL / BLOCK)).into();
                                let above = geometry.reads(rows, operation).start * size * BLOCK * FLOAT;
                                let strip = whole.src.ptr.wrapping_sub(start * stride + above);
                                let src = Planes { ptr: strip, stride };
                                layer.run(&Part { src, pixels: of_rows(rows), channels, ..whole });
                            }
                        }
                    }
                    _ => layer.run(&whole),
                }
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of these layers there are both kinds.
        let either = matches!(self.operation, Operation::Depthwise { .. } | Operation::Pointwise);
        let suffix = if either && self.clamps { "+relu6" } else { "" };
        write!(f, "{}-{}@{}{suffix}", self.cin, self.cout, self.size)
    }
}

/// Pairs of `rows` output rows that each read `row_bytes` more of the input, as many as leave room for weights in the L2
/// cache: as a plan gives them to `conv3x3`.
fn pairs_of_rows(rows: usize, row_bytes: usize) -> impl Iterator<Item = Span> {
    let some = (Tuning::DEFAULT.copy_bytes / row_bytes).max(2) / 2 * 2;
    (0..rows).step_by(some).map(move |start| (start..rows.min(start + some)).into())
}

#[cfg(test)]
mod tests {
    use mnx_tensor::{Arithmetic, table};

    use super::*;

    #[test]
    fn every_kernel_is_benched_and_names_are_unique() {
        let cpu = Cpu::choose(Some(Isa::Scalar), None).expect("the portable fallback");
        let shapes = shapes(widths());
        for name in
            table::rows().filter(|row| (row.isa, row.arithmetic) == (Isa::Scalar, Arithmetic::F32)).map(|row| row.name)
        {
            let mut names: Vec<String> =
                shapes.iter().filter(|shape| shape.kernel(cpu).name == name).map(Shape::to_string).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert!(all > 0 && names.len() == all, "{name}: {names:?}");
        }
    }

    #[test]
    fn operations_are_those_of_the_network() {
        let width = widths()[0];
        let network = Network::new(&spec(width)).unwrap();
        for placed in network.place(SIDE, SIDE) {
            assert_eq!(Shape::of(&placed).map(|shape| shape.operations()), Some(2 * placed.macs()), "{placed:?}");
        }
    }
}
