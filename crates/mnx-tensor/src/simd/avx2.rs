//! x86-64 with AVX2 and FMA: sixteen registers of eight lanes.

use std::arch::x86_64::*;

use super::Simd;
use crate::Isa;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Avx2(())
    }
}

/// Lane masks by sliding: eight floats from `8 − n` on have their sign set in the first `n`.
const FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Avx2 {
    /// [`load16_f16`](Simd::load16_f16) by F16C, which every CPU with AVX2 has, but a virtual machine may hide.
    ///
    /// # Safety
    /// `from` is readable for 16 numbers, and the CPU has F16C.
    #[inline(always)]
    pub(crate) unsafe fn load16_f16c(self, from: *const u16) -> [__m256; 2] {
        // SAFETY: the caller's promise.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(from.cast())), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()))] }
    }
}

impl super::sealed::Sealed for Avx2 {}

impl Simd for Avx2 {
    const ISA: Isa = Isa::Avx2;
    type C8 = __m256;
    type P16 = [__m256; 2];
    /// Broadcasts come from memory for free.
    type Quad = *const f32;

    #[inline(always)]
    unsafe fn load8(self, from: *const f32) -> __m256 {
        // SAFETY: readable by the trait's contract; `self` proves AVX.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store8(self, to: *mut f32, value: __m256) {
        // SAFETY: writable by the trait's contract; `self` proves AVX.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn fma8(self, x: __m256, w: __m256, acc: __m256) -> __m256 {
        // SAFETY: `self` proves FMA.
        unsafe { _mm256_fmadd_ps(x, w, acc) }
    }

    #[inline(always)]
    fn add8(self, x: __m256, y: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_add_ps(x, y) }
    }

    #[inline(always)]
    fn mul8(self, x: __m256, y: __m256) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_mul_ps(x, y) }
    }

    #[inline(always)]
    fn clamp8(self, x: __m256, lo: __m256, hi: __m256) -> __m256 {
        // SAFETY: `self` proves AVX. The second operand is the result when one is NaN, so data comes second.
        unsafe { _mm256_min_ps(hi, _mm256_max_ps(lo, x)) }
    }

    #[inline(always)]
    fn max8(self, x: __m256, y: __m256) -> __m256 {
        // SAFETY: `self` proves AVX. A NaN in the second operand is the result, one in the first is put back.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(x, y), x, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)) }
    }

    #[inline(always)]
    fn first8(self, n: usize, x: __m256, y: __m256) -> __m256 {
        let mask = FIRST[8 - n.min(8)..].as_ptr();
        // SAFETY: `self` proves AVX; eight of the sixteen masks follow index 8 − n.
        unsafe { _mm256_blendv_ps(y, x, _mm256_loadu_ps(mask.cast())) }
    }

    #[inline(always)]
    unsafe fn load16(self, from: *const f32) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn load16_bf16(self, from: *const u16) -> [__m256; 2] {
        let widen = |from: *const u16| {
            // SAFETY: readable by the trait's contract; `self` proves AVX2.
            unsafe {
                let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
            }
        };
        [widen(from), widen(from.wrapping_add(8))]
    }

    #[inline(always)]
    fn fma16(self, x: [__m256; 2], w: [__m256; 2], acc: [__m256; 2]) -> [__m256; 2] {
        [self.fma8(x[0], w[0], acc[0]), self.fma8(x[1], w[1], acc[1])]
    }

    #[inline(always)]
    unsafe fn fma16_splat(self, x: *const f32, w: [__m256; 2], acc: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX.
        let x = unsafe { _mm256_broadcast_ss(&*x) };
        [self.fma8(x, w[0], acc[0]), self.fma8(x, w[1], acc[1])]
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const f32) -> *const f32 {
        from
    }

    #[inline(always)]
    unsafe fn fma16_lane<const LANE: usize>(self, x: *const f32, w: [__m256; 2], acc: [__m256; 2]) -> [__m256; 2] {
        const { assert!(LANE < 4) };
        // SAFETY: the trait's contract makes four floats readable here.
        unsafe { self.fma16_splat(x.add(LANE), w, acc) }
    }

    #[inline(always)]
    unsafe fn fma8_lane<const LANE: usize>(self, x: *const f32, w: __m256, acc: __m256) -> __m256 {
        const { assert!(LANE < 4) };
        // SAFETY: the trait's contract makes four floats readable here; `self` proves AVX.
        self.fma8(unsafe { _mm256_broadcast_ss(&*x.add(LANE)) }, w, acc)
    }

    #[inline(always)]
    fn clamp16(self, x: [__m256; 2], lo: f32, hi: f32) -> [__m256; 2] {
        let (lo, hi) = (self.splat8(lo), self.splat8(hi));
        [self.clamp8(x[0], lo, hi), self.clamp8(x[1], lo, hi)]
    }

    #[inline(always)]
    fn halves(self, x: [__m256; 2]) -> (__m256, __m256) {
        (x[0], x[1])
    }

    #[inline(always)]
    fn join(self, first: __m256, second: __m256) -> [__m256; 2] {
        [first, second]
    }

    #[inline(always)]
    fn settle(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a hint: no address can fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
}
