//! Weights to i8, biases to i32.

use mnx_tensor::{Error as TensorError, memory};

use super::{ABOVE_ONE, LARGEST_SCALE};
use crate::{Int8Weights, LayerWeights, Quantization};

/// The largest magnitude of a weight.
const LARGEST_WEIGHT: f64 = 127.0;
/// The largest magnitude that a bias is scaled to. The other half of i32 is for the sum of products.
const LARGEST_BIAS: f64 = (1_u32 << 30) as f64;
const LARGEST_SUM: i64 = crate::int8::LARGEST_SUM as i64;

/// What a layer's scales are made of, besides its weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) input: Quantization,
    /// The scale of the output; 1 for logits, which are f32.
    pub(super) output_scale: f32,
}

/// Weights of one layer, symmetric per output channel. `None` if a scale or a factor `s_in · s_w / s_out` would be too large
/// for a weight file.
///
/// A channel's scale is the largest magnitude of its weights divided by 127. If all weights of the layer lie on a grid, as those
/// of a network that was trained for 8 bits do, it is the grid's step, where 127 steps suffice: such weights stay exact.
/// The scale is larger where it must be:
/// - its bias has at most 30 bits, and no sum can overflow 32;
/// - scale and factor are normal numbers. So a channel whose weights are all zero has the smallest scale that is allowed.
///
/// # Errors
/// Where there is no memory for them.
pub(super) fn quantize(weights: &LayerWeights, around: Surroundings) -> Result<Option<Int8Weights>, TensorError> {
    let channels = weights.bias.len();
    let depth = (weights.weight.len() / channels.max(1)).max(1);
    let mut quantized = Int8Weights {
        weight: memory::room(weights.weight.len())?,
        scale: memory::room(channels)?,
        bias: memory::room(channels)?,
    };
    let grid = grid(&weights.weight);
    for (row, &bias) in weights.weight.chunks_exact(depth).zip(&weights.bias) {
        let Some((scale, bias)) = channel(row, bias, grid, around, &mut quantized.weight) else { return Ok(None) };
        quantized.scale.push(scale);
        quantized.bias.push(bias);
    }
    Ok(Some(quantized))
}

/// Appends the weights of one channel, and returns their scale and the bias.
fn channel(
    row: &[f32],
    bias: f32,
    grid: Option<f64>,
    around: Surroundings,
    weights: &mut Vec<i8>,
) -> Option<(f32, i32)> {
    let (s_in, s_out) = (f64::from(around.input.scale), f64::from(around.output_scale));
    let largest = f64::from(row.iter().fold(0.0_f32, |most, weight| most.max(weight.abs())));
    let least = f64::from(f32::MIN_POSITIVE);
    let mut scale = largest / LARGEST_WEIGHT;
    if let Some(step) = grid.filter(|step| (largest / step).round() <= LARGEST_WEIGHT) {
        scale = step;
    }
    scale = scale.max(f64::from(bias).abs() / (s_in * LARGEST_BIAS));
    scale = scale.max(least).max(least * s_out / s_in * ABOVE_ONE);
    let zero = i64::from(around.input.zero_point);
    let reach = zero.max(255 - zero);
    let start = weights.len();
    loop {
        let stored = scale as f32;
        let factor = s_in * f64::from(stored) / s_out;
        let too_large = |number: f64| number > f64::from(LARGEST_SCALE);
        if too_large(stored.into()) || too_large(factor) {
            return None;
        }
        weights.truncate(start);
        weights.extend(row.iter().map(|&weight| rounded(weight.into(), stored.into())));
        let bias = (f64::from(bias) / (s_in * f64::from(stored))).round_ties_even();
        let products: i64 = weights[start..].iter().map(|&weight| i64::from(weight).abs()).sum();
        let sum = (bias.abs() as i64).saturating_add(products.saturating_mul(reach));
        if sum <= LARGEST_SUM {
            return Some((stored, bias as i32));
        }
        // Only layers of many thousand weights a channel come here.
        scale = f64::from(stored) * (sum as f64 / LARGEST_SUM as f64).max(1.0) * ABOVE_ONE;
    }
}

/// The step of the grid on which all weights lie, if there is one.
fn grid(weights: &[f32]) -> Option<f64> {
    /// How far from the grid a weight may be, in steps: far less than what rounding costs otherwise.
    const NEAR: f64 = 0.01;
    let weights = || weights.iter().map(|&weight| f64::from(weight)).filter(|weight| *weight != 0.0);
    // Among many weights some are one step from zero.
    let least = weights().map(f64::abs).reduce(f64::min)?;
    // A float says a small number of steps less exactly than all of them together do.
    let (sum, squares) = weights().fold((0.0, 0.0), |(sum, squares), weight| {
        let steps = (weight / least).round();
        (sum + weight * steps, squares + steps * steps)
    });
    let step = sum / squares;
    let is_near = |weight: f64| (weight / step - (weight / step).round()).abs() < NEAR;
    weights().all(is_near).then_some(step)
}

