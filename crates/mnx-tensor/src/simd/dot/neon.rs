//! aarch64 with Advanced SIMD: dot products of four bytes where the CPU has them, else products of bytes that are added up in
//! words. Both multiply i8 by i8, so that inputs are `q − 128`.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Bounds, Columns, Dot, MAGIC, Registers};
use crate::Isa;
use crate::constant::unrolled;
use crate::int8::form::{Form, NATURAL, Products};

/// Proof that the CPU has Advanced SIMD and, if `DOT_PRODUCTS`, its instructions for dot products.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot<const DOT_PRODUCTS: bool>(());

impl<const DOT_PRODUCTS: bool> NeonDot<DOT_PRODUCTS> {
    /// If the CPU has them.
    pub fn new() -> Option<Self> {
        (!DOT_PRODUCTS || std::arch::is_aarch64_feature_detected!("dotprod")).then_some(NeonDot(()))
    }

    /// Without asking the CPU.
    ///
    /// # Safety
    /// The CPU has dot products, if `DOT_PRODUCTS`.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        NeonDot(())
    }
}

/// `q − 128` of sixteen bytes `q`.
#[inline(always)]
fn signed(bytes: uint8x16_t) -> int8x16_t {
    // SAFETY: every aarch64 target with a standard library has Advanced SIMD.
    unsafe { vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80))) }
}

/// Adds in each of sixteen lanes the products of four bytes with the four of one lane of `x`. (The intrinsic is not stable.)
///
/// The compiler must assume that memory changes here, so that it moves no load: with inputs or weights loaded early there would be
/// no registers left for all sums. [`dot_lanes`] and [`pairs`] do the same.
///
/// # Safety
/// The CPU has dot products.
#[inline(always)]
unsafe fn dot_lane<const LANE: usize>(mut sums: [int32x4_t; 4], w: [int8x16_t; 4], x: int8x16_t) -> [int32x4_t; 4] {
    const { assert!(LANE < 4) };
    let [s0, s1, s2, s3] = &mut sums;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "sdot {s0:v}.4s, {w0:v}.16b, {x:v}.4b[{lane}]",
            "sdot {s1:v}.4s, {w1:v}.16b, {x:v}.4b[{lane}]",
            "sdot {s2:v}.4s, {w2:v}.16b, {x:v}.4b[{lane}]",
            "sdot {s3:v}.4s, {w3:v}.16b, {x:v}.4b[{lane}]",
            s0 = inout(vreg) *s0, s1 = inout(vreg) *s1, s2 = inout(vreg) *s2, s3 = inout(vreg) *s3,
            w0 = in(vreg) w[0], w1 = in(vreg) w[1], w2 = in(vreg) w[2], w3 = in(vreg) w[3],
            x = in(vreg) x, lane = const LANE, options(nostack, preserves_flags)
        );
    }
    sums
}

/// Adds in each of sixteen lanes the products of four bytes with four others. (The intrinsic is not stable.)
///
/// # Safety
/// The CPU has dot products.
#[inline(always)]
unsafe fn dot_lanes(mut sums: [int32x4_t; 4], w: [int8x16_t; 4], x: [int8x16_t; 4]) -> [int32x4_t; 4] {
    let [s0, s1, s2, s3] = &mut sums;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "sdot {s0:v}.4s, {w0:v}.16b, {x0:v}.16b",
            "sdot {s1:v}.4s, {w1:v}.16b, {x1:v}.16b",
            "sdot {s2:v}.4s, {w2:v}.16b, {x2:v}.16b",
            "sdot {s3:v}.4s, {w3:v}.16b, {x3:v}.16b",
            s0 = inout(vreg) *s0, s1 = inout(vreg) *s1, s2 = inout(vreg) *s2, s3 = inout(vreg) *s3,
            w0 = in(vreg) w[0], w1 = in(vreg) w[1], w2 = in(vreg) w[2], w3 = in(vreg) w[3],
            x0 = in(vreg) x[0], x1 = in(vreg) x[1], x2 = in(vreg) x[2], x3 = in(vreg) x[3],
            options(nostack, preserves_flags)
        );
    }
    sums
}

