//! The classifier: rows of features times packed panels. With one row it is bound by the memory that the weights come
//! from, so several panels are read at a time, each with a prefetch ahead of it. Weights of 16 bits are widened in registers.

use super::balanced;
use crate::constant::{sized, unrolled};
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2;
use crate::simd::Simd;
use crate::{Operands, Part};

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
pub(crate) struct F16c;

#[cfg(target_arch = "x86_64")]
impl Stored<Avx2> for F16c {
    type Element = u16;

    #[inline(always)]
    unsafe fn load16(s: Avx2, from: *const u16) -> <Avx2 as Simd>::P16 {
        // SAFETY: the caller's promise; the table names this type only where the CPU has F16C.
        unsafe { s.load16_f16c(from) }
    }
}

/// Kernel `linear`: up to `ROWS` rows (at most 6) times one panel, or one row times `PANELS` panels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn linear<S: Simd, W: Stored<S>, const ROWS: usize, const PANELS: usize>(
    s: S,
    layer: &Operands<'_>,
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
                sized!(count in 1 to ROWS, tall::<S, W>(s, layer, part, row, panel))
            }
        }
    }
}

/// One row times `PANELS` panels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for `PANELS` panels from `panel` on that are part of the layer.
#[inline(always)]
unsafe fn wide<S: Simd, W: Stored<S>, const PANELS: usize>(s: S, layer: &Operands<'_>, part: &Part, panel: usize) {
    // SAFETY: panels are inside by the caller's promise.
    unsafe {
        let (cin, row) = (layer.cin, part.pixels.start);
        let x = part.src.block::<f32>(row);
        let (w, bias) = (layer.weights_of::<W::Element>(panel, cin * 16), layer.bias_of::<f32>(0, 16));
        let mut sums = [s.load16(bias.add(panel * 16)); PANELS];
        unrolled!(n in 0 1 2 3 of PANELS => if n > 0 {
            sums[n] = s.load16(bias.add((panel + n) * 16));
        });
        for k in 0..cin {
            unrolled!(n in 0 1 2 3 of PANELS => {
                let at = w.add((n * cin + k) * 16);
                s.prefetch(at.wrapping_byte_add(AHEAD).cast());
                sums[n] = s.fma16_splat(x.add(k), W::load16(s, at), sums[n]);
            });
        }
        unrolled!(n in 0 1 2 3 of PANELS => store(s, layer, part, row, (panel + n) * 16, sums[n]));
    }
}

/// `ROWS` rows times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for `ROWS` rows from `row` on and a panel that are part of it.
#[inline(always)]
unsafe fn tall<S: Simd, W: Stored<S>, const ROWS: usize>(
    s: S,
    layer: &Operands<'_>,
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
            unrolled!(r in ROWS => sums[r] = s.fma16_splat(x.add(r * stride + k), weights, sums[r]));
        }
        unrolled!(r in ROWS => store(s, layer, part, row + r, panel * 16, sums[r]));
    }
}

/// Sixteen outputs from `first` on, or as many as there are.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); the row has outputs from `first` on.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, layer: &Operands<'_>, part: &Part, row: usize, first: usize, sum: S::P16) {
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
