//! Global average pool: adds the pixels of each row from left to right, then the rows' sums from top to bottom, then
//! multiplies once by 1/(H·W).

use crate::simd::Simd;
use crate::{Operands, Part};

/// Kernel `pool`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn pool<S: Simd>(s: S, _layer: &Operands<'_>, part: &Part) {
    let (height, width) = (part.geometry.height, part.geometry.width);
    let scale = s.splat8(1.0 / (height * width) as f32);
    for b in part.channels.start..part.channels.end {
        let mut from = part.src.block::<f32>(b);
        let mut total = s.splat8(0.0);
        for _ in 0..height {
            let mut sum = s.splat8(0.0);
            for _ in 0..width {
                // SAFETY: the pixel is inside block `b`.
                sum = s.add8(sum, unsafe { s.load8(from) });
                from = from.wrapping_add(8);
            }
            total = s.add8(total, sum);
        }
        // SAFETY: whole blocks are writable at `dst`.
        unsafe { s.store8(part.dst.block(b), s.mul8(total, scale)) }
    }
}
