//! WebAssembly with simd128: sums of two products of words.

use std::arch::wasm32::*;

use super::{Bounds, Columns, Dot, MAGIC, Registers};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, NATURAL, Products};
use crate::simd::Simd128;

/// `x + MAGIC` has the bits `MAGIC_BITS + round_half_even(x)`.
const MAGIC_BITS: i32 = MAGIC.to_bits() as i32;

/// Adds in each of sixteen lanes two pairs of products: vectors 0 to 3 hold the first pair of every lane, 4 to 7 the second.
///
/// # Safety
/// `w` is readable for 64 words.
#[inline(always)]
unsafe fn pairs(x: impl Fn(usize) -> v128, w: *const i16, mut sums: [v128; 4]) -> [v128; 4] {
    unrolled!(i in 0 1 2 3 4 5 6 7 => {
        // SAFETY: the caller's promise.
        let w = unsafe { v128_load(w.add(8 * i).cast()) };
        sums[i % 4] = i32x4_add(sums[i % 4], i32x4_dot_i16x8(x(i), w));
    });
    sums
}

/// Four vectors from memory.
///
/// # Safety
/// `from` is readable for 64 bytes.
#[inline(always)]
unsafe fn load<T>(from: *const T) -> [v128; 4] {
    let from = from.cast::<v128>();
    // SAFETY: the caller's promise.
    unsafe { [v128_load(from), v128_load(from.add(1)), v128_load(from.add(2)), v128_load(from.add(3))] }
}

impl Registers for Simd128 {
    type Sums = [v128; 4];
    type Reals = [v128; 4];

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { load(from) }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { load(from) }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: [v128; 4]) {
        // SAFETY: writable by the trait's contract.
        unsafe { unrolled!(i in 0 1 2 3 => v128_store(to.add(4 * i).cast(), reals[i])) }
    }

    #[inline(always)]
    fn scale(self, sums: [v128; 4], factors: [v128; 4]) -> [v128; 4] {
        let mut reals = factors;
        unrolled!(i in 0 1 2 3 => reals[i] = f32x4_mul(f32x4_convert_i32x4(sums[i]), factors[i]));
        reals
    }

    #[inline(always)]
    unsafe fn add_shortcut(self, mut reals: [v128; 4], from: *const u8, zero: u8, factors: [v128; 4]) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        let bytes = unsafe { v128_load(from.cast()) };
        let zero = i16x8_splat(i16::from(zero));
        let low = i16x8_sub(u16x8_extend_low_u8x16(bytes), zero);
        let high = i16x8_sub(u16x8_extend_high_u8x16(bytes), zero);
        let wide = [
            i32x4_extend_low_i16x8(low),
            i32x4_extend_high_i16x8(low),
            i32x4_extend_low_i16x8(high),
            i32x4_extend_high_i16x8(high),
        ];
        unrolled!(i in 0 1 2 3 => reals[i] = f32x4_add(reals[i], f32x4_mul(f32x4_convert_i32x4(wide[i]), factors[i])));
        reals
    }

    /// Rounds by an addition: engines make several instructions of a conversion.
    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[v128; 4]; PIXELS], bounds: Bounds, to: *mut u8) {
        let (lo, hi, magic) = (f32x4_splat(bounds.lo), f32x4_splat(bounds.hi), f32x4_splat(MAGIC));
        let zero = i32x4_splat(MAGIC_BITS - i32::from(bounds.zero));
        unrolled!(p in PIXELS => {
            let whole = |i: usize| i32x4_sub(f32x4_add(f32x4_pmin(f32x4_pmax(reals[p][i], lo), hi), magic), zero);
            let (low, high) = (i16x8_narrow_i32x4(whole(0), whole(1)), i16x8_narrow_i32x4(whole(2), whole(3)));
            // SAFETY: writable by the trait's contract.
            unsafe { v128_store(to.add(16 * p).cast(), u8x16_narrow_i16x8(low, high)) }
        });
    }
}

impl Dot for Simd128 {
    const ISA: Isa = Isa::Simd128;
    const DOT_PRODUCTS: bool = false;
    const FORM: Form = Form { products: Products::Words, order: NATURAL };
    type Input = i16;
    type Weight = i16;
    /// One instruction loads a pair into all lanes.
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
        sums: &mut [[v128; 4]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract.
        unsafe {
            unrolled!(p in PIXELS => {
                let pair = |i: usize| v128_load32_splat(x[p].add(4 * GROUP + 2 * i).cast());
                let both = [pair(0), pair(1)];
                sums[p] = pairs(|i| both[i / 4], w, sums[p]);
            });
        }
    }
}

impl Columns for Simd128 {
    /// In the order of a row of weights.
    type Column = [v128; 8];

    #[inline(always)]
    unsafe fn column(self, rows: [*const u8; 4]) -> [v128; 8] {
        // SAFETY: readable by the trait's contract.
        let row = |r: usize| unsafe { v128_load(rows[r].cast()) };
        let pair = |a, b| {
            let low = i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b);
            let high = i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b);
            let wide = |x| (u16x8_extend_low_u8x16(x), u16x8_extend_high_u8x16(x));
            (wide(low), wide(high))
        };
        let ((a, b), (c, d)) = pair(row(0), row(1));
        let ((e, f), (g, h)) = pair(row(2), row(3));
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    unsafe fn dot_column(self, x: [v128; 8], w: *const i16, sums: [v128; 4]) -> [v128; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { pairs(|i| x[i], w, sums) }
    }
}
