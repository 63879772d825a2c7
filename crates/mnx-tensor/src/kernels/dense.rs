//! Dense 3x3 and 7x7 convolution of a planar (NCHW) input: a network's stem, where the layout becomes channel-blocked.
//!
//! ```text
//! for each output row, for each tile of up to MAX output pixels:
//!   if the tile touches the padding, copy its input with zeros around it     (the loop below knows no edges)
//!   for each group of panels, input channel, row, column: sums += input · panel
//! ```

use super::balanced;
use super::epilogue::Panels;
use crate::constant::{sized, unrolled};
use crate::operation::MOST_DENSE_PIXELS;
use crate::part::Geometry;
use crate::simd::Simd;
use crate::{Operands, Part};

/// Kernels `dense3x3s1`, `dense3x3s2` and `dense7x7s2`, of size `K`: tiles of up to `MAX` pixels (at most
/// [`MOST_DENSE_PIXELS`]) times `PANELS` panels, or one panel where fewer are left.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn dense<S: Simd, const K: usize, const STRIDE: usize, const MAX: usize, const PANELS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    const { assert!(MAX <= MOST_DENSE_PIXELS) };
    let (rows, width) = (part.rows(), part.geometry.out_width);
    for y in rows.start..rows.end {
        for (x, count) in balanced::<MAX>((0..width).into()) {
            // SAFETY: the caller's promise.
            unsafe {
                let window = window::<S, K, STRIDE>(s, layer, part, y, x, count);
                prefetch::<S, K, STRIDE>(s, layer, part, y + 1, x);
                let mut at = TileStart { pixel: y * width + x, panel: part.channels.start };
                while PANELS > 1 && at.panel + PANELS <= part.channels.end {
                    sized!(count in 1 to MAX, tile::<S, K, STRIDE, PANELS>(s, layer, part, window, at));
                    at.panel += PANELS;
                }
                while at.panel < part.channels.end {
                    sized!(count in 1 to MAX, tile::<S, K, STRIDE, 1>(s, layer, part, window, at));
                    at.panel += 1;
                }
            }
        }
    }
}

/// The input of a tile: where its first tap is, and how far apart rows and channels are.
#[derive(Clone, Copy)]
struct Window {
    from: *const f32,
    row: usize,
    channel: usize,
}

/// What a tile writes.
#[derive(Clone, Copy)]
struct TileStart {
    pixel: usize,
    /// The first of its panels.
    panel: usize,
}

/// The input of `count` output pixels from row `y`, column `x` on. At the edges it is a copy with zeros around it.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for pixels within the part.
#[inline(always)]
unsafe fn window<S: Simd, const K: usize, const STRIDE: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    y: usize,
    x: usize,
    count: usize,
) -> Window {
    let Geometry { height, width, pad_top, pad_left, .. } = part.geometry;
    let columns = (count - 1) * STRIDE + K;
    // In the padded input.
    let (top, left) = (y * STRIDE, x * STRIDE);
    let rows_inside = top >= pad_top && top + K <= height + pad_top;
    let columns_inside = left >= pad_left && left + columns <= width + pad_left;
    // SAFETY: rows and columns are inside, or are copied only where they are; scratch holds K rows per channel.
    unsafe {
        if rows_inside && columns_inside {
            let from = part.src.block::<f32>(0).wrapping_add((top - pad_top) * width + left - pad_left);
            return Window { from, row: width, channel: part.src.stride / size_of::<f32>() };
        }
        for i in (0..layer.cin * K * columns).step_by(8) {
            s.store8(part.scratch.cast::<f32>().add(i), s.splat8(0.0));
        }
        let first = pad_left.saturating_sub(left);
        let count = columns.min((width + pad_left).saturating_sub(left)).saturating_sub(first);
        for channel in 0..layer.cin {
            for k in 0..K {
                let row = (top + k).wrapping_sub(pad_top);
                if row < height && count > 0 {
                    let from = part.src.block::<f32>(channel).wrapping_add(row * width + left + first - pad_left);
                    copy(s, from, part.scratch.cast::<f32>().add((channel * K + k) * columns + first), count);
                }
            }
        }
        Window { from: part.scratch.cast::<f32>(), row: columns, channel: K * columns }
    }
}

/// Copies `count` floats, eight at a time; the last eight may overlap with those before.
///
/// # Safety
/// They are readable and writable, and do not overlap.
#[inline(always)]
unsafe fn copy<S: Simd>(s: S, from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if count < 8 {
            for i in 0..count {
                *to.add(i) = *from.add(i);
            }
            return;
        }
        for i in (0..count - 7).step_by(8).chain([count - 8]) {
            s.store8(to.add(i), s.load8(from.add(i)));
        }
    }
}

/// Prefetches the input rows that output row `y` reads and the row above does not.
#[inline(always)]
fn prefetch<S: Simd, const K: usize, const STRIDE: usize>(s: S, layer: &Operands<'_>, part: &Part, y: usize, x: usize) {
    let Geometry { width, pad_top, .. } = part.geometry;
    for channel in 0..layer.cin {
        for row in (y * STRIDE + K - STRIDE).saturating_sub(pad_top)..(y * STRIDE + K).saturating_sub(pad_top) {
            s.prefetch(part.src.block::<f32>(channel).wrapping_add(row * width + x * STRIDE));
        }
    }
}

/// `PIXELS` output pixels times `PANELS` panels.
///
/// # Safety
/// `window` has `K` rows of every channel, for all taps of all pixels; otherwise as [`Layer::run`](crate::Layer::run).
#[inline(always)]
unsafe fn tile<S: Simd, const K: usize, const STRIDE: usize, const PANELS: usize, const PIXELS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    window: Window,
    at: TileStart,
) {
    // SAFETY: the window holds K rows of every channel, for all taps of all pixels.
    unsafe {
        let panel_len = layer.cin * K * K * 16;
        let mut w = layer.weights_of::<f32>(at.panel, panel_len);
        let mut sums = [[s.load16(layer.bias_of(at.panel, 16)); PIXELS]; PANELS];
        unrolled!(n in 0 1 2 of PANELS => if n > 0 {
            sums[n] = [s.load16(layer.bias_of(at.panel + n, 16)); PIXELS];
        });
        for channel in 0..layer.cin {
            let mut from = window.from.add(channel * window.channel);
            for _ in 0..K {
                for k in 0..K {
                    let mut taps = [s.load16(w.add(k * 16)); PANELS];
                    unrolled!(n in 0 1 2 of PANELS => if n > 0 {
                        taps[n] = s.load16(w.add(n * panel_len + k * 16));
                    });
                    unrolled!(p in PIXELS => unrolled!(n in 0 1 2 of PANELS => {
                        sums[n][p] = s.fma16_splat(from.add(p * STRIDE + k), taps[n], sums[n][p]);
                    }));
                    // With several panels a broadcast serves all of them from a register, and two taps of a 3x3 filter may share
                    // it; those of a larger filter would keep too many.
                    if PANELS == 1 || K > 3 {
                        s.settle();
                    }
                }
                (from, w) = (from.wrapping_add(window.row), w.wrapping_add(K * 16));
            }
        }
        let to = Panels::new(layer, part);
        to.store_all(s, at.pixel, at.panel, &sums);
    }
}
