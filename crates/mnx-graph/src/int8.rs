//! What a file's scales and zero points come to: how values are kept, and the constants of each int8 layer.

use mnx_tensor::Arithmetic;
use mnx_tensor::int8::Requantize;

use crate::file::{LARGEST_SCALE, Layout, PackedInt8};
use crate::wiring::{Values, Wiring};
use crate::{Activation, Error, FileError, Network, Quantization};

/// The largest sum of an int8 layer.
pub(crate) const LARGEST_SUM: u64 = i32::MAX as u64;

/// An int8 layer's numbers besides weights and bias.
#[derive(Clone, Debug)]
pub(crate) struct Constants {
    /// What sums are multiplied with, one per output channel.
    pub(crate) factors: Vec<f32>,
    pub(crate) requantize: Requantize,
}

/// What a network computes with, layer by layer and value by value.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    /// One per layer.
    pub(crate) arithmetic: Vec<Arithmetic>,
    /// How the values are kept: as u8 with a scale and a zero point, or as f32 (`None`).
    pub(crate) values: Values<Option<Quantization>>,
    /// One per layer; f32 layers have none.
    pub(crate) constants: Vec<Option<Constants>>,
}

impl Numbers {
    /// f32 throughout.
    pub(crate) fn f32(network: &Network) -> Numbers {
        let layers = network.layers().count();
        let arithmetic = vec![Arithmetic::F32; layers];
        Numbers { arithmetic, values: Values::of_all(layers, None), constants: vec![None; layers] }
    }

    /// Of a file whose tensors have been checked one by one.
    ///
    /// # Errors
    /// [`FileError::Factor`] and [`FileError::Sums`] for tensors that do not go together.
    pub(crate) fn new(
        network: &Network,
        arithmetic: &[Arithmetic],
        layout: &Layout,
        payload: &[u8],
    ) -> Result<Numbers, Error> {
        let mut numbers = Numbers::f32(network);
        if !arithmetic.contains(&Arithmetic::Int8) {
            return Ok(numbers);
        }
        numbers.arithmetic = arithmetic.to_vec();
        for value in &layout.values {
            numbers.values[value.source] = Some(layout.quantization(value.first, payload));
        }
        for (index, wire) in Wiring::new(network).layers.into_iter().enumerate() {
            let Some(input) = numbers.values[wire.src].filter(|_| arithmetic[index] == Arithmetic::Int8) else {
                continue;
            };
            let of_layer = OfLayer {
                layer: wire.layer,
                input,
                output: numbers.values.outputs[index],
                shortcut: wire.shortcut.and_then(|addend| numbers.values[addend.value]),
                activation: wire.activation(),
                tensors: layout.int8(index, payload),
            };
            numbers.constants[index] = Some(of_layer.constants()?);
        }
        Ok(numbers)
    }
}

/// An int8 layer with the values around it.
struct OfLayer<'a> {
    layer: &'a crate::Layer,
    /// What follows last.
    activation: Activation,
    input: Quantization,
    /// The classifier's output is not quantised.
    output: Option<Quantization>,
    shortcut: Option<Quantization>,
    tensors: PackedInt8<'a>,
}

