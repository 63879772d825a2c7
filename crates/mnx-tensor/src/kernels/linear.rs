//! The classifier: rows of features times packed panels. With one row it is bound by the memory that the weights come
//! from, so several panels are read at a time, each with a prefetch ahead of it. Weights of 16 bits are widened in registers.

use super::balanced;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2;
use crate::simd::Simd;
use crate::{Layer, Part};

/// Bytes ahead of the current weights that are prefetched: some 20 steps of f32.
const AHEAD: usize = 2048;

/// How a layer's weights are stored.
pub(crate) trait Stored<S: Simd> {
    type Element;

    /// Sixteen weights from memory as floats, any alignment.
    ///
    /// # Safety
    /// `from` is readable for 16 of them.
    unsafe fn load16(s: S, from: *const Self::Element) -> S::P16;
}

/// As floats.
pub(crate) struct F32;
/// As the upper halves of floats.
pub(crate) struct Bf16;
/// As floats of half precision.
pub(crate) struct F16;

impl<S: Simd> Stored<S> for F32 {
    type Element = f32;

    #[inline(always)]
    unsafe fn load16(s: S, from: *const f32) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.load16(from) }
    }
}

impl<S: Simd> Stored<S> for Bf16 {
    type Element = u16;

    #[inline(always)]
    unsafe fn load16(s: S, from: *const u16) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.load16_bf16(from) }
    }
}

impl<S: Simd> Stored<S> for F16 {
    type Element = u16;

    #[inline(always)]
    unsafe fn load16(s: S, from: *const u16) -> S::P16 {
        // SAFETY: the caller's promise.
        unsafe { s.load16_f16(from) }
    }
}

/// [`F16`] widened by F16C, for CPUs that have it.
#[cfg(target_arch = "x86_64")]
struct F16C;

#[cfg(target_arch = "x86_64")]
impl Stored<Avx2> for F16C {
    type Element = u16;

    #[inline(always)]
    unsafe fn load16(s: Avx2, from: *const u16) -> <Avx2 as Simd>::P16 {
        // SAFETY: the caller's promise; only `with_f16c` names this type.
        unsafe { s.load16_f16c(from) }
    }
}

/// Kernel `linear-f16` of AVX2, whose CPUs have F16C unless a virtual machine hides it. The bits are the same without.
///
/// # Safety
/// As [`Layer::run`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn linear_f16<const ROWS: usize, const PANELS: usize>(s: Avx2, layer: &Layer<'_>, part: &Part) {
    // SAFETY: the caller's promise, and the CPU has F16C where it is used.
    unsafe {
        if is_x86_feature_detected!("f16c") {
            with_f16c::<ROWS, PANELS>(s, layer, part);
        } else {
            linear::<_, F16, ROWS, PANELS>(s, layer, part);
        }
    }
}

/// # Safety
/// As [`Layer::run`], and the CPU has F16C besides what `s` proves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn with_f16c<const ROWS: usize, const PANELS: usize>(s: Avx2, layer: &Layer<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { linear::<_, F16C, ROWS, PANELS>(s, layer, part) }
}

/// Kernel `linear`: up to `ROWS` rows (at most 6) times one panel, or one row times `PANELS` panels.
///
/// # Safety
/// As [`Layer::run`].
#[inline(always)]
pub(crate) unsafe fn linear<S: Simd, W: Stored<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    layer: &Layer<'_>,
    part: &Part,
) {
    let (rows, panels) = (part.pixels, part.channels);
    let mut panel = panels.start;
    // SAFETY: the caller's promise.
    unsafe {
        if rows.len() == 1 {
            while panel + PANELS <= panels.end {
                wide::<S, W, PANELS>(s, layer, part, panel);
                panel += PANELS;
            }
        }
        for panel in panel..panels.end {
            for (row, count) in balanced::<ROWS>(rows) {
                match count {
                    1 => tall::<S, W, 1>(s, layer, part, row, panel),
                    2 => tall::<S, W, 2>(s, layer, part, row, panel),
                    3 => tall::<S, W, 3>(s, layer, part, row, panel),
                    4 => tall::<S, W, 4>(s, layer, part, row, panel),
                    5 if ROWS >= 5 => tall::<S, W, 5>(s, layer, part, row, panel),
                    _ => tall::<S, W, ROWS>(s, layer, part, row, panel),
                }
            }
        }
    }
}

