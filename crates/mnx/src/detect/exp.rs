//! The exponential function in f32, for many numbers at once.

/// Below this, e^x is smaller than the smallest normal number, and taken as 0.
const LEAST: f32 = -87.33;
/// Adding and subtracting it rounds to a whole number: 1.5 · 2²³.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts. The first has few bits, so that its product with a whole number is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// e^x for x ≤ 0, with an error of at most two units in the last place. NaN gives NaN.
///
/// There is no branch and no call in it: the compiler makes vector instructions of a loop around it. Its bits are the same
/// on every machine, which the system's `exp` does not promise.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let bounded = if x < LEAST { LEAST } else { x };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = bounded - whole * LN_2[0] - whole * LN_2[1];
    // Cephes' polynomial for |rest| ≤ ln 2 / 2.
    let mut sum = 1.987_569_2e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * (rest * rest) + rest + 1.0;
    // The low bits of `shifted` are the whole number; it goes to the exponent.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < LEAST { 0.0 } else { fraction * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in 0..=2_000_000 {
            let x = LEAST * (i as f32 / 2_000_000.0);
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }

    #[test]
    fn ends() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(-88.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
