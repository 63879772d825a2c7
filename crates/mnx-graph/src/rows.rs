//! Between the planes of a detector's head, in which the channels of a pixel lie apart, and rows, in which they follow each other.

use mnx_tensor::Blocking;
use mnx_tensor::part::{Planes, Span};

/// Copies some pixels of `blocks` blocks of a head's `channels` f32 channels. In the output all channels of a pixel follow each
/// other, and pixels follow each other row by row; `output` is where pixel 0 begins. Channels being prior by prior, this makes
/// rows in the order row, column, prior in the cell.
///
/// # Safety
/// `src` is readable for these pixels of these blocks, `output` is writable for these pixels, and the two do not overlap.
pub(crate) unsafe fn write(src: Planes, output: *mut f32, channels: usize, pixels: Span, blocks: Span) {
    const LANES: usize = Blocking::F32.lanes;
    /// Pixels whose rows stay in the L1 cache while block after block is written to them.
    const AT_ONCE: usize = 16;
    for start in (pixels.start..pixels.end).step_by(AT_ONCE) {
        let some = start..pixels.end.min(start + AT_ONCE);
        for block in blocks.start..blocks.end {
            let (first, plane) = (block * LANES, src.block::<f32>(block));
            // Lanes past the last channel are no numbers of the output.
            let count = LANES.min(channels - first);
            for pixel in some.clone() {
                let from = plane.wrapping_add(pixel * LANES);
                let to = output.wrapping_add(pixel * channels + first);
                // SAFETY: the caller's promise.
                unsafe {
                    // A constant number of them needs no call.
                    match count {
                        LANES => std::ptr::copy_nonoverlapping(from, to, LANES),
                        _ => std::ptr::copy_nonoverlapping(from, to, count),
                    }
                }
            }
        }
    }
}

/// Copies all `blocks` blocks of u8 channels of some pixels: one pixel after the other to `to`.
///
/// # Safety
/// `src` is readable for these pixels, `to` is writable for as many, and the two do not overlap.
pub(crate) unsafe fn gather(src: Planes, pixels: Span, blocks: usize, to: *mut u8) {
    let lanes = Blocking::U8.lanes;
    for block in 0..blocks {
        let plane = src.block::<u8>(block);
        for (row, pixel) in (pixels.start..pixels.end).enumerate() {
            let from = plane.wrapping_add(pixel * lanes);
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(from, to.wrapping_add((row * blocks + block) * lanes), lanes) };
        }
    }
}
