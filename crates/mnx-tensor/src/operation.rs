//! What a layer computes, and with which activation.

use crate::{AlignedBuf, BLOCK, Error, PANEL, pack};

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

/// What a kernel computes: the key by which [`dispatch::select`](crate::dispatch::select) finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Depthwise convolution with square filters.
    Depthwise {
        /// Rows and columns of a filter.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// 1x1 convolution, in panels of 16 output channels.
    Pointwise,
    /// The last panel of a 1x1 convolution, where only its first eight output channels are there: [`Layer::new`](crate::Layer::new) chooses it.
    PointwiseHalf,
    /// Dense convolution of channel-blocked input that has its zeros around it, as [`strip::pad_rows`](crate::strip::pad_rows)
    /// makes it.
    Conv {
        /// Rows and columns of a filter.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// Dense convolution of planar (NCHW) input: a network's stem.
    Dense {
        /// Rows and columns of a filter.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// Maximum of each window of a channel. Where a window has a NaN, so has the output; +0 and −0 are equal, either may
    /// come out. Padding takes no part.
    MaxPool {
        /// Rows and columns of a window.
        kernel: usize,
        /// Pixels from one window to the next.
        stride: usize,
    },
    /// Global average pool.
    Pool,
    /// A matrix times rows of features: the classifier.
    Linear,
    /// Planes of f32 to u8, four channels of a pixel side by side: what an int8 network makes of its input.
    Quantize,
}

impl Operation {
    /// Rows and columns of a filter or window: 1 where there is none.
    pub fn kernel(self) -> usize {
        match self {
            Operation::Depthwise { kernel, .. }
            | Operation::Conv { kernel, .. }
            | Operation::Dense { kernel, .. }
            | Operation::MaxPool { kernel, .. } => kernel,
            _ => 1,
        }
    }

    /// Pixels from one window to the next: 1 where there is none.
    pub fn stride(self) -> usize {
        match self {
            Operation::Depthwise { stride, .. }
            | Operation::Conv { stride, .. }
            | Operation::Dense { stride, .. }
            | Operation::MaxPool { stride, .. } => stride,
            _ => 1,
        }
    }

    /// Whether each output channel reads its own input channel only.
    pub fn is_per_channel(self) -> bool {
        matches!(self, Operation::Depthwise { .. } | Operation::MaxPool { .. } | Operation::Pool | Operation::Quantize)
    }

    /// Whether its kernels can add a residual to what they store.
    pub(crate) fn adds_residual(self) -> bool {
        use Operation::{Conv, Dense, Depthwise, Pointwise, PointwiseHalf};
        matches!(self, Depthwise { .. } | Pointwise | PointwiseHalf | Conv { .. } | Dense { .. })
    }

    /// Output channels that are computed together at least in f32: a block, or a panel. [`Layer::lanes`](crate::Layer::lanes) knows those of a
    /// layer in any arithmetic.
    pub fn lanes(self) -> usize {
        if self.is_per_channel() { BLOCK } else { PANEL }
    }

    /// Weights of each output channel of a layer with `cin` input channels.
    fn depth(self, cin: usize) -> usize {
        let filter = self.kernel().saturating_mul(self.kernel());
        match self {
            Operation::MaxPool { .. } | Operation::Pool | Operation::Quantize => 0,
            Operation::Depthwise { .. } => filter,
            _ => cin.saturating_mul(filter),
        }
    }

    /// Floats of a layer's packed weights; `usize::MAX`, which no slice has, if they cannot be counted.
    pub fn weights_len(self, cin: usize, cout: usize) -> usize {
        cout.div_ceil(self.lanes()).saturating_mul(self.lanes()).saturating_mul(self.depth(cin))
    }

    /// Floats of a layer's packed bias; `usize::MAX`, which no slice has, if they cannot be counted.
    pub fn bias_len(self, cout: usize) -> usize {
        if self.depth(1) == 0 { 0 } else { pack::bias_len(cout) }
    }

    /// Weights as a checkpoint has them, `[Cout][Cin][K][K]` in row-major order (a depthwise layer's Cin is 1), in the order in which the
    /// operation's kernels read them.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of weights; [`Error::Memory`].
    pub fn pack(self, weights: &[f32], [cin, cout]: [usize; 2]) -> Result<AlignedBuf, Error> {
        let depth = self.depth(cin);
        let (expected, found) = (cout.saturating_mul(depth), weights.len());
        if expected != found {
            return Err(Error::Length { what: "weights", expected, found });
        }
        if self.is_per_channel() { pack::blocks(weights, cout, depth) } else { pack::panels(weights, cout, depth) }
    }

    /// Bytes of scratch that a kernel needs: what a tile of a dense layer reads, zero-padded, in whole vectors of eight.
    pub fn scratch_bytes(self, cin: usize) -> usize {
        let Operation::Dense { kernel, stride } = self else { return 0 };
        let floats = cin.saturating_mul(kernel * ((MOST_DENSE_PIXELS - 1) * stride + kernel));
        floats.saturating_add(7) / 8 * size_of::<[f32; 8]>()
    }
}

/// Pixels of the largest tile of any dense kernel.
pub const MOST_DENSE_PIXELS: usize = 8;
