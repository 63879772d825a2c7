//! x86-64 with AVX2 alone: pairs of words, since its one multiplication of bytes saturates.

use std::arch::x86_64::*;

use super::{Dot, Interleaved, Registers, Ymm, ymm};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, Products};

impl Dot for Ymm<false> {
    const ISA: Isa = Isa::Avx2;
    const DOT_PRODUCTS: bool = false;
    /// As unpacking orders words, for the depthwise kernel.
    const FORM: Form =
        Form { products: Products::Words, order: [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15] };
    const INTERLEAVES: bool = true;
    type Input = i16;
    type Weight = i16;
    /// Broadcasts come from memory for free.
    type Quad = *const i16;

    #[inline(always)]
    unsafe fn load_quad<const INPUTS: usize>(self, from: *const i16) -> *const i16 {
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
                let w = self.load_sums(w.add(32 * pair).cast());
                unrolled!(p in PIXELS => {
                    let x = _mm256_set1_epi32(x[p].add(4 * GROUP + 2 * pair).cast::<i32>().read_unaligned());
                    sums[p] = [ymm::madd(sums[p][0], x, w[0]), ymm::madd(sums[p][1], x, w[1])];
                });
                ymm::settle();
            });
        }
    }
}

impl Interleaved for Ymm<false> {
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
        unsafe { self.line::<STRIDE, PIXELS>(x.cast(), w.cast(), sums) }
    }
}
