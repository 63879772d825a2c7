//! The vector operations that kernels are written in, and one thin file per ISA.
//!
//! An instance is a token: constructing one proves that the CPU has the instructions, so arithmetic on
//! registers is safe; only loads and stores are not. Methods are `#[inline(always)]` and carry no
//! `#[target_feature]`: that stands on the kernels' entry points (see [`table`](crate::table)), into which everything is inlined.

use crate::constant::unrolled;
use crate::{Isa, half};

pub mod dot;

mod scalar;
pub use scalar::Scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

#[cfg(target_arch = "x86_64")]
pub(crate) mod tiles;

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use wasm::Simd128;

mod sealed {
    pub trait Sealed {}
}

/// About thirty operations on a block of 8 channels and on a panel of 16.
///
/// Order of operands matters for NaN: [`clamp8`](Simd::clamp8) lets it pass. The trait is sealed: unsafe code relies on what its
/// methods do.
pub trait Simd: Copy + sealed::Sealed {
    /// Which instructions these are.
    const ISA: Isa;

    /// Whether depthwise tiles keep the whole filter in registers and so go down the columns. That takes fewer
    /// instructions, but hardware prefetchers help less in this order.
    const KEEPS_FILTER: bool = false;

    /// Whether large pointwise tiles end in two pieces, so that the first is clamped and stored while the second still adds
    /// up. A piece must have enough independent sums to keep the multiply-add units busy.
    const ENDS_IN_PIECES: bool = false;

    /// Eight lanes: one block of channels of one pixel.
    type C8: Copy;
    /// Sixteen lanes: one panel of output channels of one pixel.
    type P16: Copy;
    /// Four neighbouring floats of which single lanes are multiplied with a panel.
    type Quad: Copy;

    /// Eight floats from memory, any alignment.
    ///
    /// # Safety
    /// `from` is readable for 8 floats.
    unsafe fn load8(self, from: *const f32) -> Self::C8;

    /// Eight floats to memory, any alignment.
    ///
    /// # Safety
    /// `to` is writable for 8 floats.
    unsafe fn store8(self, to: *mut f32, value: Self::C8);

    /// The same value in all lanes.
    fn splat8(self, value: f32) -> Self::C8;

    /// `x · w + acc`, rounded once (where [`Isa::fuses`] is false: twice).
    fn fma8(self, x: Self::C8, w: Self::C8, acc: Self::C8) -> Self::C8;

    /// `x + y`.
    fn add8(self, x: Self::C8, y: Self::C8) -> Self::C8;

    /// `x · y`.
    fn mul8(self, x: Self::C8, y: Self::C8) -> Self::C8;

    /// `x` between `lo` and `hi`; NaN stays NaN.
    fn clamp8(self, x: Self::C8, lo: Self::C8, hi: Self::C8) -> Self::C8;

    /// The larger of `x` and `y`; NaN where either is NaN; of +0 and −0 either.
    fn max8(self, x: Self::C8, y: Self::C8) -> Self::C8;

    /// The first `n` lanes of `x`, then lanes of `y`.
    fn first8(self, n: usize, x: Self::C8, y: Self::C8) -> Self::C8;

    /// Sixteen floats from memory, any alignment.
    ///
    /// # Safety
    /// `from` is readable for 16 floats.
    unsafe fn load16(self, from: *const f32) -> Self::P16;

    /// Sixteen bf16 numbers from memory, any alignment, as floats.
    ///
    /// # Safety
    /// `from` is readable for 16 of them.
    #[inline(always)]
    unsafe fn load16_bf16(self, from: *const u16) -> Self::P16 {
        // SAFETY: the caller's promise; the floats are there.
        unsafe { self.load16(widened(from, half::bf16_to_f32).as_ptr()) }
    }

    /// Sixteen f16 numbers from memory, any alignment, as floats.
    ///
    /// # Safety
    /// As [`load16_bf16`](Simd::load16_bf16).
    #[inline(always)]
    unsafe fn load16_f16(self, from: *const u16) -> Self::P16 {
        // SAFETY: as there.
        unsafe { self.load16(widened(from, half::f16_to_f32).as_ptr()) }
    }

    /// `x · w + acc` in sixteen lanes.
    fn fma16(self, x: Self::P16, w: Self::P16, acc: Self::P16) -> Self::P16;

    /// `*x · w + acc` in sixteen lanes.
    ///
    /// # Safety
    /// `x` is readable.
    unsafe fn fma16_splat(self, x: *const f32, w: Self::P16, acc: Self::P16) -> Self::P16;

