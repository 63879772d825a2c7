//! What kernels are called with: raw pointers and extents. [`crate::ops`] checks them and is safe; whoever calls a
//! kernel or a layer's `run_part` vouches for them.

use std::ops::Range;

/// Bounds of the activation: 0…∞ for ReLU, 0…6 for ReLU6, −∞…∞ for none. NaN passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Lower bound.
    pub lo: f32,
    /// Upper bound.
    pub hi: f32,
}

impl Clamp {
    /// Everything passes.
    pub const NONE: Clamp = Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    /// 0…∞.
    pub const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };
    /// 0…6.
    pub const RELU6: Clamp = Clamp { lo: 0.0, hi: 6.0 };

    /// One value through the clamp; NaN stays NaN.
    pub fn apply(self, value: f32) -> f32 {
        let raised = if value < self.lo { self.lo } else { value };
        if raised > self.hi { self.hi } else { raised }
    }
}

/// Blocks of channels in memory, `stride` floats from one to the next. Pixel `p` of block `b` lies at
/// `ptr + b·stride + p·8`; where only a strip of rows is in memory, `ptr` is where row 0 *would* be.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// Block 0, pixel 0.
    pub ptr: *const f32,
    /// Floats from block to block.
    pub stride: usize,
}

/// [`Planes`] to be written.
#[derive(Clone, Copy, Debug)]
pub struct PlanesMut {
    /// Block 0, pixel 0.
    pub ptr: *mut f32,
    /// Floats from block to block.
    pub stride: usize,
}

impl PlanesMut {
    /// To be read.
    pub fn read(self) -> Planes {
        Planes { ptr: self.ptr, stride: self.stride }
    }
}

/// Added to the first `channels` output channels after the layer's clamp; same pixels as the output.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    /// What is added.
    pub planes: Planes,
    /// How many channels get it.
    pub channels: usize,
    /// Activation of the sum, in those channels: ResNet's stands here.
    pub clamp: Clamp,
}

/// Height and width of a whole input plane and of the output, and the zeros before the first row and column.
///
/// Output row `y`, tap `k` reads input row `stride·y + k − pad_top`; rows outside 0…`height` are zero (a max pool leaves
/// them out); columns likewise. So `pad_top` and `pad_left` are 0 or 1 of a 3x3 layer, 0 to 3 of a 7x7, and what is
/// padded after follows from the output's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Output rows.
    pub out_height: usize,
    /// Output columns.
    pub out_width: usize,
    /// Zero rows above: 0 to 3, at most half the layer's kernel.
    pub pad_top: usize,
    /// Zero columns to the left: 0 to 3, at most half the layer's kernel.
    pub pad_left: usize,
}

/// Arguments of a depthwise 3x3 kernel.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise {
    /// Input.
    pub src: Planes,
    /// Output.
    pub dst: PlanesMut,
    /// Shortcut, if any.
    pub residual: Option<Residual>,
    /// `[C/8][9][8]`, block 0 first.
    pub weights: *const f32,
    /// `[C]`, padded with zeros to whole blocks.
    pub bias: *const f32,
    /// Sizes of input and output, and the padding.
    pub geometry: Geometry,
    /// Output rows to compute.
    pub rows: Span,
    /// Blocks of channels to compute.
    pub blocks: Span,
    /// Activation.
    pub clamp: Clamp,
}

/// Arguments of a pointwise kernel.
#[derive(Clone, Copy, Debug)]
pub struct Pointwise {
    /// Input.
    pub src: Planes,
    /// Output.
    pub dst: PlanesMut,
    /// Shortcut, if any.
    pub residual: Option<Residual>,
    /// `[Cout/16][Cin][16]`, panel 0 first.
    pub weights: *const f32,
    /// `[Cout]`, padded with zeros to whole panels.
    pub bias: *const f32,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Pixels to compute.
    pub pixels: Span,
    /// Panels of 16 output channels to compute.
    pub panels: Span,
    /// Activation.
    pub clamp: Clamp,
}

