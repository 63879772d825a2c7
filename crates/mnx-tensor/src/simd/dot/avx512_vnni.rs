//! x86-64 with AVX-512 and VNNI: one dot product of four bytes in each of sixteen lanes.

use std::arch::x86_64::*;

use super::zmm::QUARTERS;
use super::{Columns, Dot, Interleaved, Zmm};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, NATURAL, Products};

/// Proof that the CPU has AVX-512 and VNNI.
pub type Avx512Vnni = Zmm<true>;

/// Within each quarter of a vector: byte `r` of four rows' words to the four bytes of channel `r`.
const INTERLEAVE: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

impl Dot for Avx512Vnni {
    const ISA: Isa = Isa::Avx512;
    const DOT_PRODUCTS: bool = true;
    const FORM: Form = Form { products: Products::Bytes, order: NATURAL };
    const INTERLEAVES: bool = true;
    type Input = u8;
    type Weight = i8;
    /// Broadcasts come from memory for free.
    type Quad = *const u8;

    #[inline(always)]
    unsafe fn load_quad<const INPUTS: usize>(self, from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn dot<const GROUP: usize, const PIXELS: usize>(
        self,
        x: &[*const u8; PIXELS],
        w: *const i8,
        sums: &mut [__m512i; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves VNNI.
        unsafe {
            let w = _mm512_loadu_si512(w.cast());
            unrolled!(p in PIXELS => {
                let x = _mm512_set1_epi32(x[p].add(4 * GROUP).cast::<i32>().read_unaligned());
                sums[p] = _mm512_dpbusd_epi32(sums[p], x, w);
            });
        }
    }
}

impl Columns for Avx512Vnni {
    type Column = __m512i;

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
}

impl Interleaved for Avx512Vnni {
    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: readable and writable by the trait's contract; `self` proves AVX-512.
        unsafe { _mm512_storeu_si512(to.cast(), self.column(rows)) }
    }

    #[inline(always)]
    unsafe fn dot_line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const u8,
        w: *const i8,
        sums: &mut [__m512i; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves VNNI.
        unsafe {
            unrolled!(k in 0 1 2 => {
                let w = _mm512_loadu_si512(w.add(64 * k).cast());
                unrolled!(p in PIXELS => {
                    let x = _mm512_loadu_si512(x.add(64 * (STRIDE * p + k)).cast());
                    sums[p] = _mm512_dpbusd_epi32(sums[p], x, w);
                });
            });
        }
    }
}
