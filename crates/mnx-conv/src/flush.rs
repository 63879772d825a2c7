//! Values that are almost zero, made zero.

/// Weights and biases nearer to zero than this, 2⁻⁴⁰, are [flushed](flush()).
///
/// Channels whose scale and shift decay away leave values down to the denormals. No sum can tell them from zero, and a
/// CPU takes a hundred times as long for a product or sum that is denormal. It is not enough that the values
/// themselves are normal: a network multiplies them. Where channels are not mixed, three layers follow each other
/// (an expansion's output and two depthwise layers), and the next weight is a fourth factor. The smallest channel that is kept
/// has a value of [`LEAST_CHANNEL`], and 2⁻²⁸ · 2⁻²⁸ · 2⁻²⁸ · 2⁻⁴⁰ = 2⁻¹²⁴ is a normal number still.
///
/// Networks without such channels do not notice: among a million weights of ordinary size, about 0.1, one is so small by chance in
/// fewer than 1 of 100,000 networks.
pub const LEAST_VALUE: f64 = 1.0 / (1_u64 << 40) as f64;

/// Where neither a weight nor the bias of an output channel is as large as this, 2⁻²⁸, all of them are [flushed](flush()).
///
/// Batch norms make activations of about 1, and an f32 sum of that size rounds off what is below 2⁻²⁴: such a channel is lost in the
/// next layer's sums. See [`LEAST_VALUE`] for what such channels cost.
pub const LEAST_CHANNEL: f64 = 1.0 / (1_u64 << 28) as f64;

/// Makes +0 of every value below [`LEAST_VALUE`] in magnitude, and of all values of every output channel that stays below
/// [`LEAST_CHANNEL`]; says how many there were. What is zero already stays as it is and does not count.
///
/// `weight` is `[Cout][…]` in row-major order, `bias` has Cout values. An output changes by less than 2⁻²⁸ for each of
/// its inputs of size 1. Only inputs that are infinite show a difference: times zero they are NaN.
///
/// ```
/// // Three channels of two weights: one is dead, one is only a constant, one has a small and a tiny weight.
/// let mut weight = [1e-10_f32, -1e-12, 1e-39, 0.0, 0.5, 1e-10];
/// let mut bias = [1e-39_f32, 0.25, -1e-20];
/// assert_eq!(mnx_conv::flush(&mut weight, &mut bias), 5);
/// assert_eq!((weight, bias), ([0.0, 0.0, 0.0, 0.0, 0.5, 1e-10], [0.0, 0.25, 0.0]));
/// ```
pub fn flush<T: Copy + Default + Into<f64>>(weight: &mut [T], bias: &mut [T]) -> usize {
    let depth = (weight.len() / bias.len().max(1)).max(1);
    let mut flushed = 0;
    for (row, bias) in weight.chunks_exact_mut(depth).zip(bias) {
        let magnitude = |value: T| value.into().abs();
        let channel = row.iter().fold(magnitude(*bias), |most, &v| most.max(magnitude(v)));
        let least = if channel < LEAST_CHANNEL { LEAST_CHANNEL } else { LEAST_VALUE };
        let is_tiny = |value: T| magnitude(value) > 0.0 && magnitude(value) < least;
        for value in row.iter_mut().chain([bias]).filter(|value| is_tiny(**value)) {
            *value = T::default();
            flushed += 1;
        }
    }
    flushed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where three layers pass a channel on unmixed and the next has the least weight, every product is normal.
    #[test]
    fn products_of_what_is_kept_are_normal() {
        let (least, most) = (f64::from(f32::MIN_POSITIVE), f64::from(f32::MIN_POSITIVE) * 8.0);
        assert!((least..most).contains(&(LEAST_CHANNEL.powi(3) * LEAST_VALUE)));
        // Both are exact in f32, so that rounding brings nothing below them.
        assert!([LEAST_VALUE, LEAST_CHANNEL].iter().all(|&v| f64::from(v as f32) == v));
    }

    #[test]
    fn limits_are_exact_and_channels_stand_alone() {
        let below = |v: f64| f32::from_bits((v as f32).to_bits() - 1);
        let (value, channel) = (LEAST_VALUE as f32, LEAST_CHANNEL as f32);
        let flushed = |weight: &[f32], bias: &[f32]| {
            let (mut weight, mut bias) = (weight.to_vec(), bias.to_vec());
            let count = flush(&mut weight, &mut bias);
            (weight, bias, count)
        };
        // A channel that one value keeps, weight or bias, and the least values in it.
        assert_eq!(flushed(&[-channel, value], &[0.0]), (vec![-channel, value], vec![0.0], 0));
        assert_eq!(flushed(&[-value, below(LEAST_VALUE)], &[channel]), (vec![-value, 0.0], vec![channel], 1));
        assert_eq!(flushed(&[below(LEAST_CHANNEL); 2], &[below(LEAST_CHANNEL)]), (vec![0.0; 2], vec![0.0], 3));
        // Each by itself, zeros not counted, also where there is nothing.
        assert_eq!(flushed(&[1.0, 1e-9, 1e-45], &[0.0, 0.0, 0.5]), (vec![1.0, 0.0, 0.0], vec![0.0, 0.0, 0.5], 2));
        assert_eq!(flushed(&[], &[]), (vec![], vec![], 0));
        assert_eq!(flush(&mut [5e-324], &mut [1.0]), 1);
        // No sign is left of what was flushed.
        assert_eq!(flushed(&[-1e-20], &[1.0]).0[0].to_bits(), 0);
    }
}
