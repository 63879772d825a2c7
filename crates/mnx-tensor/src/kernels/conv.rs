//! Dense 3x3 convolution of a channel-blocked, zero-padded input: most of a ResNet's arithmetic.
//!
//! ```text
//! for each panel:                                                  16 output channels
//!   for each pair of output rows, for each tile of up to PAIR columns of it (of a lone last row, LONE columns):
//!     sums start at the bias, in registers
//!     for each input channel, row, column: sums += input · panel
//!     clamp, residual, store
//! ```
//!
//! Two rows at a time fill the registers on a plane of seven columns too.

use super::balanced;
use super::epilogue::Panels;
use crate::args::{Conv3x3, Span};
use crate::simd::Simd;

/// Kernels `conv3x3s1` and `conv3x3s2`: tiles of two rows times up to `PAIR` columns, or of one row times up to `LONE`
/// columns (both at most 14), times one panel.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn conv3x3<S: Simd, const STRIDE: usize, const PAIR: usize, const LONE: usize>(s: S, a: &Conv3x3) {
    let columns: Span = (0..a.width).into();
    for panel in a.panels.start..a.panels.end {
        let mut at = Place { y: a.rows.start, x: 0, panel, index: 0 };
        // SAFETY: the caller's promise.
        unsafe {
            while at.y + 1 < a.rows.end {
                for (x, count) in balanced::<PAIR>(columns) {
                    at.x = x;
                    sized::<S, STRIDE, 2, PAIR>(s, a, count, at);
                    at.index += 1;
                }
                at.y += 2;
            }
            if at.y < a.rows.end {
                for (x, count) in balanced::<LONE>(columns) {
                    at.x = x;
                    sized::<S, STRIDE, 1, LONE>(s, a, count, at);
                    at.index += 1;
                }
            }
        }
    }
}

/// What a tile computes.
#[derive(Clone, Copy)]
struct Place {
    y: usize,
    x: usize,
    panel: usize,
    /// How many tiles of the panel came before.
    index: usize,
}

/// From a run-time number of columns to a tile in which it is a constant.
#[inline(always)]
unsafe fn sized<S: Simd, const STRIDE: usize, const ROWS: usize, const MAX: usize>(
    s: S,
    a: &Conv3x3,
    count: usize,
    at: Place,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            1 => tile::<S, STRIDE, ROWS, 1>(s, a, at),
            2 if MAX >= 2 => tile::<S, STRIDE, ROWS, 2>(s, a, at),
            3 if MAX >= 3 => tile::<S, STRIDE, ROWS, 3>(s, a, at),
            4 if MAX >= 4 => tile::<S, STRIDE, ROWS, 4>(s, a, at),
            5 if MAX >= 5 => tile::<S, STRIDE, ROWS, 5>(s, a, at),
            6 if MAX >= 6 => tile::<S, STRIDE, ROWS, 6>(s, a, at),
            7 if MAX >= 7 => tile::<S, STRIDE, ROWS, 7>(s, a, at),
            8 if MAX >= 8 => tile::<S, STRIDE, ROWS, 8>(s, a, at),
            9 if MAX >= 9 => tile::<S, STRIDE, ROWS, 9>(s, a, at),
            10 if MAX >= 10 => tile::<S, STRIDE, ROWS, 10>(s, a, at),
            11 if MAX >= 11 => tile::<S, STRIDE, ROWS, 11>(s, a, at),
            12 if MAX >= 12 => tile::<S, STRIDE, ROWS, 12>(s, a, at),
            13 if MAX >= 13 => tile::<S, STRIDE, ROWS, 13>(s, a, at),
            _ => tile::<S, STRIDE, ROWS, MAX>(s, a, at),
        }
    }
}

/// `ROWS` rows (1 or 2) times `COLUMNS` columns times one panel.
#[inline(always)]
unsafe fn tile<S: Simd, const STRIDE: usize, const ROWS: usize, const COLUMNS: usize>(s: S, a: &Conv3x3, at: Place) {
    // SAFETY: the padded input holds all taps of all pixels, the panel nine rows of weights for each input channel.
    unsafe {
        let mut w = a.weights.add(at.panel * a.cin * 9 * 16);
        let mut sums = [[s.load16(a.bias.add(at.panel * 16)); COLUMNS]; ROWS];
        let mut block = a.src.ptr.wrapping_add((at.y * a.row + at.x) * STRIDE * 8);
        // A panel is used by a few tiles only on a small plane. Each of them asks for a third of the next one.
        let mut ahead = a.weights.wrapping_add(((at.panel + 1) * 9 + at.index % 3 * 3) * a.cin * 16);
        let mut channels = a.cin;
        while channels > 0 {
            let lanes = channels.min(8);
            // Among the multiply-adds they would make the compiler put sums on the stack (tools/check_kernels).
            for line in 0..lanes * 3 {
                s.prefetch(ahead.wrapping_add(line * 16));
            }
            for lane in 0..lanes {
                let mut from = block.wrapping_add(lane);
                for _ in 0..3 {
                    for k in 0..3 {
                        let taps = s.load16(w.add(k * 16));
                        for (r, row) in sums.iter_mut().enumerate() {
                            for (c, sum) in row.iter_mut().enumerate() {
                                let x = from.add((r * STRIDE * a.row + c * STRIDE + k) * 8);
                                *sum = s.fma16_splat(x, taps, *sum);
                            }
                        }
                        s.settle();
                    }
                    (from, w) = (from.wrapping_add(a.row * 8), w.wrapping_add(48));
                }
            }
            (block, channels) = (block.wrapping_add(a.src.stride), channels - lanes);
            ahead = ahead.wrapping_add(lanes * 48);
        }
        let to = Panels { dst: a.dst, clamp: a.clamp, residual: a.residual, cout: a.cout };
        // No loop over the rows: one that is not unrolled would index the sums, which would put them in memory.
        let pixel = at.y * a.width + at.x;
        to.store(s, pixel, at.panel, &sums[0]);
        if ROWS == 2 {
            to.store(s, pixel + a.width, at.panel, &sums[ROWS - 1]);
        }
    }
}
