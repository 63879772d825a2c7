//! A layer as data: what is computed, with which weights, by which kernel. Where it is computed is a [`Part`].

use crate::part::{Geometry, Part};
use crate::table::{self, Kernel};
use crate::{AlignedBuf, Arithmetic, BLOCK, Blocking, Cpu, Element, Error, PANEL, PackedWeights, Tuning, int8, pack};

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

/// What a kernel computes: the key by which [`table::select`] finds it.
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
    /// The last panel of a 1x1 convolution, where only its first eight output channels are there: [`Layer::new`] chooses it.
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

    /// Output channels that are computed together at least in f32: a block, or a panel. [`Layer::lanes`] knows those of a
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

/// A layer: what it computes, its packed weights, and the kernel that was chosen for it.
///
/// The lengths of the weights are checked when it is made; which part of it to compute, and where, is said by a [`Part`].
#[derive(Clone, Copy, Debug)]
pub struct Layer<'w> {
    pub(crate) operation: Operation,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) weights: &'w [u8],
    pub(crate) bias: &'w [u8],
    pub(crate) clamp: Clamp,
    pub(crate) int8: int8::Constants<'w>,
    /// Bytes of input that a pointwise kernel goes over once per panel.
    pub(crate) chunk_bytes: usize,
    kernel: &'static Kernel,
    /// The kernel of a pointwise layer's last panel, if that is half empty.
    half: Option<&'static Kernel>,
}

impl<'w> Layer<'w> {
    /// A layer in f32 whose kernels suit `cpu`. Linear layers and pools do not clamp. Weights and bias are packed as [`pack`] does it; pools have none.
    ///
    /// # Errors
    /// [`Error::Length`] for a packed slice of the wrong length; [`Error::Channels`] where a layer that works channel by channel has
    /// not as many outputs as inputs; [`Error::Kernel`] where there is no kernel for the operation; [`Error::Value`] for more than eight
    /// outputs of [`Operation::PointwiseHalf`].
    pub fn new(
        cpu: Cpu,
        operation: Operation,
        [cin, cout]: [usize; 2],
        weights: &'w [f32],
        bias: &'w [f32],
        clamp: Clamp,
    ) -> Result<Self, Error> {
        Layer::with_weights(cpu, operation, [cin, cout], PackedWeights::F32(weights), bias, clamp)
    }

    /// As [`new`](Layer::new), of weights that may be stored in 16 bits.
    ///
    /// # Errors
    /// As [`new`](Layer::new): only linear layers have kernels for weights of 16 bits.
    pub fn with_weights(
        cpu: Cpu,
        operation: Operation,
        [cin, cout]: [usize; 2],
        weights: PackedWeights<'w>,
        bias: &'w [f32],
        clamp: Clamp,
    ) -> Result<Self, Error> {
        if operation.is_per_channel() && cin != cout {
            return Err(Error::Channels { expected: cin, found: cout });
        }
        if operation == Operation::PointwiseHalf && cout > BLOCK {
            return Err(Error::Value { what: "output channels of half a panel", expected: "at most 8", found: cout });
        }
        let lengths = [
            ("packed weights", operation.weights_len(cin, cout), weights.len()),
            ("packed bias", operation.bias_len(cout), bias.len()),
        ];
        for (what, expected, found) in lengths {
            if expected != found {
                return Err(Error::Length { what, expected, found });
            }
        }
        let arithmetic = Arithmetic::F32;
        let element = weights.element();
        let (weights, bias) = (weights.bytes(), bytemuck::cast_slice(bias));
        let kernel = table::select(operation, arithmetic, element, cpu)?;
        // A tile of several panels takes a half-empty one along at no cost.
        let whole_panels = kernel.tile.1 > PANEL && cout > PANEL;
        let half_panel = operation == Operation::Pointwise && (1..=BLOCK).contains(&(cout % PANEL)) && !whole_panels;
        let half =
            if half_panel { Some(table::select(Operation::PointwiseHalf, arithmetic, element, cpu)?) } else { None };
        let int8 = int8::Constants::NONE;
        let chunk_bytes = cpu.tuning().pointwise_chunk_bytes;
        Ok(Layer { operation, cin, cout, arithmetic, weights, bias, clamp, int8, chunk_bytes, kernel, half })
    }

