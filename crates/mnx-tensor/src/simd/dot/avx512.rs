//! x86-64 with AVX-512 but without VNNI: pairs of words in each of sixteen lanes.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Dot, Interleaved, Zmm};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, NATURAL, Products};
use crate::simd::avx512::changed;

impl Dot for Zmm<false> {
    const ISA: Isa = Isa::Avx512;
    const DOT_PRODUCTS: bool = false;
    const FORM: Form = Form { products: Products::Words, order: NATURAL };
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
        sums: &mut [__m512i; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512 and BW.
        unsafe {
            unrolled!(pair in 0 1 => {
                let w = _mm512_loadu_si512(w.add(32 * pair).cast());
                unrolled!(p in PIXELS => {
                    let x = _mm512_set1_epi32(x[p].add(4 * GROUP + 2 * pair).cast::<i32>().read_unaligned());
                    sums[p] = keep(_mm512_add_epi32(sums[p], _mm512_madd_epi16(x, w)));
                });
            });
        }
    }
}

impl Interleaved for Zmm<false> {
    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut i16) {
        // SAFETY: readable and writable by the trait's contract; `self` proves AVX-512.
        unsafe {
            let row = |r: usize| _mm512_cvtepu8_epi32(_mm_loadu_si128(rows[r].cast()));
            let pairs = _mm512_or_si512(row(0), _mm512_slli_epi32::<16>(row(1)));
            _mm512_storeu_si512(to.cast(), pairs);
        }
    }

    #[inline(always)]
    unsafe fn dot_line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const i16,
        w: *const i16,
        sums: &mut [__m512i; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX-512 and BW.
        unsafe {
            unrolled!(k in 0 1 2 => {
                let w = _mm512_loadu_si512(w.add(64 * k).cast());
                unrolled!(p in PIXELS => {
                    let x = _mm512_loadu_si512(x.add(32 * (STRIDE * p + k)).cast());
                    sums[p] = keep(_mm512_add_epi32(sums[p], _mm512_madd_epi16(x, w)));
                });
            });
        }
    }
}

changed! {
    /// Without it the compiler would add up products before it adds them to sums, which takes registers.
    keep: __m512i
}
