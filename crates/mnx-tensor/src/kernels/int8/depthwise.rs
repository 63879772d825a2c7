//! Depthwise 3x3 convolution in int8 for ISAs whose registers hold a tile.
//!
//! ```text
//! for each block:                                                16 channels
//!   for each pair of output rows (at stride 2, or a last odd row: for each row):
//!     for each tile of up to MAX columns:                        sums start at the bias, in registers
//!       for each input column that is read, from left to right:  four rows of it, the rows of a channel side by side
//!         sums of the pixels that read it += dot(column, taps)
//!       requantise, store
//! ```
//!
//! The four rows y…y+3 of a column serve two output rows: the first has the taps (w0, w1, w2, 0), the second (0, w0, w1, w2).

use super::depthwise_rows::ROW;
use super::epilogue::Epilogue;
use crate::constant::{sized, unrolled};
use crate::int8::form::TAPS;
use crate::kernels::balanced;
use crate::part::{Part, Span};
use crate::simd::dot::Columns;
use crate::{Operands, PANEL};

/// Columns that the largest tile reads: eight pixels at stride 2.
const MOST_COLUMNS: usize = 17;

/// As many columns of the zero point.
type Outside = [[u8; PANEL]; MOST_COLUMNS];

/// Kernels `dw3x3s1-int8` and `dw3x3s2-int8`: up to `MAX` pixels (at most 8) of a row, or of each of two rows, at a time.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn depthwise<S: Columns, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    const { assert!((MAX - 1) * STRIDE + 3 <= MOST_COLUMNS) };
    let (rows, width) = (part.rows(), part.geometry.out_width);
    let outside: Outside = [[layer.int8.requantize.zero_in; PANEL]; MOST_COLUMNS];
    for block in part.channels.start..part.channels.end {
        // SAFETY: the caller's promise.
        unsafe {
            let epilogue = Epilogue::new(s, layer, part, block);
            let (w, bias) = (layer.weights_of::<S::Weight>(block, TAPS), layer.bias_of::<i32>(block, PANEL));
            let mut y = rows.start;
            while y < rows.end {
                let pair = STRIDE == 1 && y + 1 < rows.end;
                let rows = input_rows(part, block, y * STRIDE, if pair { 4 } else { 3 });
                for (x, count) in balanced::<MAX>(Span::from(0..width)) {
                    let at = Tile { w, bias, rows, outside: &outside, y, x };
                    if pair {
                        sized!(count in 1 to MAX, tile::<S, STRIDE, 2>(s, part, &at, &epilogue))
                    } else {
                        sized!(count in 1 to MAX, tile::<S, STRIDE, 1>(s, part, &at, &epilogue))
                    }
                }
                y += if pair { 2 } else { 1 };
            }
        }
    }
}

/// Column 0 of padded rows `top` to `top + count - 1` of block `block`; `None` outside the plane.
#[inline(always)]
fn input_rows(part: &Part, block: usize, top: usize, count: usize) -> [Option<*const u8>; 4] {
    let g = &part.geometry;
    let mut rows = [None; 4];
    for (k, of_row) in rows.iter_mut().enumerate().take(count) {
        let row = (top + k).wrapping_sub(g.pad_top);
        if row < g.height {
            *of_row = Some(part.src.block::<u8>(block).wrapping_add(row * g.width * PANEL));
        }
    }
    rows
}

/// Where a tile is.
struct Tile<'a, W> {
    w: *const W,
    bias: *const i32,
    rows: [Option<*const u8>; 4],
    outside: &'a Outside,
    y: usize,
    x: usize,
}

/// `ROWS` rows (1 or 2) times `COLUMNS` columns of one block.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for a tile within the part.
#[inline(always)]
#[allow(unused_assignments, reason = "after the last column of all sizes there is no next one")]
unsafe fn tile<S: Columns, const STRIDE: usize, const ROWS: usize, const COLUMNS: usize>(
    s: S,
    part: &Part,
    at: &Tile<'_, S::Weight>,
    epilogue: &Epilogue<S>,
) {
    let g = &part.geometry;
    let (first, count) = (at.x * STRIDE, (COLUMNS - 1) * STRIDE + 3);
    let outside = at.outside.as_ptr().cast::<u8>();
    // A row outside the plane is read from a line of zero points, so that all columns are at fixed places. Of the columns only
    // the first and the last may be outside.
    let mut from = [outside; 4];
    for (from, row) in from.iter_mut().zip(at.rows) {
        if let Some(row) = row {
            *from = row.wrapping_add(first * PANEL).wrapping_sub(g.pad_left * PANEL);
        }
    }
    let input = Input {
        from,
        left: if first < g.pad_left { [outside; 4] } else { from },
        right: if first + count - 1 < g.width + g.pad_left { from } else { [outside; 4] },
    };
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[s.load_sums(at.bias); COLUMNS]; ROWS];
        let mut last = [s.column(input.left), input.column(s, 1)];
        unrolled!(c in COLUMNS => {
            let third = if c + 1 == COLUMNS { input.last(s, c * STRIDE + 2) } else { input.column(s, c * STRIDE + 2) };
            let columns = [last[0], last[1], third];
            unrolled!(k in 0 1 2 => unrolled!(r in 0 1 of ROWS => {
                sums[r][c] = s.dot_column(columns[k], at.w.add((3 * r + k) * ROW), sums[r][c]);
            }));
            last = if STRIDE == 1 || c + 1 == COLUMNS {
                [last[1], third]
            } else {
                [third, input.column(s, c * STRIDE + 3)]
            };
        });
        let pixel = at.y * g.out_width + at.x;
        epilogue.store(s, &sums[0], pixel);
        if ROWS == 2 {
            epilogue.store(s, &sums[ROWS - 1], pixel + g.out_width);
        }
    }
}

/// The input columns of a tile.
struct Input {
    /// Column 0 of each row, if it is inside.
    from: [*const u8; 4],
    /// Column 0.
    left: [*const u8; 4],
    /// What the last column counts from.
    right: [*const u8; 4],
}

impl Input {
    /// Column `x`, neither the first nor the last.
    ///
    /// # Safety
    /// It is readable.
    #[inline(always)]
    unsafe fn column<S: Columns>(&self, s: S, x: usize) -> S::Column {
        // SAFETY: the caller's promise.
        unsafe { column_at(s, self.from, x) }
    }

    /// The last column, number `x`.
    ///
    /// # Safety
    /// As [`column`](Input::column).
    #[inline(always)]
    unsafe fn last<S: Columns>(&self, s: S, x: usize) -> S::Column {
        // SAFETY: the caller's promise; a line of zero points is as long.
        unsafe { column_at(s, self.right, x) }
    }
}

/// Column `x` of rows whose column 0 is at `from`.
///
/// # Safety
/// It is readable.
#[inline(always)]
unsafe fn column_at<S: Columns>(s: S, [a, b, c, d]: [*const u8; 4], x: usize) -> S::Column {
    let at = x * PANEL;
    // SAFETY: the caller's promise.
    unsafe { s.column([a.wrapping_add(at), b.wrapping_add(at), c.wrapping_add(at), d.wrapping_add(at)]) }
}
