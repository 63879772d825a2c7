//! Dense convolution in int8, of features in blocks of 16 channels or of a picture in blocks of 4.
//!
//! ```text
//! for each output row:
//!   copy the input rows that it reads to scratch, with the zero point around them
//!   for each panel, for each tile of up to MAX columns:             sums start at the bias, in registers
//!     for each block, tap, group of 4 channels: sums += dot(input, panel)
//!     requantise, store
//! ```
//!
//! Of a row of ResNet's layers the copy is less than 1 % of the work.

use super::ROW;
use super::epilogue::Epilogue;
use super::pointwise::widen;
use crate::constant::{sized, unrolled};
use crate::int8::form::Products;
use crate::kernels::balanced;
use crate::part::{Part, Span};
use crate::simd::dot::Dot;
use crate::{Operands, PANEL};

/// Kernels `conv3x3s1-int8` and `conv3x3s2-int8`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn conv<S: Dot, const KERNEL: usize, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, KERNEL, STRIDE, 16, MAX>(s, layer, part) }
}

/// Kernels `dense3x3s1-int8`, `dense3x3s2-int8` and `dense7x7s2-int8`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn dense<S: Dot, const KERNEL: usize, const STRIDE: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, KERNEL, STRIDE, 4, MAX>(s, layer, part) }
}

/// # Safety
/// As [`Layer::run`](crate::Layer::run), for input in blocks of `LANES` channels.
#[inline(always)]
unsafe fn windows<S: Dot, const KERNEL: usize, const STRIDE: usize, const LANES: usize, const MAX: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    let (rows, columns) = (part.rows(), Span::from(0..part.geometry.out_width));
    for y in rows.start..rows.end {
        // SAFETY: the caller's promise.
        unsafe {
            padded_rows::<S, LANES>(layer, part, y);
            for panel in part.channels.start..part.channels.end {
                let epilogue = Epilogue::new(s, layer, part, panel);
                for (x, count) in balanced::<MAX>(columns) {
                    sized!(count in 1 to MAX, tile::<S, KERNEL, STRIDE, LANES>(s, layer, part, panel, (y, x), &epilogue))
                }
            }
        }
    }
}

/// Copies the input rows that output row `y` reads to scratch: `[blocks][KERNEL][columns][LANES]`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
unsafe fn padded_rows<S: Dot, const LANES: usize>(layer: &Operands<'_>, part: &Part, y: usize) {
    let (g, operation) = (&part.geometry, layer.operation);
    let (kernel, stride, columns) = (operation.kernel(), operation.stride(), g.padded_row(operation));
    let words = S::FORM.products == Products::Words;
    let zero = layer.int8.requantize.zero_in;
    let [before, inside, after] = g.across(operation);
    for b in 0..layer.cin.div_ceil(LANES) {
        for k in 0..kernel {
            let row = (y * stride + k).wrapping_sub(g.pad_top);
            let at = (b * kernel + k) * columns * LANES;
            let from = part.src.block::<u8>(b).wrapping_add(row.wrapping_mul(g.width * LANES));
            // SAFETY: scratch has room for all rows; a row that is inside the plane is readable.
            unsafe {
                if words {
                    let to = part.scratch.cast::<i16>().add(at);
                    let outside = |to: *mut i16, pixels: usize| {
                        for i in 0..pixels * LANES {
                            to.add(i).write(i16::from(zero));
                        }
                    };
                    if row >= g.height {
                        outside(to, columns);
                        continue;
                    }
                    outside(to, before);
                    let to = to.add(before * LANES);
                    let bytes = inside * LANES;
                    for i in 0..bytes / 16 {
                        widen(from.add(16 * i), to.add(16 * i));
                    }
                    for i in bytes / 16 * 16..bytes {
                        to.add(i).write(i16::from(from.add(i).read()));
                    }
                    outside(to.add(bytes), after);
                } else {
                    let to = part.scratch.add(at);
                    if row >= g.height {
                        to.write_bytes(zero, columns * LANES);
                        continue;
                    }
                    to.write_bytes(zero, before * LANES);
                    let to = to.add(before * LANES);
                    to.copy_from_nonoverlapping(from, inside * LANES);
                    to.add(inside * LANES).write_bytes(zero, after * LANES);
                }
            }
        }
    }
}

/// `COLUMNS` columns of a row times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for a tile within the part whose padded rows are in scratch.
#[inline(always)]
unsafe fn tile<S: Dot, const KERNEL: usize, const STRIDE: usize, const LANES: usize, const COLUMNS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    panel: usize,
    (y, x): (usize, usize),
    epilogue: &Epilogue<S>,
) {
    let (taps, columns) = (KERNEL * KERNEL, part.geometry.padded_row(layer.operation));
    let groups = layer.cin.div_ceil(4);
    // SAFETY: scratch holds all taps of all pixels.
    unsafe {
        let mut w = layer.weights_of::<S::Weight>(panel, groups * taps * ROW);
        let mut sums = [s.load_sums(layer.bias_of(panel, PANEL)); COLUMNS];
        let mut block = part.scratch.cast::<S::Input>().cast_const().wrapping_add(x * STRIDE * LANES);
        let mut left = groups;
        while left > 0 {
            let here = left.min(LANES / 4);
            for ky in 0..KERNEL {
                for kx in 0..KERNEL {
                    let from = block.add((ky * columns + kx) * LANES);
                    let w = w.add((ky * KERNEL + kx) * ROW);
                    let mut quads = [s.load_quad::<LANES>(from); COLUMNS];
                    unrolled!(c in COLUMNS => quads[c] = s.load_quad::<LANES>(from.add(c * STRIDE * LANES)));
                    s.dot::<0, COLUMNS>(&quads, w, &mut sums);
                    if LANES == 16 {
                        if here > 1 {
                            s.dot::<1, COLUMNS>(&quads, w.add(taps * ROW), &mut sums);
                        }
                        if here > 2 {
                            s.dot::<2, COLUMNS>(&quads, w.add(2 * taps * ROW), &mut sums);
                        }
                        if here > 3 {
                            s.dot::<3, COLUMNS>(&quads, w.add(3 * taps * ROW), &mut sums);
                        }
                    }
                }
            }
            w = w.wrapping_add(here * taps * ROW);
            block = block.wrapping_add(KERNEL * columns * LANES);
            left -= here;
        }
        epilogue.store(s, &sums, y * part.geometry.out_width + x);
    }
}
