//! The picture that an int8 network reads, from the caller's f32.

use crate::int8::GROUP;
use crate::simd::dot::Dot;
use crate::{Layer, Part};

/// `x + MAGIC − MAGIC` is `x` rounded half to even, for every x between −2²² and 2²².
const MAGIC: f32 = 12_582_912.0;

/// One value: `clamp(round_half_even(x / scale) + zero)`; NaN becomes the zero point.
#[inline(always)]
pub(crate) fn quantized(x: f32, scale: f32, zero: u8) -> u8 {
    let zero = f32::from(zero);
    let t = x / scale;
    let t = if t.is_nan() { 0.0 } else { t };
    // Bounds that are integers may come before the rounding.
    let raised = if t < -zero { -zero } else { t };
    let clamped = if raised > 255.0 - zero { 255.0 - zero } else { raised };
    (((clamped + MAGIC) - MAGIC) + zero) as i32 as u8
}

/// Kernel `quantize`: pixels of up to four planes side by side. Channels that are not there get the zero point.
///
/// # Safety
/// As [`Layer::run`].
#[inline(always)]
pub(crate) unsafe fn quantize<S: Dot>(_s: S, layer: &Layer<'_>, part: &Part) {
    const STRIP: usize = 64;
    let (scale, zero) = (layer.int8.requantize.scales.1, layer.int8.requantize.zero_out);
    for b in part.channels.start..part.channels.end {
        let channels = (layer.cin - b * GROUP).min(GROUP);
        let mut start = part.pixels.start;
        while start < part.pixels.end {
            let count = (part.pixels.end - start).min(STRIP);
            let mut bytes = [[zero; STRIP]; GROUP];
            for (c, bytes) in bytes.iter_mut().enumerate().take(channels) {
                let from = part.src.block::<f32>(b * GROUP + c).wrapping_add(start);
                for (i, byte) in bytes.iter_mut().enumerate().take(count) {
                    // SAFETY: the pixels are readable by the caller's promise.
                    *byte = quantized(unsafe { from.wrapping_add(i).read() }, scale, zero);
                }
            }
            let to = part.dst.block::<[u8; GROUP]>(b).wrapping_add(start);
            for i in 0..count {
                // SAFETY: the pixels are writable by the caller's promise.
                unsafe { to.wrapping_add(i).write([bytes[0][i], bytes[1][i], bytes[2][i], bytes[3][i]]) }
            }
            start += count;
        }
    }
}
