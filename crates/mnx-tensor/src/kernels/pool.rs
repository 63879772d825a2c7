//! Global average pool: each row's pixels are added from left to right, then the rows' sums from the
//! top, then comes one multiplication by 1/(H·W).

use crate::args::Pool;
use crate::simd::Simd;

/// Kernel `pool`.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn pool<S: Simd>(s: S, a: &Pool) {
    let scale = s.splat8(1.0 / (a.height * a.width) as f32);
    for b in a.blocks.start..a.blocks.end {
        let mut from = a.src.ptr.wrapping_add(b * a.src.stride);
        let mut total = s.splat8(0.0);
        for _ in 0..a.height {
            let mut sum = s.splat8(0.0);
            for _ in 0..a.width {
                // SAFETY: the pixel is inside block `b`.
                sum = s.add8(sum, unsafe { s.load8(from) });
                from = from.wrapping_add(8);
            }
            total = s.add8(total, sum);
        }
        // SAFETY: whole blocks are writable at `dst`.
        unsafe { s.store8(a.dst.add(b * 8), s.mul8(total, scale)) }
    }
}