/// The weight in steps of `scale`, ties to even.
fn rounded(weight: f64, scale: f64) -> i8 {
    (weight / scale).round_ties_even().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) as i8
}

/// The real numbers that an output channel's weights stand for, one per weight.
pub(super) fn real(of: &Int8Weights) -> impl Iterator<Item = f64> {
    let depth = (of.weight.len() / of.scale.len().max(1)).max(1);
    let rows = of.weight.chunks_exact(depth).zip(&of.scale);
    rows.flat_map(|(row, &scale)| row.iter().map(move |&weight| f64::from(weight) * f64::from(scale)))
}

/// Takes what rounding the weights adds to the mean of each output channel off the channel's bias.
///
/// `inputs` are the means of the input channels: a filter reads its own (`per_channel`) or all of them. `shares` are those
/// of the outputs for which each place of the filter lies on the input.
pub(super) fn correct_bias(
    weights: &mut LayerWeights,
    quantized: &Int8Weights,
    per_channel: bool,
    inputs: &[f64],
    shares: &[f64],
) {
    let depth = (weights.weight.len() / weights.bias.len().max(1)).max(1);
    let mut shifts = vec![0.0; weights.bias.len()];
    for (index, (real, &weight)) in real(quantized).zip(&weights.weight).enumerate() {
        let (output, place) = (index / depth, index % depth);
        let input = if per_channel { output } else { place / shares.len() };
        shifts[output] += (real - f64::from(weight)) * inputs[input] * shares[place % shares.len()];
    }
    for (bias, shift) in weights.bias.iter_mut().zip(shifts) {
        *bias = (f64::from(*bias) - shift) as f32;
    }
}