/// Arguments of a dense 3x3 kernel on a channel-blocked input.
///
/// The kernel knows no padding: tap `(k, j)` of output pixel `(y, x)` is pixel `(stride·y + k)·row + stride·x + j` of
/// each block. [`pad_rows`](crate::strip::pad_rows) makes such an input.
#[derive(Clone, Copy, Debug)]
pub struct Conv3x3 {
    /// Input with the zeros around it.
    pub src: Planes,
    /// Pixels from row to row of the input.
    pub row: usize,
    /// Output.
    pub dst: PlanesMut,
    /// Shortcut, if any.
    pub residual: Option<Residual>,
    /// `[Cout/16][Cin·9][16]`, panel 0 first.
    pub weights: *const f32,
    /// `[Cout]`, padded with zeros to whole panels.
    pub bias: *const f32,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Output columns: pixels from row to row of the output.
    pub width: usize,
    /// Output rows to compute.
    pub rows: Span,
    /// Panels of 16 output channels to compute.
    pub panels: Span,
    /// Activation.
    pub clamp: Clamp,
}

/// Arguments of a dense KxK kernel (3x3 or 7x7) on a planar (NCHW) input.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// Input, `[Cin][H][W]`, contiguous.
    pub src: *const f32,
    /// Output, channel-blocked.
    pub dst: PlanesMut,
    /// Shortcut, if any.
    pub residual: Option<Residual>,
    /// `[Cout/16][Cin·K²][16]`.
    pub weights: *const f32,
    /// `[Cout]`, padded with zeros to whole panels.
    pub bias: *const f32,
    /// At least [`Dense::scratch_len`] floats of working memory.
    pub scratch: *mut f32,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Sizes of input and output, and the padding.
    pub geometry: Geometry,
    /// Output rows to compute.
    pub rows: Span,
    /// Activation.
    pub clamp: Clamp,
}

impl Dense {
    /// Pixels of the largest tile that any kernel has.
    pub const MOST_PIXELS: usize = 8;

    /// Floats of scratch that a kernel of size `kernel` needs: what a tile reads, zero-padded, in whole vectors of eight.
    pub fn scratch_len(cin: usize, kernel: usize, stride: usize) -> usize {
        cin.saturating_mul(kernel * ((Self::MOST_PIXELS - 1) * stride + kernel)).saturating_add(7) / 8 * 8
    }
}

/// Arguments of the global average pool.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Input.
    pub src: Planes,
    /// One float per channel, whole blocks of 8 are written.
    pub dst: *mut f32,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Blocks of channels to compute.
    pub blocks: Span,
}

/// Arguments of a max pool. Where a window has a NaN, so has the output; +0 and −0 are equal, either may come out.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Input.
    pub src: Planes,
    /// Output.
    pub dst: PlanesMut,
    /// Sizes of input and output, and the padding, which takes no part.
    pub geometry: Geometry,
    /// Output rows to compute.
    pub rows: Span,
    /// Blocks of channels to compute.
    pub blocks: Span,
}

/// Arguments of the linear layer: `batch` rows of features times a packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Row `n` of features lies at `src + n·src_stride`.
    pub src: *const f32,
    /// Floats from row to row.
    pub src_stride: usize,
    /// Row `n` of outputs lies at `dst + n·dst_stride`; exactly `cout` floats of it are written.
    pub dst: *mut f32,
    /// Floats from row to row.
    pub dst_stride: usize,
    /// `[Cout/16][Cin][16]`.
    pub weights: *const f32,
    /// `[Cout]`, padded with zeros to whole panels.
    pub bias: *const f32,
    /// Features.
    pub cin: usize,
    /// Outputs.
    pub cout: usize,
    /// Rows.
    pub batch: usize,
    /// Panels of 16 outputs to compute.
    pub panels: Span,
}

/// A `Range<usize>` that is `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Span {
    /// How many.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Range<usize>> for Span {
    fn from(r: Range<usize>) -> Self {
        Span { start: r.start, end: r.end }
    }
}
