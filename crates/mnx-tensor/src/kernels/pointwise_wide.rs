//! Pointwise convolution with tiles of several panels, for cores that start two 512-bit multiply-adds a cycle.
//!
//! ```text
//! for each chunk of pixels, for each group of two or three panels:     16 output channels each
//!   for each tile of pixels:                                           sums start at the bias, in registers
//!     for each input channel: load its weights, one vector a panel
//!       for each pixel: one broadcast, a multiply-add for each panel
//!     clamp, residual, store
//! ```
//!
//! Such a core can load two vectors a cycle. A tile of one panel loads a broadcast for every multiply-add and has nothing
//! to spare; here each broadcast serves all panels.

use super::balanced;
use super::epilogue::Panels;
use super::pointwise::pw;
use crate::constant::{sized, unrolled};
use crate::part::Span;
use crate::simd::Simd;
use crate::{Operands, Part};

/// Pixels of the smallest tile. Fewer are left to tiles of one panel.
const FEWEST: usize = 4;

/// Kernel `pw` with tiles of up to `OF_THREE` pixels (8) times three panels. Where panels are left over, groups of two take them
/// with tiles of up to `OF_TWO` pixels (14); a single panel is computed by tiles of up to `OF_ONE` pixels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn pw_wide<S: Simd, const OF_THREE: usize, const OF_TWO: usize, const OF_ONE: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
) {
    if part.channels.len() < 2 || part.pixels.len() < FEWEST {
        // SAFETY: the caller's promise.
        return unsafe { pw::<S, OF_ONE>(s, layer, part) };
    }
    // Chunks of the same size, so that none is too small for a tile.
    let chunks = part.pixels.len().div_ceil(layer.chunk_pixels(OF_THREE));
    let end_of = |index: usize| part.pixels.start + part.pixels.len() * index / chunks;
    for index in 0..chunks {
        let pixels: Span = (end_of(index)..end_of(index + 1)).into();
        let mut panel = part.channels.start;
        while panel < part.channels.end {
            // SAFETY: the caller's promise.
            unsafe {
                // Three and one are two and two, so that no panel is alone.
                if matches!(part.channels.end - panel, 2 | 4) {
                    tiles::<S, OF_TWO, 2>(s, layer, part, pixels, panel);
                    panel += 2;
                } else {
                    tiles::<S, OF_THREE, 3>(s, layer, part, pixels, panel);
                    panel += 3;
                }
            }
        }
    }
}

/// Some pixels of `PANELS` panels, in tiles of up to `MAX` pixels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for pixels and panels that are part of it, [`FEWEST`] pixels at least.
#[inline(always)]
unsafe fn tiles<S: Simd, const MAX: usize, const PANELS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    pixels: Span,
    panel: usize,
) {
    for (turn, (pixel, count)) in balanced::<MAX>(pixels).enumerate() {
        let at = TileStart { pixel, panel, turn };
        debug_assert!((FEWEST..=MAX).contains(&count));
        // SAFETY: the caller's promise.
        unsafe { sized!(count in FEWEST to MAX, tile::<S, PANELS>(s, layer, part, at)) }
    }
}

/// What a tile computes.
#[derive(Clone, Copy)]
struct TileStart {
    pixel: usize,
    /// The first of the panels.
    panel: usize,
    /// Number of the tile within these panels.
    turn: usize,
}

/// `PIXELS` pixels times `PANELS` panels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for pixels and panels that are part of it.
#[inline(always)]
unsafe fn tile<S: Simd, const PANELS: usize, const PIXELS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    at: TileStart,
) {
    let cin = layer.cin;
    let panel_len = cin * 16;
    // SAFETY: pixels and panels are inside by the caller's promise.
    unsafe {
        let mut w = layer.weights_of::<f32>(at.panel, panel_len);
        let mut sums = [[s.load16(layer.bias_of(at.panel, 16)); PIXELS]; PANELS];
        unrolled!(n in 0 1 2 of PANELS => if n > 0 {
            sums[n] = [s.load16(layer.bias_of(at.panel + n, 16)); PIXELS];
        });
        let mut x = part.src.block::<f32>(0).wrapping_add(at.pixel * 8);
        // Each tile prefetches a quarter of the next group's weights.
        let mut ahead = w.wrapping_add(PANELS * panel_len + at.turn % 4 * (cin / 4) * 16);
        for _ in 0..cin / 8 {
            unrolled!(n in 0 1 2 of PANELS => {
                s.prefetch(ahead.wrapping_add(n * panel_len));
                s.prefetch(ahead.wrapping_add(n * panel_len + 16));
            });
            // A loop: of the largest tile the compiler leaves one, since eight channels of it would put sums on the stack.
            for lane in 0..8 {
                channel(s, x.add(lane), w, panel_len, &mut sums);
                w = w.wrapping_add(16);
            }
            (x, ahead) = (x.wrapping_byte_add(part.src.stride), ahead.wrapping_add(32));
        }
        for lane in 0..cin % 8 {
            channel(s, x.add(lane), w, panel_len, &mut sums);
            w = w.wrapping_add(16);
        }
        let to = Panels::new(layer, part);
        to.store_all(s, at.pixel, at.panel, &sums);
    }
}

/// Adds one input channel, of pixels from `x` on, whose weights of the first panel are at `w`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn channel<S: Simd, const PIXELS: usize, const PANELS: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    panel_len: usize,
    sums: &mut [[S::P16; PIXELS]; PANELS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut weights = [s.load16(w); PANELS];
        unrolled!(n in 0 1 2 of PANELS => if n > 0 {
            weights[n] = s.load16(w.wrapping_add(n * panel_len));
        });
        // The same broadcast for every panel: the compiler loads it once.
        unrolled!(p in PIXELS => unrolled!(n in 0 1 2 of PANELS => {
            sums[n][p] = s.fma16_splat(x.add(p * 8), weights[n], sums[n][p]);
        }));
    }
}
