//! Depthwise 3x3: a tile of neighbouring output pixels of one row at a time.
//!
//! ```text
//! for each block of 8 channels, for some output rows, for each tile of up to MAX columns, for each of these rows:
//!   sums start at the bias, in registers
//!   for each row of the filter, if the input has that row:       three weights
//!     for each input column that the tile touches:               one load
//!       sums += input · weight, for each of the one to three outputs that have a tap there
//!   clamp, residual, store
//! ```
//!
//! Eight sums are as many independent chains as keep two multiply-add units with four cycles of latency busy. The order
//! within each is the contract's: row, then column. Input rows are read three times, from the L1 cache.
//! Going down the columns, a tile's size and its edges are decided once for all rows; x86-64 does so only on planes that
//! fit L1, since it loses a tenth where memory comes out of order.

use super::balanced;
use super::epilogue::Epilogue;
use crate::args::{Depthwise, Span};
use crate::simd::Simd;

/// Bytes of an input plane that stays in the L1 cache while tiles go down its columns.
const L1_BYTES: usize = 16 << 10;

/// One block of channels: where its planes are and what its filter is.
struct Block<S: Simd> {
    src: *const f32,
    dst: *mut f32,
    weights: *const f32,
    bias: *const f32,
    epilogue: Epilogue<S>,
}