/// One row times `PANELS` panels.
///
/// # Safety
/// As [`Layer::run`], for `PANELS` panels from `panel` on that are part of the layer.
#[inline(always)]
unsafe fn wide<S: Simd, W: Stored<S>, const PANELS: usize>(s: S, layer: &Layer<'_>, part: &Part, panel: usize) {
    // SAFETY: panels are inside by the caller's promise.
    unsafe {
        let (cin, row) = (layer.cin, part.pixels.start);
        let x = part.src.block::<f32>(row);
        let (w, bias) = (layer.weights_of::<W::Element>(panel, cin * 16), layer.bias_of::<f32>(0, 16));
        let mut sums = [s.load16(bias.add(panel * 16)); PANELS];
        for (n, sum) in sums.iter_mut().enumerate().skip(1) {
            *sum = s.load16(bias.add((panel + n) * 16));
        }
        for k in 0..cin {
            for (n, sum) in sums.iter_mut().enumerate() {
                let at = w.add((n * cin + k) * 16);
                s.prefetch(at.wrapping_byte_add(AHEAD).cast());
                *sum = s.fma16_splat(x.add(k), W::load16(s, at), *sum);
            }
        }
        for (n, &sum) in sums.iter().enumerate() {
            store(s, layer, part, row, (panel + n) * 16, sum);
        }
    }
}

/// `ROWS` rows times one panel.
///
/// # Safety
/// As [`Layer::run`], for `ROWS` rows from `row` on and a panel that are part of it.
#[inline(always)]
unsafe fn tall<S: Simd, W: Stored<S>, const ROWS: usize>(
    s: S,
    layer: &Layer<'_>,
    part: &Part,
    row: usize,
    panel: usize,
) {
    // SAFETY: rows and panel are inside by the caller's promise.
    unsafe {
        let (cin, stride) = (layer.cin, part.src.stride / size_of::<f32>());
        let x = part.src.block::<f32>(row);
        let w = layer.weights_of::<W::Element>(panel, cin * 16);
        let mut sums = [s.load16(layer.bias_of(panel, 16)); ROWS];
        for k in 0..cin {
            let at = w.add(k * 16);
            s.prefetch(at.wrapping_byte_add(AHEAD).cast());
            let weights = W::load16(s, at);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = s.fma16_splat(x.add(r * stride + k), weights, *sum);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            store(s, layer, part, row + r, panel * 16, sum);
        }
    }
}

/// Sixteen outputs from `first` on, or as many as there are.
///
/// # Safety
/// As [`Layer::run`]; the row has outputs from `first` on.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, layer: &Layer<'_>, part: &Part, row: usize, first: usize, sum: S::P16) {
    let (low, high) = s.halves(sum);
    let mut outputs = [0.0_f32; 16];
    let count = (layer.cout - first).min(16);
    // SAFETY: `outputs` has room for 16; `count` outputs follow `first` in the row.
    unsafe {
        s.store8(outputs.as_mut_ptr(), low);
        s.store8(outputs.as_mut_ptr().add(8), high);
        std::ptr::copy_nonoverlapping(outputs.as_ptr(), part.dst.block::<f32>(row).wrapping_add(first), count);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::half::{f16_to_f32, f32_to_f16};

    /// A CPU that has F16C never takes the other way by itself.
    #[test]
    fn f16_is_the_same_with_f16c_and_without() {
        let Some(avx2) = Avx2::new().filter(|_| is_x86_feature_detected!("f16c")) else {
            eprintln!("SKIPPED: this CPU has no AVX2 with F16C");
            return;
        };
        for first in (0..=u16::MAX).step_by(16) {
            let bits: [u16; 16] = std::array::from_fn(|i| first + i as u16);
            // SAFETY: the CPU has the instructions.
            let [with, without] = unsafe { both(avx2, &bits) };
            for ((with, without), bits) in with.into_iter().zip(without).zip(bits) {
                // A NaN may become quiet.
                let same = with.to_bits() == without.to_bits() || with.is_nan() && without.is_nan();
                assert!(same, "{bits:#06x}: {with:e} {without:e}");
                assert!(without.is_nan() || f32_to_f16(f16_to_f32(bits)) == bits);
            }
        }
    }

    /// Widened by F16C, and without it.
    ///
    /// # Safety
    /// The CPU has F16C besides what `s` proves.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn both(s: Avx2, bits: &[u16; 16]) -> [[f32; 16]; 2] {
        let mut floats = [[0.0; 16]; 2];
        // SAFETY: sixteen numbers are there, and room for sixteen floats twice.
        unsafe {
            for (panel, floats) in
                [s.load16_f16c(bits.as_ptr()), s.load16_f16(bits.as_ptr())].into_iter().zip(&mut floats)
            {
                let (low, high) = s.halves(panel);
                s.store8(floats.as_mut_ptr(), low);
                s.store8(floats.as_mut_ptr().add(8), high);
            }
        }
        floats
    }
}
