//! A panel's sixteen channels, or the eight that are there of a half-empty one: what a pointwise tile computes of a pixel.

use super::epilogue::Panels;
use crate::constant::unrolled;
use crate::simd::Simd;

/// Which of a panel's channels a tile computes.
pub(super) trait Lanes<S: Simd> {
    /// These channels of one pixel.
    type Vector: Copy;
    /// # Safety
    /// A panel's row is readable.
    unsafe fn load(s: S, from: *const f32) -> Self::Vector;
    /// Adds `x[p][LANE] · w` to `acc[p]` of each pixel `p`.
    ///
    /// # Safety
    /// As [`Simd::fma16_row`].
    unsafe fn fma_row<const LANE: usize, const PIXELS: usize>(
        s: S,
        x: &[S::Quad; PIXELS],
        w: *const f32,
        acc: &mut [Self::Vector; PIXELS],
    );
    /// # Safety
    /// `x` is readable.
    unsafe fn fma_splat(s: S, x: *const f32, w: Self::Vector, acc: Self::Vector) -> Self::Vector;
    /// # Safety
    /// As [`Panels::store`].
    unsafe fn store<const PIXELS: usize>(s: S, to: &Panels, pixel: usize, panel: usize, sums: &[Self::Vector; PIXELS]);
}

/// All sixteen.
pub(super) struct Whole;

impl<S: Simd> Lanes<S> for Whole {
    type Vector = S::P16;

    #[inline(always)]
    unsafe fn load(s: S, from: *const f32) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.load16(from) }
    }

    #[inline(always)]
    unsafe fn fma_row<const LANE: usize, const PIXELS: usize>(
        s: S,
        x: &[S::Quad; PIXELS],
        w: *const f32,
        acc: &mut [S::P16; PIXELS],
    ) {
        // SAFETY: the caller's promise.
        unsafe { s.fma16_row::<LANE, PIXELS>(x, w, acc) }
    }

    #[inline(always)]
    unsafe fn fma_splat(s: S, x: *const f32, w: S::P16, acc: S::P16) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.fma16_splat(x, w, acc) }
    }

    #[inline(always)]
    unsafe fn store<const PIXELS: usize>(s: S, to: &Panels, pixel: usize, panel: usize, sums: &[S::P16; PIXELS]) {
        // SAFETY: the caller's promise.
        unsafe { to.store(s, pixel, panel, sums) }
    }
}

/// The first eight.
pub(super) struct Half;

impl<S: Simd> Lanes<S> for Half {
    type Vector = S::C8;

    #[inline(always)]
    unsafe fn load(s: S, from: *const f32) -> S::C8 {
        // SAFETY: the caller's promise.
        unsafe { s.load8(from) }
    }

    #[inline(always)]
    unsafe fn fma_row<const LANE: usize, const PIXELS: usize>(
        s: S,
        x: &[S::Quad; PIXELS],
        w: *const f32,
        acc: &mut [S::C8; PIXELS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let w = s.load8(w);
            unrolled!(p in PIXELS => acc[p] = s.fma8_lane::<LANE>(x[p], w, acc[p]));
        }
    }

    #[inline(always)]
    unsafe fn fma_splat(s: S, x: *const f32, w: S::C8, acc: S::C8) -> S::C8 {
        // SAFETY: the caller's promise.
        s.fma8(s.splat8(unsafe { *x }), w, acc)
    }

    #[inline(always)]
    unsafe fn store<const PIXELS: usize>(s: S, to: &Panels, pixel: usize, panel: usize, sums: &[S::C8; PIXELS]) {
        // SAFETY: the caller's promise.
        unsafe { to.store_first(s, pixel, panel, sums) }
    }
}
