//! x86-64 with AVX2 alone: pairs of words, since its one multiplication of bytes saturates.

use std::arch::x86_64::*;

use super::ymm::{self, Lanes};
use super::{Bounds, Dot, Interleaved};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::{Form, Products};
use crate::simd::Avx2;

impl Dot for Avx2 {
    const ISA: Isa = Isa::Avx2;
    const DOT_PRODUCTS: bool = false;
    /// As unpacking orders words, for the depthwise kernel.
    const FORM: Form =
        Form { products: Products::Words, order: [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15] };
    const INTERLEAVES: bool = true;
    type Input = i16;
    type Weight = i16;
    type Sums = [__m256i; 2];
    type Reals = [__m256; 2];
    /// Broadcasts come from memory for free.
    type Quad = *const i16;

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> [__m256i; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::load_sums(from) }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::load_reals(from) }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: [__m256; 2]) {
        // SAFETY: writable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::store_reals(to, reals) }
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const i16) -> *const i16 {
        from
    }

    #[inline(always)]
    unsafe fn load_four(self, from: *const i16) -> *const i16 {
        from
    }

    #[inline(always)]
    unsafe fn dot<const GROUP: usize, const PIXELS: usize>(
        self,
        x: &[*const i16; PIXELS],
        w: *const i16,
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe {
            unrolled!(pair in 0 1 => {
                let w = ymm::load_sums(w.add(32 * pair).cast());
                unrolled!(p in PIXELS => {
                    let x = _mm256_set1_epi32(x[p].add(4 * GROUP + 2 * pair).cast::<i32>().read_unaligned());
                    sums[p] = [ymm::madd(sums[p][0], x, w[0]), ymm::madd(sums[p][1], x, w[1])];
                });
                ymm::settle();
            });
        }
    }

    #[inline(always)]
    fn scale(self, sums: [__m256i; 2], factors: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves AVX2.
        unsafe { ymm::scale(sums, factors) }
    }

    #[inline(always)]
    unsafe fn add_shortcut(self, reals: [__m256; 2], from: *const u8, zero: u8, factors: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::add_shortcut(Lanes::Unpacked, reals, from, zero, factors) }
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[__m256; 2]; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::store_pixels(Lanes::Unpacked, reals, bounds, to) }
    }
}

impl Interleaved for Avx2 {
    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut i16) {
        // SAFETY: readable and writable by the trait's contract; `self` proves AVX2.
        unsafe {
            let row = |r: usize| _mm256_cvtepu8_epi16(_mm_loadu_si128(rows[r].cast()));
            let (first, second) = (row(0), row(1));
            _mm256_storeu_si256(to.cast(), _mm256_unpacklo_epi16(first, second));
            _mm256_storeu_si256(to.add(16).cast(), _mm256_unpackhi_epi16(first, second));
        }
    }

    #[inline(always)]
    unsafe fn dot_line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const i16,
        w: *const i16,
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::dot_line::<false, STRIDE, PIXELS>(x.cast(), w.cast(), sums) }
    }
}
