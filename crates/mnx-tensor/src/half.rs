//! Floating-point numbers of 16 bits, as which weights may be stored.
//!
//! Widening is exact. Narrowing rounds once, to the nearest number and of two equally near ones to the even one; what is too
//! large becomes infinite.
//!
//! ```
//! use mnx_tensor::half;
//!
//! let third = 1.0 / 3.0;
//! assert_eq!(half::f16_to_f32(half::f32_to_f16(third)), 0.33325195);
//! assert_eq!(half::bf16_to_f32(half::f32_to_bf16(third)), 0.33398438);
//! assert_eq!(half::f16_to_f32(half::f32_to_f16(65_520.0)), f32::INFINITY);
//! ```

/// Bits of an f32 below those of an f16's fraction.
const DROPPED: u32 = 23 - 10;
/// What an f32's exponent has more than an f16's, 127 − 15, in its place in an f32.
const REBIAS: u32 = (127 - 15) << 23;
/// An f16's infinity.
const F16_INFINITY: u16 = 0x7c00;

/// IEEE 754 binary16, a sign, 5 bits of exponent and 10 of fraction, as f32.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let (exponent, fraction) = (bits & F16_INFINITY, bits & 0x3ff);
    let moved = u32::from(bits & 0x7fff) << DROPPED;
    let magnitude = match exponent {
        // Multiples of 2⁻²⁴.
        0 => (f32::from(fraction) / 16_777_216.0).to_bits(),
        F16_INFINITY => moved + 2 * REBIAS,
        _ => moved + REBIAS,
    };
    f32::from_bits(u32::from(bits & 0x8000) << 16 | magnitude)
}

/// bfloat16, the upper half of an f32, as f32.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest f16. Magnitudes below 2⁻¹⁴ become multiples of 2⁻²⁴, from 65,520 on they become infinite; NaN stays NaN.
pub fn f32_to_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.abs();
    let nearest = if magnitude.is_nan() {
        F16_INFINITY | 0x200
    } else if magnitude < 1.0 / 16_384.0 {
        // Floats from 0.5 to 1 are multiples of 2⁻²⁴, so the addition rounds as is wanted.
        ((magnitude + 0.5).to_bits() - 0.5_f32.to_bits()) as u16
    } else {
        let rounded = round(magnitude.to_bits(), DROPPED) - (REBIAS >> DROPPED);
        rounded.min(F16_INFINITY.into()) as u16
    };
    sign | nearest
}

/// The nearest bf16. It has f32's exponents, so only the last few magnitudes of f32 become infinite; NaN stays NaN.
pub fn f32_to_bf16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let nearest = if value.is_nan() { 0x7fc0 } else { round(value.abs().to_bits(), 16) as u16 };
    sign | nearest
}

/// `bits` without the last `dropped` of them, to the nearest, ties to even.
fn round(bits: u32, dropped: u32) -> u32 {
    let just_below_half = (1 << (dropped - 1)) - 1;
    (bits + just_below_half + (bits >> dropped & 1)) >> dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two to this power. `powi` need not be exact, and under Miri it is not.
    fn two_to(power: i32) -> f64 {
        f64::from_bits(((1023 + power) as u64) << 52)
    }

    /// By the definition, in f64, which holds everything exactly.
    fn defined(bits: u16, exponent_bits: u32) -> f64 {
        let fraction_bits = 15 - exponent_bits;
        let (steps, one) = (f64::from(bits & ((1 << fraction_bits) - 1)), f64::from(1 << fraction_bits));
        let (exponent, most) = (i32::from(bits & 0x7fff) >> fraction_bits, (1 << exponent_bits) - 1);
        let bias = most / 2;
        let magnitude = match exponent {
            0 => steps / one * two_to(1 - bias),
            found if found == most => return if steps == 0.0 { f64::INFINITY } else { f64::NAN },
            _ => (1.0 + steps / one) * two_to(exponent - bias),
        };
        if bits >> 15 == 0 { magnitude } else { -magnitude }
    }

    type Of = (fn(u16) -> f32, fn(f32) -> u16, u32, u16);
    const ALL: [Of; 2] = [(f16_to_f32, f32_to_f16, 5, F16_INFINITY), (bf16_to_f32, f32_to_bf16, 8, 0x7f80)];

    #[test]
    fn every_number_is_what_its_bits_say_and_comes_back() {
        for (widen, narrow, exponent_bits, infinity) in ALL {
            for bits in 0..=u16::MAX {
                let wide = widen(bits);
                if bits & 0x7fff > infinity {
                    assert!(wide.is_nan() && widen(narrow(wide)).is_nan(), "{bits:#06x}");
                    continue;
                }
                if bits & 0x7fff < infinity {
                    assert_eq!(f64::from(wide), defined(bits, exponent_bits), "{bits:#06x}");
                }
                assert_eq!(wide.is_sign_negative(), bits >> 15 == 1, "{bits:#06x}");
                assert_eq!(wide.is_infinite(), bits & 0x7fff == infinity, "{bits:#06x}");
                assert_eq!(narrow(wide), bits, "{bits:#06x}");
            }
        }
    }

    /// Between two neighbours: the middle goes to the even one, everything else to the nearer. Above the last number the
    /// middle to where the next would be is infinite.
    #[test]
    fn narrowing_takes_the_nearest_and_of_two_the_even_one() {
        for (widen, narrow, exponent_bits, infinity) in ALL {
            for low in 0..infinity {
                let from = defined(low, exponent_bits);
                let step = if low + 1 < infinity {
                    defined(low + 1, exponent_bits) - from
                } else {
                    from - defined(low - 1, exponent_bits)
                };
                let middle = (from + step / 2.0) as f32;
                let even = if low % 2 == 0 { low } else { low + 1 };
                for (value, expected) in [
                    (f32::from_bits(middle.to_bits().saturating_sub(1)), low),
                    (middle, even),
                    (f32::from_bits(middle.to_bits() + 1), low + 1),
                ] {
                    assert_eq!(narrow(value), expected, "{value:e}");
                    assert_eq!(narrow(-value), expected | 0x8000, "{value:e}");
                }
                assert_eq!(widen(narrow(middle)), widen(even), "{middle:e}");
            }
            for value in [f32::INFINITY, f32::MAX] {
                assert_eq!((narrow(value), narrow(-value)), (infinity, infinity | 0x8000));
            }
        }
    }
}
