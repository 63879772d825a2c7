//! What the benches share: networks with random weights, the layer shapes in them, and kernels on buffers of
//! their own.
//!
//! Throughput counts floating-point operations, two per multiply-add: `Gelem/s` reads as GFLOP/s. In int8 it counts
//! multiply-adds: GMAC/s.

use std::fmt;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode};
use mnx_graph::{Activation, LayerKind, Model, Network, PlacedLayer, Spec, init};
use mnx_tensor::part::{Geometry, Planes, PlanesMut, Span};
use mnx_tensor::peak::{dot_peak, fma_peak};
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{
    AlignedBuf, AlignedBytes, Arithmetic, BlockedShape, Clamp, Cpu, Element, Isa, Layer, Operation, PANEL,
    PackedWeights, Part, PreparedInt8, Requantize, Tensor, TunedFor, Tuning, half,
};

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

/// The middle one, of an even number the larger of two.
///
/// # Panics
/// Where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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

/// A CPU that selects this row; none where this machine cannot run it.
pub fn cpu_of(row: &'static Kernel) -> Option<Cpu> {
    let selects = |cpu: &Cpu| {
        table::select(row.operation, row.arithmetic, row.weights, *cpu)
            .is_ok_and(|selected| std::ptr::eq(selected, row))
    };
    Cpu::available().into_iter().find(selects)
}

/// What tells a row from others of its name: `avx2`, `avx512-wide`; `avx2-dot` with dot products of bytes, `avx512-amx`.
pub fn instructions(row: &Kernel) -> String {
    let of_core = if row.tuned_for == TunedFor::Any { String::new() } else { format!("-{}", row.tuned_for) };
    let more = match (row.amx, row.dot_products) {
        (true, _) => "-amx",
        (false, true) => "-dot",
        (false, false) => "",
    };
    format!("{}{of_core}{more}", row.isa)
}

/// The peak rate of this thread for kernels in an arithmetic, in what [`Shape::operations`] counts, and the ISA that has it.
pub fn peak(arithmetic: Arithmetic, each: Duration) -> (f64, Isa) {
    match arithmetic {
        Arithmetic::Int8 => dot_peak(each),
        _ => fma_peak(each),
    }
}

/// What the time of a kernel depends on: what it computes, size of the square input, channels, whether it clamps (in int8 all do).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers that it computes with.
    pub arithmetic: Arithmetic,
    /// The type of its weights.
    weights: Element,
    operation: Operation,
    size: usize,
    cin: usize,
    cout: usize,
    /// ReLU6 or nothing.
    clamps: bool,
}

/// The dense layers of ResNet-50 and its max pool.
fn resnet50() -> impl Iterator<Item = Shape> {
    let conv = |(size, channels, stride)| Shape {
        arithmetic: Arithmetic::F32,
        weights: Element::F32,
        operation: Operation::Conv { kernel: 3, stride },
        size,
        cin: channels,
        cout: channels,
        clamps: true,
    };
    let conv3x3 = [(56, 64, 1), (56, 128, 2), (28, 128, 1), (28, 256, 2), (14, 256, 1), (14, 512, 2), (7, 512, 1)];
    let stem = Operation::Dense { kernel: 7, stride: 2 };
    let stem = Shape { cin: 3, operation: stem, size: SIDE, ..conv((SIDE, 64, 2)) };
    let pool = Operation::MaxPool { kernel: 3, stride: 2 };
    let pool = Shape { operation: pool, clamps: false, ..conv((SIDE / 2, 64, 2)) };
    conv3x3.into_iter().map(conv).chain([stem, pool])
}

