//! A layer as data: what is computed, with which weights, by which kernel. Where it is computed is a [`Part`].

use crate::dispatch::select;
use crate::int8::requantize::Constants;
use crate::operands::Operands;
use crate::part::{Geometry, Part};
use crate::table::Kernel;
use crate::{Arithmetic, BLOCK, Blocking, Clamp, Cpu, Element, Error, Operation, PANEL, PackedWeights, Tuning};

/// A layer: what it computes, its packed weights, and the kernel that was chosen for it.
///
/// The lengths of the weights are checked when it is made; which part of it to compute, and where, is said by a [`Part`].
#[derive(Clone, Copy, Debug)]
pub struct Layer<'w> {
    operands: Operands<'w>,
    kernel: &'static Kernel,
    /// The kernel of a pointwise layer's last panel, if that is half empty.
    half: Option<&'static Kernel>,
}

impl<'w> Layer<'w> {
    /// A layer in f32 whose kernels suit `cpu`. Linear layers and pools do not clamp. Weights and bias are packed as [`pack`](crate::pack) does it; pools have none.
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
        let kernel = select(operation, arithmetic, element, cpu)?;
        // A tile of several panels takes a half-empty one along at no cost.
        let whole_panels = kernel.tile.1 > PANEL && cout > PANEL;
        let half_panel = operation == Operation::Pointwise && (1..=BLOCK).contains(&(cout % PANEL)) && !whole_panels;
        let half = if half_panel { Some(select(Operation::PointwiseHalf, arithmetic, element, cpu)?) } else { None };
        let int8 = Constants::NONE;
        let chunk_bytes = cpu.tuning().pointwise_chunk_bytes;
        let operands = Operands { operation, cin, cout, arithmetic, weights, bias, clamp, int8, chunk_bytes };
        Ok(Layer { operands, kernel, half })
    }

    /// A layer in int8, whose parts were checked and brought into the kernel's form.
    pub(crate) fn int8(
        kernel: &'static Kernel,
        [cin, cout]: [usize; 2],
        [weights, bias]: [&'w [u8]; 2],
        int8: Constants<'w>,
        chunk_bytes: usize,
    ) -> Self {
        let (operation, arithmetic, clamp) = (kernel.operation, Arithmetic::Int8, Clamp::NONE);
        let operands = Operands { operation, cin, cout, arithmetic, weights, bias, clamp, int8, chunk_bytes };
        Layer { operands, kernel, half: None }
    }

    /// The same layer with these sizes instead of the CPU's. They change no bit of a result.
    #[must_use]
    pub fn tuned(self, tuning: &Tuning) -> Self {
        let operands = Operands { chunk_bytes: tuning.pointwise_chunk_bytes, ..self.operands };
        Layer { operands, ..self }
    }

    /// What it computes.
    pub fn operation(&self) -> Operation {
        self.operands.operation
    }

    /// Input channels.
    pub fn cin(&self) -> usize {
        self.operands.cin
    }

    /// Output channels.
    pub fn cout(&self) -> usize {
        self.operands.cout
    }

    /// Blocks or panels of output channels: what a [`Part`]'s `channels` counts.
    pub fn groups(&self) -> usize {
        self.operands.cout.div_ceil(self.lanes())
    }

    /// Output channels that are computed together at least: a block, or a panel.
    pub fn lanes(&self) -> usize {
        match self.operands.arithmetic {
            Arithmetic::F32 => self.operands.operation.lanes(),
            Arithmetic::Int8 if self.operands.operation == Operation::Quantize => Blocking::U8_STEM.lanes,
            Arithmetic::Int8 => Blocking::U8.lanes,
        }
    }

    /// How the channels of its input lie. Of a linear layer: of a row of features.
    pub fn input(&self) -> Blocking {
        match (self.operands.arithmetic, self.operands.operation) {
            (Arithmetic::F32, Operation::Dense { .. }) | (_, Operation::Quantize) => Blocking::PLANAR,
            (Arithmetic::F32, _) => Blocking::F32,
            (Arithmetic::Int8, Operation::Dense { .. }) => Blocking::U8_STEM,
            (Arithmetic::Int8, _) => Blocking::U8,
        }
    }

    /// How the channels of its output lie.
    pub fn output(&self) -> Blocking {
        match (self.operands.arithmetic, self.operands.operation) {
            (Arithmetic::F32, _) | (_, Operation::Linear) => Blocking::F32,
            (Arithmetic::Int8, Operation::Quantize) => Blocking::U8_STEM,
            (Arithmetic::Int8, _) => Blocking::U8,
        }
    }

    /// Bytes of scratch that its kernel needs for planes of this geometry.
    pub fn scratch_bytes(&self, geometry: &Geometry) -> usize {
        match self.operands.arithmetic {
            Arithmetic::F32 => self.operands.operation.scratch_bytes(self.operands.cin),
            Arithmetic::Int8 => self.kernel.int8_scratch_bytes(self.operands.cin, geometry),
        }
    }

    /// The kernel that does most of it.
    pub fn kernel(&self) -> &'static Kernel {
        match self.half {
            Some(half) if self.operands.cout <= BLOCK => half,
            _ => self.kernel,
        }
    }

    /// The numbers that it computes with.
    pub fn arithmetic(&self) -> Arithmetic {
        self.operands.arithmetic
    }

    /// The type of its packed weights; f32 of what has none.
    pub fn weight_element(&self) -> Element {
        self.kernel.weights
    }

    /// What its kernel is called with.
    pub(crate) fn operands(&self) -> &Operands<'w> {
        &self.operands
    }

    /// Packed weights.
    pub fn weights(&self) -> &'w [u8] {
        self.operands.weights
    }

    /// Packed bias.
    pub fn bias(&self) -> &'w [u8] {
        self.operands.bias
    }

    /// Whether it can add a residual to what it stores: of int8 layers, those with a shortcut factor.
    pub(crate) fn adds_residual(&self) -> bool {
        let has_factor =
            self.operands.arithmetic == Arithmetic::F32 || self.operands.int8.requantize.shortcut.is_some();
        self.operands.operation.adds_residual() && has_factor
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
        debug_assert!(part.fits(self), "{part:?} of {self:?}");
        let Some(half) = self.half else {
            // SAFETY: the caller's promise; `select` gives only kernels whose instructions the CPU has and this process may use.
            return unsafe { (self.kernel.run)(&self.operands, part) };
        };
        let whole = part.channels.end.min(self.operands.cout / PANEL);
        let split = whole.max(part.channels.start);
        for (kernel, panels) in [(self.kernel, part.channels.start..split), (half, split..part.channels.end)] {
            if !panels.is_empty() {
                // SAFETY: as above, for fewer panels.
                unsafe { (kernel.run)(&self.operands, &Part { channels: panels.into(), ..*part }) }
            }
        }
    }
}
