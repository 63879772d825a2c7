//! int8 layers: what turns sums into outputs, and weights in the form that a kernel reads.
//!
//! Activations are u8 numbers `q` that stand for `scale · (q − zero)`, weights are i8 from −127 to 127. A sum is exact: one that
//! could exceed an i32 is refused.
//!
//! ```text
//! sum = bias + Σ weight · (q − zero_in)
//! t   = f32(sum) · factor [ + f32(q_shortcut − zero_shortcut) · factor_shortcut ]      each step rounded once
//! q   = round_half_even(clamp(t, lo, hi)) + zero_out
//! ```
//!
//! So every kernel gives the same bits on every ISA. Kernels add `weight · q` and have the zero point's share in their bias.

pub(crate) mod form;
pub(crate) mod requantize;
mod sums;

pub use form::{Form, GROUP, Products};
pub use requantize::Requantize;
pub use sums::weight_sums;

use crate::dispatch::select;
use crate::table::Kernel;
use form::{NATURAL, TAPS};
use requantize::Constants;

use crate::{AlignedBytes, Arithmetic, Blocking, Cpu, Element, Error, Layer, Operation, PANEL, memory};

impl Operation {
    /// Bytes of an int8 layer's packed weights, as weight files have them; `usize::MAX` if they cannot be counted.
    pub fn int8_weights_len(self, cin: usize, cout: usize) -> usize {
        let taps = self.kernel().saturating_mul(self.kernel());
        let depth = match self {
            Operation::MaxPool { .. } | Operation::Pool | Operation::Quantize => 0,
            Operation::Depthwise { .. } => taps,
            _ => cin.div_ceil(GROUP).saturating_mul(GROUP).saturating_mul(taps),
        };
        cout.div_ceil(PANEL).saturating_mul(PANEL).saturating_mul(depth)
    }

    /// i8 weights in row-major order, as a checkpoint has them, packed as weight files have them: `[⌈Cout/16⌉][⌈Cin/4⌉][K²][16][4]`,
    /// of a depthwise layer `[⌈C/16⌉][K²][16]`.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of weights; [`Error::Memory`] when there is no memory for the packed ones.
    pub fn pack_int8(self, weights: &[i8], [cin, cout]: [usize; 2]) -> Result<Vec<i8>, Error> {
        let taps = self.kernel().saturating_mul(self.kernel());
        let (depth, group) = if self.is_per_channel() { (1, 1) } else { (cin, GROUP) };
        let len = self.int8_weights_len(cin, cout);
        let expected = if len == 0 { 0 } else { cout.saturating_mul(depth).saturating_mul(taps) };
        if weights.len() != expected {
            return Err(Error::Length { what: "weights", expected, found: weights.len() });
        }
        let mut packed = memory::zeros(len)?;
        let per_panel = len / cout.div_ceil(PANEL).max(1);
        for (i, &weight) in weights.iter().enumerate() {
            let (output, input, tap) = (i / (depth * taps), i / taps % depth, i % taps);
            let row = (input / group * taps + tap) * PANEL + output % PANEL;
            packed[output / PANEL * per_panel + row * group + input % group] = weight;
        }
        Ok(packed)
    }
}

/// An int8 layer's weights, bias and factors in the form that one CPU's kernel reads: made once, borrowed by [`Layer`]s.
#[derive(Debug)]
pub struct PreparedInt8<'w> {
    kernel: &'static Kernel,
    channels: [usize; 2],
    chunk_bytes: usize,
    weights: &'w [u8],
    /// What is read in their place if they had to be rearranged. It starts on a cache line.
    rearranged: Option<AlignedBytes>,
    bias: AlignedBytes,
    factors: AlignedBytes,
    requantize: Requantize,
    fits_i32: bool,
}

