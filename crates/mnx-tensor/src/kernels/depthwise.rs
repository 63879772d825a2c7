//! Depthwise 3x3: a column of output pixels at a time, streaming down the rows.
//!
//! ```text
//! for each block of 8 channels:                     nine weights stay in registers
//!   for each strip of rows, for each group of COLS output columns:
//!     for each input row, downwards:                (COLS − 1)·stride + 3 loads
//!       add it to the output rows that it touches:  tap 2 of the oldest, tap 1, tap 0 of a new one
//!       store the oldest, which is complete
//! ```
//!
//! At stride 1 and two columns that is 4 loads for 18 multiply-adds. Going down the rows, not along
//! the columns, gives every output its taps in the contract's order: row, then column.

use super::balanced;
use super::epilogue::Epilogue;
use crate::args::{Depthwise, Span};
use crate::simd::Simd;

/// Bytes of input rows that a strip may hold: neighbouring groups of columns share two input columns,
/// which should still be in the L1 cache (32 KiB) when the second group reads them.
const STRIP_BYTES: usize = 24 << 10;

/// A strip has this many rows at least, since its first and last input rows are read twice.
const MIN_STRIP: usize = 8;

/// One block of channels: where its planes are and what its filter is.
struct Block<S: Simd> {
    src: *const f32,
    dst: *mut f32,
    weights: [[S::C8; 3]; 3],
    bias: S::C8,
    epilogue: Epilogue<S>,
}

/// Kernel `dw3x3s1`.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`; at most one row and one column on each side of the plane are
/// read as padding: `rows` and `out_width` are within the size that paddings of 0 or 1 give. `COLS` is 1 to 4.
#[inline(always)]
pub(crate) unsafe fn dw3x3s1<S: Simd, const COLS: usize>(s: S, a: &Depthwise) {
    // SAFETY: the caller's promise.
    unsafe { depthwise::<S, 1, COLS>(s, a) }
}

/// Kernel `dw3x3s2`.
///
/// # Safety
/// As [`dw3x3s1`].
#[inline(always)]
pub(crate) unsafe fn dw3x3s2<S: Simd, const COLS: usize>(s: S, a: &Depthwise) {
    // SAFETY: the caller's promise.
    unsafe { depthwise::<S, 2, COLS>(s, a) }
}

#[inline(always)]
unsafe fn depthwise<S: Simd, const STRIDE: usize, const COLS: usize>(s: S, a: &Depthwise) {
    let strip = (STRIP_BYTES / (a.geometry.width * 32 * STRIDE).max(1)).max(MIN_STRIP);
    for b in a.blocks.start..a.blocks.end {
        // SAFETY: block `b` has 72 weights and 8 biases.
        let block = unsafe {
            let w = a.weights.add(b * 72);
            let tap = |k: usize| s.load8(w.add(k * 8));
            Block {
                src: a.src.ptr.wrapping_add(b * a.src.stride),
                dst: a.dst.ptr.wrapping_add(b * a.dst.stride),
                weights: [[tap(0), tap(1), tap(2)], [tap(3), tap(4), tap(5)], [tap(6), tap(7), tap(8)]],
                bias: s.load8(a.bias.add(b * 8)),
                epilogue: Epilogue::new(s, a.clamp, a.residual, b),
            }
        };
        let mut row = a.rows.start;
        while row < a.rows.end {
            let end = a.rows.end.min(row + strip);
            for (x, cols) in balanced::<COLS>((0..a.geometry.out_width).into()) {
                let edge = Edge::of::<STRIDE>(a, x, cols);
                let g = Group { x, rows: (row..end).into() };
                // SAFETY: the caller's promise; `edge` says which columns are not there.
                unsafe {
                    match cols {
                        1 => edges::<S, STRIDE, 1>(s, a, &block, g, edge),
                        2 if COLS >= 2 => edges::<S, STRIDE, 2>(s, a, &block, g, edge),
                        3 if COLS >= 3 => edges::<S, STRIDE, 3>(s, a, &block, g, edge),
                        _ => edges::<S, STRIDE, COLS>(s, a, &block, g, edge),
                    }
                }
            }
            row = end;
        }
    }
}

