//! x86-64 with AVX2 and AVX-VNNI: dot products of four bytes, eight at a time.

use std::arch::x86_64::*;

use super::ymm::{self, Lanes};
use super::{Bounds, Dot, Interleaved};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::{Form, NATURAL, Products};

/// Proof that the CPU has AVX2 and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(());

impl AvxVnni {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        (crate::simd::Avx2::new().is_some() && is_x86_feature_detected!("avxvnni")).then_some(AvxVnni(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has AVX2 and AVX-VNNI.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        AvxVnni(())
    }
}

impl crate::simd::sealed::Sealed for AvxVnni {}

impl Dot for AvxVnni {
    const ISA: Isa = Isa::Avx2;
    const DOT_PRODUCTS: bool = true;
    const FORM: Form = Form { products: Products::Bytes, order: NATURAL };
    const INTERLEAVES: bool = true;
    type Input = u8;
    type Weight = i8;
    type Sums = [__m256i; 2];
    type Reals = [__m256; 2];
    /// Broadcasts come from memory for free.
    type Quad = *const u8;

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
        sums: &mut [[__m256i; 2]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves AVX-VNNI.
        unsafe {
            let w = ymm::load_sums(w.cast());
            unrolled!(p in PIXELS => {
                let x = _mm256_set1_epi32(x[p].add(4 * GROUP).cast::<i32>().read_unaligned());
                sums[p] = [ymm::dpbusd(sums[p][0], x, w[0]), ymm::dpbusd(sums[p][1], x, w[1])];
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
        unsafe { ymm::add_shortcut(Lanes::Natural, reals, from, zero, factors) }
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[__m256; 2]; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract; `self` proves AVX2.
        unsafe { ymm::store_pixels(Lanes::Natural, reals, bounds, to) }
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
        unsafe { ymm::dot_line::<true, STRIDE, PIXELS>(x.cast(), w.cast(), sums) }
    }
}
