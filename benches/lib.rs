//! What the criterion benches share: networks with random weights, the layer shapes in them, and kernels on buffers of
//! their own.
//!
//! Throughput counts floating-point operations, two per multiply-add: `Gelem/s` reads as GFLOP/s.

use std::fmt;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode};
use mnx_conv::{Conv3x3, Dense, Depthwise3x3, Linear, Pointwise};
use mnx_graph::{Activation, LayerKind, Model, Network, PlacedLayer, Spec, init};
use mnx_tensor::args::{self, Clamp, Geometry, Planes, PlanesMut, Span};
use mnx_tensor::table::Kernels;
use mnx_tensor::{AlignedBuf, BLOCK, BlockedShape, Isa, PANEL, Tensor, pack};

/// Height and width of every input.
pub const SIDE: usize = 224;

/// Width multipliers that are benched; only the smallest when the benches run as tests, once each.
pub fn widths() -> &'static [f64] {
    const ALL: [f64; 3] = [0.35, 1.0, 1.4];
    // `cargo bench` says `--bench`, `cargo test` does not.
    let said = |word: &str| std::env::args().any(|arg| arg == word);
    if said("--bench") && !said("--test") { &ALL } else { &ALL[..1] }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Dense,
    /// 7x7.
    Dense7,
    Conv3x3,
    MaxPool,
    Depthwise,
    Pointwise,
    Pool,
    Linear,
}

/// What the time of a kernel depends on: which layer, size of the square input, channels, stride, whether it clamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    kind: Kind,
    size: usize,
    cin: usize,
    cout: usize,
    stride: usize,
    /// ReLU6 or nothing.
    clamps: bool,
}

/// The dense layers of ResNet-50 and its max pool.
fn resnet50() -> impl Iterator<Item = Shape> {
    let conv = |(size, channels, stride)| Shape {
        kind: Kind::Conv3x3,
        size,
        cin: channels,
        cout: channels,
        stride,
        clamps: true,
    };
    let conv3x3 = [(56, 64, 1), (56, 128, 2), (28, 128, 1), (28, 256, 2), (14, 256, 1), (14, 512, 2), (7, 512, 1)];
    let stem = Shape { kind: Kind::Dense7, size: SIDE, cin: 3, cout: 64, stride: 2, clamps: true };
    let pool = Shape { kind: Kind::MaxPool, size: SIDE / 2, cin: 64, cout: 64, stride: 2, clamps: false };
    conv3x3.into_iter().map(conv).chain([stem, pool])
}

