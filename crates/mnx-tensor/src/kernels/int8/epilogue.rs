//! Sums to bytes: factor, shortcut, clamp, zero point.

use crate::constant::unrolled;
use crate::int8::requantize::Constants;
use crate::part::PlanesMut;
use crate::simd::dot::{Bounds, Dot};
use crate::{Operands, PANEL, Part};

/// What happens to one block of 16 output channels.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<S: Dot> {
    /// Sixteen, in memory: a kernel that fills the registers would put them on the stack.
    factors: *const f32,
    bounds: Bounds,
    shortcut: Option<Shortcut<S>>,
    dst: *mut u8,
}

#[derive(Clone, Copy)]
struct Shortcut<S: Dot> {
    /// Pixel 0.
    from: *const u8,
    zero: u8,
    /// 0 in channels that it does not cover: adding 0 changes nothing, since every number is finite.
    factors: S::Reals,
}

impl<S: Dot> Epilogue<S> {
    /// For block `block` of the output.
    ///
    /// # Safety
    /// The layer has such a block.
    #[inline(always)]
    pub(super) unsafe fn new(s: S, layer: &Operands<'_>, part: &Part, block: usize) -> Self {
        let Constants { factors, requantize, fits_i32 } = layer.int8;
        let PlanesMut { ptr, stride } = part.dst;
        let covered = part.residual.map_or(0, |r| r.channels.saturating_sub(block * PANEL).min(PANEL));
        let shortcut = match (part.residual, requantize.shortcut) {
            (Some(residual), Some((zero, factor))) if covered > 0 => {
                let mut of_lanes = [0.0; PANEL];
                for (of_lane, &channel) in of_lanes.iter_mut().zip(&S::FORM.order) {
                    *of_lane = if usize::from(channel) < covered { factor } else { 0.0 };
                }
                let from = residual.planes.block(block);
                // SAFETY: sixteen factors.
                Some(Shortcut { from, zero, factors: unsafe { s.load_reals(of_lanes.as_ptr()) } })
            }
            _ => None,
        };
        let bounds = Bounds::new(&requantize, fits_i32);
        let factors = factors.as_ptr().wrapping_add(block * PANEL);
        Epilogue { factors, bounds, shortcut, dst: ptr.wrapping_add(block * stride) }
    }

    /// Stores the outputs of neighbouring pixels.
    ///
    /// # Safety
    /// The block is writable, and a shortcut readable, at these pixels.
    #[inline(always)]
    pub(super) unsafe fn store<const PIXELS: usize>(&self, s: S, sums: &[S::Sums; PIXELS], pixel: usize) {
        // SAFETY: there are sixteen factors for each block.
        let of_lanes = unsafe { s.load_reals(self.factors) };
        let mut reals = [s.scale(sums[0], of_lanes); PIXELS];
        unrolled!(p in PIXELS => reals[p] = s.scale(sums[p], of_lanes));
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(Shortcut { from, zero, factors }) = self.shortcut {
                unrolled!(p in PIXELS => {
                    reals[p] = s.add_shortcut(reals[p], from.wrapping_add((pixel + p) * PANEL), zero, factors);
                });
            }
            s.store_pixels(&reals, self.bounds, self.dst.wrapping_add(pixel * PANEL));
        }
    }
}
