//! The registers of AVX-512, with VNNI and without: one holds sixteen channels.

use std::arch::x86_64::*;

use super::{Bounds, Registers};
use crate::constant::unrolled;

/// Word `n` of each of four rows, or pixels, together.
pub(super) const QUARTERS: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

/// Proof that the CPU has AVX-512 (F, VL, BW, DQ) and, if `VNNI`, its dot products.
#[derive(Clone, Copy, Debug)]
pub struct Zmm<const VNNI: bool>(());

impl<const VNNI: bool> Zmm<VNNI> {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        let there = !VNNI || is_x86_feature_detected!("avx512vnni");
        crate::simd::Avx512::new().filter(|_| there).map(|_| Zmm(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX-512 (F, VL, BW, DQ) and, if `VNNI`, VNNI.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Zmm(())
    }
}

impl<const VNNI: bool> crate::simd::sealed::Sealed for Zmm<VNNI> {}

impl<const VNNI: bool> Registers for Zmm<VNNI> {
    type Sums = __m512i;
    type Reals = __m512;

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> __m512i {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> __m512 {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: __m512) {
        // SAFETY: writable by the trait's contract; `self` proves AVX-512.
        unsafe { _mm512_storeu_ps(to, reals) }
    }

    #[inline(always)]
    fn scale(self, sums: __m512i, factors: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(_mm512_cvtepi32_ps(sums), factors) }
    }

    #[inline(always)]
    unsafe fn add_shortcut(self, reals: __m512, from: *const u8, zero: u8, factors: __m512) -> __m512 {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512.
        unsafe {
            let q = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let q = _mm512_sub_epi32(q, _mm512_set1_epi32(i32::from(zero)));
            _mm512_add_ps(reals, self.scale(q, factors))
        }
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[__m512; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract; `self` proves AVX-512 and BW.
        unsafe {
            let zero = _mm512_set1_epi16(i16::from(bounds.zero));
            let (least, most) = (_mm512_set1_epi8(bounds.least as i8), _mm512_set1_epi8(bounds.most as i8));
            let pixels = _mm512_loadu_si512(QUARTERS.as_ptr().cast());
            let mut reals = *reals;
            if !bounds.fits_i32 {
                // Numbers above 2³¹ have no i32. Far below there is i32::MIN, which saturates.
                unrolled!(p in PIXELS => reals[p] = _mm512_min_ps(reals[p], _mm512_set1_ps(bounds.hi)));
            }
            let whole = |real| _mm512_cvtps_epi32(real);
            let pair = |a, b| _mm512_packs_epi32(whole(a), whole(b));
            let saturate = bounds.saturate;
            unrolled!(four in 0 1 2 3 of PIXELS.div_ceil(4) => {
                let p = 4 * four;
                let at = |i: usize| reals[(p + i).min(PIXELS - 1)];
                let first = pair(at(0), at(1));
                let second = if p + 2 < PIXELS { pair(at(2), at(3)) } else { first };
                let bytes = if saturate {
                    _mm512_packus_epi16(first, second)
                } else {
                    let bytes = _mm512_packus_epi16(_mm512_adds_epi16(first, zero), _mm512_adds_epi16(second, zero));
                    _mm512_min_epu8(_mm512_max_epu8(bytes, least), most)
                };
                // Packing works quarter by quarter: the words of a pixel are four apart.
                let bytes = _mm512_permutexvar_epi32(pixels, bytes);
                let to = to.add(16 * p);
                match PIXELS - p {
                    1 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
                    2 => _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes)),
                    3 => _mm512_mask_storeu_epi32(to.cast(), 0x0fff, bytes),
                    _ => _mm512_storeu_si512(to.cast(), bytes),
                }
            });
        }
    }
}
