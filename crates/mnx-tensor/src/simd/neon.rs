//! aarch64 with Advanced SIMD: thirty-two registers of four lanes. A multiply-add can take one factor from a lane of a register.

use std::arch::aarch64::*;

use super::Simd;
use crate::Isa;
use crate::constant::unrolled;

/// Proof that the CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// Always succeeds: every aarch64 target with a standard library has it.
    pub fn new() -> Option<Self> {
        Some(Neon(()))
    }

    /// As [`new`](Neon::new); named as on the other ISAs.
    ///
    /// # Safety
    /// None needed here.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Neon(())
    }

    /// The intrinsics' lane has another type than the trait's.
    #[inline(always)]
    fn fma_lane<const LANE: usize>(self, x: float32x4_t, w: float32x4_t, acc: float32x4_t) -> float32x4_t {
        const { assert!(LANE < 4) };
        // SAFETY: `self` proves Advanced SIMD.
        unsafe {
            match LANE {
                0 => vfmaq_laneq_f32::<0>(acc, w, x),
                1 => vfmaq_laneq_f32::<1>(acc, w, x),
                2 => vfmaq_laneq_f32::<2>(acc, w, x),
                _ => vfmaq_laneq_f32::<3>(acc, w, x),
            }
        }
    }
}

/// Lane masks by sliding: eight words from `8 − n` on are ones in the first `n`.
const FIRST: [u32; 16] = [!0, !0, !0, !0, !0, !0, !0, !0, 0, 0, 0, 0, 0, 0, 0, 0];

impl super::sealed::Sealed for Neon {}

impl Simd for Neon {
    const ISA: Isa = Isa::Neon;
    const KEEPS_FILTER: bool = true;
    type C8 = [float32x4_t; 2];
    type P16 = [float32x4_t; 4];
    /// Multiply-adds take a lane for free.
    type Quad = float32x4_t;

    #[inline(always)]
    unsafe fn load8(self, from: *const f32) -> [float32x4_t; 2] {
        // SAFETY: readable by the trait's contract.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    unsafe fn store8(self, to: *mut f32, value: [float32x4_t; 2]) {
        // SAFETY: writable by the trait's contract.
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
        }
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    fn fma8(self, x: [float32x4_t; 2], w: [float32x4_t; 2], acc: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { [vfmaq_f32(acc[0], x[0], w[0]), vfmaq_f32(acc[1], x[1], w[1])] }
    }

    #[inline(always)]
    fn add8(self, x: [float32x4_t; 2], y: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { [vaddq_f32(x[0], y[0]), vaddq_f32(x[1], y[1])] }
    }

    #[inline(always)]
    fn mul8(self, x: [float32x4_t; 2], y: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { [vmulq_f32(x[0], y[0]), vmulq_f32(x[1], y[1])] }
    }

    #[inline(always)]
    fn clamp8(self, x: [float32x4_t; 2], lo: [float32x4_t; 2], hi: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD. FMAX and FMIN return NaN when an operand is NaN.
        unsafe { [vminq_f32(vmaxq_f32(x[0], lo[0]), hi[0]), vminq_f32(vmaxq_f32(x[1], lo[1]), hi[1])] }
    }

    #[inline(always)]
    fn max8(self, x: [float32x4_t; 2], y: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: `self` proves Advanced SIMD. FMAX returns NaN when an operand is NaN.
        unsafe { [vmaxq_f32(x[0], y[0]), vmaxq_f32(x[1], y[1])] }
    }

    #[inline(always)]
    fn first8(self, n: usize, x: [float32x4_t; 2], y: [float32x4_t; 2]) -> [float32x4_t; 2] {
        let mask = FIRST[8 - n.min(8)..].as_ptr();
        // SAFETY: `self` proves Advanced SIMD; eight of the sixteen masks follow index 8 − n.
        unsafe { [vbslq_f32(vld1q_u32(mask), x[0], y[0]), vbslq_f32(vld1q_u32(mask.add(4)), x[1], y[1])] }
    }

    #[inline(always)]
    unsafe fn load16(self, from: *const f32) -> [float32x4_t; 4] {
        // SAFETY: readable by the trait's contract.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    unsafe fn load16_bf16(self, from: *const u16) -> [float32x4_t; 4] {
        let widen = |bits| {
            // SAFETY: `self` proves Advanced SIMD.
            unsafe {
                let (low, high) = (vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits));
                [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
            }
        };
        // SAFETY: readable by the trait's contract.
        let ([a, b], [c, d]) = unsafe { (widen(vld1q_u16(from)), widen(vld1q_u16(from.add(8)))) };
        [a, b, c, d]
    }

