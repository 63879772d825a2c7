//! Which memory a part of a layer touches.

use std::ops::Range;

use crate::part::{Part, Span};
use crate::{Arithmetic, Layer, Operation, PANEL, int8};

/// The same bytes of several planes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Which planes, blocks or rows, as [`Planes`](crate::part::Planes) counts them.
    pub planes: Range<usize>,
    /// Which bytes of each, from its pixel 0 on.
    pub bytes: Range<usize>,
}

/// What a part of a layer touches: the safety contract of [`Layer::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Read from `src`.
    pub src: Region,
    /// Written to `dst`.
    pub dst: Region,
    /// Read from the residual.
    pub residual: Option<Region>,
    /// Bytes read of the layer's packed weights.
    pub weights: Range<usize>,
    /// Bytes read of the layer's packed bias.
    pub bias: Range<usize>,
    /// Bytes of scratch, written and read.
    pub scratch: usize,
}

impl Part {
    /// What is read and written when this part of `layer` is computed. Nothing else is touched but the layer itself: of an int8 layer
    /// the factors are read, too.
    pub fn extents(&self, layer: &Layer<'_>) -> Extents {
        let (operation, cin, cout) = (layer.operation(), layer.cin(), layer.cout());
        let (pixels, channels, lanes) = (self.pixels, self.channels, layer.lanes());
        let (g, input, output) = (&self.geometry, layer.input(), layer.output());
        let blocks = |groups: Span| {
            groups.start * lanes / output.lanes
                ..(groups.end * lanes).min(cout.next_multiple_of(output.lanes)) / output.lanes
        };
        let of = |range: Range<usize>, bytes: usize| range.start * bytes..range.end * bytes;
        let of_input = |pixels: Range<usize>| of(pixels, input.pixel_bytes());
        let of_output = |pixels: Range<usize>| of(pixels, output.pixel_bytes());
        let (all, of_part) = (0..cin.div_ceil(input.lanes), blocks(channels));
        let written = Region { planes: of_part.clone(), bytes: of_output(pixels.start..pixels.end) };
        let whole_rows = |planes: Range<usize>| {
            let rows = g.reads(self.rows(), operation);
            Region { planes, bytes: of_input(rows.start * g.width..rows.end * g.width) }
        };
        let (src, dst) = match operation {
            Operation::Depthwise { .. } | Operation::MaxPool { .. } => (whole_rows(of_part), written),
            Operation::Pointwise | Operation::PointwiseHalf => {
                (Region { planes: all, bytes: of_input(pixels.start..pixels.end) }, written)
            }
            // In int8 the kernel makes its padded copy itself.
            Operation::Conv { .. } if layer.arithmetic() == Arithmetic::Int8 => (whole_rows(all), written),
            Operation::Conv { kernel, stride } => {
                let (rows, row) = (self.rows(), g.padded_row(operation));
                let end = if rows.is_empty() { rows.start * stride } else { (rows.end - 1) * stride + kernel };
                (Region { planes: all, bytes: of_input(rows.start * stride * row..end * row) }, written)
            }
            Operation::Dense { .. } => (whole_rows(all), written),
            Operation::Quantize => {
                let planes = channels.start * lanes..(channels.end * lanes).min(cin);
                (Region { planes, bytes: of_input(pixels.start..pixels.end) }, written)
            }
            Operation::Pool => {
                let whole = of_input(0..g.height * g.width);
                (
                    Region { planes: of_part.clone(), bytes: whole },
                    Region { planes: of_part, bytes: 0..output.pixel_bytes() },
                )
            }
            Operation::Linear => {
                let rows = pixels.start..pixels.end;
                let outputs = channels.start * PANEL..(channels.end * PANEL).min(cout);
                let features = match layer.arithmetic() {
                    Arithmetic::F32 => cin * size_of::<f32>(),
                    Arithmetic::Int8 => int8::feature_bytes(cin),
                };
                (
                    Region { planes: rows.clone(), bytes: 0..features },
                    Region { planes: rows, bytes: of(outputs, size_of::<f32>()) },
                )
            }
        };
        let residual = self.residual.map(|residual| {
            let covered = residual.channels.div_ceil(output.lanes);
            let planes = dst.planes.start.min(covered)..dst.planes.end.min(covered);
            Region { planes, bytes: dst.bytes.clone() }
        });
        let of_groups = |whole: usize| {
            let group = whole / layer.groups().max(1);
            channels.start * group..channels.end * group
        };
        // A bias is padded to whole panels whatever the lanes.
        let bias = if layer.bias().is_empty() { 0..0 } else { of(channels.start * lanes..channels.end * lanes, 4) };
        let (weights, scratch) = (of_groups(layer.weights().len()), layer.scratch_bytes(g));
        Extents { src, dst, residual, weights, bias, scratch }
    }

    /// Whether this is a part of `layer`: its groups of channels and output pixels exist, and the geometry suits the operation.
    pub fn fits(&self, layer: &Layer<'_>) -> bool {
        let (g, operation) = (&self.geometry, layer.operation());
        let within = |span: Span, end: usize| span.start <= span.end && span.end <= end;
        let whole_rows =
            self.pixels.start.is_multiple_of(g.out_width.max(1)) && self.pixels.end.is_multiple_of(g.out_width.max(1));
        within(self.channels, layer.groups())
            && self.residual.is_none_or(|residual| residual.channels <= layer.cout())
            && match operation {
                Operation::Pointwise | Operation::PointwiseHalf | Operation::Linear | Operation::Quantize => {
                    self.pixels.start <= self.pixels.end
                }
                Operation::Pool => g.height * g.width > 0,
                _ => {
                    let windows = |size: usize, pad: usize, outputs: usize| {
                        // At most half a filter of zeros on each side.
                        let half = operation.kernel() / 2;
                        pad <= half
                            && (outputs == 0
                                || (outputs - 1) * operation.stride() + operation.kernel() <= size + pad + half)
                    };
                    whole_rows
                        && within(self.pixels, g.out_height * g.out_width)
                        && windows(g.height, g.pad_top, g.out_height)
                        && windows(g.width, g.pad_left, g.out_width)
                }
            }
    }
}
