//! Depthwise 3x3 convolution in int8 by way of interleaved rows: for words, and for ISAs with sixteen registers, which columns
//! of four rows would fill.
//!
//! ```text
//! for each block:                                                16 channels
//!   for each pair of output rows (at stride 2: for each row):
//!     interleave the input rows in scratch, the rows of a channel side by side, with the zero point around them
//!     for each output row, for each tile of up to MAX columns:   sums start at the bias, in registers
//!       for each column of the filter: sums += dot(pixels, taps)
//!       requantise, store
//! ```
//!
//! Bytes are interleaved by four rows, y…y+3, which serve two output rows: the first has the taps (w0, w1, w2, 0), the second
//! (0, w0, w1, w2). Words are interleaved by two: the pair y+2, y+3 stays in scratch for the next two output rows, or at
//! stride 2 for the next one.

use super::depthwise::depthwise;
use super::depthwise_rows::{ROW, Rows};
use super::epilogue::Epilogue;
use crate::constant::sized;
use crate::int8::form::{Products, TAPS};
use crate::kernels::runs;
use crate::part::{Part, Span};
use crate::simd::dot::{Columns, Dot, Interleaved};
use crate::{Operands, PANEL};

/// Bytes of an interleaved pixel.
const PIXEL: usize = 64;

/// Output columns from which on interleaving pays where registers would hold columns too: 10 % and more on 28.
const LONG_ROW: usize = 20;

/// How many interleaved rows make four input rows.
#[inline(always)]
const fn parts(products: Products) -> usize {
    if matches!(products, Products::Words) { 2 } else { 1 }
}

/// Kernels `dw3x3s1-int8` and `dw3x3s2-int8`: up to `MAX` pixels of a row at a time.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn interleaved<S: Interleaved, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    let (rows, g, parts) = (part.rows(), &part.geometry, parts(S::FORM.products));
    if rows.is_empty() || g.out_width == 0 {
        return;
    }
    let (columns, tiles) = (g.padded_row(layer.operation), runs::<MAX>(Span::from(0..g.out_width)));
    let end = (rows.end - 1) * STRIDE + 3;
    let outside = [layer.int8.requantize.zero_in; PANEL];
    let before = g.pad_left.min(columns);
    let inside = g.width.min(columns - before);
    let mut lines = [part.scratch, part.scratch.wrapping_add((parts - 1) * columns * PIXEL)];
    for line in &lines[..parts] {
        let beside = Rows { rows: [outside.as_ptr(); 4], steps: [0; 4], outside: &outside, width: 0, pad_left: 0 };
        // SAFETY: scratch has room for the rows.
        unsafe {
            interleave(s, &beside, before, *line);
            interleave(s, &beside, columns - before - inside, line.wrapping_add((before + inside) * PIXEL));
        }
    }
    for block in part.channels.start..part.channels.end {
        // SAFETY: the caller's promise; scratch has room for the rows.
        unsafe {
            let filter = Filter {
                w: layer.weights_of::<S::Weight>(block, TAPS),
                bias: layer.bias_of::<i32>(block, PANEL),
                epilogue: Epilogue::new(s, layer, part, block),
                width: g.out_width,
            };
            // Of words, the first pair of rows; then each step brings the one below.
            if parts == 2 {
                let first = Rows::new(part, block, rows.start * STRIDE, 2, &outside);
                interleave(s, &first, inside, lines[0].wrapping_add(before * PIXEL));
            }
            let mut y = rows.start;
            while y < rows.end {
                let top = y * STRIDE + (parts - 1) * 2;
                // What is below the last row that is read may not be there.
                let count = (4 / parts).min(end - top);
                let below = Rows::new(part, block, top, count, &outside);
                interleave(s, &below, inside, lines[1].wrapping_add(before * PIXEL));
                let there = if STRIDE == 1 { (rows.end - y).min(2) } else { 1 };
                for (columns, size) in tiles {
                    sized!(size in 1 to MAX, tiles_of::<S, STRIDE>(s, &filter, lines, columns, there, y * g.out_width))
                }
                y += there;
                lines.swap(0, 1);
            }
        }
    }
}

/// [`interleaved`] where rows are long, else [`depthwise`], which does less for each row: tiles of up to `LONG` and `SHORT`
/// pixels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn by_width<S: Columns + Interleaved, const STRIDE: usize, const SHORT: usize, const LONG: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if part.geometry.out_width >= LONG_ROW {
            interleaved::<S, STRIDE, LONG>(s, layer, part);
        } else {
            depthwise::<S, STRIDE, SHORT>(s, layer, part);
        }
    }
}

/// Interleaves `columns` columns of rows that start at `rows`.
///
/// # Safety
/// The rows are readable, and `to` is writable for so many pixels.
#[inline(always)]
unsafe fn interleave<S: Interleaved>(s: S, rows: &Rows<'_>, columns: usize, to: *mut u8) {
    let mut from = rows.rows;
    for column in 0..columns {
        // SAFETY: the caller's promise.
        unsafe { s.interleave(from, to.wrapping_add(column * PIXEL).cast()) };
        for (from, step) in from.iter_mut().zip(rows.steps) {
            *from = from.wrapping_add(step);
        }
    }
}

/// What a block of channels is multiplied with, and what follows.
struct Filter<S: Dot> {
    w: *const S::Weight,
    bias: *const i32,
    epilogue: Epilogue<S>,
    /// Output columns.
    width: usize,
}

/// The tiles of `COLUMNS` columns in `columns`, of one output row or two. The first row's pixel 0 is `start`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for tiles within the part whose interleaved rows are in scratch.
#[inline(always)]
unsafe fn tiles_of<S: Interleaved, const STRIDE: usize, const COLUMNS: usize>(
    s: S,
    filter: &Filter<S>,
    lines: [*mut u8; 2],
    columns: Span,
    rows: usize,
    start: usize,
) {
    let width = filter.width;
    for second in 0..rows {
        for x in (columns.start..columns.end).step_by(COLUMNS) {
            let line = |i: usize| lines[i].wrapping_add(x * STRIDE * PIXEL).cast_const().cast();
            // SAFETY: the caller's promise.
            unsafe {
                let w = filter.w.add(3 * second * ROW);
                let mut sums = [s.load_sums(filter.bias); COLUMNS];
                s.dot_line::<STRIDE, COLUMNS>(line(0), w, &mut sums);
                if parts(S::FORM.products) == 2 {
                    s.dot_line::<STRIDE, COLUMNS>(line(1), w.add(ROW / 2), &mut sums);
                }
                filter.epilogue.store(s, &sums, start + second * width + x);
            }
        }
    }
}