/// The shapes of the layers of MobileNeXt of these widths and of ResNet-50, each once in f32 and in int8, by size. MobileNeXt has
/// no dense layer at stride 1: that is the stem of the CIFAR network.
pub fn shapes(widths: &[f64]) -> Vec<Shape> {
    let cifar = Operation::Dense { kernel: 3, stride: 1 };
    let (arithmetic, weights) = (Arithmetic::F32, Element::F32);
    let f32 = Shape { arithmetic, weights, operation: cifar, size: 32, cin: 3, cout: 16, clamps: true };
    let mut shapes = vec![f32];
    shapes.extend(resnet50());
    for &width in widths {
        let network = Network::new(&spec(width)).expect("a network within the limits");
        let layers: Vec<PlacedLayer> = network.place(SIDE, SIDE).collect();
        shapes.extend(layers.iter().filter_map(Shape::of));
        // The pool stands between the last convolution and the classifier.
        if let [.., last, _] = layers[..] {
            let (size, channels) = (last.output.0, last.layer.cout);
            shapes.push(Shape {
                operation: Operation::Pool,
                size,
                cin: channels,
                cout: channels,
                clamps: false,
                ..f32
            });
        }
    }
    let (arithmetic, weights) = (Arithmetic::Int8, Element::I8);
    let int8: Vec<Shape> = shapes.iter().map(|&shape| Shape { arithmetic, weights, clamps: false, ..shape }).collect();
    let linear: Vec<Shape> = shapes.iter().copied().filter(|shape| shape.operation == Operation::Linear).collect();
    for weights in [Element::Bf16, Element::F16] {
        shapes.extend(linear.iter().map(|&shape| Shape { weights, ..shape }));
    }
    let picture =
        Shape { arithmetic, weights, operation: Operation::Quantize, size: SIDE, cin: 3, cout: 3, clamps: false };
    shapes.extend(int8);
    shapes.push(picture);
    shapes.sort_by_key(|of| (of.arithmetic, of.weights.name(), of.operation, of.size, of.cin, of.cout, of.clamps));
    shapes.dedup();
    shapes
}

/// Weights of a shape, which its runners borrow.
#[derive(Debug)]
pub enum Weights {
    /// Packed weights and bias.
    F32(AlignedBuf, AlignedBuf),
    /// The same, with packed weights of a type of 16 bits.
    Half(Element, AlignedBytes, AlignedBuf),
    /// Packed weights, bias and factors.
    Int8(AlignedBytes, Vec<i32>, Vec<f32>),
}

