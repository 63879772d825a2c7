//! A part of a layer as data: raw pointers and extents. [`crate::ops`] checks them and is safe; whoever calls
//! [`Layer::run`](crate::Layer::run) vouches for them.

use std::ops::Range;

use crate::{Clamp, Operation};

/// Blocks of channels in memory, `stride` bytes from one to the next. Pixel `p` of block `b` lies at `ptr + b·stride + p·n`;
/// `n` is [`Blocking::pixel_bytes`](crate::Blocking::pixel_bytes). If only a strip of rows is in memory, `ptr` is where row 0 would be.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// Block 0, pixel 0.
    pub ptr: *const u8,
    /// Bytes from block to block.
    pub stride: usize,
}

impl Planes {
    /// Block `block`, pixel 0, in the kernel's elements.
    #[inline(always)]
    pub fn block<T>(self, block: usize) -> *const T {
        self.ptr.wrapping_add(block * self.stride).cast()
    }
}

/// [`Planes`] to be written.
#[derive(Clone, Copy, Debug)]
pub struct PlanesMut {
    /// Block 0, pixel 0.
    pub ptr: *mut u8,
    /// Bytes from block to block.
    pub stride: usize,
}

impl PlanesMut {
    /// Block `block`, pixel 0, in the kernel's elements.
    #[inline(always)]
    pub fn block<T>(self, block: usize) -> *mut T {
        self.ptr.wrapping_add(block * self.stride).cast()
    }

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

/// A part of a [`Layer`](crate::Layer): which pixels and channels to compute, from where to where.
///
/// | operation | `src` | `dst` | `pixels` | `channels` |
/// | --- | --- | --- | --- | --- |
/// | depthwise, max pool | blocks of 8 channels | blocks | whole output rows | blocks |
/// | pointwise | blocks | blocks | output pixels | panels of 16 |
/// | conv | blocks, padded | blocks | whole output rows | panels |
/// | dense | planes of one channel | blocks | whole output rows | all panels |
/// | pool | blocks | a block after the other, each of one pixel | the one | blocks |
/// | linear | rows of features | rows of outputs | rows | panels |
/// | quantize | planes of one channel | blocks | pixels | blocks |
///
/// Blocks are those of [`Layer::input`](crate::Layer::input) and [`Layer::output`](crate::Layer::output): of 8 channels in f32, of 16 in int8, where a dense layer
/// reads blocks of 4 channels and convolutions pad their input themselves.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Input.
    pub src: Planes,
    /// Output.
    pub dst: PlanesMut,
    /// Shortcut, if any. Pools and linear layers have none.
    pub residual: Option<Residual>,
    /// Sizes of input and output, and the padding. Pointwise and linear layers do not look at it.
    pub geometry: Geometry,
    /// Working memory, [`Layer::scratch_bytes`](crate::Layer::scratch_bytes) that are nobody else's, on a cache line.
    pub scratch: *mut u8,
    /// Output pixels to compute, row by row.
    pub pixels: Span,
    /// Output channels to compute, in groups of [`Layer::lanes`](crate::Layer::lanes).
    pub channels: Span,
}

impl Part {
    /// The output rows in which the pixels are.
    #[inline(always)]
    pub fn rows(&self) -> Span {
        let width = self.geometry.out_width;
        Span { start: self.pixels.start / width, end: self.pixels.end.div_ceil(width) }
    }
}

impl Geometry {
    /// One pixel to one pixel: for layers that do not look at it.
    pub const POINT: Geometry = Geometry { height: 1, width: 1, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };

    /// Input rows that output rows `rows` of an operation read, those that exist.
    pub fn reads(&self, rows: Span, operation: Operation) -> Span {
        let (kernel, stride) = (operation.kernel(), operation.stride());
        let end = (rows.end * stride + kernel - stride).saturating_sub(self.pad_top).min(self.height);
        Span { start: (rows.start * stride).saturating_sub(self.pad_top).min(end), end }
    }

    /// What a row of the padded input consists of: pixels of padding, of the plane's row, of padding.
    #[inline(always)]
    pub(crate) fn across(&self, operation: Operation) -> [usize; 3] {
        let columns = self.padded_row(operation);
        let before = self.pad_left.min(columns);
        let inside = self.width.min(columns - before);
        [before, inside, columns - before - inside]
    }

    /// Pixels of a row of the padded input that a [`Conv`](Operation::Conv) reads.
    #[inline(always)]
    pub fn padded_row(&self, operation: Operation) -> usize {
        (self.out_width - 1) * operation.stride() + operation.kernel()
    }
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
