//! No instructions but those that every CPU has.

use super::{Bounds, Columns, Dot, MAGIC, Registers};
use crate::Isa;
use crate::int8::form::{Form, NATURAL, Products};
use crate::simd::Scalar;

impl Registers for Scalar {
    type Sums = [i32; 16];
    type Reals = [f32; 16];

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> [i32; 16] {
        // SAFETY: readable by the trait's contract.
        unsafe { from.cast::<[i32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_reals(self, from: *const f32) -> [f32; 16] {
        // SAFETY: readable by the trait's contract.
        unsafe { from.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_reals(self, to: *mut f32, reals: [f32; 16]) {
        // SAFETY: writable by the trait's contract.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(reals) }
    }

    #[inline(always)]
    fn scale(self, sums: [i32; 16], factors: [f32; 16]) -> [f32; 16] {
        let mut reals = [0.0; 16];
        reals
            .iter_mut()
            .zip(sums.into_iter().zip(factors))
            .for_each(|(real, (sum, factor))| *real = sum as f32 * factor);
        reals
    }

    #[inline(always)]
    unsafe fn add_shortcut(self, mut reals: [f32; 16], from: *const u8, zero: u8, factors: [f32; 16]) -> [f32; 16] {
        // SAFETY: readable by the trait's contract.
        let bytes = unsafe { from.cast::<[u8; 16]>().read() };
        for (real, (byte, factor)) in reals.iter_mut().zip(bytes.into_iter().zip(factors)) {
            *real += (i32::from(byte) - i32::from(zero)) as f32 * factor;
        }
        reals
    }

    #[inline(always)]
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[[f32; 16]; PIXELS], bounds: Bounds, to: *mut u8) {
        for (p, reals) in reals.iter().enumerate() {
            let mut bytes = [0; 16];
            for (byte, &real) in bytes.iter_mut().zip(reals) {
                let raised = if real < bounds.lo { bounds.lo } else { real };
                let clamped = if raised > bounds.hi { bounds.hi } else { raised };
                *byte = (((clamped + MAGIC) - MAGIC) as i32 + i32::from(bounds.zero)) as u8;
            }
            // SAFETY: writable by the trait's contract.
            unsafe { to.add(16 * p).cast::<[u8; 16]>().write(bytes) }
        }
    }
}

impl Dot for Scalar {
    const ISA: Isa = Isa::Scalar;
    const DOT_PRODUCTS: bool = false;
    const FORM: Form = Form { products: Products::Bytes, order: NATURAL };
    type Input = u8;
    type Weight = i8;
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
        sums: &mut [[i32; 16]; PIXELS],
    ) {
        for (sums, x) in sums.iter_mut().zip(x) {
            // SAFETY: readable by the trait's contract.
            let (x, w) = unsafe { (x.add(4 * GROUP).cast::<[u8; 4]>().read(), w.cast::<[[i8; 4]; 16]>().read()) };
            for (sum, w) in sums.iter_mut().zip(w) {
                for (x, w) in x.into_iter().zip(w) {
                    *sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                }
            }
        }
    }
}

impl Columns for Scalar {
    type Column = [[u8; 4]; 16];

    #[inline(always)]
    unsafe fn column(self, rows: [*const u8; 4]) -> [[u8; 4]; 16] {
        let mut column = [[0; 4]; 16];
        for (r, row) in rows.into_iter().enumerate() {
            // SAFETY: readable by the trait's contract.
            let row = unsafe { row.cast::<[u8; 16]>().read() };
            column.iter_mut().zip(row).for_each(|(channel, x)| channel[r] = x);
        }
        column
    }

    #[inline(always)]
    unsafe fn dot_column(self, x: [[u8; 4]; 16], w: *const i8, mut sums: [i32; 16]) -> [i32; 16] {
        // SAFETY: readable by the trait's contract.
        let w = unsafe { w.cast::<[[i8; 4]; 16]>().read() };
        for (sum, (x, w)) in sums.iter_mut().zip(x.into_iter().zip(w)) {
            for (x, w) in x.into_iter().zip(w) {
                *sum = sum.wrapping_add(i32::from(x) * i32::from(w));
            }
        }
        sums
    }
}