/// Adds in each of sixteen lanes two pairs of products: `x` and `w` hold the first pair of every lane in two vectors, then the
/// second. Two products fit into a word, since inputs go down to −128 and weights to −127 only.
#[inline(always)]
fn pairs(mut sums: [int32x4_t; 4], w: [int8x16_t; 4], x: [int8x16_t; 4]) -> [int32x4_t; 4] {
    let [s0, s1, s2, s3] = &mut sums;
    // SAFETY: every aarch64 target with a standard library has Advanced SIMD.
    unsafe {
        asm!(
            "smull {t0:v}.8h, {w0:v}.8b, {x0:v}.8b",
            "smull2 {t1:v}.8h, {w0:v}.16b, {x0:v}.16b",
            "smull {t2:v}.8h, {w1:v}.8b, {x1:v}.8b",
            "smull2 {t3:v}.8h, {w1:v}.16b, {x1:v}.16b",
            "smlal {t0:v}.8h, {w2:v}.8b, {x2:v}.8b",
            "smlal2 {t1:v}.8h, {w2:v}.16b, {x2:v}.16b",
            "smlal {t2:v}.8h, {w3:v}.8b, {x3:v}.8b",
            "smlal2 {t3:v}.8h, {w3:v}.16b, {x3:v}.16b",
            "sadalp {s0:v}.4s, {t0:v}.8h",
            "sadalp {s1:v}.4s, {t1:v}.8h",
            "sadalp {s2:v}.4s, {t2:v}.8h",
            "sadalp {s3:v}.4s, {t3:v}.8h",
            s0 = inout(vreg) *s0, s1 = inout(vreg) *s1, s2 = inout(vreg) *s2, s3 = inout(vreg) *s3,
            w0 = in(vreg) w[0], w1 = in(vreg) w[1], w2 = in(vreg) w[2], w3 = in(vreg) w[3],
            x0 = in(vreg) x[0], x1 = in(vreg) x[1], x2 = in(vreg) x[2], x3 = in(vreg) x[3],
            t0 = out(vreg) _, t1 = out(vreg) _, t2 = out(vreg) _, t3 = out(vreg) _,
            options(nostack, preserves_flags)
        );
    }
    sums
}

/// [`pairs`] of one group of `x` in all lanes.
#[inline(always)]
fn pairs_of<const GROUP: usize>(sums: [int32x4_t; 4], w: [int8x16_t; 4], x: int8x16_t) -> [int32x4_t; 4] {
    const { assert!(GROUP < 4) };
    let (first, second);
    // SAFETY: every aarch64 target with a standard library has Advanced SIMD. It is assembly for the same reason.
    unsafe {
        asm!(
            "dup {first:v}.8h, {x:v}.h[2 * {group}]",
            "dup {second:v}.8h, {x:v}.h[2 * {group} + 1]",
            x = in(vreg) x, group = const GROUP, first = out(vreg) first, second = out(vreg) second,
            options(nostack, preserves_flags)
        );
    }
    pairs(sums, w, [first, first, second, second])
}

/// Sixteen of a group's weights or taps at a time.
///
/// # Safety
/// `from` is readable for 64 bytes.
#[inline(always)]
unsafe fn load_row(from: *const i8) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    unsafe { [vld1q_s8(from), vld1q_s8(from.add(16)), vld1q_s8(from.add(32)), vld1q_s8(from.add(48))] }
}

impl<const DOT_PRODUCTS: bool> crate::simd::sealed::Sealed for NeonDot<DOT_PRODUCTS> {}

impl<const DOT_PRODUCTS: bool> Registers for NeonDot<DOT_PRODUCTS> {
    type Sums = [int32x4_t; 4];
    type Reals = [float32x4_t; 4];

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> [int32x4_t; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { [vld1q_s32(from), vld1q_s32(from.add(4)), vld1q_s32(from.add(8)), vld1q_s32(from.add(12))] }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> [float32x4_t; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: [float32x4_t; 4]) {
        // SAFETY: writable by the trait's contract.
        unsafe { unrolled!(i in 0 1 2 3 => vst1q_f32(to.add(4 * i), reals[i])) }
    }

    #[inline(always)]
    fn scale(self, sums: [int32x4_t; 4], factors: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let mut reals = factors;
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { unrolled!(i in 0 1 2 3 => reals[i] = vmulq_f32(vcvtq_f32_s32(sums[i]), factors[i])) }
        reals
    }

    #[inline(always)]
    unsafe fn add_shortcut(
        self,
        mut reals: [float32x4_t; 4],
        from: *const u8,
        zero: u8,
        factors: [float32x4_t; 4],
    ) -> [float32x4_t; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe {
            let (bytes, zero) = (vld1q_u8(from), vdup_n_u8(zero));
            let low = vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(bytes), zero));
            let high = vreinterpretq_s16_u16(vsubl_u8(vget_high_u8(bytes), zero));
            let wide = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ];
            unrolled!(i in 0 1 2 3 => reals[i] = vaddq_f32(reals[i], vmulq_f32(vcvtq_f32_s32(wide[i]), factors[i])));
        }
        reals
    }

    /// Rounds by an addition: conversions have half the units that additions have.
    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[float32x4_t; 4]; PIXELS], bounds: Bounds, to: *mut u8) {
        // SAFETY: writable by the trait's contract.
        unsafe {
            unrolled!(p in PIXELS => {
                let (lo, hi) = (vdupq_n_f32(bounds.lo), vdupq_n_f32(bounds.hi));
                let (magic, zero) = (vdupq_n_f32(MAGIC), vdupq_n_u8(bounds.zero));
                let rounded = |i: usize| {
                    let clamped = vminq_f32(vmaxq_f32(reals[p][i], lo), hi);
                    vreinterpretq_u16_f32(vaddq_f32(clamped, magic))
                };
                // The even words and then bytes are what counts: the number modulo 256.
                let words = |a, b| vreinterpretq_u8_u16(vuzp1q_u16(a, b));
                let (low, high) = (words(rounded(0), rounded(1)), words(rounded(2), rounded(3)));
                vst1q_u8(to.add(16 * p), vaddq_u8(vuzp1q_u8(low, high), zero));
            });
        }
    }
}