/// A layer, and what it owns.
enum Owned<'w> {
    F32(Layer<'w>),
    Int8(PreparedInt8<'w>),
}

impl Owned<'_> {
    fn layer(&self) -> Layer<'_> {
        match self {
            Owned::F32(layer) => *layer,
            Owned::Int8(weights) => weights.layer(),
        }
    }
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
        let (arithmetic, weights) = (Arithmetic::F32, Element::F32);
        Some(Shape { arithmetic, weights, operation, size, cin, cout: layer.cout, clamps })
    }

    /// The same in f32, where there is such a layer.
    pub fn in_f32(&self) -> Option<Shape> {
        let (arithmetic, weights) = (Arithmetic::F32, Element::F32);
        (self.operation != Operation::Quantize).then_some(Shape { arithmetic, weights, ..*self })
    }

    /// Whether a kernel is for such layers.
    pub fn is_for(&self, row: &Kernel) -> bool {
        (self.operation, self.arithmetic, self.weights) == (row.operation, row.arithmetic, row.weights)
    }

    /// Weights for [`runner`](Shape::runner).
    pub fn weights(&self) -> Weights {
        let Shape { operation, cin, cout, .. } = *self;
        if self.arithmetic == Arithmetic::F32 {
            let (weights, bias) = (fill(operation.weights_len(cin, cout)), fill(operation.bias_len(cout)));
            let narrow = match self.weights {
                Element::Bf16 => half::f32_to_bf16,
                Element::F16 => half::f32_to_f16,
                _ => return Weights::F32(weights, bias),
            };
            let mut bytes = AlignedBytes::try_zeroed(2 * weights.len()).expect("memory for weights");
            let bits: &mut [u16] = bytemuck::cast_slice_mut(&mut bytes);
            bits.iter_mut().zip(weights.iter()).for_each(|(bits, &weight)| *bits = narrow(weight));
            return Weights::Half(self.weights, bytes, bias);
        }
        let mut bytes = AlignedBytes::try_zeroed(operation.int8_weights_len(cin, cout)).expect("memory for weights");
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7919 % 255) as u8);
        // Factors that bring sums to the range of a byte.
        let factor = 1.0 / (1000.0 * (cin as f32 * operation.kernel() as f32).sqrt());
        Weights::Int8(bytes, vec![99; cout], vec![factor; cout])
    }

    /// The layer with these weights, and the kernels that suit a CPU.
    fn layer<'w>(&self, cpu: Cpu, weights: &'w Weights) -> Owned<'w> {
        let (operation, channels) = (self.operation, [self.cin, self.cout]);
        let clamp = if self.clamps { Clamp::RELU6 } else { Clamp::NONE };
        let in_f32 = |weights, bias| {
            let layer = Layer::with_weights(cpu, operation, channels, weights, bias, clamp);
            Owned::F32(layer.expect("a layer of the kernel table"))
        };
        match weights {
            Weights::F32(weights, bias) => in_f32(PackedWeights::F32(weights), bias),
            Weights::Half(element, weights, bias) => {
                in_f32(PackedWeights::of(*element, weights).expect("whole numbers of 16 bits"), bias)
            }
            Weights::Int8(weights, bias, factors) => {
                let requantize = Requantize { zero_in: 3, scales: (0.05, 0.05), ..Requantize::PLAIN };
                let weights = bytemuck::cast_slice(weights);
                let own = PreparedInt8::new(cpu, operation, channels, weights, bias, factors, requantize);
                Owned::Int8(own.expect("a layer of the kernel table"))
            }
        }
    }

    /// The kernel that computes it.
    pub fn kernel(&self, cpu: Cpu) -> &'static Kernel {
        // Of a pointwise layer of few channels it is the one for half a panel.
        self.layer(cpu, &self.weights()).layer().kernel()
    }

    /// Rows and columns of the output.
    fn side(&self) -> usize {
        if self.operation == Operation::Pool { 1 } else { self.size.div_ceil(self.operation.stride()) }
    }

    /// Weights before packing.
    fn weight_count(&self) -> usize {
        let filter = self.operation.kernel().pow(2);
        match self.operation {
            Operation::Depthwise { .. } => self.cout * filter,
            Operation::Pool | Operation::MaxPool { .. } | Operation::Quantize => 0,
            _ => self.cin * self.cout * filter,
        }
    }

    /// Floating-point operations, two per multiply-add; multiply-adds in int8. Of what multiplies nothing, additions, comparisons or
    /// values.
    pub fn operations(&self) -> u64 {
        let of_multiply_add = if self.arithmetic == Arithmetic::Int8 { 1 } else { 2 };
        let operations = match self.operation {
            Operation::MaxPool { kernel, .. } => self.side().pow(2) * self.cout * kernel.pow(2),
            Operation::Pool | Operation::Quantize => self.size.pow(2) * self.cin,
            _ => of_multiply_add * self.side().pow(2) * self.weight_count(),
        };
        operations as u64
    }

    /// Whether its operations are multiply-adds.
    pub fn multiplies(&self) -> bool {
        self.weight_count() > 0
    }

    /// Bytes of a value, of its input and of its output.
    fn element_bytes(&self) -> [usize; 2] {
        const F32: usize = Element::F32.size();
        match (self.arithmetic, self.operation) {
            (Arithmetic::F32, _) => [F32; 2],
            (_, Operation::Quantize) => [F32, 1],
            (_, Operation::Linear) => [1, F32],
            _ => [1; 2],
        }
    }

    /// Bytes of input, weights and output, each once.
    pub fn bytes(&self) -> usize {
        let [from, to] = self.element_bytes();
        from * self.cin * self.size.pow(2)
            + self.weights.size() * self.weight_count()
            + to * self.cout * self.side().pow(2)
    }

    /// Bytes of a row of the input, of as many channels as a panel has.
    fn row_bytes(&self) -> usize {
        self.size * PANEL * self.element_bytes()[0]
    }

    /// Bytes that are in use at a time: all of them, but of a depthwise layer of stride 2 a strip and what becomes of it.
    pub fn working_set(&self) -> usize {
        let strip =
            self.strips().map(|rows| self.geometry().reads(rows, self.operation).len() * self.row_bytes()).max();
        strip.map_or(self.bytes(), |bytes| bytes + bytes / 4)
    }

    /// Output rows for each of which the pointwise layer before a depthwise one of stride 2 leaves a strip of a panel's
    /// channels in the cache, as in a plan; nothing for other layers.
    fn strips(&self) -> impl Iterator<Item = Span> + use<> {
        let strided = matches!(self.operation, Operation::Depthwise { stride: 2, .. });
        let (rows, parts) = (self.side(), (self.size * self.row_bytes()).div_ceil(Tuning::DEFAULT.rows_bytes));
        (0..if strided { parts } else { 0 }).map(move |i| (rows * i / parts..rows * (i + 1) / parts).into())
    }

    fn geometry(&self) -> Geometry {
        let (size, side, pad) = (self.size, self.side(), self.operation.kernel() / 2);
        Geometry { height: size, width: size, out_height: side, out_width: side, pad_top: pad, pad_left: pad }
    }

    /// The layer with these weights, and input and output of its own: each call computes one picture.
    pub fn runner<'w>(self, cpu: Cpu, weights: &'w Weights) -> impl FnMut() + use<'w> {
        let Shape { operation, size, cin, cout, .. } = self;
        let (side, geometry, own) = (self.side(), self.geometry(), self.layer(cpu, weights));
        let layer = own.layer();
        let (input, output, groups) = (layer.input(), layer.output(), layer.groups());
        // What conv3x3 reads in f32 has its zeros around it already.
        let is_padded = matches!(operation, Operation::Conv { .. }) && self.arithmetic == Arithmetic::F32;
        let around = if is_padded { geometry.padded_row(operation) } else { size };
        let shape = |blocking, channels, side| BlockedShape::of(blocking, channels, side, side).expect("a small shape");
        let (from, to) = (shape(input, cin, around), shape(output, cout, side));
        let (src, mut dst) = (fill(from.bytes().div_ceil(4)), fill(to.bytes().div_ceil(4)));
        let mut scratch = AlignedBytes::try_zeroed(layer.scratch_bytes(&geometry)).expect("memory for scratch");
        // Of a linear layer, one row of features and of outputs lies in what a pixel's blocks have room for.
        let out_stride = if operation == Operation::Pool { output.pixel_bytes() } else { to.plane };
        move || {
            let layer = own.layer();
            let whole = Part {
                src: Planes { ptr: src.as_ptr().cast(), stride: from.plane },
                dst: PlanesMut { ptr: dst.as_mut_ptr().cast(), stride: out_stride },
                residual: None,
                geometry,
                scratch: scratch.as_mut_ptr(),
                pixels: (0..side * side).into(),
                channels: (0..groups).into(),
            };
            let of_rows = |rows: Span| Span { start: rows.start * side, end: rows.end * side };
            // SAFETY: all extents are those of the buffers, which this shape made; strips of input are where their rows would be.
            unsafe {
                match operation {
                    Operation::Conv { .. } if is_padded => {
                        for rows in pairs_of_rows(side, operation.stride() * around * cin * 4) {
                            layer.run(&Part { pixels: of_rows(rows), ..whole });
                        }
                    }
                    Operation::Depthwise { stride: 2, .. } => {
                        let of_panel = PANEL / layer.lanes();
                        for rows in self.strips() {
                            for start in (0..groups).step_by(of_panel) {
                                let channels = (start..groups.min(start + of_panel)).into();
                                let above = geometry.reads(rows, operation).start * size * input.pixel_bytes();
                                let strip = whole.src.ptr.wrapping_sub(start * from.plane + above);
                                let src = Planes { ptr: strip, stride: from.plane };
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
    use mnx_tensor::table;

    use super::*;

    #[test]
    fn every_kernel_is_benched_and_names_are_unique() {
        let cpu = Cpu::choose(Some(Isa::Scalar), None).expect("the portable fallback");
        let shapes: Vec<(Shape, &str)> =
            shapes(widths()).into_iter().map(|shape| (shape, shape.kernel(cpu).name)).collect();
        for name in table::rows().filter(|row| row.isa == Isa::Scalar).map(|row| row.name) {
            let mut names: Vec<String> =
                shapes.iter().filter(|(_, kernel)| *kernel == name).map(|(shape, _)| shape.to_string()).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert!(all > 0 && names.len() == all, "{name}: {names:?}");
        }
    }

    #[test]
    fn every_row_that_can_run_has_a_cpu_and_a_name_of_its_own() {
        let mut names: Vec<String> = table::rows().map(|row| format!("{}/{}", row.name, instructions(row))).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        for row in table::rows().filter(|row| row.isa == Isa::Scalar) {
            assert_eq!(cpu_of(row).map(Cpu::isa), Some(Isa::Scalar), "{row:?}");
        }
    }

    #[test]
    fn operations_are_those_of_the_network() {
        let width = widths()[0];
        let network = Network::new(&spec(width)).unwrap();
        for placed in network.place(SIDE, SIDE) {
            let shape = Shape::of(&placed).unwrap();
            assert_eq!(shape.operations(), 2 * placed.macs(), "{placed:?}");
            let int8 = Shape { arithmetic: Arithmetic::Int8, ..shape };
            assert_eq!(int8.operations(), placed.macs(), "{placed:?}");
        }
    }
}