/// The shapes of the layers of MobileNeXt of these widths and of ResNet-50, each once, by size. MobileNeXt has no dense
/// layer at stride 1: that is the stem of the CIFAR network.
pub fn shapes(widths: &[f64]) -> Vec<Shape> {
    let mut shapes = vec![Shape { kind: Kind::Dense, size: 32, cin: 3, cout: 16, stride: 1, clamps: true }];
    shapes.extend(resnet50());
    for &width in widths {
        let network = Network::new(&spec(width)).expect("a network within the limits");
        let layers: Vec<PlacedLayer> = network.place(SIDE, SIDE).collect();
        shapes.extend(layers.iter().filter_map(Shape::of));
        // The pool stands between the last convolution and the classifier.
        if let [.., last, _] = layers[..] {
            let channels = last.layer.cout;
            shapes.push(Shape {
                kind: Kind::Pool,
                size: last.output.0,
                cin: channels,
                cout: channels,
                stride: 1,
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
        let kind = match layer.kind {
            LayerKind::Dense3x3 => Kind::Dense,
            LayerKind::Depthwise3x3 => Kind::Depthwise,
            LayerKind::Pointwise => Kind::Pointwise,
            LayerKind::Linear => Kind::Linear,
            _ => return None,
        };
        let clamps = layer.activation != Activation::Linear;
        Some(Shape { kind, size, cin: layer.cin, cout: layer.cout, stride: layer.stride, clamps })
    }

    /// Name of the kernel that computes it.
    pub fn kernel(&self, kernels: &Kernels) -> &'static str {
        match self.kind {
            Kind::Dense => kernels.dense(3, self.stride).name,
            Kind::Dense7 => kernels.dense(7, self.stride).name,
            Kind::Conv3x3 => kernels.conv3x3(self.stride).name,
            Kind::MaxPool => kernels.maxpool3x3s2.name,
            Kind::Depthwise => kernels.depthwise(self.stride).name,
            Kind::Pointwise => kernels.pointwise_of(self.cout).name,
            Kind::Pool => kernels.pool.name,
            Kind::Linear => kernels.linear.name,
        }
    }

    /// Floating-point operations: two per multiply-add; of the pools, their additions or comparisons.
    pub fn operations(&self) -> u64 {
        let Shape { kind, size, cin, cout, stride, .. } = *self;
        let pixels = size.div_ceil(stride).pow(2);
        let operations = match kind {
            Kind::Dense | Kind::Conv3x3 => 2 * pixels * cin * cout * 9,
            Kind::Dense7 => 2 * pixels * cin * cout * 49,
            Kind::MaxPool => pixels * cout * 9,
            Kind::Depthwise => 2 * pixels * cout * 9,
            Kind::Pointwise | Kind::Linear => 2 * pixels * cin * cout,
            Kind::Pool => pixels * cin,
        };
        operations as u64
    }

    /// Whether its operations are multiply-adds.
    pub fn multiplies(&self) -> bool {
        !matches!(self.kind, Kind::Pool | Kind::MaxPool)
    }

    /// Bytes of input, weights and output, each once.
    pub fn bytes(&self) -> usize {
        let Shape { kind, size, cin, cout, stride, .. } = *self;
        let weights = match kind {
            Kind::Dense | Kind::Conv3x3 => cin * cout * 9,
            Kind::Dense7 => cin * cout * 49,
            Kind::Depthwise => cout * 9,
            Kind::Pointwise | Kind::Linear => cin * cout,
            Kind::Pool | Kind::MaxPool => 0,
        };
        let side = if kind == Kind::Pool { 1 } else { size.div_ceil(stride) };
        4 * (cin * size.pow(2) + weights + cout * side.pow(2))
    }

    /// Bytes that are in use at a time: all of them, but of a depthwise layer of stride 2 a strip and what becomes of it.
    pub fn working_set(&self) -> usize {
        let strip = self.strips().map(|rows| self.reads(rows).len() * self.size * PANEL * 4).max();
        strip.map_or(self.bytes(), |bytes| bytes + bytes / 4)
    }

    /// Output rows for each of which the pointwise layer before a depthwise one of stride 2 leaves a strip of a panel's
    /// channels in the cache, as in a plan; nothing for other layers.
    fn strips(&self) -> impl Iterator<Item = Span> + use<> {
        const STRIP_BYTES: usize = 192 << 10;
        let strided = self.kind == Kind::Depthwise && self.stride == 2;
        let (rows, parts) = (self.size.div_ceil(2), (self.size.pow(2) * PANEL * 4).div_ceil(STRIP_BYTES));
        (0..if strided { parts } else { 0 }).map(move |i| (rows * i / parts..rows * (i + 1) / parts).into())
    }

    /// Input rows that these output rows read.
    fn reads(&self, rows: Span) -> Span {
        ((rows.start * self.stride).saturating_sub(1)..(rows.end * self.stride).min(self.size)).into()
    }

    /// The layer with weights, input and output of its own: each call computes one picture.
    pub fn runner(self, kernels: &'static Kernels) -> impl FnMut() {
        let Shape { kind, size, cin, cout, stride, clamps } = self;
        let side = size.div_ceil(stride);
        let blocked = |channels, side| BlockedShape::new(channels, side, side).expect("a small shape");
        // Of what conv3x3 reads: the zeros around it are there already.
        let around = if kind == Kind::Conv3x3 { (side - 1) * stride + 3 } else { size };
        let (from, to) = (blocked(cin, around), blocked(cout, side));
        let (src, mut dst, bias) = (fill(from.len()), fill(to.len()), fill(pack::bias_len(cout)));
        let weights = fill(match kind {
            Kind::Dense | Kind::Conv3x3 => pack::panels_len(cout, cin * 9),
            Kind::Dense7 => pack::panels_len(cout, cin * 49),
            Kind::Depthwise => pack::depthwise_len(cin),
            Kind::Pointwise | Kind::Linear => pack::panels_len(cout, cin),
            Kind::Pool | Kind::MaxPool => 0,
        });
        let (k, pad) = if kind == Kind::Dense7 { (7, 3) } else { (3, 1) };
        let mut scratch = AlignedBuf::zeroed(args::Dense::scratch_len(cin, k, stride));
        let g = Geometry { height: size, width: size, out_height: side, out_width: side, pad_top: pad, pad_left: pad };
        let units = [side, side * side, from.blocks(), cout.div_ceil(PANEL)];
        let [rows, pixels, blocks, panels] = units.map(|n| Span::from(0..n));
        move || {
            let (w, b, clamp) = (&weights[..], &bias[..], if clamps { Clamp::RELU6 } else { Clamp::NONE });
            let input = Planes { ptr: src.as_ptr(), stride: from.plane };
            let output = PlanesMut { ptr: dst.as_mut_ptr(), stride: to.plane };
            // SAFETY: all extents are those of the buffers, which this shape made; a table that can be had can be run.
            // Layers borrow their weights and are made on the spot, as in an inference.
            unsafe {
                match kind {
                    Kind::Dense | Kind::Dense7 => {
                        let layer = Dense::new(w, b, cin, cout, k, stride, clamp).expect(FITS);
                        // The blocked input has room for the planar one.
                        layer.run_part(kernels, &g, src.as_ptr(), output, scratch.as_mut_ptr(), rows);
                    }
                    Kind::Conv3x3 => {
                        let layer = Conv3x3::new(w, b, cin, cout, stride, clamp).expect(FITS);
                        for rows in strips(side, stride * around * cin * 4) {
                            layer.run_part(kernels, input, around, output, None, side, rows, panels);
                        }
                    }
                    Kind::MaxPool => {
                        let args = args::MaxPool { src: input, dst: output, geometry: g, rows, blocks };
                        (kernels.maxpool3x3s2.run)(&args);
                    }
                    Kind::Depthwise => {
                        let layer = Depthwise3x3::new(w, b, cin, stride, clamp).expect(FITS);
                        if stride == 1 {
                            layer.run_part(kernels, &g, input, output, None, rows, blocks);
                        }
                        for rows in self.strips() {
                            for start in (0..blocks.end).step_by(PANEL / BLOCK) {
                                let panel = (start..blocks.end.min(start + PANEL / BLOCK)).into();
                                let above = self.reads(rows).start * size * BLOCK;
                                let strip = input.ptr.wrapping_sub(start * input.stride + above);
                                let strip = Planes { ptr: strip, ..input };
                                layer.run_part(kernels, &g, strip, output, None, rows, panel);
                            }
                        }
                    }
                    Kind::Pointwise => {
                        let layer = Pointwise::new(w, b, cin, cout, clamp).expect(FITS);
                        layer.run_part(kernels, input, output, None, pixels, panels);
                    }
                    Kind::Pool => {
                        let args = args::Pool { src: input, dst: output.ptr, height: size, width: size, blocks };
                        (kernels.pool.run)(&args);
                    }
                    Kind::Linear => {
                        let layer = Linear::new(w, b, cin, cout).expect(FITS);
                        layer.run_part(kernels, src.as_ptr(), cin, output.ptr, 1, panels);
                    }
                }
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of these layers there are both kinds.
        let either = matches!(self.kind, Kind::Depthwise | Kind::Pointwise);
        let suffix = if either && self.clamps { "+relu6" } else { "" };
        write!(f, "{}-{}@{}{suffix}", self.cin, self.cout, self.size)
    }
}

/// Pairs of `rows` output rows that each read `row_bytes` more of the input, as many as leave room for weights in the L2
/// cache: as a plan gives them to `conv3x3`.
fn strips(rows: usize, row_bytes: usize) -> impl Iterator<Item = Span> {
    const STRIP_BYTES: usize = 384 << 10;
    let some = (STRIP_BYTES / row_bytes).max(2) / 2 * 2;
    (0..rows).step_by(some).map(move |start| (start..rows.min(start + some)).into())
}

/// Why a layer can be made from the weights of a shape.
const FITS: &str = "weights of the length that the layer needs";

#[cfg(test)]
mod tests {
    use mnx_tensor::table::kernels;

    use super::*;

    #[test]
    fn every_kernel_is_benched_and_names_are_unique() {
        let kernels = kernels(Isa::Scalar).expect("the portable fallback");
        let shapes = shapes(widths());
        for (name, _) in kernels.list() {
            let mut names: Vec<String> =
                shapes.iter().filter(|shape| shape.kernel(kernels) == name).map(Shape::to_string).collect();
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
