//! Depthwise 3x3 of two blocks of channels at once, for cores that start two 512-bit multiply-adds a cycle.
//!
//! ```text
//! for each two blocks of 8 channels, for each tile of up to MAX columns:    the filter, in registers
//!   for each two output rows, down the columns:
//!     sums start at the bias, in registers
//!     for each input row of the two, for each input column of the tile:     two loads, one a block, joined
//!       for each of up to six outputs with a tap there:                     sum += input · weight
//!     clamp, residual, store
//! ```
//!
//! Joining the blocks of an input costs as much as a multiply-add, so two output rows share each input, and the joined filter
//! stays. Within a sum the order is the contract's: row, then column.

use super::balanced;
use super::depthwise::depthwise;
use super::epilogue::Panels;
use crate::constant::{sized, unrolled};
use crate::part::{Geometry, Span};
use crate::simd::Simd;
use crate::{Operands, Part};

/// Kernels `dw3x3s1` and `dw3x3s2`: tiles of two rows of up to `MAX` pixels (8) times two blocks, which together are a panel.
/// A block without a partner is computed by tiles of up to `LONE` pixels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn depthwise_wide<S: Simd, const STRIDE: usize, const MAX: usize, const LONE: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    let Span { start, end } = part.channels;
    // Pairs begin at even blocks, as panels do.
    let first = start.next_multiple_of(2).min(end);
    let pairs = Span { start: first, end: first + (end - first) / 2 * 2 };
    let to = Panels::new(layer, part);
    for b in (pairs.start..pairs.end).step_by(2) {
        let pair = Pair {
            panel: b / 2,
            src: part.src.block(b),
            stride: part.src.stride,
            weights: layer.weights_of(b, 72),
            bias: layer.bias_of(b, 8),
        };
        for (x, count) in balanced::<MAX>((0..part.geometry.out_width).into()) {
            // SAFETY: the caller's promise, for two of its blocks and a tile of its columns.
            unsafe { sized!(count in 1 to MAX, down::<S, STRIDE>(s, part, &pair, &to, x)) }
        }
    }
    for lone in [start..pairs.start, pairs.end..end] {
        if !lone.is_empty() {
            // SAFETY: the caller's promise, for fewer blocks.
            unsafe { depthwise::<S, STRIDE, LONE>(s, layer, &Part { channels: lone.into(), ..*part }) }
        }
    }
}

/// Two blocks of channels: where their input is and what their filters are.
struct Pair {
    /// Their number as a panel.
    panel: usize,
    /// Pixel 0 of the first block.
    src: *const f32,
    /// Bytes from there to the second.
    stride: usize,
    weights: *const f32,
    bias: *const f32,
}

impl Pair {
    /// An input pixel, which lies at `from` in the first block.
    ///
    /// # Safety
    /// It is readable in both blocks.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, from: *const f32) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.join(s.load8(from), s.load8(from.wrapping_byte_add(self.stride))) }
    }

    /// A row of the filters.
    ///
    /// # Safety
    /// Each block has nine weights of eight channels, in rows 0 to 2.
    #[inline(always)]
    unsafe fn taps<S: Simd>(&self, s: S, row: usize) -> [S::P16; 3] {
        let w = self.weights.wrapping_add(row * 24);
        // SAFETY: the caller's promise.
        unsafe {
            [
                s.join(s.load8(w), s.load8(w.wrapping_add(72))),
                s.join(s.load8(w.wrapping_add(8)), s.load8(w.wrapping_add(80))),
                s.join(s.load8(w.wrapping_add(16)), s.load8(w.wrapping_add(88))),
            ]
        }
    }
}

