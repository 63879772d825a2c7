//! x86-64 with AVX2 and AVX-VNNI: dot products of four bytes, eight at a time.

use std::arch::x86_64::*;

use super::{Dot, Interleaved, Registers, Ymm, ymm};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, NATURAL, Products};

/// Proof that the CPU has AVX2 and AVX-VNNI.
pub type AvxVnni = Ymm<true>;

impl Dot for AvxVnni {
    const ISA: Isa = Isa::Avx2;
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
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX-VNNI.
        unsafe {
            let w = self.load_sums(w.cast());
            unrolled!(p in PIXELS => {
                let x = _mm256_set1_epi32(x[p].add(4 * GROUP).cast::<i32>().read_unaligned());
                sums[p] = [ymm::dpbusd(sums[p][0], x, w[0]), ymm::dpbusd(sums[p][1], x, w[1])];
            });
        }
    }
}

impl Interleaved for AvxVnni {
    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: readable and writable by the trait's contract; `self` proves AVX2.
        unsafe {
            let row = |r: usize| _mm_loadu_si128(rows[r].cast());
            let (upper, lower) = ((row(0), row(1)), (row(2), row(3)));
            let halves = [
                (_mm_unpacklo_epi8(upper.0, upper.1), _mm_unpacklo_epi8(lower.0, lower.1)),
                (_mm_unpackhi_epi8(upper.0, upper.1), _mm_unpackhi_epi8(lower.0, lower.1)),
            ];
            for (i, (upper, lower)) in halves.into_iter().enumerate() {
                let both = _mm256_set_m128i(_mm_unpackhi_epi16(upper, lower), _mm_unpacklo_epi16(upper, lower));
                _mm256_storeu_si256(to.add(32 * i).cast(), both);
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const u8,
        w: *const i8,
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX-VNNI.
        unsafe { self.line::<STRIDE, PIXELS>(x.cast(), w.cast(), sums) }
    }
}
