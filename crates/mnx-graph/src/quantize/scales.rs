//! Scale and zero point of every value.

use super::calibration::Calibration;
use super::flow::Flow;
use super::range::{Method, input_quantization, quantization, range};
use super::{ABOVE_ONE, LARGEST_SCALE};
use crate::{Error, Quantization, QuantizeError};

/// What a value has that is always zero.
pub(super) const ALWAYS_ZERO: Quantization = Quantization { scale: 1.0, zero_point: 0 };

/// Of each value of a [`Flow`], if it is u8.
pub(super) struct Scales {
    values: Vec<Option<Quantization>>,
}

impl Scales {
    /// Chooses them for a network in which some layers are `kept` f32. A picture has at most `pixels` pixels.
    ///
    /// # Errors
    /// [`QuantizeError::TooLarge`] for a value that no scale is large enough for.
    pub(super) fn choose(
        flow: &Flow,
        calibration: &Calibration,
        method: Method,
        kept: &[bool],
        pixels: usize,
    ) -> Result<Scales, Error> {
        let mut values = vec![None; flow.values.len()];
        for (value, quantized) in quantized(flow, kept).into_iter().enumerate() {
            if quantized {
                let seen = calibration.value(value);
                let chosen = match value {
                    0 => input_quantization(seen, method),
                    _ => quantization(range(seen, method)),
                };
                values[value] = Some(chosen.ok_or_else(|| too_large(flow, value))?);
            }
        }
        let mut scales = Scales { values };
        scales.settle(&ratios(flow, kept, pixels));
        // A max pool's output has the scale of its input.
        for (value, of) in flow.values.iter().enumerate() {
            scales.values[value] = scales.values[of.scale_of];
        }
        Ok(scales)
    }

    /// Scale and zero point of a value; `None` if it is f32.
    pub(super) fn get(&self, value: usize) -> Option<Quantization> {
        self.values[value]
    }

    /// Raises scales where one is so small beside another that their ratio could not be stored. This happens only to values
    /// that are nothing beside others. A range that grows still contains what it did.
    fn settle(&mut self, ratios: &[Ratio]) {
        for _ in 0..ratios.len() {
            let mut settled = true;
            for &Ratio { from, to, divisor } in ratios {
                let (Some(source), Some(target)) = (self.values[from], self.values[to]) else { continue };
                let least = [f64::from(target.scale) * divisor * f64::from(f32::MIN_POSITIVE), {
                    f64::from(source.scale) / f64::from(LARGEST_SCALE)
                }];
                for (value, least) in [(from, least[0]), (to, least[1])] {
                    if let Some(of) = self.values[value].as_mut().filter(|of| f64::from(of.scale) < least) {
                        of.scale = (least * ABOVE_ONE) as f32;
                        settled = false;
                    }
                }
            }
            if settled {
                return;
            }
        }
    }
}

/// Two values whose scales' ratio becomes a factor.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    from: usize,
    to: usize,
    /// At most how much smaller the factor is than the ratio.
    divisor: f64,
}

/// Shortcuts of int8 layers, and the average pool between int8 layers.
fn ratios(flow: &Flow, kept: &[bool], pixels: usize) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for (layer, _) in flow.layers.iter().zip(kept).filter(|(_, kept)| !**kept) {
        if let Some(shortcut) = layer.shortcut {
            ratios.push(Ratio { from: flow.values[shortcut].scale_of, to: layer.output, divisor: 1.0 });
        }
    }
    if let Some([before, classifier]) = flow.layers.last_chunk().filter(|_| flow.outputs == 1) {
        ratios.push(Ratio { from: before.output, to: classifier.input, divisor: pixels as f64 });
    }
    ratios
}

/// Which values are u8: those that an int8 layer makes or reads, except the outputs, as in a weight file. A max pool's output
/// counts for its input.
fn quantized(flow: &Flow, kept: &[bool]) -> Vec<bool> {
    let mut quantized = vec![false; flow.values.len()];
    for (layer, _) in flow.layers.iter().zip(kept).filter(|(_, kept)| !**kept) {
        for value in [Some(layer.input), Some(layer.output), layer.shortcut].into_iter().flatten() {
            quantized[flow.values[value].scale_of] = true;
        }
    }
    quantized.iter_mut().rev().take(flow.outputs).for_each(|output| *output = false);
    quantized
}

fn too_large(flow: &Flow, value: usize) -> Error {
    QuantizeError::TooLarge { what: format!("the value {}", flow.values[value].name) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_that_no_file_may_have_are_avoided() {
        let of = |scale| Some(Quantization { scale, zero_point: 7 });
        let mut scales = Scales { values: vec![of(f32::MIN_POSITIVE), of(3.0), of(1e-25), of(1.0), None] };
        let pair = |from, to, divisor| Ratio { from, to, divisor };
        let pairs = [pair(0, 1, 1.0), pair(3, 2, 1.0), pair(0, 3, 50_000.0), pair(4, 1, 1.0)];
        scales.settle(&pairs);
        for Ratio { from, to, divisor } in pairs.into_iter().take(3) {
            let factor = f64::from(scales.get(from).unwrap().scale) / f64::from(scales.get(to).unwrap().scale);
            assert!((factor / divisor) as f32 >= f32::MIN_POSITIVE && factor as f32 <= LARGEST_SCALE, "{factor:e}");
        }
        assert_eq!(scales.get(1), of(3.0));
        assert_eq!(scales.get(4), None);
    }
}
