//! WebAssembly with simd128: registers of four lanes and no fused multiply-add, so the bits are those of `scalar`.

use std::arch::wasm32::*;

use super::Simd;
use crate::Isa;
use crate::constant::unrolled;

/// Proof that the module may use simd128. There is no detection: an engine without simd128 refuses the whole module.
#[derive(Clone, Copy, Debug)]
pub struct Simd128(());

impl Simd128 {
    /// Always succeeds: without the target feature this type does not exist.
    pub fn new() -> Option<Self> {
        Some(Simd128(()))
    }

    /// As [`new`](Simd128::new); named as on the other ISAs.
    ///
    /// # Safety
    /// None needed here.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Simd128(())
    }
}

#[inline(always)]
fn mul_add(x: v128, w: v128, acc: v128) -> v128 {
    f32x4_add(f32x4_mul(x, w), acc)
}

/// The pseudo-maximum and -minimum return their first operand when one is NaN.
#[inline(always)]
fn clamp(x: v128, lo: v128, hi: v128) -> v128 {
    f32x4_pmin(f32x4_pmax(x, lo), hi)
}

/// Lane masks by sliding: eight words from `8 − n` on are ones in the first `n`.
const FIRST: [u32; 16] = [!0, !0, !0, !0, !0, !0, !0, !0, 0, 0, 0, 0, 0, 0, 0, 0];

impl super::sealed::Sealed for Simd128 {}

impl Simd for Simd128 {
    const ISA: Isa = Isa::Simd128;
    type C8 = [v128; 2];
    type P16 = [v128; 4];
    /// One instruction loads a float into all lanes.
    type Quad = *const f32;

    #[inline(always)]
    unsafe fn load8(self, from: *const f32) -> [v128; 2] {
        // SAFETY: readable by the trait's contract.
        unsafe { [v128_load(from.cast()), v128_load(from.add(4).cast())] }
    }

    #[inline(always)]
    unsafe fn store8(self, to: *mut f32, value: [v128; 2]) {
        // SAFETY: writable by the trait's contract.
        unsafe {
            v128_store(to.cast(), value[0]);
            v128_store(to.add(4).cast(), value[1]);
        }
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> [v128; 2] {
        [f32x4_splat(value); 2]
    }

    #[inline(always)]
    fn fma8(self, x: [v128; 2], w: [v128; 2], acc: [v128; 2]) -> [v128; 2] {
        [mul_add(x[0], w[0], acc[0]), mul_add(x[1], w[1], acc[1])]
    }

    #[inline(always)]
    fn add8(self, x: [v128; 2], y: [v128; 2]) -> [v128; 2] {
        [f32x4_add(x[0], y[0]), f32x4_add(x[1], y[1])]
    }

    #[inline(always)]
    fn mul8(self, x: [v128; 2], y: [v128; 2]) -> [v128; 2] {
        [f32x4_mul(x[0], y[0]), f32x4_mul(x[1], y[1])]
    }

    #[inline(always)]
    fn clamp8(self, x: [v128; 2], lo: [v128; 2], hi: [v128; 2]) -> [v128; 2] {
        [clamp(x[0], lo[0], hi[0]), clamp(x[1], lo[1], hi[1])]
    }

    #[inline(always)]
    fn max8(self, x: [v128; 2], y: [v128; 2]) -> [v128; 2] {
        [f32x4_max(x[0], y[0]), f32x4_max(x[1], y[1])]
    }

    #[inline(always)]
    fn first8(self, n: usize, x: [v128; 2], y: [v128; 2]) -> [v128; 2] {
        let mask = FIRST[8 - n.min(8)..].as_ptr();
        // SAFETY: eight of the sixteen masks follow index 8 − n.
        let masks = unsafe { [v128_load(mask.cast()), v128_load(mask.add(4).cast())] };
        [v128_bitselect(x[0], y[0], masks[0]), v128_bitselect(x[1], y[1], masks[1])]
    }

    #[inline(always)]
    unsafe fn load16(self, from: *const f32) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        let ([a, b], [c, d]) = unsafe { (self.load8(from), self.load8(from.add(8))) };
        [a, b, c, d]
    }

    #[inline(always)]
    unsafe fn load16_bf16(self, from: *const u16) -> [v128; 4] {
        let shifted = |bits| u32x4_shl(bits, 16);
        let widen = |bits| [shifted(u32x4_extend_low_u16x8(bits)), shifted(u32x4_extend_high_u16x8(bits))];
        // SAFETY: readable by the trait's contract.
        let ([a, b], [c, d]) = unsafe { (widen(v128_load(from.cast())), widen(v128_load(from.add(8).cast()))) };
        [a, b, c, d]
    }

    #[inline(always)]
    fn fma16(self, x: [v128; 4], w: [v128; 4], mut acc: [v128; 4]) -> [v128; 4] {
        unrolled!(i in 0 1 2 3 => acc[i] = mul_add(x[i], w[i], acc[i]));
        acc
    }

    #[inline(always)]
    unsafe fn fma16_splat(self, x: *const f32, w: [v128; 4], acc: [v128; 4]) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        let x = unsafe { v128_load32_splat(x.cast()) };
        self.fma16([x, x, x, x], w, acc)
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const f32) -> *const f32 {
        from
    }

    #[inline(always)]
    unsafe fn fma16_lane<const LANE: usize>(self, x: *const f32, w: [v128; 4], acc: [v128; 4]) -> [v128; 4] {
        // SAFETY: readable for 4 floats by the trait's contract.
        unsafe { self.fma16_splat(x.add(LANE), w, acc) }
    }

    #[inline(always)]
    unsafe fn fma8_lane<const LANE: usize>(self, x: *const f32, w: [v128; 2], acc: [v128; 2]) -> [v128; 2] {
        // SAFETY: readable for 4 floats by the trait's contract.
        let x = unsafe { v128_load32_splat(x.add(LANE).cast()) };
        self.fma8([x, x], w, acc)
    }

    #[inline(always)]
    fn clamp16(self, x: [v128; 4], lo: f32, hi: f32) -> [v128; 4] {
        let (lo, hi) = (f32x4_splat(lo), f32x4_splat(hi));
        [clamp(x[0], lo, hi), clamp(x[1], lo, hi), clamp(x[2], lo, hi), clamp(x[3], lo, hi)]
    }

    #[inline(always)]
    fn halves(self, x: [v128; 4]) -> ([v128; 2], [v128; 2]) {
        ([x[0], x[1]], [x[2], x[3]])
    }

    #[inline(always)]
    fn join(self, first: [v128; 2], second: [v128; 2]) -> [v128; 4] {
        [first[0], first[1], second[0], second[1]]
    }

    #[inline(always)]
    fn prefetch(self, _from: *const f32) {}
}
