//! Dense 3x3 convolution of a planar (NCHW) input: a network's stem, where the layout becomes channel-blocked.
//!
//! ```text
//! for each output row:
//!   copy its three input rows of every channel, zero-padded      so that the loop below knows no edges
//!   for each tile of up to MAX output pixels, for each panel:
//!     for each input channel, row, column: sums += input · panel
//! ```

use super::balanced;
use super::epilogue::Panels;
use crate::args::{Dense, Geometry};
use crate::simd::Simd;

/// Kernels `dense3x3s1` and `dense3x3s2`: tiles of up to `MAX` pixels (at most 12) times one panel.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn dense3x3<S: Simd, const STRIDE: usize, const MAX: usize>(s: S, a: &Dense) {
    for y in a.rows.start..a.rows.end {
        // SAFETY: the caller's promise.
        unsafe {
            copy_rows::<STRIDE>(a, y);
            for (x, count) in balanced::<MAX>((0..a.geometry.out_width).into()) {
                for panel in 0..a.cout.div_ceil(16) {
                    match count {
                        1 => tile::<S, STRIDE, 1>(s, a, y, x, panel),
                        2 => tile::<S, STRIDE, 2>(s, a, y, x, panel),
                        3 => tile::<S, STRIDE, 3>(s, a, y, x, panel),
                        4 => tile::<S, STRIDE, 4>(s, a, y, x, panel),
                        5 if MAX >= 5 => tile::<S, STRIDE, 5>(s, a, y, x, panel),
                        6 if MAX >= 6 => tile::<S, STRIDE, 6>(s, a, y, x, panel),
                        7 if MAX >= 7 => tile::<S, STRIDE, 7>(s, a, y, x, panel),
                        8 if MAX >= 8 => tile::<S, STRIDE, 8>(s, a, y, x, panel),
                        9 if MAX >= 9 => tile::<S, STRIDE, 9>(s, a, y, x, panel),
                        10 if MAX >= 10 => tile::<S, STRIDE, 10>(s, a, y, x, panel),
                        11 if MAX >= 11 => tile::<S, STRIDE, 11>(s, a, y, x, panel),
                        _ => tile::<S, STRIDE, MAX>(s, a, y, x, panel),
                    }
                }
            }
        }
    }
}

/// The three input rows of output row `y`, of every channel, padded on all sides.
#[inline(always)]
unsafe fn copy_rows<const STRIDE: usize>(a: &Dense, y: usize) {
    let Geometry { height, width, out_width, pad_top, pad_left, .. } = a.geometry;
    let len = Dense::scratch_row(out_width, STRIDE);
    let columns = width.min(len - pad_left);
    for channel in 0..a.cin {
        for k in 0..3 {
            let row = y * STRIDE + k;
            // SAFETY: scratch holds 3·cin rows of `len`; the input row is copied only if it is inside.
            unsafe {
                let to = a.scratch.add((channel * 3 + k) * len);
                std::ptr::write_bytes(to, 0, len);
                if row >= pad_top && row < height + pad_top {
                    let from = a.src.add((channel * height + row - pad_top) * width);
                    std::ptr::copy_nonoverlapping(from, to.add(pad_left), columns);
                }
            }
        }
    }
}

/// `PIXELS` output pixels of row `y` from column `x` on, times one panel.
#[inline(always)]
unsafe fn tile<S: Simd, const STRIDE: usize, const PIXELS: usize>(s: S, a: &Dense, y: usize, x: usize, panel: usize) {
    let len = Dense::scratch_row(a.geometry.out_width, STRIDE);
    // SAFETY: the row copies reach two columns past the last output pixel's first tap.
    unsafe {
        let mut w = a.weights.add(panel * a.cin * 9 * 16);
        let mut sums = [s.load16(a.bias.add(panel * 16)); PIXELS];
        let mut from = a.scratch.cast_const().add(x * STRIDE);
        for _ in 0..a.cin * 3 {
            for k in 0..3 {
                let taps = s.load16(w.add(k * 16));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma16_splat(from.add(p * STRIDE + k), taps, *sum);
                }
            }
            (from, w) = (from.wrapping_add(len), w.wrapping_add(48));
        }
        let to = Panels { dst: a.dst, clamp: a.clamp, residual: a.residual, cout: a.cout };
        to.store(s, y * a.geometry.out_width + x, panel, &sums);
    }
}
