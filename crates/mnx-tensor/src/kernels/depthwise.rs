//! Depthwise 3x3: a tile of neighbouring output pixels of one row at a time.
//!
//! ```text
//! for each block of 8 channels, for each output row, for each tile of up to MAX columns:
//!   sums start at the bias, in registers
//!   for each row of the filter, if the input has that row:       three weights
//!     for each input column of the tile:                         one load
//!       for each of the one to three outputs with a tap there:   sum += input · weight
//!   clamp, residual, store
//! ```
//!
//! Two multiply-add units with a latency of four cycles need eight independent sums to stay busy. Within a sum the order
//! is the contract's: row, then column. Each input row is read three times, from the L1 cache.
//!
//! Tiles usually go across a row, in the order in which it lies in memory. Which edges a tile touches is decided as
//! rarely as possible: deciding it for each tile would cost up to a fifth of the time. Tiles go down the columns instead
//! - where a row has one or two tiles, since both touch an edge and one decision serves all rows, and
//! - where registers can hold the whole filter meanwhile (`Simd::KEEPS_FILTER`).

use super::epilogue::Epilogue;
use super::{balanced, runs};
use crate::constant::{sized, unrolled};
use crate::part::{Geometry, Span};
use crate::simd::Simd;
use crate::{Operands, Part};

/// One block of channels: where its planes are and what its filter is.
struct Block<S: Simd> {
    src: *const f32,
    dst: *mut f32,
    weights: *const f32,
    bias: *const f32,
    epilogue: Epilogue<S>,
}

impl<S: Simd> Block<S> {
    /// A row of the filter.
    ///
    /// # Safety
    /// There are nine weights of eight channels, in rows 0 to 2.
    #[inline(always)]
    unsafe fn taps(&self, s: S, row: usize) -> [S::C8; 3] {
        let w = self.weights.wrapping_add(row * 24);
        // SAFETY: the caller's promise.
        unsafe { [s.load8(w), s.load8(w.wrapping_add(8)), s.load8(w.wrapping_add(16))] }
    }
}

/// Kernels `dw3x3s1` and `dw3x3s2`: tiles of up to `MAX` pixels (at most 14).
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn depthwise<S: Simd, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    let (geometry, all_rows) = (&part.geometry, part.rows());
    let width = Span::from(0..geometry.out_width);
    let runs = runs::<MAX>(width);
    // Where a row has tiles of two sizes, they take turns row by row.
    let at_once = if runs.iter().all(|run| !run.0.is_empty()) { 1 } else { all_rows.len() };
    for b in part.channels.start..part.channels.end {
        // SAFETY: block `b` has 72 weights and 8 biases; for the functions, the caller's promise.
        unsafe {
            let (epilogue, later) = Epilogue::new(s, layer.clamp, part.residual, b).split(S::KEEPS_FILTER);
            let block = Block {
                src: part.src.block(b),
                dst: part.dst.block(b),
                weights: layer.weights_of(b, 72),
                bias: layer.bias_of(b, 8),
                epilogue,
            };
            if S::KEEPS_FILTER || width.len() <= 2 * MAX {
                for (x, size) in balanced::<MAX>(width) {
                    sized!(size in 1 to MAX, down::<S, STRIDE>(s, geometry, &block, all_rows, x));
                }
                if let Some(later) = later {
                    for pixel in part.pixels.start..part.pixels.end {
                        later.store(s, &[s.load8(block.dst.wrapping_add(pixel * 8))], pixel, block.dst);
                    }
                }
                continue;
            }
            let mut rows = Span { start: all_rows.start, end: all_rows.start };
            while rows.end < all_rows.end {
                rows = (rows.end..all_rows.end.min(rows.end + at_once)).into();
                for (columns, size) in runs {
                    // With three tiles or more, none has less than two thirds of the largest.
                    debug_assert!(columns.is_empty() || (2 * MAX / 3..=MAX).contains(&size));
                    sized!(size in (2 * MAX / 3) to MAX, across::<S, STRIDE>(s, geometry, &block, rows, columns));
                }
            }
        }
    }
}

