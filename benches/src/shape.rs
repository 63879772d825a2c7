//! What the time of a kernel depends on, and what follows from it alone.

use mnx_graph::{Activation, LayerKind, PlacedLayer};
use mnx_tensor::part::{Geometry, Span};
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Arithmetic, BLOCK, Element, Operation, PANEL, Tuning};

/// What the time of a kernel depends on: what it computes, size of the square input, channels, whether it clamps (in int8 all do).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers that it computes with.
    pub arithmetic: Arithmetic,
    /// The type of its weights.
    pub(crate) weights: Element,
    pub(crate) operation: Operation,
    pub(crate) size: usize,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    /// ReLU6 or nothing.
    pub(crate) clamps: bool,
}

impl Shape {
    pub(crate) fn of(placed: &PlacedLayer) -> Option<Shape> {
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

    /// The same in int8.
    pub fn in_int8(&self) -> Shape {
        Shape { arithmetic: Arithmetic::Int8, weights: Element::I8, clamps: false, ..*self }
    }

    /// The name of the kernel that computes it, which is the same for every ISA.
    ///
    /// # Panics
    /// For what the kernel table does not have.
    pub fn kernel(&self) -> &'static str {
        // As a layer of few channels chooses it.
        let is_half = self.operation == Operation::Pointwise && self.cout <= BLOCK;
        let half = is_half && self.arithmetic == Arithmetic::F32;
        let operation = if half { Operation::PointwiseHalf } else { self.operation };
        let is_for =
            |row: &&Kernel| (row.operation, row.arithmetic, row.weights) == (operation, self.arithmetic, self.weights);
        table::rows().find(is_for).expect("a layer of the kernel table").name
    }

    /// Rows and columns of the output.
    pub(crate) fn side(&self) -> usize {
        if self.operation == Operation::Pool { 1 } else { self.size.div_ceil(self.operation.stride()) }
    }

    /// Weights before packing.
    pub(crate) fn weight_count(&self) -> usize {
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

    /// The most of the peak that it can have: kernels of depthwise layers leave out what they would multiply with the zeros of the
    /// padding, which are counted as is usual.
    pub fn most_of_peak(&self) -> f64 {
        let Operation::Depthwise { kernel, stride } = self.operation else { return 1.0 };
        let read =
            |at: usize| (at * stride..at * stride + kernel).filter(|i| (1..=self.size).contains(&(i + 1 - kernel / 2)));
        let inside: usize = (0..self.side()).map(|at| read(at).count()).sum();
        ((self.side() * kernel) as f64 / inside as f64).powi(2)
    }

    /// Bytes of a value, of its input and of its output.
    pub(crate) fn element_bytes(&self) -> [usize; 2] {
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
    pub(crate) fn row_bytes(&self) -> usize {
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
    pub(crate) fn strips(&self) -> impl Iterator<Item = Span> + use<> {
        let strided = matches!(self.operation, Operation::Depthwise { stride: 2, .. });
        let (rows, bytes) = (self.side(), self.size * self.row_bytes());
        let parts = bytes.div_ceil(Tuning::DEFAULT.rows_bytes).min(rows);
        (0..if strided { parts } else { 0 }).map(move |i| (rows * i / parts..rows * (i + 1) / parts).into())
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let (size, side, pad) = (self.size, self.side(), self.operation.kernel() / 2);
        Geometry { height: size, width: size, out_height: side, out_width: side, pad_top: pad, pad_left: pad }
    }
}
