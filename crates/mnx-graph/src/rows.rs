//! From a head's planes to the rows of a detector's output.

use mnx_tensor::Blocking;
use mnx_tensor::part::{Planes, Span};

/// Copies some pixels of `blocks` blocks of a head's `channels` f32 channels. In the output all channels of a pixel follow each
/// other, and pixels follow each other row by row; `output` is where pixel 0 begins. Channels being prior by prior, this makes
/// rows in the order row, column, prior in the cell.
///
/// # Safety
/// `src` is readable for these pixels of these blocks, `output` is writable for these pixels, and the two do not overlap.
pub(crate) unsafe fn write(src: Planes, output: *mut f32, channels: usize, pixels: Span, blocks: Span) {
    let lanes = Blocking::F32.lanes;
    for block in blocks.start..blocks.end {
        let first = block * lanes;
        let plane = src.block::<f32>(block);
        // Lanes past the last channel are no numbers of the output.
        let count = lanes.min(channels - first);
        for pixel in pixels.start..pixels.end {
            let from = plane.wrapping_add(pixel * lanes);
            let to = output.wrapping_add(pixel * channels + first);
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(from, to, count) };
        }
    }
}
