//! The picture that an int8 network reads, from the caller's f32.

use crate::int8::form::GROUP;
use crate::simd::dot::{Dot, MAGIC};
use crate::{Operands, Part};

/// Pixels that are computed together: the compiler turns loops over so many into vectors.
const STRIP: usize = 64;

/// One value: `clamp(round_half_even(x / scale) + zero)`; NaN becomes the zero point.
#[inline(always)]
fn quantized(x: f32, scale: f32, zero: f32) -> u8 {
    let t = x / scale;
    let t = if t.is_nan() { 0.0 } else { t };
    // Bounds that are integers may come before the rounding.
    let raised = if t < -zero { -zero } else { t };
    let clamped = if raised > 255.0 - zero { 255.0 - zero } else { raised };
    let rounded = ((clamped + MAGIC) - MAGIC) + zero;
    // SAFETY: it is an integer from 0 to 255.
    unsafe { rounded.to_int_unchecked::<i32>() as u8 }
}

/// Kernel `quantize`: pixels of up to four planes side by side. Channels that are not there get the zero point.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn quantize<S: Dot>(_s: S, layer: &Operands<'_>, part: &Part) {
    let (scale, zero) = (layer.int8.requantize.scales.1, layer.int8.requantize.zero_out);
    for b in part.channels.start..part.channels.end {
        let channels = (layer.cin - b * GROUP).min(GROUP);
        let mut start = part.pixels.start;
        while start < part.pixels.end {
            let count = (part.pixels.end - start).min(STRIP);
            let mut bytes = [[zero; STRIP]; GROUP];
            for (c, bytes) in bytes.iter_mut().enumerate().take(channels) {
                let from = part.src.block::<f32>(b * GROUP + c).wrapping_add(start);
                let mut values = [0.0_f32; STRIP];
                // SAFETY: the pixels are readable by the caller's promise.
                unsafe { std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), count) }
                for (byte, &value) in bytes.iter_mut().zip(&values) {
                    *byte = quantized(value, scale, f32::from(zero));
                }
            }
            let [first, second, third, fourth] = bytes;
            let mut pixels = [[0; GROUP]; STRIP];
            for (i, pixel) in pixels.iter_mut().enumerate() {
                *pixel = [first[i], second[i], third[i], fourth[i]];
            }
            let to = part.dst.block::<[u8; GROUP]>(b).wrapping_add(start);
            // SAFETY: the pixels are writable by the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(pixels.as_ptr(), to, count) }
            start += count;
        }
    }
}