    /// In assembly: the intrinsics' type of f16 is not stable.
    #[inline(always)]
    unsafe fn load16_f16(self, from: *const u16) -> [float32x4_t; 4] {
        let widen = |bits: uint16x8_t| {
            let (low, high): (float32x4_t, float32x4_t);
            // SAFETY: `self` proves Advanced SIMD, to which both conversions belong.
            unsafe {
                std::arch::asm!(
                    "fcvtl {low:v}.4s, {bits:v}.4h",
                    "fcvtl2 {high:v}.4s, {bits:v}.8h",
                    bits = in(vreg) bits,
                    low = out(vreg) low,
                    high = lateout(vreg) high,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            [low, high]
        };
        // SAFETY: readable by the trait's contract.
        let ([a, b], [c, d]) = unsafe { (widen(vld1q_u16(from)), widen(vld1q_u16(from.add(8)))) };
        [a, b, c, d]
    }

    #[inline(always)]
    fn fma16(self, x: [float32x4_t; 4], w: [float32x4_t; 4], mut acc: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { unrolled!(i in 0 1 2 3 => acc[i] = vfmaq_f32(acc[i], x[i], w[i])) }
        acc
    }

    #[inline(always)]
    unsafe fn fma16_splat(self, x: *const f32, w: [float32x4_t; 4], mut acc: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // SAFETY: readable by the trait's contract.
        let x = unsafe { *x };
        // SAFETY: `self` proves Advanced SIMD.
        unsafe { unrolled!(i in 0 1 2 3 => acc[i] = vfmaq_n_f32(acc[i], w[i], x)) }
        acc
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const f32) -> float32x4_t {
        // SAFETY: readable by the trait's contract.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn fma16_lane<const LANE: usize>(
        self,
        x: float32x4_t,
        w: [float32x4_t; 4],
        mut acc: [float32x4_t; 4],
    ) -> [float32x4_t; 4] {
        unrolled!(i in 0 1 2 3 => acc[i] = self.fma_lane::<LANE>(x, w[i], acc[i]));
        acc
    }

    #[inline(always)]
    unsafe fn fma8_lane<const LANE: usize>(
        self,
        x: float32x4_t,
        w: [float32x4_t; 2],
        acc: [float32x4_t; 2],
    ) -> [float32x4_t; 2] {
        [self.fma_lane::<LANE>(x, w[0], acc[0]), self.fma_lane::<LANE>(x, w[1], acc[1])]
    }

    /// Six pixels fill all registers: 24 sums, 6 quads of input and half a row of weights.
    #[inline(always)]
    unsafe fn fma16_row<const LANE: usize, const PIXELS: usize>(
        self,
        x: &[float32x4_t; PIXELS],
        w: *const f32,
        acc: &mut [[float32x4_t; 4]; PIXELS],
    ) {
        unrolled!(half in 0 1 => {
            // SAFETY: readable by the trait's contract.
            let weights = unsafe { self.load8(w.add(half * 8)) };
            let (low, high) = (2 * half, 2 * half + 1);
            unrolled!(p in PIXELS => {
                acc[p][low] = self.fma_lane::<LANE>(x[p], weights[0], acc[p][low]);
                acc[p][high] = self.fma_lane::<LANE>(x[p], weights[1], acc[p][high]);
            });
            unrolled!(p in PIXELS => [acc[p][low], acc[p][high]] = self.settle8([acc[p][low], acc[p][high]]));
        });
    }

    #[inline(always)]
    fn clamp16(self, [a, b, c, d]: [float32x4_t; 4], lo: f32, hi: f32) -> [float32x4_t; 4] {
        let (lo, hi) = (self.splat8(lo), self.splat8(hi));
        let ([a, b], [c, d]) = (self.clamp8([a, b], lo, hi), self.clamp8([c, d], lo, hi));
        [a, b, c, d]
    }

    #[inline(always)]
    fn halves(self, x: [float32x4_t; 4]) -> ([float32x4_t; 2], [float32x4_t; 2]) {
        ([x[0], x[1]], [x[2], x[3]])
    }

    #[inline(always)]
    fn join(self, first: [float32x4_t; 2], second: [float32x4_t; 2]) -> [float32x4_t; 4] {
        [first[0], first[1], second[0], second[1]]
    }

    #[inline(always)]
    fn settle(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    #[inline(always)]
    fn settle_quad(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// The compiler must assume that the sum and memory change here, so it moves no later load above this point.
    #[inline(always)]
    fn settle8(self, [mut x, mut y]: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!("/* {:v} {:v} */", inout(vreg) x, inout(vreg) y, options(nostack, preserves_flags));
        }
        [x, y]
    }

    /// The compiler must assume that the address changes here. Not `nomem`: the assembly is handed a pointer.
    #[inline(always)]
    fn settle_address(self, mut from: *const f32) -> *const f32 {
        // SAFETY: no instruction.
        unsafe { std::arch::asm!("/* {} */", inout(reg) from, options(readonly, nostack, preserves_flags)) };
        from
    }

    #[inline(always)]
    fn reload(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: a hint: no address can fault.
        unsafe {
            std::arch::asm!("prfm pldl2keep, [{}]", in(reg) from.addr(), options(nomem, nostack, preserves_flags));
        }
    }
}
