//! Pointwise (1x1) convolution: a matrix product of packed weights with channel-blocked pixels.
//!
//! ```text
//! for each chunk of pixels, for each panel:                 16 output channels
//!   for each tile of up to MAX pixels:                      sums start at the bias, in registers
//!     for each input channel: sums += pixel[channel] · panel[channel]
//!     clamp, residual, store
//! ```

use super::balanced;
use super::epilogue::Panels;
use crate::args::{Pointwise, Span};
use crate::simd::Simd;

/// Bytes of input that a chunk of pixels may hold: it is read once per panel and should stay in the L2 cache meanwhile.
const CHUNK_BYTES: usize = 192 << 10;

/// Kernel `pw`: tiles of up to `MAX` pixels (at most 12) times one panel.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn pw<S: Simd, const MAX: usize>(s: S, a: &Pointwise) {
    let chunk = (CHUNK_BYTES / (4 * a.cin.max(1))).max(1).next_multiple_of(MAX);
    let mut start = a.pixels.start;
    while start < a.pixels.end {
        let pixels: Span = (start..a.pixels.end.min(start + chunk)).into();
        for panel in a.panels.start..a.panels.end {
            // On a small plane a panel is used by a few tiles only. Each of them asks for a quarter of the next one.
            let next = a.weights.wrapping_add((panel + 1) * a.cin * 16);
            for (index, (pixel, count)) in balanced::<MAX>(pixels).enumerate() {
                let place = Place { pixel, panel, ahead: next.wrapping_add(index % 4 * (a.cin / 4) * 16) };
                // SAFETY: the caller's promise.
                unsafe { sized::<S, MAX>(s, a, count, place) }
            }
        }
        start = pixels.end;
    }
}

/// What a tile computes.
#[derive(Clone, Copy)]
struct Place {
    pixel: usize,
    panel: usize,
    /// Weights that it prefetches meanwhile, a cache line for every four input channels.
    ahead: *const f32,
}

/// From a run-time number of pixels to a tile in which it is a constant.
#[inline(always)]
unsafe fn sized<S: Simd, const MAX: usize>(s: S, a: &Pointwise, count: usize, at: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            1 => tile::<S, 1>(s, a, at),
            2 => tile::<S, 2>(s, a, at),
            3 => tile::<S, 3>(s, a, at),
            4 => tile::<S, 4>(s, a, at),
            5 if MAX >= 5 => tile::<S, 5>(s, a, at),
            6 if MAX >= 6 => tile::<S, 6>(s, a, at),
            7 if MAX >= 7 => tile::<S, 7>(s, a, at),
            8 if MAX >= 8 => tile::<S, 8>(s, a, at),
            9 if MAX >= 9 => tile::<S, 9>(s, a, at),
            10 if MAX >= 10 => tile::<S, 10>(s, a, at),
            11 if MAX >= 11 => tile::<S, 11>(s, a, at),
            _ => tile::<S, MAX>(s, a, at),
        }
    }
}

/// `PIXELS` pixels times one panel.
#[inline(always)]
unsafe fn tile<S: Simd, const PIXELS: usize>(s: S, a: &Pointwise, at: Place) {
    // SAFETY: pixels and panel are inside by the caller's promise.
    unsafe {
        let mut w = a.weights.add(at.panel * a.cin * 16);
        let mut sums = [s.load16(a.bias.add(at.panel * 16)); PIXELS];
        let mut x = a.src.ptr.wrapping_add(at.pixel * 8);
        let mut ahead = at.ahead;
        for _ in 0..a.cin / 8 {
            s.prefetch(ahead);
            s.prefetch(ahead.wrapping_add(16));
            sums = quad::<S, PIXELS>(s, x, w, sums);
            sums = quad::<S, PIXELS>(s, x.add(4), w.add(64), sums);
            (x, w, ahead) = (x.wrapping_add(a.src.stride), w.wrapping_add(128), ahead.wrapping_add(32));
        }
        for k in 0..a.cin % 8 {
            let weights = s.load16(w.add(k * 16));
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = s.fma16_splat(x.add(p * 8 + k), weights, *sum);
            }
        }
        let to = Panels { dst: a.dst, clamp: a.clamp, residual: a.residual, cout: a.cout };
        to.store(s, at.pixel, at.panel, &sums);
    }
}

/// Four input channels: `PIXELS` blocks at `x`, four rows of weights at `w`.
#[inline(always)]
unsafe fn quad<S: Simd, const PIXELS: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    mut sums: [S::P16; PIXELS],
) -> [S::P16; PIXELS] {
    // SAFETY: the caller's promise.
    unsafe {
        macro_rules! lane {
            ($lane:literal) => {
                let weights = s.load16(w.add($lane * 16));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma16_lane::<$lane>(s.load_quad(x.add(p * 8)), weights, *sum);
                }
                s.settle();
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
    sums
}