/// Kernels `dw3x3s1` and `dw3x3s2`: tiles of up to `MAX` pixels (at most 14).
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`; at most one row and one column on each side of the plane are
/// read as padding: `rows` and `out_width` are within the size that paddings of 0 or 1 give.
#[inline(always)]
pub(crate) unsafe fn depthwise<S: Simd, const STRIDE: usize, const MAX: usize>(s: S, a: &Depthwise) {
    let g = &a.geometry;
    // Elsewhere the rows of a larger plane are read in the order in which they lie in memory.
    let down = S::DOWN_COLUMNS || g.height * g.width * 32 <= L1_BYTES;
    let at_once = if down { a.rows.len().max(1) } else { 1 };
    for b in a.blocks.start..a.blocks.end {
        // SAFETY: block `b` has 72 weights and 8 biases.
        let block = unsafe {
            Block {
                src: a.src.ptr.wrapping_add(b * a.src.stride),
                dst: a.dst.ptr.wrapping_add(b * a.dst.stride),
                weights: a.weights.add(b * 72),
                bias: a.bias.add(b * 8),
                epilogue: Epilogue::new(s, a.clamp, a.residual, b),
            }
        };
        let mut rows = Span { start: a.rows.start, end: a.rows.start };
        while rows.end < a.rows.end {
            rows = (rows.end..a.rows.end.min(rows.end + at_once)).into();
            for (x, count) in balanced::<MAX>((0..g.out_width).into()) {
                // SAFETY: the caller's promise.
                unsafe {
                    match count {
                        1 => columns::<S, STRIDE, 1>(s, a, &block, rows, x),
                        2 if MAX >= 2 => columns::<S, STRIDE, 2>(s, a, &block, rows, x),
                        3 if MAX >= 3 => columns::<S, STRIDE, 3>(s, a, &block, rows, x),
                        4 if MAX >= 4 => columns::<S, STRIDE, 4>(s, a, &block, rows, x),
                        5 if MAX >= 5 => columns::<S, STRIDE, 5>(s, a, &block, rows, x),
                        6 if MAX >= 6 => columns::<S, STRIDE, 6>(s, a, &block, rows, x),
                        7 if MAX >= 7 => columns::<S, STRIDE, 7>(s, a, &block, rows, x),
                        8 if MAX >= 8 => columns::<S, STRIDE, 8>(s, a, &block, rows, x),
                        9 if MAX >= 9 => columns::<S, STRIDE, 9>(s, a, &block, rows, x),
                        10 if MAX >= 10 => columns::<S, STRIDE, 10>(s, a, &block, rows, x),
                        11 if MAX >= 11 => columns::<S, STRIDE, 11>(s, a, &block, rows, x),
                        12 if MAX >= 12 => columns::<S, STRIDE, 12>(s, a, &block, rows, x),
                        13 if MAX >= 13 => columns::<S, STRIDE, 13>(s, a, &block, rows, x),
                        _ => columns::<S, STRIDE, MAX>(s, a, &block, rows, x),
                    }
                }
            }
        }
    }
}

/// `PIXELS` output columns from column `x` on, in some rows.
#[inline(always)]
unsafe fn columns<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    a: &Depthwise,
    block: &Block<S>,
    rows: Span,
    x: usize,
) {
    let g = &a.geometry;
    // Of the padded input; only the first and the last column can lie outside, and the first and the last row.
    let left = x * STRIDE;
    let last = left + (PIXELS - 1) * STRIDE + 2;
    let edges = Edges { first: left >= g.pad_left, last: last < g.width + g.pad_left };
    for y in rows.start..rows.end {
        let top = (y * STRIDE).wrapping_sub(g.pad_top);
        let from = top as isize * g.width as isize + left as isize - g.pad_left as isize;
        let mut from = block.src.wrapping_offset(from * 8);
        // SAFETY: the block has eight biases and nine weights; a row that is inside is, and so is each column that is
        // loaded; the pixels are the output's, whose residual has the same pixels.
        unsafe {
            let mut sums = [s.load8(block.bias); PIXELS];
            for sum in &mut sums[1..] {
                s.reload();
                *sum = s.load8(block.bias);
            }
            for k in 0..3 {
                if top.wrapping_add(k) < g.height {
                    let w = block.weights.add(k * 24);
                    let taps = [s.load8(w), s.load8(w.add(8)), s.load8(w.add(16))];
                    sums = match STRIDE {
                        1 => row_s1(s, from, taps, edges, sums),
                        _ => row_s2(s, from, taps, edges, sums),
                    };
                }
                from = from.wrapping_add(g.width * 8);
                s.settle_quad();
            }
            block.epilogue.store(s, &sums, y * g.out_width + x, block.dst);
        }
    }
}

/// Which of a tile's outer input columns are inside the plane.
#[derive(Clone, Copy)]
struct Edges {
    first: bool,
    last: bool,
}

/// Adds one input row at stride 1. Each column is loaded once, for the three outputs that have a tap there.
///
/// # Safety
/// The columns are readable from `from` on, the first and the last if `edges` says so.
#[inline(always)]
unsafe fn row_s1<S: Simd, const PIXELS: usize>(
    s: S,
    from: *const f32,
    taps: [S::C8; 3],
    edges: Edges,
    mut sums: [S::C8; PIXELS],
) -> [S::C8; PIXELS] {
    // SAFETY: the caller's promise.
    unsafe {
        if edges.first {
            sums[0] = s.fma8(s.load8(from), taps[0], sums[0]);
        }
        for p in 0..PIXELS {
            let input = s.load8(from.wrapping_add((p + 1) * 8));
            if p > 0 {
                sums[p - 1] = s.fma8(input, taps[2], sums[p - 1]);
            }
            sums[p] = s.fma8(input, taps[1], sums[p]);
            if p + 1 < PIXELS {
                sums[p + 1] = s.fma8(input, taps[0], sums[p + 1]);
            }
        }
        if edges.last {
            let input = s.load8(from.wrapping_add((PIXELS + 1) * 8));
            sums[PIXELS - 1] = s.fma8(input, taps[2], sums[PIXELS - 1]);
        }
    }
    sums
}

/// Adds one input row at stride 2: every second column is the last tap of one output and the first of the next.
///
/// # Safety
/// As [`row_s1`].
#[inline(always)]
unsafe fn row_s2<S: Simd, const PIXELS: usize>(
    s: S,
    from: *const f32,
    taps: [S::C8; 3],
    edges: Edges,
    mut sums: [S::C8; PIXELS],
) -> [S::C8; PIXELS] {
    // SAFETY: the caller's promise.
    unsafe {
        if edges.first {
            sums[0] = s.fma8(s.load8(from), taps[0], sums[0]);
        }
        for p in 0..PIXELS {
            sums[p] = s.fma8(s.load8(from.wrapping_add((2 * p + 1) * 8)), taps[1], sums[p]);
            if p + 1 < PIXELS {
                let input = s.load8(from.wrapping_add((2 * p + 2) * 8));
                sums[p] = s.fma8(input, taps[2], sums[p]);
                sums[p + 1] = s.fma8(input, taps[0], sums[p + 1]);
            }
        }
        if edges.last {
            let input = s.load8(from.wrapping_add(2 * PIXELS * 8));
            sums[PIXELS - 1] = s.fma8(input, taps[2], sums[PIXELS - 1]);
        }
    }
    sums
}