impl<'w> PreparedInt8<'w> {
    /// For the kernel that suits `cpu`. `weights` are packed as weight files have them, `bias` is without the zero point's share,
    /// `factors` are those of the output channels; both have at least as many entries as there are output channels.
    /// Operations without weights get empty slices.
    ///
    /// # Errors
    /// [`Error::Length`] for a slice of the wrong length; [`Error::Channels`] where a layer that works channel by channel has
    /// not as many outputs as inputs; [`Error::Value`] for weights without input channels; [`Error::Kernel`] where there is no
    /// kernel for the operation; [`Error::Bounds`] for bounds outside of what a u8 can hold; [`Error::LeastWeight`] for a weight of
    /// −128; [`Error::Sum`] where a sum could exceed an i32; [`Error::Factor`] for a factor that is not between −2⁶⁴ and 2⁶⁴;
    /// [`Error::Memory`].
    pub fn new(
        cpu: Cpu,
        operation: Operation,
        [cin, cout]: [usize; 2],
        weights: &'w [i8],
        bias: &[i32],
        factors: &[f32],
        requantize: Requantize,
    ) -> Result<Self, Error> {
        if operation.is_per_channel() && cin != cout {
            return Err(Error::Channels { expected: cin, found: cout });
        }
        let expected = operation.int8_weights_len(cin, cout);
        if expected != weights.len() {
            return Err(Error::Length { what: "packed weights", expected, found: weights.len() });
        }
        // Groups without a branch: every weight goes through this at every start.
        let has_least = |group: &[i8]| group.iter().fold(false, |found, &weight| found | (weight == i8::MIN));
        if weights.chunks(16 * PANEL).any(has_least) {
            let index = weights.iter().position(|&weight| weight == i8::MIN).unwrap_or(0);
            return Err(Error::LeastWeight { index });
        }
        if !requantize.bounds_are_good() {
            let Requantize { lo, hi, zero_out, .. } = requantize;
            let (least, found) = (-i32::from(zero_out), format!("{lo} and {hi}"));
            return Err(Error::Bounds { least, most: least + 255, found });
        }
        let kernel = select(operation, Arithmetic::Int8, Element::I8, cpu)?;
        let mut made = PreparedInt8 {
            kernel,
            channels: [cin, cout],
            chunk_bytes: cpu.tuning().pointwise_chunk_bytes,
            weights: bytemuck::cast_slice(weights),
            rearranged: None,
            bias: AlignedBytes::try_zeroed(0)?,
            factors: AlignedBytes::try_zeroed(0)?,
            requantize,
            fits_i32: false,
        };
        if operation.int8_weights_len(1, 1) == 0 || cout == 0 {
            return Ok(made);
        }
        if cin == 0 {
            return Err(Error::Value { what: "input channels of a layer in int8", expected: "at least 1", found: 0 });
        }
        for (what, found) in [("biases", bias.len()), ("factors", factors.len())] {
            if found < cout {
                return Err(Error::Length { what, expected: cout, found });
            }
        }
        let (bias, factors) = (&bias[..cout], &factors[..cout]);
        check_factor("factor", factors)?;
        check_factor("factor of a shortcut", requantize.shortcut.as_ref().map(|(_, factor)| factor))?;
        check_sums(operation, weights, bias, requantize.reach())?;
        made.fits_i32 = fits_i32(weights.len() / cout.next_multiple_of(PANEL), bias, factors, &requantize);
        (made.bias, made.factors) = made.lanes(weights, bias, factors)?;
        made.rearranged = rearrange(operation, weights, &kernel.form())?;
        Ok(made)
    }

    /// Bias, the zero point's share included, and factors, one per lane in the kernel's order.
    fn lanes(&self, weights: &[i8], bias: &[i32], factors: &[f32]) -> Result<(AlignedBytes, AlignedBytes), Error> {
        let [_, cout] = self.channels;
        let form = self.kernel.form();
        let shift = form.products.offset() - i32::from(self.requantize.zero_in);
        let sums =
            if shift == 0 { memory::zeros(cout)? } else { weight_sums(self.kernel.operation, self.channels, weights) };
        let lanes = cout.next_multiple_of(PANEL);
        let mut own_bias = AlignedBytes::try_zeroed(lanes * size_of::<i32>())?;
        let mut own_factors = AlignedBytes::try_zeroed(lanes * size_of::<f32>())?;
        let biases: &mut [i32] = bytemuck::cast_slice_mut(&mut own_bias);
        let of_lanes: &mut [f32] = bytemuck::cast_slice_mut(&mut own_factors);
        for (lane, (to_bias, to_factor)) in biases.iter_mut().zip(of_lanes).enumerate() {
            let channel = lane / PANEL * PANEL + usize::from(form.order[lane % PANEL]);
            if channel < cout {
                *to_bias = bias[channel].wrapping_add(shift.wrapping_mul(sums[channel]));
                *to_factor = factors[channel];
            }
        }
        Ok((own_bias, own_factors))
    }

    /// The layer.
    pub fn layer(&self) -> Layer<'_> {
        self.layer_on(|bytes| bytes)
    }

    /// The layer whose weights, bias and factors lie where `moved` copied them, aligned to 4 bytes at least: for tests, which
    /// put pages without access around them.
    ///
    /// # Panics
    /// If a copy has another length.
    #[doc(hidden)]
    pub fn layer_on<'a>(&'a self, mut moved: impl FnMut(&'a [u8]) -> &'a [u8]) -> Layer<'a> {
        let mut of_same_length = |bytes: &'a [u8]| {
            let copy = moved(bytes);
            assert_eq!(copy.len(), bytes.len(), "bytes of a layer");
            copy
        };
        let weights = of_same_length(self.rearranged.as_deref().unwrap_or(self.weights));
        let bias = of_same_length(&self.bias);
        let factors = bytemuck::cast_slice(of_same_length(&self.factors));
        let int8 = Constants { factors, requantize: self.requantize, fits_i32: self.fits_i32 };
        Layer::int8(self.kernel, self.channels, [weights, bias], int8, self.chunk_bytes)
    }
}