impl<const DOT_PRODUCTS: bool> Dot for NeonDot<DOT_PRODUCTS> {
    const ISA: Isa = Isa::Neon;
    const DOT_PRODUCTS: bool = DOT_PRODUCTS;
    const FORM: Form =
        Form { products: if DOT_PRODUCTS { Products::SignedBytes } else { Products::SignedPairs }, order: NATURAL };
    type Input = u8;
    type Weight = i8;
    /// Sixteen `q − 128`.
    type Quad = int8x16_t;

    #[inline(always)]
    unsafe fn load_quad<const INPUTS: usize>(self, from: *const u8) -> int8x16_t {
        let bytes: uint8x16_t;
        // SAFETY: readable by the trait's contract. The compiler would load four into a general register and insert from there,
        // which takes vector units.
        unsafe {
            if INPUTS == 16 {
                bytes = vld1q_u8(from);
            } else {
                asm!("ldr {:s}, [{}]", out(vreg) bytes, in(reg) from,
                    options(pure, readonly, nostack, preserves_flags));
            }
        }
        signed(bytes)
    }

    #[inline(always)]
    unsafe fn dot<const GROUP: usize, const PIXELS: usize>(
        self,
        x: &[int8x16_t; PIXELS],
        w: *const i8,
        sums: &mut [[int32x4_t; 4]; PIXELS],
    ) {
        // SAFETY: readable by the trait's contract; `self` proves dot products where they are used.
        unsafe {
            let w = load_row(w);
            unrolled!(p in PIXELS => sums[p] = if DOT_PRODUCTS {
                dot_lane::<GROUP>(sums[p], w, x[p])
            } else {
                pairs_of::<GROUP>(sums[p], w, x[p])
            });
        }
    }
}

impl<const DOT_PRODUCTS: bool> Columns for NeonDot<DOT_PRODUCTS> {
    /// `q − 128`, in the order of a row of weights.
    type Column = [int8x16_t; 4];

    #[inline(always)]
    unsafe fn column(self, rows: [*const u8; 4]) -> [int8x16_t; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe {
            let row = |r: usize| signed(vld1q_u8(rows[r]));
            let interleaved = |a, b| (vzip1q_s8(a, b), vzip2q_s8(a, b));
            let ((a, b), (c, d)) = (interleaved(row(0), row(1)), interleaved(row(2), row(3)));
            if !DOT_PRODUCTS {
                return [a, b, c, d];
            }
            let (first, second) = (vreinterpretq_s16_s8, vreinterpretq_s8_s16);
            let low = |a, c| second(vzip1q_s16(first(a), first(c)));
            let high = |a, c| second(vzip2q_s16(first(a), first(c)));
            [low(a, c), high(a, c), low(b, d), high(b, d)]
        }
    }

    #[inline(always)]
    unsafe fn dot_column(self, x: [int8x16_t; 4], w: *const i8, sums: [int32x4_t; 4]) -> [int32x4_t; 4] {
        // SAFETY: readable by the trait's contract; `self` proves dot products where they are used.
        unsafe {
            let w = load_row(w);
            if DOT_PRODUCTS { dot_lanes(sums, w, x) } else { pairs(sums, w, x) }
        }
    }
}