/// A group of neighbouring output columns, and the output rows of the strip.
#[derive(Clone, Copy)]
struct Group {
    x: usize,
    rows: Span,
}

/// Which of a group's input columns lie outside the plane: the first, the last.
#[derive(Clone, Copy)]
struct Edge {
    first: bool,
    last: bool,
}

impl Edge {
    #[inline(always)]
    fn of<const STRIDE: usize>(a: &Depthwise, x: usize, cols: usize) -> Self {
        let last = (x + cols - 1) * STRIDE + 2;
        Edge { first: x * STRIDE < a.geometry.pad_left, last: last >= a.geometry.width + a.geometry.pad_left }
    }
}

/// From run-time edges to code in which they are constants.
#[inline(always)]
unsafe fn edges<S: Simd, const STRIDE: usize, const COLS: usize>(
    s: S,
    a: &Depthwise,
    block: &Block<S>,
    g: Group,
    edge: Edge,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (edge.first, edge.last) {
            (false, false) if STRIDE == 1 => stream_s1::<S, COLS, false, false>(s, a, block, g),
            (false, false) => stream_s2::<S, COLS, false, false>(s, a, block, g),
            (true, false) if STRIDE == 1 => stream_s1::<S, COLS, true, false>(s, a, block, g),
            (true, false) => stream_s2::<S, COLS, true, false>(s, a, block, g),
            (false, true) if STRIDE == 1 => stream_s1::<S, COLS, false, true>(s, a, block, g),
            (false, true) => stream_s2::<S, COLS, false, true>(s, a, block, g),
            (true, true) if STRIDE == 1 => stream_s1::<S, COLS, true, true>(s, a, block, g),
            (true, true) => stream_s2::<S, COLS, true, true>(s, a, block, g),
        }
    }
}

/// Adds one input row to `N` output rows, to each with its own row of the filter: `sums[i]` gets `taps[i]`.
///
/// # Safety
/// `src` points to the group's first input column, which may be outside if `FIRST`; so may the last if `LAST`.
#[inline(always)]
unsafe fn row<S: Simd, const STRIDE: usize, const COLS: usize, const FIRST: bool, const LAST: bool, const N: usize>(
    s: S,
    src: *const f32,
    taps: [&[S::C8; 3]; N],
    mut sums: [[S::C8; COLS]; N],
) -> [[S::C8; COLS]; N] {
    let columns = (COLS - 1) * STRIDE + 3;
    for j in 0..columns {
        if (FIRST && j == 0) || (LAST && j == columns - 1) {
            continue;
        }
        // SAFETY: column `j` is inside the plane.
        let x = unsafe { s.load8(src.wrapping_add(j * 8)) };
        for (sums, taps) in sums.iter_mut().zip(taps) {
            for (c, sum) in sums.iter_mut().enumerate() {
                if j >= c * STRIDE && j < c * STRIDE + 3 {
                    *sum = s.fma8(x, taps[j - c * STRIDE], *sum);
                }
            }
        }
    }
    sums
}

/// Stores one output row of a group.
#[inline(always)]
unsafe fn store<S: Simd, const COLS: usize>(s: S, block: &Block<S>, pixel: usize, sums: [S::C8; COLS]) {
    for (c, &sum) in sums.iter().enumerate() {
        // SAFETY: the pixel is one of the output rows, whose residual has the same pixels.
        unsafe { block.epilogue.store(s, sum, pixel + c, block.dst) }
    }
}

