//! The registers of AVX2, with VNNI and without: two hold sixteen channels.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Bounds, Registers};
use crate::constant::unrolled;

/// Proof that the CPU has AVX2 and, if `VNNI`, AVX-VNNI. With it the two registers hold channels 0 to 7 and 8 to 15; without, 0 to 3
/// and 8 to 11, 4 to 7 and 12 to 15: what unpacking makes of sixteen words.
#[derive(Clone, Copy, Debug)]
pub struct Ymm<const VNNI: bool>(());

impl<const VNNI: bool> Ymm<VNNI> {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        let there = !VNNI || is_x86_feature_detected!("avxvnni");
        crate::simd::Avx2::new().filter(|_| there).map(|_| Ymm(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX2 and, if `VNNI`, AVX-VNNI.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Ymm(())
    }
}

impl<const VNNI: bool> crate::simd::sealed::Sealed for Ymm<VNNI> {}

impl<const VNNI: bool> Registers for Ymm<VNNI> {
    type Sums = [__m256i; 2];
    type Reals = [__m256; 2];

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> [__m256i; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())] }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: [__m256; 2]) {
        // SAFETY: writable by the trait's contract; `self` proves AVX2.
        unsafe {
            _mm256_storeu_ps(to, reals[0]);
            _mm256_storeu_ps(to.add(8), reals[1]);
        }
    }

    #[inline(always)]
    fn scale(self, sums: [__m256i; 2], factors: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let (low, high) = (_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1]));
            [_mm256_mul_ps(low, factors[0]), _mm256_mul_ps(high, factors[1])]
        }
    }

    #[inline(always)]
    unsafe fn add_shortcut(self, reals: [__m256; 2], from: *const u8, zero: u8, factors: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe {
            let (low, high) = if VNNI {
                let half = |at| _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(at).cast()));
                (half(0), half(8))
            } else {
                let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast()));
                let nothing = _mm256_setzero_si256();
                (_mm256_unpacklo_epi16(words, nothing), _mm256_unpackhi_epi16(words, nothing))
            };
            let zero = _mm256_set1_epi32(i32::from(zero));
            let added = self.scale([_mm256_sub_epi32(low, zero), _mm256_sub_epi32(high, zero)], factors);
            [_mm256_add_ps(reals[0], added[0]), _mm256_add_ps(reals[1], added[1])]
        }
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[__m256; 2]; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract; `self` proves AVX2.
        unsafe {
            let zero = _mm256_set1_epi16(i16::from(bounds.zero));
            let (least, most) = (_mm256_set1_epi8(bounds.least as i8), _mm256_set1_epi8(bounds.most as i8));
            let mut reals = *reals;
            if !bounds.fits_i32 {
                // Numbers above 2³¹ have no i32. Far below there is i32::MIN, which saturates.
                let hi = _mm256_set1_ps(bounds.hi);
                unrolled!(p in PIXELS => reals[p] = [_mm256_min_ps(reals[p][0], hi), _mm256_min_ps(reals[p][1], hi)]);
            }
            let words = |p: usize| {
                let [low, high]: [__m256; 2] = reals[p];
                _mm256_adds_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high)), zero)
            };
            // A plain loop, as at stride 2 in `line`: see the head of `kernels`.
            for p in (0..PIXELS).step_by(2) {
                let first = words(p);
                let second = if p + 1 < PIXELS { words(p + 1) } else { first };
                let bytes = _mm256_packus_epi16(first, second);
                let bytes = _mm256_min_epu8(_mm256_max_epu8(bytes, least), most);
                // Packing works half by half: the parts of a pixel are not side by side.
                let bytes = if VNNI {
                    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
                } else {
                    _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)
                };
                let to = to.add(16 * p);
                if p + 1 < PIXELS {
                    _mm256_storeu_si256(to.cast(), bytes);
                } else {
                    _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
                }
            }
        }
    }
}

impl<const VNNI: bool> Ymm<VNNI> {
    /// [`Interleaved::dot_line`](super::Interleaved::dot_line), one half of the channels after the other.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "an index walks over two arrays")]
    pub(super) unsafe fn line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const u8,
        w: *const u8,
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // Of the filter: four rows of bytes, or four of words, two of which are another line's.
        let column_bytes = if VNNI { 64 } else { 128 };
        // SAFETY: the caller's promise; `self` proves AVX2, and AVX-VNNI where it is used.
        unsafe {
            unrolled!(half in 0 1 => {
                let load = |from: *const u8, at: usize| _mm256_loadu_si256(from.add(32 * half + at).cast());
                let w = [load(w, 0), load(w, column_bytes), load(w, 2 * column_bytes)];
                if STRIDE == 1 {
                    // Each column is loaded once.
                    unrolled!(column in 0 1 2 3 4 5 6 7 of PIXELS + 2 => {
                        let x = load(x, 64 * column);
                        unrolled!(k in 0 1 2 => {
                            let p = column.wrapping_sub(k);
                            if p < PIXELS {
                                let sum = sums[p][half];
                                sums[p][half] = if VNNI { dpbusd(sum, x, w[k]) } else { madd(sum, x, w[k]) };
                            }
                        });
                        settle();
                    });
                } else {
                    for k in 0..3 {
                        for p in 0..PIXELS {
                            let x = load(x, 64 * (STRIDE * p + k));
                            let sum = sums[p][half];
                            sums[p][half] = if VNNI { dpbusd(sum, x, w[k]) } else { madd(sum, x, w[k]) };
                        }
                        settle();
                    }
                }
            });
        }
    }
}

/// `sum` plus the products of pairs of words, in eight lanes.
///
/// It is assembly since the compiler would add up products before it adds them to sums, and multiply early: both take registers,
/// and sums would end up on the stack.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn madd(mut sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    // SAFETY: two instructions of AVX2 on registers.
    unsafe {
        asm!(
            "vpmaddwd {product}, {x}, {w}",
            "vpaddd {sum}, {sum}, {product}",
            sum = inlateout(ymm_reg) sum,
            product = lateout(ymm_reg) _,
            x = in(ymm_reg) x,
            w = in(ymm_reg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// `sum` plus the products of four bytes, u8 by i8, in eight lanes. The compiler must assume that memory changes here, so that it
/// does not load early.
///
/// # Safety
/// The CPU has AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dpbusd(mut sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{{vex}} vpdpbusd {sum}, {x}, {w}",
            sum = inlateout(ymm_reg) sum,
            x = in(ymm_reg) x,
            w = in(ymm_reg) w,
            options(nostack, preserves_flags),
        );
    }
    sum
}

/// Between loads: later ones stay later.
#[inline(always)]
pub(super) fn settle() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}
