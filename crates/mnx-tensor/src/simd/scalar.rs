//! Plain Rust, the fallback for every CPU. It multiplies, then adds: `mul_add` without hardware would be a library call per
//! element.

use super::Simd;
use crate::Isa;

/// The compiler may use whatever vector instructions the target has.
#[derive(Clone, Copy, Debug)]
pub struct Scalar(());

impl Scalar {
    /// Always there.
    pub fn new() -> Option<Self> {
        Some(Scalar(()))
    }

    /// As [`new`](Scalar::new); named as on the other ISAs.
    ///
    /// # Safety
    /// None needed here.
    #[inline(always)]
    pub unsafe fn assume() -> Self {
        Scalar(())
    }
}

fn zip<const N: usize>(x: [f32; N], y: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(x[i], y[i]))
}

impl super::sealed::Sealed for Scalar {}

impl Simd for Scalar {
    const ISA: Isa = Isa::Scalar;
    type C8 = [f32; 8];
    type P16 = [f32; 16];
    type Quad = [f32; 4];

    #[inline(always)]
    unsafe fn load8(self, from: *const f32) -> [f32; 8] {
        // SAFETY: readable for 8 floats by the trait's contract.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store8(self, to: *mut f32, value: [f32; 8]) {
        // SAFETY: writable for 8 floats by the trait's contract.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }

    #[inline(always)]
    fn splat8(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn fma8(self, x: [f32; 8], w: [f32; 8], acc: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| x[i] * w[i] + acc[i])
    }

    #[inline(always)]
    fn add8(self, x: [f32; 8], y: [f32; 8]) -> [f32; 8] {
        zip(x, y, |x, y| x + y)
    }

    #[inline(always)]
    fn mul8(self, x: [f32; 8], y: [f32; 8]) -> [f32; 8] {
        zip(x, y, |x, y| x * y)
    }

    #[inline(always)]
    fn clamp8(self, x: [f32; 8], lo: [f32; 8], hi: [f32; 8]) -> [f32; 8] {
        let raised = zip(x, lo, |x, lo| if x < lo { lo } else { x });
        zip(raised, hi, |x, hi| if x > hi { hi } else { x })
    }

    #[inline(always)]
    fn max8(self, x: [f32; 8], y: [f32; 8]) -> [f32; 8] {
        zip(x, y, |x, y| if x > y || x.is_nan() { x } else { y })
    }

    #[inline(always)]
    fn first8(self, n: usize, x: [f32; 8], y: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if i < n { x[i] } else { y[i] })
    }

    #[inline(always)]
    unsafe fn load16(self, from: *const f32) -> [f32; 16] {
        // SAFETY: readable for 16 floats by the trait's contract.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    fn fma16(self, x: [f32; 16], w: [f32; 16], acc: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| x[i] * w[i] + acc[i])
    }

    #[inline(always)]
    unsafe fn fma16_splat(self, x: *const f32, w: [f32; 16], acc: [f32; 16]) -> [f32; 16] {
        // SAFETY: readable by the trait's contract.
        let x = unsafe { *x };
        zip(w, acc, |w, acc| x * w + acc)
    }

    #[inline(always)]
    unsafe fn load_quad(self, from: *const f32) -> [f32; 4] {
        // SAFETY: readable for 4 floats by the trait's contract.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn fma16_lane<const LANE: usize>(self, x: [f32; 4], w: [f32; 16], acc: [f32; 16]) -> [f32; 16] {
        zip(w, acc, |w, acc| x[LANE] * w + acc)
    }

    #[inline(always)]
    unsafe fn fma8_lane<const LANE: usize>(self, x: [f32; 4], w: [f32; 8], acc: [f32; 8]) -> [f32; 8] {
        zip(w, acc, |w, acc| x[LANE] * w + acc)
    }

    #[inline(always)]
    fn clamp16(self, x: [f32; 16], lo: f32, hi: f32) -> [f32; 16] {
        let raised = zip(x, [lo; 16], |x, lo| if x < lo { lo } else { x });
        zip(raised, [hi; 16], |x, hi| if x > hi { hi } else { x })
    }

    #[inline(always)]
    fn halves(self, x: [f32; 16]) -> ([f32; 8], [f32; 8]) {
        (std::array::from_fn(|i| x[i]), std::array::from_fn(|i| x[8 + i]))
    }

    #[inline(always)]
    fn join(self, first: [f32; 8], second: [f32; 8]) -> [f32; 16] {
        std::array::from_fn(|i| if i < 8 { first[i] } else { second[i - 8] })
    }

    #[inline(always)]
    fn prefetch(self, _from: *const f32) {}
}