/// Refuses factors that could make an output infinite or NaN, of which each ISA makes another byte.
pub(crate) fn check_factor<'a>(what: &'static str, factors: impl IntoIterator<Item = &'a f32>) -> Result<(), Error> {
    const MOST: f32 = 18_446_744_073_709_551_616.0;
    let bad = factors.into_iter().find(|factor| !(-MOST..=MOST).contains(*factor));
    bad.map_or(Ok(()), |found| Err(Error::Factor { what, found: found.to_string() }))
}

/// Refuses a channel whose sum could exceed an i32 with inputs that are `reach` from the zero point.
fn check_sums(operation: Operation, weights: &[i8], bias: &[i32], reach: u8) -> Result<(), Error> {
    const MOST: u64 = i32::MAX as u64;
    let depth = weights.len() / bias.len().next_multiple_of(PANEL);
    let sum =
        |magnitudes: u64, bias: i32| (magnitudes * u64::from(reach)).saturating_add(u64::from(bias.unsigned_abs()));
    // As if every weight were -127: those of a usual layer need not be looked at.
    if bias.iter().all(|&bias| sum(127 * depth as u64, bias) <= MOST) {
        return Ok(());
    }
    let group = if operation.is_per_channel() { 1 } else { GROUP };
    for (channel, &bias) in bias.iter().enumerate() {
        let panel = &weights[channel / PANEL * PANEL * depth..][..PANEL * depth];
        let of_channel = panel.chunks_exact(group).skip(channel % PANEL).step_by(PANEL).flatten();
        let found = sum(of_channel.map(|weight| u64::from(weight.unsigned_abs())).sum(), bias);
        if found > MOST {
            return Err(Error::Sum { channel, found });
        }
    }
    Ok(())
}

/// Whether every number that a layer rounds is well below 2³¹, so that roundings do not matter. `depth` is the number of
/// weights of an output channel. Not true of NaN.
fn fits_i32(depth: usize, bias: &[i32], factors: &[f32], requantize: &Requantize) -> bool {
    let span = f64::from(requantize.reach());
    let shortcut = requantize.shortcut.map_or(0.0, |(_, factor)| 255.0 * f64::from(factor.abs()));
    // As if every weight were -128: of a usual layer that is far from the bound, too.
    let products = depth as f64 * 128.0 * span;
    bias.iter().zip(factors).all(|(&bias, &factor)| {
        let sum = f64::from(bias).abs() + products;
        sum * f64::from(factor.abs()) + shortcut < f64::from(1 << 30)
    })
}

/// Packed weights in another form, if the kernel does not read them as they are.
fn rearrange(operation: Operation, weights: &[i8], form: &Form) -> Result<Option<AlignedBytes>, Error> {
    let words = form.products == Products::Words;
    let pairs = words || form.products == Products::SignedPairs;
    let depthwise = matches!(operation, Operation::Depthwise { .. });
    if !pairs && !depthwise && form.order == NATURAL {
        return Ok(None);
    }
    let elements = if depthwise { weights.len() / (9 * PANEL) * TAPS } else { weights.len() };
    let mut bytes = AlignedBytes::try_zeroed(elements * if words { 2 } else { 1 })?;
    // Row `row` of sixteen groups of four: where element `k` of lane `lane` goes.
    let place = |row: usize, lane: usize, k: usize| {
        let row = row * PANEL * GROUP;
        if pairs { row + k / 2 * 2 * PANEL + lane * 2 + k % 2 } else { row + lane * GROUP + k }
    };
    let mut put = |at: usize, value: i8| {
        if words {
            bytes[2 * at..2 * at + 2].copy_from_slice(&i16::from(value).to_le_bytes());
        } else {
            bytes[at] = value as u8;
        }
    };
    if depthwise {
        for (block, weights) in weights.chunks_exact(9 * PANEL).enumerate() {
            for (lane, &channel) in form.order.iter().enumerate() {
                for tap in 0..9 {
                    let (row, column, value) = (tap / 3, tap % 3, weights[tap * PANEL + usize::from(channel)]);
                    for second in 0..2 {
                        put(place(block * 6 + second * 3 + column, lane, row + second), value);
                    }
                }
            }
        }
    } else {
        for (row, weights) in weights.chunks_exact(PANEL * GROUP).enumerate() {
            for (lane, &channel) in form.order.iter().enumerate() {
                for k in 0..GROUP {
                    put(place(row, lane, k), weights[usize::from(channel) * GROUP + k]);
                }
            }
        }
    }
    Ok(Some(bytes))
}

/// Bytes of an input row of a linear layer: whole blocks.
pub fn feature_bytes(cin: usize) -> usize {
    cin.next_multiple_of(Blocking::U8.lanes)
}