/// A tile from column `x` on, down all rows. Which columns are inside is decided once.
///
/// # Safety
/// As [`depthwise`], for a tile within the output.
#[inline(always)]
unsafe fn down<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    g: &Geometry,
    block: &Block<S>,
    rows: Span,
    x: usize,
) {
    let columns = Inside::columns(g, x * STRIDE, (PIXELS - 1) * STRIDE + 2);
    if !S::KEEPS_FILTER {
        // SAFETY: the caller's promise.
        return unsafe { down_some::<S, STRIDE, PIXELS>(s, g, block, rows, x, columns) };
    }
    // Output rows whose three input rows are all inside have loops of their own.
    let start = g.pad_top.div_ceil(STRIDE).clamp(rows.start, rows.end);
    let end = ((g.height + g.pad_top + STRIDE).saturating_sub(3) / STRIDE).clamp(start, rows.end);
    // SAFETY: the caller's promise.
    unsafe {
        for edge in [rows.start..start, end..rows.end] {
            down_some::<S, STRIDE, PIXELS>(s, g, block, edge.into(), x, columns);
        }
        if columns.all() {
            down_whole::<S, STRIDE, PIXELS>(s, g, block, (start..end).into(), x, Inside::ALL);
        } else {
            down_whole::<S, STRIDE, PIXELS>(s, g, block, (start..end).into(), x, columns);
        }
    }
}

/// A tile in some rows.
///
/// # Safety
/// As [`tile`], for columns that are inside.
#[inline(always)]
unsafe fn down_some<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    g: &Geometry,
    block: &Block<S>,
    rows: Span,
    x: usize,
    columns: Inside,
) {
    for y in rows.start..rows.end {
        // SAFETY: the caller's promise.
        unsafe { tile::<S, STRIDE, PIXELS>(s, g, block, y, x, columns.rows(g, y * STRIDE), None) };
    }
}

/// The same with the filter in registers, in output rows whose three input rows are all inside.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn down_whole<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    g: &Geometry,
    block: &Block<S>,
    rows: Span,
    x: usize,
    inside: Inside,
) {
    // A constant, so that the rare kinds of residual are left out of the loop.
    let block = &Block { epilogue: block.epilogue.plain(), ..*block };
    // SAFETY: the caller's promise.
    unsafe {
        let filter = [block.taps(s, 0), block.taps(s, 1), block.taps(s, 2)];
        for y in rows.start..rows.end {
            tile::<S, STRIDE, PIXELS>(s, g, block, y, x, inside, Some(&filter));
        }
    }
}

/// Tiles of some columns, row after row. Most lie inside as a whole; these have code of their own.
///
/// # Safety
/// As [`depthwise`], for columns within the output that are a multiple of `PIXELS`.
#[inline(always)]
unsafe fn across<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    g: &Geometry,
    block: &Block<S>,
    rows: Span,
    columns: Span,
) {
    for y in rows.start..rows.end {
        let mut x = columns.start;
        while x < columns.end {
            let columns = Inside::columns(g, x * STRIDE, (PIXELS - 1) * STRIDE + 2);
            let inside = columns.rows(g, y * STRIDE);
            // SAFETY: the caller's promise.
            unsafe {
                if inside.all() {
                    tile::<S, STRIDE, PIXELS>(s, g, block, y, x, Inside::ALL, None);
                } else {
                    tile::<S, STRIDE, PIXELS>(s, g, block, y, x, inside, None);
                }
            }
            x += PIXELS;
        }
    }
}

/// Which parts of a tile's input lie inside the plane.
#[derive(Clone, Copy)]
struct Inside {
    /// The first column; only it and the last one can lie outside.
    first: bool,
    last: bool,
    rows: [bool; 3],
}

impl Inside {
    const ALL: Self = Inside { first: true, last: true, rows: [true; 3] };

    /// Of a tile that reads columns `left` to `left + span` of the padded input, in rows that are inside.
    #[inline(always)]
    fn columns(g: &Geometry, left: usize, span: usize) -> Self {
        Inside { first: left >= g.pad_left, last: left + span < g.width + g.pad_left, ..Self::ALL }
    }