    /// A layer in int8, whose parts were checked and brought into the kernel's form.
    pub(crate) fn int8(
        kernel: &'static Kernel,
        [cin, cout]: [usize; 2],
        [weights, bias]: [&'w [u8]; 2],
        int8: int8::Constants<'w>,
        chunk_bytes: usize,
    ) -> Self {
        let (operation, arithmetic, clamp) = (kernel.operation, Arithmetic::Int8, Clamp::NONE);
        Layer { operation, cin, cout, arithmetic, weights, bias, clamp, int8, chunk_bytes, kernel, half: None }
    }

    /// The same layer with these sizes instead of the CPU's. They change no bit of a result.
    #[must_use]
    pub fn tuned(self, tuning: &Tuning) -> Self {
        Layer { chunk_bytes: tuning.pointwise_chunk_bytes, ..self }
    }

    /// What it computes.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Input channels.
    pub fn cin(&self) -> usize {
        self.cin
    }

    /// Output channels.
    pub fn cout(&self) -> usize {
        self.cout
    }

    /// Blocks or panels of output channels: what a [`Part`]'s `channels` counts.
    pub fn groups(&self) -> usize {
        self.cout.div_ceil(self.lanes())
    }

    /// Output channels that are computed together at least: a block, or a panel.
    pub fn lanes(&self) -> usize {
        match self.arithmetic {
            Arithmetic::F32 => self.operation.lanes(),
            Arithmetic::Int8 if self.operation == Operation::Quantize => Blocking::U8_STEM.lanes,
            Arithmetic::Int8 => Blocking::U8.lanes,
        }
    }

    /// How the channels of its input lie. Of a linear layer: of a row of features.
    pub fn input(&self) -> Blocking {
        match (self.arithmetic, self.operation) {
            (Arithmetic::F32, Operation::Dense { .. }) | (_, Operation::Quantize) => Blocking::PLANAR,
            (Arithmetic::F32, _) => Blocking::F32,
            (Arithmetic::Int8, Operation::Dense { .. }) => Blocking::U8_STEM,
            (Arithmetic::Int8, _) => Blocking::U8,
        }
    }

    /// How the channels of its output lie.
    pub fn output(&self) -> Blocking {
        match (self.arithmetic, self.operation) {
            (Arithmetic::F32, _) | (_, Operation::Linear) => Blocking::F32,
            (Arithmetic::Int8, Operation::Quantize) => Blocking::U8_STEM,
            (Arithmetic::Int8, _) => Blocking::U8,
        }
    }

    /// Bytes of scratch that its kernel needs for planes of this geometry.
    pub fn scratch_bytes(&self, geometry: &Geometry) -> usize {
        match self.arithmetic {
            Arithmetic::F32 => self.operation.scratch_bytes(self.cin),
            Arithmetic::Int8 => self.kernel.int8_scratch_bytes(self.cin, geometry),
        }
    }

    /// The kernel that does most of it.
    pub fn kernel(&self) -> &'static Kernel {
        match self.half {
            Some(half) if self.cout <= BLOCK => half,
            _ => self.kernel,
        }
    }

    /// The numbers that it computes with.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// The type of its packed weights; f32 of what has none.
    pub fn weight_element(&self) -> Element {
        self.kernel.weights
    }

    /// Packed weights.
    pub fn weights(&self) -> &'w [u8] {
        self.weights
    }

    /// Packed bias.
    pub fn bias(&self) -> &'w [u8] {
        self.bias
    }

    /// Pixels that a pointwise kernel in f32 goes over once per panel, so that their inputs stay in the cache: whole tiles of `tile`.
    #[inline(always)]
    pub(crate) fn chunk_pixels(&self, tile: usize) -> usize {
        (self.chunk_bytes / (size_of::<f32>() * self.cin.max(1))).max(1).next_multiple_of(tile)
    }

    /// Panel or block `group` of weights, of `len` elements each, as the kernel's elements.
    #[inline(always)]
    pub(crate) fn weights_of<T>(&self, group: usize, len: usize) -> *const T {
        self.weights.as_ptr().cast::<T>().wrapping_add(group * len)
    }

    /// The bias of panel or block `group`, as the kernel's elements.
    #[inline(always)]
    pub(crate) fn bias_of<T>(&self, group: usize, lanes: usize) -> *const T {
        self.bias.as_ptr().cast::<T>().wrapping_add(group * lanes)
    }

    /// Whether it can add a residual to what it stores: of int8 layers, those with a shortcut factor.
    pub(crate) fn adds_residual(&self) -> bool {
        let has_factor = self.arithmetic == Arithmetic::F32 || self.int8.requantize.shortcut.is_some();
        self.operation.adds_residual() && has_factor
    }

    /// Computes a part of the layer.
    ///
    /// # Safety
    /// - The part [fits](Part::fits) the layer.
    /// - The memory of [`Part::extents`] is there: what is read is readable and what is written writable, aligned as the layer's elements are.
    /// - What is written overlaps neither what is read nor what another thread touches meanwhile; the residual may be what is written.
    /// - Input of a dense layer on blocked channels has its zeros around it.
    ///
    /// Lanes of a block past the last channel are written too, as zeros where 0 is within the clamp.
    #[inline]
    pub unsafe fn run(&self, part: &Part) {
        let Some(half) = self.half else {
            // SAFETY: the caller's promise; `select` gives only kernels whose instructions the CPU has and this process may use.
            return unsafe { (self.kernel.run)(self, part) };
        };
        let whole = part.channels.end.min(self.cout / PANEL);
        let split = whole.max(part.channels.start);
        for (kernel, panels) in [(self.kernel, part.channels.start..split), (half, split..part.channels.end)] {
            if !panels.is_empty() {
                // SAFETY: as above, for fewer panels.
                unsafe { (kernel.run)(self, &Part { channels: panels.into(), ..*part }) }
            }
        }
    }
}
