//! x86-64 with AVX-512 and VNNI: one dot product of four bytes in each of sixteen lanes.

use std::arch::x86_64::*;

use super::{Bounds, Dot};
use crate::Isa;
use crate::int8::{Form, NATURAL, Products};

/// Proof that the CPU has AVX-512 (F, VL, BW, DQ) and VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(());

impl Avx512Vnni {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        (crate::simd::Avx512::new().is_some()
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni"))
        .then_some(Avx512Vnni(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX-512 and VNNI.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Avx512Vnni(())
    }
}

impl crate::simd::sealed::Sealed for Avx512Vnni {}

/// Within each quarter of a vector: byte `r` of four rows' words to the four bytes of channel `r`.
const INTERLEAVE: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

/// Word `n` of each of four rows together.
const QUARTERS: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

impl Dot for Avx512Vnni {
    const ISA: Isa = Isa::Avx512;
    const DOT_PRODUCTS: bool = true;
    const FORM: Form = Form { products: Products::Bytes, order: NATURAL };
    type Input = u8;
    type Weight = i8;
    type Sums = __m512i;
    type Reals = __m512;
    /// Broadcasts come from memory for free.
    type Quad = *const u8;
    type Column = __m512i;

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
    unsafe fn load_quad(self, from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn load_four(self, from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn dot<const GROUP: usize, const PIXELS: usize>(
        self,
        x: &[*const u8; PIXELS],
        w: *const i8,
        mut sums: [__m512i; PIXELS],
    ) -> [__m512i; PIXELS] {
        // SAFETY: readable by the trait's contract; `self` proves VNNI.
        unsafe {
            let w = _mm512_loadu_si512(w.cast());
            for (sum, x) in sums.iter_mut().zip(x) {
                let x = _mm512_set1_epi32(x.add(4 * GROUP).cast::<i32>().read_unaligned());
                *sum = _mm512_dpbusd_epi32(*sum, x, w);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn column(self, rows: [*const u8; 4]) -> __m512i {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512.
        unsafe {
            let row = |r: usize| _mm_loadu_si128(rows[r].cast());
            let all = _mm512_castsi128_si512(row(0));
            let all = _mm512_inserti32x4::<1>(all, row(1));
            let all = _mm512_inserti32x4::<2>(all, row(2));
            let all = _mm512_inserti32x4::<3>(all, row(3));
            let quarters = _mm512_permutexvar_epi32(_mm512_loadu_si512(QUARTERS.as_ptr().cast()), all);
            let interleave = _mm512_broadcast_i32x4(_mm_loadu_si128(INTERLEAVE.as_ptr().cast()));
            _mm512_shuffle_epi8(quarters, interleave)
        }
    }

    #[inline(always)]
    unsafe fn dot_column(self, x: __m512i, w: *const i8, sums: __m512i) -> __m512i {
        // SAFETY: readable by the trait's contract; `self` proves VNNI.
        unsafe { _mm512_dpbusd_epi32(sums, x, _mm512_loadu_si512(w.cast())) }
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
            _mm512_add_ps(reals, _mm512_mul_ps(_mm512_cvtepi32_ps(q), factors))
        }
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[__m512; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract; `self` proves AVX-512 and BW.
        unsafe {
            let zero = _mm512_set1_epi16(i16::from(bounds.zero));
            let (least, most) = (_mm512_set1_epi8(bounds.least() as i8), _mm512_set1_epi8(bounds.most() as i8));
            let pixels = _mm512_loadu_si512(QUARTERS.as_ptr().cast());
            let mut reals = *reals;
            if !bounds.fits {
                // Numbers above 2³¹ have no i32. Far below there is i32::MIN, which saturates.
                for real in &mut reals {
                    *real = _mm512_min_ps(*real, _mm512_set1_ps(bounds.hi));
                }
            }
            let whole = |real| _mm512_cvtps_epi32(real);
            let pair = |a, b| _mm512_adds_epi16(_mm512_packs_epi32(whole(a), whole(b)), zero);
            for p in (0..PIXELS).step_by(4) {
                let at = |i: usize| reals[(p + i).min(PIXELS - 1)];
                let first = pair(at(0), at(1));
                let second = if p + 2 < PIXELS { pair(at(2), at(3)) } else { first };
                let bytes = _mm512_packus_epi16(first, second);
                let bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, least), most);
                // Packing works quarter by quarter: the words of a pixel are four apart.
                let bytes = _mm512_permutexvar_epi32(pixels, bytes);
                let to = to.add(16 * p);
                match PIXELS - p {
                    1 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
                    2 => _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes)),
                    3 => _mm512_mask_storeu_epi32(to.cast(), 0x0fff, bytes),
                    _ => _mm512_storeu_si512(to.cast(), bytes),
                }
            }
        }
    }
}