    /// Four floats to be used by [`fma16_lane`](Simd::fma16_lane). An ISA that broadcasts from memory keeps the pointer.
    ///
    /// # Safety
    /// `from` is readable for 4 floats.
    unsafe fn load_quad(self, from: *const f32) -> Self::Quad;

    /// `x[LANE] · w + acc` in sixteen lanes.
    ///
    /// # Safety
    /// The memory from which `x` was loaded is still readable.
    unsafe fn fma16_lane<const LANE: usize>(self, x: Self::Quad, w: Self::P16, acc: Self::P16) -> Self::P16;

    /// `x[LANE] · w + acc` in eight lanes.
    ///
    /// # Safety
    /// As [`fma16_lane`](Simd::fma16_lane).
    unsafe fn fma8_lane<const LANE: usize>(self, x: Self::Quad, w: Self::C8, acc: Self::C8) -> Self::C8;

    /// [`fma16_lane`](Simd::fma16_lane) of several pixels with one row of weights: adds `x[p][LANE] · w` to `acc[p]`.
    ///
    /// # Safety
    /// As [`fma16_lane`](Simd::fma16_lane), and `w` is readable for 16 floats.
    #[inline(always)]
    unsafe fn fma16_row<const LANE: usize, const PIXELS: usize>(
        self,
        x: &[Self::Quad; PIXELS],
        w: *const f32,
        acc: &mut [Self::P16; PIXELS],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let w = self.load16(w);
            unrolled!(p in PIXELS => acc[p] = self.fma16_lane::<LANE>(x[p], w, acc[p]));
        }
    }

    /// As [`clamp8`](Simd::clamp8) in sixteen lanes, between the same bounds in all.
    fn clamp16(self, x: Self::P16, lo: f32, hi: f32) -> Self::P16;

    /// Lanes 0…7 and 8…15.
    fn halves(self, x: Self::P16) -> (Self::C8, Self::C8);

    /// Sixteen lanes of two halves: the reverse of [`halves`](Simd::halves).
    fn join(self, first: Self::C8, second: Self::C8) -> Self::P16;

    /// Stores the first of the [`halves`](Simd::halves).
    ///
    /// # Safety
    /// `to` is writable for eight floats.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: Self::P16) {
        // SAFETY: the caller's promise.
        unsafe { self.store8(to, self.halves(x).0) }
    }

    /// Stores the second of the [`halves`](Simd::halves).
    ///
    /// # Safety
    /// `to` is writable for eight floats.
    #[inline(always)]
    unsafe fn store_second(self, to: *mut f32, x: Self::P16) {
        // SAFETY: the caller's promise.
        unsafe { self.store8(to, self.halves(x).1) }
    }

    /// Stands between two weights in a tile that fills the registers. Without it the compiler would load for the second weight
    /// early, or keep an input for both, and put a sum on the stack to make room.
    #[inline(always)]
    fn settle(self) {}

    /// As [`settle`](Simd::settle), between groups of four input channels or rows of a depthwise filter. For an ISA whose
    /// operands are never in memory, so that everything is loaded into registers.
    #[inline(always)]
    fn settle_quad(self) {}

    /// As [`settle`](Simd::settle), after one sum: later loads stay later.
    #[inline(always)]
    fn settle8(self, sum: Self::C8) -> Self::C8 {
        sum
    }

    /// Passes an address through. It keeps the compiler from giving each row a counter of its own in a loop that fills the
    /// registers.
    #[inline(always)]
    fn settle_address(self, from: *const f32) -> *const f32 {
        from
    }

    /// Stands before a load of what a register already holds. It keeps the compiler from copying the register instead, where a
    /// copy costs as much as a multiply-add.
    #[inline(always)]
    fn reload(self) {}

    /// Hints that the cache line of `from` will be read soon. Any address is fine.
    fn prefetch(self, from: *const f32);
}

/// Sixteen numbers of 16 bits as floats, by whatever instructions the compiler knows.
///
/// # Safety
/// `from` is readable for 16 of them.
#[inline(always)]
unsafe fn widened(from: *const u16, widen: impl Fn(u16) -> f32) -> [f32; 16] {
    // SAFETY: the caller's promise.
    let bits = unsafe { from.cast::<[u16; 16]>().read_unaligned() };
    let mut floats = [0.0; 16];
    for (float, bits) in floats.iter_mut().zip(bits) {
        *float = widen(bits);
    }
    floats
}
