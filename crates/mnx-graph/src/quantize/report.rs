//! What quantising has done to each layer.

use super::Comparison;
use super::range::limits;
use crate::{Arithmetic, Quantization};

/// What became of a layer, of the network's input, or of the average pool. Ratios of signal to noise are in decibels: 10 · log₁₀
/// of the sum of squared numbers by the sum of squared errors. 20 dB more are a tenth of the error. They are `None` where there
/// is nothing to compare, or no error at all.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerReport {
    /// Name of the layer, or `input` or `pool`.
    pub name: String,
    /// In what the layer computes; `None` for input and pool.
    pub arithmetic: Option<Arithmetic>,
    /// Name of the value that it makes, as in a weight file; the classifier makes the `logits`.
    pub value: String,
    /// The least and the largest number of the value in calibration.
    pub observed: (f32, f32),
    /// The value's scale and zero point; `None` if it stays f32.
    pub quantization: Option<Quantization>,
    /// Share of the value's numbers that are clipped, 0 to 1.
    pub clipped: Option<f64>,
    /// Signal to noise of the weights: what rounding them to i8 costs.
    pub weight_snr: Option<f64>,
    /// Signal to noise of the value if it alone were quantised: what clipping it and rounding it to u8 costs. This is computed
    /// from counts of numbers in 8,192 bins.
    pub value_snr: Option<f64>,
    /// Signal to noise of the value in the int8 network, against the f32 network: all errors up to here.
    /// [`Quantized::measured`](super::Quantized::measured) fills it in.
    pub output_snr: Option<f64>,
}

impl LayerReport {
    /// The least and the largest number that the quantised value can hold.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.quantization.map(limits)
    }

    pub(super) fn measured(&mut self, comparison: &Comparison) {
        self.output_snr = comparison.snr(&self.value);
    }
}

/// Signal to noise in decibels.
pub(super) fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}
