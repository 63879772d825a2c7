//! x86-64 with AVX-512 F, VL, DQ and BW: thirty-two registers; a panel of 16 is one, a block of 8 half of one.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Avx2, Simd};
use crate::Isa;

/// Proof that the CPU has AVX-512 F, VL, DQ and BW, besides AVX2 and FMA: blocks of 8 are AVX2's.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(Avx2);

impl Avx512 {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        Avx2::new().filter(|_| there).map(Avx512)
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, VL, DQ and BW, AVX2 and FMA.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        // SAFETY: the caller's promise.
        Avx512(unsafe { Avx2::assume() })
    }
}

impl super::sealed::Sealed for Avx512 {}

/// Declares functions that return what they get, which the compiler does not know.
macro_rules! changed {
    ($($(#[$why:meta])* $name:ident: $vector:ty),*) => {$(
        /// The same vector.
        $(#[$why])*
        ///
        /// # Safety
        /// The CPU has AVX-512 F.
        #[target_feature(enable = "avx512f")]
        #[inline]
        fn $name(mut x: $vector) -> $vector {
            // SAFETY: no instruction.
            unsafe { asm!("/* {:z} */", inout(zmm_reg) x, options(pure, nomem, nostack, preserves_flags)) }
            x
        }
    )*};
}

pub(super) use changed;

changed! { changed8: __m256, changed16: __m512 }

impl Simd for Avx512 {
    const ISA: Isa = Isa::Avx512;
    /// A piece is up to six chains; four keep the units busy, which together begin one of sixteen lanes a cycle.
    const ENDS_IN_PIECES: bool = true;
    type C8 = __m256;
    type P16 = __m512;
    /// Broadcasts come from memory for free.
    type Quad = *const f32;

    #[inline(always)]
    unsafe fn load8(self, from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { self.0.load8(from) }
    }

    #[inline(always)]
    unsafe fn store8(self, to: *mut f32, value: __m256) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store8(to, value) }
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> __m256 {
        self.0.splat8(value)
    }

    #[inline(always)]
    fn fma8(self, x: __m256, w: __m256, acc: __m256) -> __m256 {
        self.0.fma8(x, w, acc)
    }

    #[inline(always)]
    fn add8(self, x: __m256, y: __m256) -> __m256 {
        self.0.add8(x, y)
    }

    #[inline(always)]
    fn mul8(self, x: __m256, y: __m256) -> __m256 {
        self.0.mul8(x, y)
    }

    #[inline(always)]
    fn clamp8(self, x: __m256, lo: __m256, hi: __m256) -> __m256 {
        self.0.clamp8(x, lo, hi)
    }

    #[inline(always)]
    fn max8(self, x: __m256, y: __m256) -> __m256 {
        self.0.max8(x, y)
    }

    #[inline(always)]
    fn first8(self, n: usize, x: __m256, y: __m256) -> __m256 {
        let mask = ((1_u32 << n.min(8)) - 1) as __mmask8;
        // SAFETY: `self` proves AVX-512 VL.
        unsafe { _mm256_mask_blend_ps(mask, y, x) }
    }

    #[inline(always)]
    unsafe fn load16(self, from: *const f32) -> __m512 {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512 F.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load16_bf16(self, from: *const u16) -> __m512 {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512 F.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn load16_f16(self, from: *const u16) -> __m512 {
        // SAFETY: as above; here it belongs to AVX-512 F.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    fn fma16(self, x: __m512, w: __m512, acc: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_fmadd_ps(x, w, acc) }
    }

    #[inline(always)]
    unsafe fn fma16_splat(self, x: *const f32, w: __m512, acc: __m512) -> __m512 {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512 F.
        unsafe { _mm512_fmadd_ps(_mm512_set1_ps(*x), w, acc) }
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const f32) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.load_quad(from) }
    }

    #[inline(always)]
    unsafe fn fma16_lane<const LANE: usize>(self, x: *const f32, w: __m512, acc: __m512) -> __m512 {
        const { assert!(LANE < 4) };
        // SAFETY: the trait's contract makes four floats readable here.
        unsafe { self.fma16_splat(x.add(LANE), w, acc) }
    }

    #[inline(always)]
    unsafe fn fma8_lane<const LANE: usize>(self, x: *const f32, w: __m256, acc: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { self.0.fma8_lane::<LANE>(x, w, acc) }
    }

    #[inline(always)]
    fn clamp16(self, x: __m512, lo: f32, hi: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512 F. The second operand is the result when one is NaN, so data comes second.
        unsafe { _mm512_min_ps(_mm512_set1_ps(hi), _mm512_max_ps(_mm512_set1_ps(lo), x)) }
    }

    #[inline(always)]
    fn halves(self, x: __m512) -> (__m256, __m256) {
        // SAFETY: `self` proves AVX-512 F and DQ.
        unsafe { (_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)) }
    }

    /// By itself: the compiler would join the halves of two vectors for one store, which takes a slot of a multiply-add unit.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512 F; writable by the trait's contract.
        unsafe { self.store8(to, changed8(self.halves(x).0)) }
    }

    /// Straight from the vector to memory: its way through a register takes such a slot, too. The compiler sends it there if another
    /// branch needs the half in a register.
    #[inline(always)]
    unsafe fn store_second(self, to: *mut f32, x: __m512) {
        // SAFETY: as above.
        unsafe { self.store8(to, self.halves(changed16(x)).1) }
    }

    #[inline(always)]
    fn join(self, first: __m256, second: __m256) -> __m512 {
        // SAFETY: `self` proves AVX-512 F and DQ.
        unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(first), second) }
    }

    /// Here it keeps broadcasts in the multiply-adds, which take them from memory for free: taps of neighbouring pixels
    /// would share one in a register.
    #[inline(always)]
    fn settle(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        self.0.prefetch(from)
    }
}
