//! Depthwise 3x3 convolution in int8.
//!
//! ```text
//! for each block:                                                16 channels
//!   for each pair of output rows (at stride 2, or a last odd row: for each row):
//!     for each input column that is read, from left to right:    four rows of it, the rows of a channel side by side
//!       keep the last three columns in registers
//!       sums of an output pixel = bias + dot of each column with its taps
//!       requantise, store, some pixels at a time
//! ```
//!
//! The four rows y…y+3 of a column serve two output rows: the first has the taps (w0, w1, w2, 0), the second (0, w0, w1, w2).

use super::depthwise_rows::{ROW, Rows};
use super::epilogue::Epilogue;
use super::sized;
use crate::int8::TAPS;
use crate::kernels::balanced;
use crate::part::{Part, Span};
use crate::simd::dot::Columns;
use crate::{Layer, PANEL};

/// Kernels `dw3x3s1-int8` and `dw3x3s2-int8`: up to `MAX` pixels of a row, or of each of two rows, at a time.
///
/// # Safety
/// As [`Layer::run`].
#[inline(always)]
pub(crate) unsafe fn depthwise<S: Columns, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Layer<'_>,
    part: &Part,
) {
    let (rows, g) = (part.rows(), &part.geometry);
    let outside = [layer.int8.requantize.zero_in; PANEL];
    for block in part.channels.start..part.channels.end {
        // SAFETY: the caller's promise.
        unsafe {
            let epilogue = Epilogue::new(s, layer, part, block);
            let (w, bias) = (layer.weights_of::<S::Weight>(block, TAPS), layer.bias_of::<i32>(block, PANEL));
            let mut y = rows.start;
            while y < rows.end {
                let pair = STRIDE == 1 && y + 1 < rows.end;
                let input = Rows::new(part, block, y * STRIDE, if pair { 4 } else { 3 }, &outside);
                for (x, count) in balanced::<MAX>(Span::from(0..g.out_width)) {
                    let at = Tile { w, bias, input: &input, y, x };
                    if pair {
                        sized!(count, MAX, tile::<S, STRIDE, 2>(s, part, &at, &epilogue))
                    } else {
                        sized!(count, MAX, tile::<S, STRIDE, 1>(s, part, &at, &epilogue))
                    }
                }
                y += if pair { 2 } else { 1 };
            }
        }
    }
}

/// Where a tile is.
struct Tile<'a, W> {
    w: *const W,
    bias: *const i32,
    input: &'a Rows<'a>,
    y: usize,
    x: usize,
}

/// `ROWS` rows (1 or 2) times `COLUMNS` columns of one block.
///
/// # Safety
/// As [`Layer::run`], for a tile within the part.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "columns of the input are counted too")]
unsafe fn tile<S: Columns, const STRIDE: usize, const ROWS: usize, const COLUMNS: usize>(
    s: S,
    part: &Part,
    at: &Tile<'_, S::Weight>,
    epilogue: &Epilogue<S>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let bias = s.load_sums(at.bias);
        let mut sums = [[bias; COLUMNS]; ROWS];
        let first = at.x * STRIDE;
        let mut last = [at.input.column(s, first), at.input.column(s, first + 1)];
        for c in 0..COLUMNS {
            let third = at.input.column(s, first + c * STRIDE + 2);
            for (k, column) in [last[0], last[1], third].into_iter().enumerate() {
                sums[0][c] = s.dot_column(column, at.w.add(k * ROW), sums[0][c]);
                if ROWS == 2 {
                    sums[ROWS - 1][c] = s.dot_column(column, at.w.add((3 + k) * ROW), sums[ROWS - 1][c]);
                }
            }
            last = if STRIDE == 1 || c + 1 == COLUMNS {
                [last[1], third]
            } else {
                [third, at.input.column(s, first + c * STRIDE + 3)]
            };
        }
        let pixel = at.y * part.geometry.out_width + at.x;
        epilogue.store(s, &sums[0], pixel);
        if ROWS == 2 {
            epilogue.store(s, &sums[ROWS - 1], pixel + part.geometry.out_width);
        }
    }
}
