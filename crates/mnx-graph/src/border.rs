//! Between f32 and u8: what int8 layers read of f32 layers, and the other way round.

use mnx_tensor::part::{Planes, PlanesMut, Span};
use mnx_tensor::{BlockedShape, Blocking};

use crate::Quantization;
use crate::int8::{dequantize as real, quantize as byte};

/// Some pixels of `blocks` blocks of f32 as u8. `blocks` are those of the output, which has `channels` channels. Lanes past the
/// last channel get the zero point.
///
/// # Safety
/// `src` is readable and `dst` writable for these pixels of all channels in these blocks, and the two do not overlap.
pub(crate) unsafe fn quantize(
    src: Planes,
    dst: PlanesMut,
    channels: usize,
    quantization: Quantization,
    pixels: Span,
    blocks: Span,
) {
    let lanes = Blocking::U8.lanes;
    for (block, pixel) in places(blocks, pixels) {
        let to = dst.block::<u8>(block).wrapping_add(pixel * lanes);
        for lane in 0..lanes {
            let channel = block * lanes + lane;
            // SAFETY: the caller's promise.
            unsafe {
                *to.add(lane) = if channel < channels {
                    byte(*at::<f32>(src, Blocking::F32, channel, pixel), quantization)
                } else {
                    quantization.zero_point
                };
            }
        }
    }
}

/// Some pixels of `blocks` blocks of u8 as f32. `blocks` are those of the output, which has `channels` channels. Lanes past the
/// last channel become zero.
///
/// # Safety
/// As for [`quantize`].
pub(crate) unsafe fn dequantize(
    src: Planes,
    dst: PlanesMut,
    channels: usize,
    quantization: Quantization,
    pixels: Span,
    blocks: Span,
) {
    let lanes = Blocking::F32.lanes;
    for (block, pixel) in places(blocks, pixels) {
        let to = dst.block::<f32>(block).wrapping_add(pixel * lanes);
        for lane in 0..lanes {
            let channel = block * lanes + lane;
            // SAFETY: the caller's promise.
            unsafe {
                *to.add(lane) = if channel < channels {
                    real(*at::<u8>(src, Blocking::U8, channel, pixel), quantization)
                } else {
                    0.0
                };
            }
        }
    }
}

/// NCHW values of one picture of blocked u8.
///
/// # Panics
/// When a slice is shorter than the shape asks for.
pub(crate) fn unblock(shape: &BlockedShape, blocked: &[u8], quantization: Quantization, nchw: &mut [f32]) {
    let (pixels, lanes) = (shape.height * shape.width, shape.blocking.lanes);
    for channel in 0..shape.channels {
        let plane = &blocked[channel / lanes * shape.plane..];
        for pixel in 0..pixels {
            nchw[channel * pixels + pixel] = real(plane[pixel * lanes + channel % lanes], quantization);
        }
    }
}

fn places(blocks: Span, pixels: Span) -> impl Iterator<Item = (usize, usize)> {
    (blocks.start..blocks.end).flat_map(move |block| (pixels.start..pixels.end).map(move |pixel| (block, pixel)))
}

/// Where a channel of a pixel lies.
fn at<T>(planes: Planes, blocking: Blocking, channel: usize, pixel: usize) -> *const T {
    planes.block::<T>(channel / blocking.lanes).wrapping_add(pixel * blocking.lanes + channel % blocking.lanes)
}