/// A tile of `PIXELS` columns from column `x` on, down all rows of the part.
///
/// # Safety
/// As [`depthwise_wide`], for two of its blocks and a tile within the output.
#[inline(always)]
unsafe fn down<S: Simd, const STRIDE: usize, const PIXELS: usize>(
    s: S,
    part: &Part,
    pair: &Pair,
    to: &Panels,
    x: usize,
) {
    let (g, rows) = (&part.geometry, part.rows());
    let left = x * STRIDE;
    let columns = [left >= g.pad_left, left + (PIXELS - 1) * STRIDE + 2 < g.width + g.pad_left];
    // SAFETY: the caller's promise; each block has its filter and bias.
    unsafe {
        let filter = [pair.taps(s, 0), pair.taps(s, 1), pair.taps(s, 2)];
        let bias = s.join(s.load8(pair.bias), s.load8(pair.bias.wrapping_add(8)));
        let mut y = rows.start;
        while y + 1 < rows.end {
            let at = At { y, x, columns };
            let sums = tile::<S, STRIDE, PIXELS, 2>(s, g, pair, &filter, bias, at);
            to.store(s, y * g.out_width + x, pair.panel, &sums[0]);
            to.store(s, (y + 1) * g.out_width + x, pair.panel, &sums[1]);
            y += 2;
        }
        if y < rows.end {
            let at = At { y, x, columns };
            let [sums] = tile::<S, STRIDE, PIXELS, 1>(s, g, pair, &filter, bias, at);
            to.store(s, y * g.out_width + x, pair.panel, &sums);
        }
    }
}

/// Where a tile is.
#[derive(Clone, Copy)]
struct At {
    y: usize,
    x: usize,
    /// Whether its first and its last input column lie inside the plane; all others do.
    columns: [bool; 2],
}

/// The sums of `ROWS` output rows, one or two, of `PIXELS` pixels.
///
/// # Safety
/// As [`down`].
#[inline(always)]
unsafe fn tile<S: Simd, const STRIDE: usize, const PIXELS: usize, const ROWS: usize>(
    s: S,
    g: &Geometry,
    pair: &Pair,
    filter: &[[S::P16; 3]; 3],
    bias: S::P16,
    at: At,
) -> [[S::P16; PIXELS]; ROWS] {
    let top = at.y * STRIDE;
    let pixel = |y: usize, x: usize| (y * g.width + x) as isize;
    let from = pair.src.wrapping_offset((pixel(top, at.x * STRIDE) - pixel(g.pad_top, g.pad_left)) * 8);
    let mut sums = [[bias; PIXELS]; ROWS];
    // No loop: where it is not unrolled, the sums end up in memory.
    macro_rules! row {
        ($k:literal) => {
            if $k < (ROWS - 1) * STRIDE + 3 && (top + $k).wrapping_sub(g.pad_top) < g.height {
                // SAFETY: the row is inside; the caller's promise.
                unsafe {
                    let from = from.wrapping_add($k * g.width * 8);
                    row::<S, STRIDE, PIXELS, ROWS, $k>(s, pair, from, filter, at.columns, &mut sums)
                }
            }
        };
    }
    row!(0);
    row!(1);
    row!(2);
    row!(3);
    row!(4);
    sums
}

/// Adds input row `K` of a tile.
///
/// # Safety
/// The columns are readable from `from` on, the first and the last if `inside` says so.
#[inline(always)]
unsafe fn row<S: Simd, const STRIDE: usize, const PIXELS: usize, const ROWS: usize, const K: usize>(
    s: S,
    pair: &Pair,
    from: *const f32,
    filter: &[[S::P16; 3]; 3],
    inside: [bool; 2],
    sums: &mut [[S::P16; PIXELS]; ROWS],
) {
    macro_rules! add {
        ($input:expr, $p:expr, $tap:literal) => {
            // Output row `o` reads this row with row `K - o · STRIDE` of the filter, if there is one.
            if K < 3 {
                sums[0][$p] = s.fma16($input, filter[K % 3][$tap], sums[0][$p]);
            }
            if ROWS > 1 && K >= STRIDE {
                sums[ROWS - 1][$p] = s.fma16($input, filter[(K - STRIDE * (ROWS - 1)) % 3][$tap], sums[ROWS - 1][$p]);
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe {
        if inside[0] {
            let input = pair.load(s, from);
            add!(input, 0, 0);
        }
        unrolled!(p in PIXELS => {
            let input = pair.load(s, from.wrapping_add((p * STRIDE + 1) * 8));
            if STRIDE == 1 && p > 0 {
                add!(input, p - 1, 2);
            }
            add!(input, p, 1);
            if STRIDE == 1 && p + 1 < PIXELS {
                add!(input, p + 1, 0);
            }
            if STRIDE == 2 && p + 1 < PIXELS {
                let input = pair.load(s, from.wrapping_add((p * STRIDE + 2) * 8));
                add!(input, p, 2);
                add!(input, p + 1, 0);
            }
        });
        if inside[1] {
            let input = pair.load(s, from.wrapping_add(((PIXELS - 1) * STRIDE + 2) * 8));
            add!(input, PIXELS - 1, 2);
        }
    }
}