/// Sums of squares of the weights, and of what rounding changes in them.
pub(super) fn signal_and_noise(weights: &LayerWeights, quantized: &Int8Weights) -> (f64, f64) {
    let pairs = weights.weight.iter().zip(real(quantized));
    pairs.fold((0.0, 0.0), |(signal, noise), (&weight, real)| {
        let weight = f64::from(weight);
        (signal + weight * weight, noise + (weight - real) * (weight - real))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(scale: f32, zero_point: u8, output_scale: f32) -> Surroundings {
        Surroundings { input: Quantization { scale, zero_point }, output_scale }
    }

    fn of(rows: &[&[f32]], bias: &[f32]) -> LayerWeights {
        LayerWeights { weight: rows.concat(), bias: bias.to_vec() }
    }

    #[test]
    fn each_channel_has_a_scale_and_ties_go_to_even() {
        let weights = of(&[&[127.0, 0.5, 1.5, -2.5], &[-0.25, 0.125, 0.0, 0.1]], &[3.0, -1.5]);
        let found = quantize(&weights, around(0.5, 0, 1.0)).unwrap().unwrap();
        assert_eq!(found.scale, [1.0, 0.25 / 127.0]);
        assert_eq!(found.weight, [127, 0, 2, -2, -127, 64, 0, 51]);
        assert_eq!(found.bias, [6, (-3.0_f64 / f64::from(0.25_f32 / 127.0)).round_ties_even() as i32]);
    }

    #[test]
    fn weights_on_a_grid_stay_exact() {
        let step = 0.012_345;
        let of_steps = |steps: &[i32]| steps.iter().map(|&n| (f64::from(n) * step) as f32).collect::<Vec<_>>();
        // The second channel has too many steps for i8.
        let rows = [of_steps(&[1, -3, 40, 0]), of_steps(&[200, -1, 7, 100]), of_steps(&[127, -127, 2, 1])];
        let weights = of(&[&rows[0], &rows[1], &rows[2]], &[0.0; 3]);
        let found = quantize(&weights, around(0.5, 0, 1.0)).unwrap().unwrap();
        assert_eq!(found.weight[..4], [1, -3, 40, 0]);
        assert_eq!(found.weight[8..], [127, -127, 2, 1]);
        assert_eq!(found.weight[4..8], [127, -1, 4, 64]);
        assert!((f64::from(found.scale[0]) / step - 1.0).abs() < 1e-7 && found.scale[0] == found.scale[2]);
        // Nearly on a grid is not on it.
        let mut bent = weights.clone();
        bent.weight[2] *= 1.001;
        let found = quantize(&bent, around(0.5, 0, 1.0)).unwrap().unwrap();
        assert_eq!((found.weight[2], found.scale[0]), (127, (f64::from(bent.weight[2]) / 127.0) as f32));
        assert_eq!(grid(&[0.0; 5]), None);
    }

    #[test]
    fn dead_channels_have_scales_that_a_file_may_have() {
        let tiny = f32::from_bits(1);
        let rows: [&[f32]; 4] = [&[0.0; 3], &[0.0; 3], &[tiny, -tiny, 0.0], &[1e-38; 3]];
        for (s_in, s_out) in [(1.0, 1.0), (1e-3, 1e3), (1e3, 1e-3), (1e-18, 1.0), (1e-18, 1e19), (1e18, 1e-18)] {
            let found = quantize(&of(&rows, &[0.0, 2.5, 0.0, -tiny]), around(s_in, 3, s_out)).unwrap().unwrap();
            for &scale in &found.scale {
                let factor = (f64::from(s_in) * f64::from(scale) / f64::from(s_out)) as f32;
                assert!(scale >= f32::MIN_POSITIVE && factor >= f32::MIN_POSITIVE, "{scale:e} {factor:e}");
                assert!(scale <= LARGEST_SCALE && factor <= LARGEST_SCALE, "{scale:e} {factor:e}");
            }
            assert_eq!((found.weight[0], found.bias[0]), (0, 0));
            let bias = f64::from(s_in) * f64::from(found.scale[1]) * f64::from(found.bias[1]);
            assert!((bias - 2.5).abs() < 2.5e-6 || found.scale[1] > 1.0, "{bias}");
        }
    }

    #[test]
    fn what_is_too_large_for_a_file_is_refused() {
        assert!(quantize(&of(&[&[f32::MAX]], &[0.0]), around(1.0, 0, 1.0)).unwrap().is_none());
        assert!(quantize(&of(&[&[1e3]], &[0.0]), around(1e19, 0, 1.0)).unwrap().is_none());
        assert!(quantize(&of(&[&[1.0]], &[f32::MAX]), around(f32::MIN_POSITIVE, 0, 1.0)).unwrap().is_none());
    }

    #[test]
    fn no_sum_can_overflow() {
        // The bias takes 30 bits, and 70,000 products of 127 and 255 more than the rest.
        let row = vec![1.0; 70_000];
        for (zero, bias) in [(0, 1e9), (128, 1e9), (0, 0.0), (255, -1e9), (0, 7e6)] {
            let found = quantize(&of(&[&row], &[bias]), around(1.0, zero, 1.0)).unwrap().unwrap();
            let products: i64 = found.weight.iter().map(|&w| i64::from(w)).sum();
            let sum = i64::from(found.bias[0]).abs() + products * i64::from(zero.max(255 - zero));
            assert!(sum <= LARGEST_SUM, "{sum}");
            let real = f64::from(found.scale[0]) * f64::from(found.bias[0]);
            assert!((real - f64::from(bias)).abs() <= f64::from(bias).abs() * 1e-3 + 0.01, "{real} {bias}");
        }
    }

    #[test]
    fn corrected_biases_keep_the_mean() {
        let weights = of(&[&[0.9, 127.0], &[0.3, -12.7]], &[1.0, -1.0]);
        let quantized = quantize(&weights, around(1.0, 0, 1.0)).unwrap().unwrap();
        let mut corrected = weights.clone();
        correct_bias(&mut corrected, &quantized, false, &[10.0, 2.0], &[1.0]);
        // 0.9 became 1, which adds 0.1 times the mean of the first input.
        assert!((corrected.bias[0] - 0.0).abs() < 1e-5, "{:?}", corrected.bias);
        let mean = |weights: &[f64], bias: f32| weights[0] * 10.0 + weights[1] * 2.0 + f64::from(bias);
        let exact = mean(&[f64::from(0.3_f32), f64::from(-12.7_f32)], -1.0);
        let real: Vec<f64> = real(&quantized).collect();
        assert!((mean(&real[2..], corrected.bias[1]) - exact).abs() < 1e-5);
    }

    #[test]
    fn depthwise_filters_read_their_own_channel() {
        let row = |first: f32| [first, 0.0, 0.0, 0.0, 127.0, 0.0, 0.0, 0.0, 0.0];
        let weights = of(&[&row(0.25), &row(0.75)], &[0.0, 0.0]);
        let quantized = quantize(&weights, around(1.0, 0, 1.0)).unwrap().unwrap();
        let mut corrected = weights.clone();
        let mut shares = [1.0; 9];
        shares[0] = 0.5;
        correct_bias(&mut corrected, &quantized, true, &[8.0, 4.0], &shares);
        assert_eq!(corrected.bias, [0.25 * 8.0 * 0.5, -0.25 * 4.0 * 0.5]);
    }
}
