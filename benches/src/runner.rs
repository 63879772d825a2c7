//! Layers on buffers of their own.

use mnx_tensor::part::{Part, Planes, PlanesMut, Span};
use mnx_tensor::{
    AlignedBuf, AlignedBytes, Arithmetic, BlockedShape, Clamp, Cpu, Element, Layer, Operation, PANEL, PackedWeights,
    PreparedInt8, Requantize, Tuning, half,
};

use crate::{Shape, fill};

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
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i * 7919 % 255) as i16 - 127) as u8);
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

    /// The name of the kernel that a CPU selects for it.
    #[cfg(test)]
    pub(crate) fn selected(&self, cpu: Cpu) -> &'static str {
        self.layer(cpu, &self.weights()).layer().kernel().name
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

/// Pairs of `rows` output rows that each read `row_bytes` more of the input, as many as leave room for weights in the L2
/// cache: as a plan gives them to `conv3x3`.
fn pairs_of_rows(rows: usize, row_bytes: usize) -> impl Iterator<Item = Span> {
    let some = (Tuning::DEFAULT.copy_bytes / row_bytes).max(2) / 2 * 2;
    (0..rows).step_by(some).map(move |start| (start..rows.min(start + some)).into())
}
