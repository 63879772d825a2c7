//! What measures the machine's limits: multiply-adds and nothing else, copies and nothing else.

use bytemuck::Zeroable;

use crate::AlignedBuf;
use crate::simd::Simd;
use crate::simd::dot::Dot;

/// `steps` rounds of one fused multiply-add on each of `SUMS` panels, which are independent of each other.
#[inline(always)]
pub(crate) fn chains<S: Simd, const SUMS: usize>(s: S, steps: u64, operand: f32) -> (u64, f32) {
    let mut values = AlignedBuf::zeroed(16 * (SUMS + 2));
    for (i, v) in values.iter_mut().enumerate() {
        // The last two panels are the factors, whose product all steps add.
        *v = if i < 16 * SUMS { 1.0 + i as f32 } else { operand };
    }
    // SAFETY: all panels lie inside `values`.
    let (mut sums, x, w) = unsafe {
        let at = |i: usize| s.load16(values.as_ptr().add(16 * i));
        let mut sums = [at(0); SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = at(i);
        }
        (sums, at(SUMS), at(SUMS + 1))
    };
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = s.fma16(x, w, *sum);
        }
    }
    let mut total = s.splat8(0.0);
    for sum in sums {
        let (low, high) = s.halves(sum);
        total = s.add8(total, s.add8(low, high));
    }
    // SAFETY: eight floats fit into `values`.
    unsafe { s.store8(values.as_mut_ptr(), total) };
    (steps * SUMS as u64 * 32, values[0])
}

/// `steps` rounds of dot products of inputs with sixteen channels' weights, for each of `PIXELS` pixels, whose sums are independent
/// of each other. Returns how many multiply-adds that were, and a value that depends on them.
#[inline(always)]
pub(crate) fn dots<D: Dot, const PIXELS: usize>(d: D, steps: u64) -> (u64, f32) {
    let mut values = [0.0_f32; 16];
    let (zeros, ones) = ([0_i32; 16], [1.0_f32; 16]);
    let (inputs, weights) = ([[D::Input::zeroed(); 16]; PIXELS], [D::Weight::zeroed(); 64]);
    // SAFETY: all arrays are as long as what is loaded from or stored to them.
    unsafe {
        let mut sums = [d.load_sums(zeros.as_ptr()); PIXELS];
        let (x, mut w) = std::hint::black_box((inputs.as_ptr(), weights.as_ptr()));
        for _ in 0..steps {
            for _ in 0..4 {
                let mut quads = [d.load_quad::<16>(x.cast()); PIXELS];
                // Instructions for dot products add to the sums, so they are all done, with operands that stay in registers.
                // Products that are added by others would be computed once if their operands could not change, or were the
                // same for all pixels.
                if !D::DOT_PRODUCTS {
                    w = std::hint::black_box(w);
                    for (p, quad) in quads.iter_mut().enumerate() {
                        *quad = d.load_quad::<16>(x.add(p).cast());
                    }
                }
                d.dot::<0, PIXELS>(&quads, w, &mut sums);
            }
        }
        let factors = d.load_reals(ones.as_ptr());
        let mut total = 0.0;
        for sum in sums {
            d.store_reals(values.as_mut_ptr(), d.scale(sum, factors));
            // All of them: what nobody looks at would not be computed.
            total += values.iter().sum::<f32>();
        }
        (steps * 4 * 64 * PIXELS as u64, total)
    }
}

/// Copies `panels` panels of 16 floats.
///
/// # Safety
/// `src` is readable and `dst` writable for as many floats.
#[inline(always)]
pub(crate) unsafe fn copy<S: Simd>(s: S, src: *const f32, dst: *mut f32, panels: usize) {
    for i in 0..panels {
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = s.halves(s.load16(src.add(16 * i)));
            s.store8(dst.add(16 * i), low);
            s.store8(dst.add(16 * i + 8), high);
        }
    }
}