impl OfLayer<'_> {
    fn constants(&self) -> Result<Constants, Error> {
        let scale = f64::from(self.input.scale);
        let of_output = self.output.map_or(1.0, |output| f64::from(output.scale));
        let exact = |&weight: &f32| scale * f64::from(weight) / of_output;
        let weights = &self.tensors.scale[..self.layer.cout];
        let factors: Vec<f32> = weights.iter().map(|weight| exact(weight) as f32).collect();
        // In one go without a branch, as there are many at every start.
        if !factors.iter().fold(true, |all, &factor| all & is_factor(factor))
            && let Some(channel) = factors.iter().position(|&factor| !is_factor(factor))
        {
            return Err(self.factor_error(Some(channel), exact(&weights[channel])));
        }
        self.check_sums()?;
        Ok(Constants { factors, requantize: self.requantize()? })
    }

    fn requantize(&self) -> Result<Requantize, Error> {
        let zero_in = self.input.zero_point;
        let Some(output) = self.output else { return Ok(Requantize { zero_in, ..Requantize::PLAIN }) };
        let shortcut = self.shortcut.map(|shortcut| {
            let scale = factor(f64::from(shortcut.scale) / f64::from(output.scale));
            scale.map(|scale| (shortcut.zero_point, scale)).map_err(|found| self.factor_error(None, found))
        });
        let (lo, hi) = bounds(self.activation, output);
        let scales = (self.input.scale, output.scale);
        Ok(Requantize { zero_in, zero_out: output.zero_point, lo, hi, shortcut: shortcut.transpose()?, scales })
    }

    /// No sum may exceed 32 bits, whatever the input.
    fn check_sums(&self) -> Result<(), Error> {
        let reach = u64::from(self.input.zero_point.max(255 - self.input.zero_point));
        let biases = || self.tensors.bias.iter().take(self.layer.cout).map(|bias| u64::from(bias.unsigned_abs()));
        // With weights of -128 throughout it would be this much. Weights of a usual layer need not be looked at.
        let depth = self.layer.weight_elements() / (self.layer.cout as u64).max(1);
        let most = depth.saturating_mul(128).saturating_mul(reach);
        if biases().all(|bias| most.saturating_add(bias) <= LARGEST_SUM) {
            return Ok(());
        }
        for (channel, (bias, weights)) in biases().zip(self.tensors.magnitudes()).enumerate() {
            let found = weights.saturating_mul(reach).saturating_add(bias);
            if found > LARGEST_SUM {
                let layer = self.layer.name.clone();
                return Err(Error::File(FileError::Sums { layer, channel, found }));
            }
        }
        Ok(())
    }

    fn factor_error(&self, channel: Option<usize>, found: f64) -> Error {
        Error::File(FileError::Factor { layer: self.layer.name.clone(), channel, found })
    }
}

/// A factor rounded to f32, or as it was if it is out of range.
fn factor(exact: f64) -> Result<f32, f64> {
    let rounded = exact as f32;
    if is_factor(rounded) { Ok(rounded) } else { Err(exact) }
}

/// Factors have the range of scales, so that no output becomes infinite or NaN.
fn is_factor(factor: f32) -> bool {
    (f32::MIN_POSITIVE..=LARGEST_SCALE).contains(&factor)
}

/// Bounds of an output before the zero point is added. They are integers.
fn bounds(activation: Activation, output: Quantization) -> (f32, f32) {
    let zero = f32::from(output.zero_point);
    match activation {
        Activation::Linear => (-zero, 255.0 - zero),
        Activation::Relu => (0.0, 255.0 - zero),
        Activation::Relu6 => {
            let six = (6.0 / f64::from(output.scale)).round_ties_even();
            (0.0, six.min(255.0 - f64::from(zero)) as f32)
        }
    }
}

/// Whether an average pool over `height` x `width` pixels is exact.
///
/// # Errors
/// [`Error::Average`] if its sums could exceed 32 bits, or its factor is out of range.
pub(crate) fn check_average(
    (height, width): (usize, usize),
    input: Quantization,
    output: Quantization,
) -> Result<(), Error> {
    let pixels = (height as u64).saturating_mul(width as u64);
    let most = pixels.saturating_mul(u64::from(input.zero_point.max(255 - input.zero_point)));
    if most > LARGEST_SUM {
        let (expected, found) = ("sums of at most 2147483647", most.to_string());
        return Err(Error::Average { height, width, expected, found });
    }
    let exact = f64::from(input.scale) / (f64::from(output.scale) * pixels as f64);
    factor(exact).map(|_| ()).map_err(|found| {
        let (expected, found) = ("a factor from 2^-126 to 2^64", format!("{found:.3e}"));
        Error::Average { height, width, expected, found }
    })
}

/// A real number as u8.
pub(crate) fn quantize(value: f32, Quantization { scale, zero_point }: Quantization) -> u8 {
    if value.is_nan() {
        return zero_point;
    }
    let zero = f32::from(zero_point);
    // The bounds are integers, so rounding after the clamp stays within them.
    ((value / scale).clamp(-zero, 255.0 - zero).round_ties_even() + zero) as u8
}

/// The real number that a u8 stands for.
pub(crate) fn dequantize(value: u8, Quantization { scale, zero_point }: Quantization) -> f32 {
    scale * (f32::from(value) - f32::from(zero_point))
}
