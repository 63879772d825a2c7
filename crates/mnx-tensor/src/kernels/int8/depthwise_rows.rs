//! Depthwise 3x3 convolution in int8 for ISAs whose registers hold a few pixels only: sixteen sums and a column take several
//! registers each. It goes through a row, or a pair of rows, a pixel at a time, and every column is read once.
//!
//! ```text
//! for each block, for each pair of output rows (at stride 2, or a last odd row: for each row):
//!   for each output column:                                      three columns stay in registers and take turns
//!     sums of one pixel, or of two below each other, requantised and stored at once
//! ```

use super::epilogue::Epilogue;
use crate::constant::unrolled;
use crate::int8::form::TAPS;
use crate::part::Part;
use crate::simd::dot::Columns;
use crate::{Operands, PANEL};

/// Taps of a column.
pub(super) const ROW: usize = 64;

/// Kernels `dw3x3s1-int8` and `dw3x3s2-int8`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn depthwise_rows<S: Columns, const STRIDE: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    let rows = part.rows();
    let outside = [layer.int8.requantize.zero_in; PANEL];
    for block in part.channels.start..part.channels.end {
        // SAFETY: the caller's promise.
        unsafe {
            let epilogue = Epilogue::new(s, layer, part, block);
            let (w, bias) = (layer.weights_of(block, TAPS), layer.bias_of(block, PANEL));
            let mut y = rows.start;
            while y < rows.end {
                let pair = STRIDE == 1 && y + 1 < rows.end;
                let input = Rows::new(part, block, y * STRIDE, if pair { 4 } else { 3 }, &outside);
                let line = Line { s, w, bias, input: &input, epilogue: &epilogue, start: y * part.geometry.out_width };
                if pair {
                    line.store::<STRIDE, 2>(part.geometry.out_width);
                } else {
                    line.store::<STRIDE, 1>(part.geometry.out_width);
                }
                y += if pair { 2 } else { 1 };
            }
        }
    }
}

/// The four input rows of a line. A row outside the plane is one pixel of the zero point, again and again.
pub(super) struct Rows<'a> {
    /// Column 0.
    pub(super) rows: [*const u8; 4],
    /// Bytes from column to column: 16, or 0 outside.
    pub(super) steps: [usize; 4],
    pub(super) outside: &'a [u8; PANEL],
    pub(super) width: usize,
    pub(super) pad_left: usize,
}

impl<'a> Rows<'a> {
    /// Padded rows `top` to `top + count - 1` of block `block`.
    #[inline(always)]
    pub(super) fn new(part: &Part, block: usize, top: usize, count: usize, outside: &'a [u8; PANEL]) -> Self {
        let g = &part.geometry;
        let (mut rows, mut steps) = ([outside.as_ptr(); 4], [0; 4]);
        for k in 0..count {
            let row = (top + k).wrapping_sub(g.pad_top);
            if row < g.height {
                rows[k] = part.src.block::<u8>(block).wrapping_add(row * g.width * PANEL);
                steps[k] = PANEL;
            }
        }
        Rows { rows, steps, outside, width: g.width, pad_left: g.pad_left }
    }

    /// Column `x` of the padded rows.
    ///
    /// # Safety
    /// The rows are readable.
    #[inline(always)]
    pub(super) unsafe fn column<S: Columns>(&self, s: S, x: usize) -> S::Column {
        let x = x.wrapping_sub(self.pad_left);
        let mut from = [self.outside.as_ptr(); 4];
        if x < self.width {
            for (from, (row, step)) in from.iter_mut().zip(self.rows.iter().zip(self.steps)) {
                *from = row.wrapping_add(x * step);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { s.column(from) }
    }
}

/// A row of output pixels, or two.
struct Line<'a, S: Columns> {
    s: S,
    w: *const S::Weight,
    bias: *const i32,
    input: &'a Rows<'a>,
    epilogue: &'a Epilogue<S>,
    /// Its first pixel.
    start: usize,
}

impl<S: Columns> Line<'_, S> {
    /// All its pixels. Columns take turns in the loop's body, so that none is moved from register to register.
    ///
    /// # Safety
    /// As [`Layer::run`](crate::Layer::run), for rows within the part.
    #[inline(always)]
    unsafe fn store<const STRIDE: usize, const ROWS: usize>(&self, width: usize) {
        let Line { s, input, .. } = *self;
        // SAFETY: the caller's promise.
        unsafe {
            let mut a = input.column(s, 0);
            let mut x = 0;
            if STRIDE == 1 {
                let mut b = input.column(s, 1);
                while x + 3 <= width {
                    let c = input.column(s, x + 2);
                    self.pixel::<ROWS>([a, b, c], x, width);
                    a = input.column(s, x + 3);
                    self.pixel::<ROWS>([b, c, a], x + 1, width);
                    b = input.column(s, x + 4);
                    self.pixel::<ROWS>([c, a, b], x + 2, width);
                    x += 3;
                }
                while x < width {
                    let c = input.column(s, x + 2);
                    self.pixel::<ROWS>([a, b, c], x, width);
                    (a, b) = (b, c);
                    x += 1;
                }
            } else {
                while x + 2 <= width {
                    let c = input.column(s, 2 * x + 2);
                    self.pixel::<ROWS>([a, input.column(s, 2 * x + 1), c], x, width);
                    a = input.column(s, 2 * x + 4);
                    self.pixel::<ROWS>([c, input.column(s, 2 * x + 3), a], x + 1, width);
                    x += 2;
                }
                if x < width {
                    self.pixel::<ROWS>([a, input.column(s, 2 * x + 1), input.column(s, 2 * x + 2)], x, width);
                }
            }
        }
    }

    /// Pixel `x` of each row.
    ///
    /// # Safety
    /// As [`Layer::run`](crate::Layer::run), for a pixel within the part.
    #[inline(always)]
    unsafe fn pixel<const ROWS: usize>(&self, columns: [S::Column; 3], x: usize, width: usize) {
        let s = self.s;
        // SAFETY: the caller's promise.
        unsafe {
            unrolled!(row in 0 1 of ROWS => {
                let mut sums = s.load_sums(self.bias);
                unrolled!(k in 0 1 2 => sums = s.dot_column(columns[k], self.w.add((3 * row + k) * ROW), sums));
                self.epilogue.store(s, &[sums], self.start + row * width + x);
            });
        }
    }
}