#[inline(always)]
unsafe fn stream_s1<S: Simd, const COLS: usize, const FIRST: bool, const LAST: bool>(
    s: S,
    a: &Depthwise,
    block: &Block<S>,
    g: Group,
) {
    let [w0, w1, w2] = &block.weights;
    let fresh = [block.bias; COLS];
    let (start, end) = (g.rows.start, g.rows.end);
    let geo = &a.geometry;
    // The input row that is tap 0 of output row `y`, and whether it is inside.
    let line = |y: usize| {
        block.src.wrapping_offset(
            ((y as isize - geo.pad_top as isize) * geo.width as isize + g.x as isize - geo.pad_left as isize) * 8,
        )
    };
    let inside = |y: usize| y >= geo.pad_top && y < geo.height + geo.pad_top;
    let pixel = |y: usize| y * geo.out_width + g.x;

    // SAFETY: rows outside the plane are skipped by `inside`, or inside because an output row reads at
    // most one row of padding on each side; columns by FIRST and LAST.
    unsafe {
        let mut young = fresh;
        if inside(start) {
            [young] = row::<S, 1, COLS, FIRST, LAST, 1>(s, line(start), [w0], [young]);
        }
        let mut old = young;
        young = fresh;
        if start + 1 < end {
            [old, young] = row::<S, 1, COLS, FIRST, LAST, 2>(s, line(start + 1), [w1, w0], [old, young]);
            for y in start + 2..end {
                let [done, middle, new] =
                    row::<S, 1, COLS, FIRST, LAST, 3>(s, line(y), [w2, w1, w0], [old, young, fresh]);
                store::<S, COLS>(s, block, pixel(y - 2), done);
                (old, young) = (middle, new);
            }
            let [done, last] = row::<S, 1, COLS, FIRST, LAST, 2>(s, line(end), [w2, w1], [old, young]);
            store::<S, COLS>(s, block, pixel(end - 2), done);
            old = last;
        } else {
            [old] = row::<S, 1, COLS, FIRST, LAST, 1>(s, line(end), [w1], [old]);
        }
        if inside(end + 1) {
            [old] = row::<S, 1, COLS, FIRST, LAST, 1>(s, line(end + 1), [w2], [old]);
        }
        store::<S, COLS>(s, block, pixel(end - 1), old);
    }
}

#[inline(always)]
unsafe fn stream_s2<S: Simd, const COLS: usize, const FIRST: bool, const LAST: bool>(
    s: S,
    a: &Depthwise,
    block: &Block<S>,
    g: Group,
) {
    let [w0, w1, w2] = &block.weights;
    let fresh = [block.bias; COLS];
    let (start, end) = (g.rows.start, g.rows.end);
    let geo = &a.geometry;
    // Input row `k` rows under tap 0 of output row `y`, and whether it is inside.
    let line = |y: usize, k: usize| {
        let (row, column) = (2 * y + k, 2 * g.x);
        block.src.wrapping_offset(
            ((row as isize - geo.pad_top as isize) * geo.width as isize + column as isize - geo.pad_left as isize) * 8,
        )
    };
    let inside = |y: usize, k: usize| 2 * y + k >= geo.pad_top && 2 * y + k < geo.height + geo.pad_top;
    let pixel = |y: usize| y * geo.out_width + g.x;

    // SAFETY: as in `stream_s1`.
    unsafe {
        let mut sum = fresh;
        if inside(start, 0) {
            [sum] = row::<S, 2, COLS, FIRST, LAST, 1>(s, line(start, 0), [w0], [sum]);
        }
        for y in start..end - 1 {
            [sum] = row::<S, 2, COLS, FIRST, LAST, 1>(s, line(y, 1), [w1], [sum]);
            // Tap 2 of this output row is tap 0 of the next.
            let [done, next] = row::<S, 2, COLS, FIRST, LAST, 2>(s, line(y, 2), [w2, w0], [sum, fresh]);
            store::<S, COLS>(s, block, pixel(y), done);
            sum = next;
        }
        if inside(end - 1, 1) {
            [sum] = row::<S, 2, COLS, FIRST, LAST, 1>(s, line(end - 1, 1), [w1], [sum]);
        }
        if inside(end - 1, 2) {
            [sum] = row::<S, 2, COLS, FIRST, LAST, 1>(s, line(end - 1, 2), [w2], [sum]);
        }
        store::<S, COLS>(s, block, pixel(end - 1), sum);
    }
}