    /// The same in rows `top` to `top + 2` of the padded input.
    #[inline(always)]
    fn rows(self, g: &Geometry, top: usize) -> Self {
        let is_row = |k: usize| (top + k).wrapping_sub(g.pad_top) < g.height;
        Inside { rows: [is_row(0), is_row(1), is_row(2)], ..self }
    }

    #[inline(always)]
    fn all(self) -> bool {
        self.first & self.last & self.rows[0] & self.rows[1] & self.rows[2]
    }
}

/// `PIXELS` output columns from column `x` on, of row `y`, with the filter from memory if none is in registers.
///
/// # Safety
/// As [`depthwise`], for a tile within the output. `inside` is right.
#[inline(always)]
unsafe fn tile<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    g: &Geometry,
    block: &Block<S>,
    y: usize,
    x: usize,
    inside: Inside,
    filter: Option<&[[S::C8; 3]; 3]>,
) {
    let pixel = |y: usize, x: usize| (y * g.width + x) as isize;
    let from = block.src.wrapping_offset((pixel(y * STRIDE, x * STRIDE) - pixel(g.pad_top, g.pad_left)) * 8);
    let mut from = s.settle_address(from);
    // SAFETY: the block has eight biases and nine weights; a row that is inside is, and so is each column that is
    // loaded; the pixels are the output's, whose residual has the same pixels.
    unsafe {
        let mut sums = [s.load8(block.bias); PIXELS];
        unrolled!(p in PIXELS => if p > 0 {
            s.reload();
            sums[p] = s.load8(block.bias);
        });
        // No loop: where it is not unrolled, the filter ends up in memory.
        macro_rules! row {
            ($k:literal) => {
                if inside.rows[$k] {
                    let taps = if let Some(filter) = filter { filter[$k] } else { block.taps(s, $k) };
                    row::<S, STRIDE, PIXELS>(s, from, taps, inside, &mut sums);
                }
                if filter.is_none() {
                    s.settle_quad();
                }
            };
        }
        row!(0);
        from = from.wrapping_add(g.width * 8);
        row!(1);
        from = from.wrapping_add(g.width * 8);
        row!(2);
        block.epilogue.store(s, &sums, y * g.out_width + x, block.dst);
    }
}

/// Adds one input row. Each column is loaded once: at stride 1 for the three outputs that have a tap there; at stride 2 every second
/// one is the last tap of one output and the first of the next.
///
/// # Safety
/// The columns are readable from `from` on, the first and the last if `inside` says so.
#[inline(always)]
unsafe fn row<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    from: *const f32,
    taps: [S::C8; 3],
    inside: Inside,
    sums: &mut [S::C8; PIXELS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let load = |column: usize| s.load8(from.wrapping_add(column * 8));
        if inside.first {
            sums[0] = add(s, load(0), taps[0], sums[0]);
        }
        if STRIDE == 1 {
            // A plain loop: see the head of `kernels`.
            for p in 0..PIXELS {
                let input = load(p + 1);
                if p > 0 {
                    sums[p - 1] = add(s, input, taps[2], sums[p - 1]);
                }
                sums[p] = add(s, input, taps[1], sums[p]);
                if p + 1 < PIXELS {
                    sums[p + 1] = add(s, input, taps[0], sums[p + 1]);
                }
            }
        } else {
            unrolled!(p in PIXELS => {
                sums[p] = add(s, load(2 * p + 1), taps[1], sums[p]);
                if p + 1 < PIXELS {
                    let input = load(2 * p + 2);
                    sums[p] = add(s, input, taps[2], sums[p]);
                    sums[p + 1] = add(s, input, taps[0], sums[p + 1]);
                }
            });
        }
        if inside.last {
            sums[PIXELS - 1] = add(s, load((PIXELS - 1) * STRIDE + 2), taps[2], sums[PIXELS - 1]);
        }
    }
}

/// One tap.
#[inline(always)]
fn add<S: Simd>(s: S, input: S::C8, tap: S::C8, sum: S::C8) -> S::C8 {
    s.settle8(s.fma8(input, tap, sum))
}
