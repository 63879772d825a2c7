//! Pointwise (1x1) convolution: a matrix product of packed weights with channel-blocked pixels.
//!
//! ```text
//! for each chunk of pixels, for each panel:                 16 output channels
//!   for each tile of up to MAX pixels:                      sums start at the bias, in registers
//!     for each input channel: sums += pixel[channel] · panel[channel]
//!     clamp, residual, store
//! ```
//!
//! A tile's clamps and stores wait for its last multiply-adds. While they wait they fill the CPU's queue, and the next tile
//! starts late. So a large tile may end in two pieces (`Simd::ENDS_IN_PIECES`): the last four input channels are added to
//! the first, which is stored, and then to the second.

use super::balanced;
use super::epilogue::Panels;
use super::lanes::{Half, Lanes, Whole};
use crate::constant::{sized, unrolled};
use crate::part::Span;
use crate::simd::Simd;
use crate::{Operands, Part};

/// Pixels of the first piece of a tile that ends in two.
const FIRST: usize = 6;

/// Kernel `pw`: tiles of up to `MAX` pixels (at most 12) times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn pw<S: Simd, const MAX: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { pointwise::<S, Whole, MAX>(s, layer, part) }
}

/// Kernel `pw8`: as [`pw`], for a last panel with no more than eight channels.
///
/// # Safety
/// As [`pw`].
#[inline(always)]
pub(crate) unsafe fn pw8<S: Simd, const MAX: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { pointwise::<S, Half, MAX>(s, layer, part) }
}

/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
unsafe fn pointwise<S: Simd, L: Lanes<S>, const MAX: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    let chunk = layer.chunk_pixels(MAX);
    let mut start = part.pixels.start;
    while start < part.pixels.end {
        let pixels: Span = (start..part.pixels.end.min(start + chunk)).into();
        for panel in part.channels.start..part.channels.end {
            // On a small plane only a few tiles use a panel. Each of them prefetches a quarter of the next panel.
            let next = layer.weights_of::<f32>(panel + 1, layer.cin * 16);
            for (index, (pixel, count)) in balanced::<MAX>(pixels).enumerate() {
                let place = TileStart { pixel, panel, ahead: next.wrapping_add(index % 4 * (layer.cin / 4) * 16) };
                // SAFETY: the caller's promise.
                unsafe { sized!(count in 1 to MAX, tile::<S, L>(s, layer, part, place)) }
            }
        }
        start = pixels.end;
    }
}

/// What a tile computes.
#[derive(Clone, Copy)]
struct TileStart {
    pixel: usize,
    panel: usize,
    /// Weights to prefetch meanwhile, a cache line for every four input channels.
    ahead: *const f32,
}

/// `PIXELS` pixels times one panel, or the half of it that is there.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for pixels and a panel that are part of it.
#[inline(always)]
unsafe fn tile<S: Simd, L: Lanes<S>, const PIXELS: usize>(s: S, layer: &Operands<'_>, part: &Part, at: TileStart) {
    // SAFETY: pixels and panel are inside by the caller's promise.
    unsafe {
        let cin = layer.cin;
        let mut w = layer.weights_of::<f32>(at.panel, cin * 16);
        let bias = layer.bias_of::<f32>(at.panel, 16);
        let mut sums = [L::load(s, bias); PIXELS];
        unrolled!(p in PIXELS => if p > 0 {
            s.reload();
            sums[p] = L::load(s, bias);
        });
        let mut x = part.src.block::<f32>(0).wrapping_add(at.pixel * 8);
        let mut ahead = at.ahead;
        let to = Panels::new(layer, part);
        let in_pieces = const { S::ENDS_IN_PIECES && PIXELS > FIRST } && cin.is_multiple_of(8) && cin > 0;
        for _ in 0..cin / 8 - usize::from(in_pieces) {
            s.prefetch(ahead);
            s.prefetch(ahead.wrapping_add(16));
            quad::<S, L, PIXELS>(s, x, w, &mut sums);
            quad::<S, L, PIXELS>(s, x.add(4), w.add(64), &mut sums);
            (x, w, ahead) = (x.wrapping_byte_add(part.src.stride), w.wrapping_add(128), ahead.wrapping_add(32));
        }
        if const { S::ENDS_IN_PIECES && PIXELS > FIRST } && in_pieces {
            s.prefetch(ahead);
            s.prefetch(ahead.wrapping_add(16));
            quad::<S, L, PIXELS>(s, x, w, &mut sums);
            return pieces::<S, L, PIXELS>(s, x.add(4), w.add(64), &to, at, &sums);
        }
        for k in 0..cin % 8 {
            let weights = L::load(s, w.add(k * 16));
            unrolled!(p in PIXELS => sums[p] = L::fma_splat(s, x.add(p * 8 + k), weights, sums[p]));
        }
        L::store(s, &to, at.pixel, at.panel, &sums);
    }
}

/// The end of a tile in two pieces: adds the last four input channels to each, and stores it.
///
/// # Safety
/// As [`tile`], of which this is the end: four input channels are left, at `x` and `w`.
#[inline(always)]
unsafe fn pieces<S: Simd, L: Lanes<S>, const PIXELS: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    to: &Panels,
    at: TileStart,
    sums: &[L::Vector; PIXELS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        piece::<S, L, FIRST>(s, x, w, to, at, sums);
        let (x, at, sums) = (x.add(FIRST * 8), TileStart { pixel: at.pixel + FIRST, ..at }, &sums[FIRST.min(PIXELS)..]);
        sized!({ const { PIXELS.saturating_sub(FIRST) } } in 1 to FIRST, piece::<S, L>(s, x, w, to, at, sums));
    }
}

/// The first `PIXELS` of these sums.
///
/// # Safety
/// As [`pieces`], for `PIXELS` pixels.
#[inline(always)]
unsafe fn piece<S: Simd, L: Lanes<S>, const PIXELS: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    to: &Panels,
    at: TileStart,
    sums: &[L::Vector],
) {
    let mut piece = [sums[0]; PIXELS];
    unrolled!(p in PIXELS => piece[p] = sums[p]);
    // SAFETY: the caller's promise.
    unsafe {
        quad::<S, L, PIXELS>(s, x, w, &mut piece);
        L::store(s, to, at.pixel, at.panel, &piece);
    }
}

/// Four input channels: `PIXELS` blocks at `x`, four rows of weights at `w`.
///
/// # Safety
/// Four channels of `PIXELS` blocks are readable at `x`, four rows of a panel at `w`.
#[inline(always)]
unsafe fn quad<S: Simd, L: Lanes<S>, const PIXELS: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    sums: &mut [L::Vector; PIXELS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut quads = [s.load_quad(x); PIXELS];
        unrolled!(p in PIXELS => quads[p] = s.load_quad(x.add(p * 8)));
        L::fma_row::<0, PIXELS>(s, &quads, w, sums);
        L::fma_row::<1, PIXELS>(s, &quads, w.add(16), sums);
        L::fma_row::<2, PIXELS>(s, &quads, w.add(32), sums);
        L::fma_row::<3, PIXELS>(s, &quads, w.add(48), sums);
        s.settle_quad();
    }
}
