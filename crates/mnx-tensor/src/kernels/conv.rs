//! Dense 3x3 convolution of a channel-blocked, zero-padded input: most of a ResNet's arithmetic.
//!
//! ```text
//! for each panel:                                                  16 output channels
//!   for each pair of output rows, in tiles of up to PAIR columns (a last odd row: LONE columns):
//!     sums start at the bias, in registers
//!     for each input channel, row, column: sums += input · panel
//!     clamp, residual, store
//! ```
//!
//! Tiles span two rows, so that they fill the registers even on a plane of seven columns.

use super::balanced;
use super::epilogue::Panels;
use crate::constant::{sized, unrolled};
use crate::part::Span;
use crate::simd::Simd;
use crate::{Operands, Part};

/// Kernels `conv3x3s1` and `conv3x3s2`: tiles of two rows times up to `PAIR` columns, or of one row times up to `LONE`
/// columns (both at most 14), times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn conv3x3<S: Simd, const STRIDE: usize, const PAIR: usize, const LONE: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    let (rows, columns) = (part.rows(), Span::from(0..part.geometry.out_width));
    for panel in part.channels.start..part.channels.end {
        let mut at = TileStart { y: rows.start, x: 0, panel, index: 0 };
        // SAFETY: the caller's promise.
        unsafe {
            while at.y + 1 < rows.end {
                for (x, count) in balanced::<PAIR>(columns) {
                    at.x = x;
                    sized!(count in 1 to PAIR, tile::<S, STRIDE, 2>(s, layer, part, at));
                    at.index += 1;
                }
                at.y += 2;
            }
            if at.y < rows.end {
                for (x, count) in balanced::<LONE>(columns) {
                    at.x = x;
                    sized!(count in 1 to LONE, tile::<S, STRIDE, 1>(s, layer, part, at));
                    at.index += 1;
                }
            }
        }
    }
}

/// What a tile computes.
#[derive(Clone, Copy)]
struct TileStart {
    y: usize,
    x: usize,
    panel: usize,
    /// Number of the tile within its panel.
    index: usize,
}

/// `ROWS` rows (1 or 2) times `COLUMNS` columns times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for a tile within the part; `COLUMNS` columns from `at.x` on exist.
#[inline(always)]
unsafe fn tile<S: Simd, const STRIDE: usize, const ROWS: usize, const COLUMNS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    at: TileStart,
) {
    // SAFETY: the padded input holds all taps of all pixels, the panel nine rows of weights for each input channel.
    unsafe {
        let (cin, width) = (layer.cin, part.geometry.out_width);
        // Pixels from row to row of the padded input.
        let row = (width - 1) * STRIDE + 3;
        let mut w = layer.weights_of::<f32>(at.panel, cin * 9 * 16);
        let mut sums = [[s.load16(layer.bias_of(at.panel, 16)); COLUMNS]; ROWS];
        let mut block = part.src.block::<f32>(0).wrapping_add((at.y * row + at.x) * STRIDE * 8);
        // On a small plane only a few tiles use a panel. Each of them prefetches a third of the next panel.
        let mut ahead = layer.weights_of::<f32>((at.panel + 1) * 9 + at.index % 3 * 3, cin * 16);
        // Hidden from the compiler: it would unroll the loop over the filter's rows, load early in the longer body, and put sums on
        // the stack (tools/check_kernels).
        let filter_rows = std::hint::black_box(3);
        let mut channels = cin;
        while channels > 0 {
            let lanes = channels.min(8);
            // All at once: between the multiply-adds they would push sums onto the stack (tools/check_kernels).
            for line in 0..lanes * 3 {
                s.prefetch(ahead.wrapping_add(line * 16));
            }
            for lane in 0..lanes {
                let mut from = block.wrapping_add(lane);
                for _ in 0..filter_rows {
                    for k in 0..3 {
                        let taps = s.load16(w.add(k * 16));
                        unrolled!(r in 0 1 of ROWS => unrolled!(c in COLUMNS => {
                            let x = from.add((r * STRIDE * row + c * STRIDE + k) * 8);
                            sums[r][c] = s.fma16_splat(x, taps, sums[r][c]);
                        }));
                        s.settle();
                    }
                    (from, w) = (from.wrapping_add(row * 8), w.wrapping_add(48));
                }
            }
            (block, channels) = (block.wrapping_byte_add(part.src.stride), channels - lanes);
            ahead = ahead.wrapping_add(lanes * 48);
        }
        let to = Panels::new(layer, part);
        // No loop over the rows: if it were not unrolled, it would index the sums and so put them in memory.
        let pixel = at.y * width + at.x;
        to.store(s, pixel, at.panel, &sums[0]);
        if ROWS == 2 {
            to.store(s, pixel + width, at.panel, &sums[ROWS - 1]);
        }
    }
}
