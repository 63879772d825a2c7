//! Pointwise (1x1) convolution: a matrix product of packed weights with channel-blocked pixels.
//!
//! ```text
//! for each chunk of pixels, for each group of panels:       a panel is 16 output channels
//!   for each tile of up to MAX pixels:                      sums start at the bias, in registers
//!     for each input channel: sums += pixel[channel] · panel[channel]
//!     clamp, residual, store
//! ```

use super::balanced;
use super::epilogue::Panels;
use crate::args::{Pointwise, Span};
use crate::simd::Simd;

/// Bytes of input that a chunk of pixels may hold: it is read once per group of panels and should stay in the L2 cache meanwhile.
const CHUNK_BYTES: usize = 192 << 10;

/// Kernel `pw`: tiles of up to `MAX` pixels (at most 12) times `PANELS` (1 or 2) panels.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn pw<S: Simd, const MAX: usize, const PANELS: usize>(s: S, a: &Pointwise) {
    let chunk = (CHUNK_BYTES / (4 * a.cin.max(1))).max(1).next_multiple_of(MAX);
    let mut start = a.pixels.start;
    while start < a.pixels.end {
        let pixels: Span = (start..a.pixels.end.min(start + chunk)).into();
        let mut panel = a.panels.start;
        // SAFETY: the caller's promise.
        unsafe {
            while panel + PANELS <= a.panels.end {
                panels::<S, MAX, PANELS>(s, a, pixels, panel);
                panel += PANELS;
            }
            if panel < a.panels.end {
                panels::<S, MAX, 1>(s, a, pixels, panel);
            }
        }
        start = pixels.end;
    }
}

/// One group of panels over a chunk of pixels.
#[inline(always)]
unsafe fn panels<S: Simd, const MAX: usize, const PANELS: usize>(s: S, a: &Pointwise, pixels: Span, panel: usize) {
    for (pixel, count) in balanced::<MAX>(pixels) {
        // SAFETY: the caller's promise.
        unsafe {
            match count {
                1 => tile::<S, 1, PANELS>(s, a, pixel, panel),
                2 => tile::<S, 2, PANELS>(s, a, pixel, panel),
                3 => tile::<S, 3, PANELS>(s, a, pixel, panel),
                4 => tile::<S, 4, PANELS>(s, a, pixel, panel),
                5 if MAX >= 5 => tile::<S, 5, PANELS>(s, a, pixel, panel),
                6 if MAX >= 6 => tile::<S, 6, PANELS>(s, a, pixel, panel),
                7 if MAX >= 7 => tile::<S, 7, PANELS>(s, a, pixel, panel),
                8 if MAX >= 8 => tile::<S, 8, PANELS>(s, a, pixel, panel),
                9 if MAX >= 9 => tile::<S, 9, PANELS>(s, a, pixel, panel),
                10 if MAX >= 10 => tile::<S, 10, PANELS>(s, a, pixel, panel),
                11 if MAX >= 11 => tile::<S, 11, PANELS>(s, a, pixel, panel),
                _ => tile::<S, MAX, PANELS>(s, a, pixel, panel),
            }
        }
    }
}

/// `PIXELS` pixels times `PANELS` panels.
#[inline(always)]
unsafe fn tile<S: Simd, const PIXELS: usize, const PANELS: usize>(s: S, a: &Pointwise, pixel: usize, panel: usize) {
    // SAFETY: pixels and panels are inside by the caller's promise.
    unsafe {
        let mut w = a.weights.add(panel * a.cin * 16);
        let mut sums = [[s.load16(a.bias.add(panel * 16)); PIXELS]; PANELS];
        for (n, sums) in sums.iter_mut().enumerate().skip(1) {
            *sums = [s.load16(a.bias.add((panel + n) * 16)); PIXELS];
        }
        let mut x = a.src.ptr.wrapping_add(pixel * 8);
        for _ in 0..a.cin / 8 {
            sums = quad::<S, PIXELS, PANELS>(s, a.cin, x, w, sums);
            sums = quad::<S, PIXELS, PANELS>(s, a.cin, x.add(4), w.add(64), sums);
            (x, w) = (x.wrapping_add(a.src.stride), w.wrapping_add(128));
        }
        for k in 0..a.cin % 8 {
            for (n, sums) in sums.iter_mut().enumerate() {
                let weights = s.load16(w.add((n * a.cin + k) * 16));
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma16_splat(x.add(p * 8 + k), weights, *sum);
                }
            }
        }
        let to = Panels { dst: a.dst, clamp: a.clamp, residual: a.residual, cout: a.cout };
        // Constant indices: a loop over panels would put the sums on the stack.
        to.store(s, pixel, panel, &sums[0]);
        if PANELS == 2 {
            to.store(s, pixel, panel + 1, &sums[PANELS - 1]);
        }
    }
}

/// Four input channels.
#[inline(always)]
unsafe fn quad<S: Simd, const PIXELS: usize, const PANELS: usize>(
    s: S,
    cin: usize,
    x: *const f32,
    w: *const f32,
    mut sums: [[S::P16; PIXELS]; PANELS],
) -> [[S::P16; PIXELS]; PANELS] {
    // SAFETY: the caller's promise: `PIXELS` blocks at `x`, four rows of weights at `w` in each panel.
    unsafe {
        macro_rules! lane {
            ($lane:literal) => {
                let mut panels = [s.load16(w.add($lane * 16)); PANELS];
                for (n, panel) in panels.iter_mut().enumerate().skip(1) {
                    *panel = s.load16(w.add((n * cin + $lane) * 16));
                }
                for p in 0..PIXELS {
                    for n in 0..PANELS {
                        sums[n][p] = s.fma16_lane::<$lane>(s.load_quad(x.add(p * 8)), panels[n], sums[n][p]);
                    }
                }
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
    sums
}
