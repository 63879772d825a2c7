//! The classifier: rows of features times packed panels. At batch 1 it runs at the speed at which weights
//! arrive: several panels at a time keep as many streams going, each with a prefetch ahead of it.

use super::balanced;
use crate::args::Linear;
use crate::simd::Simd;

/// Floats ahead of the current weights that are prefetched: 2 KiB, some 20 steps.
const AHEAD: usize = 512;

/// Kernel `linear`: up to `ROWS` rows (at most 6) times one panel, or one row times `PANELS` panels.
///
/// # Safety
/// The pointers in `a` are valid for the extents in `a`.
#[inline(always)]
pub(crate) unsafe fn linear<S: Simd, const ROWS: usize, const PANELS: usize>(s: S, a: &Linear) {
    let mut panel = a.panels.start;
    // SAFETY: the caller's promise.
    unsafe {
        if a.batch == 1 {
            while panel + PANELS <= a.panels.end {
                tile::<S, 1, PANELS>(s, a, 0, panel);
                panel += PANELS;
            }
        }
        for panel in panel..a.panels.end {
            for (row, count) in balanced::<ROWS>((0..a.batch).into()) {
                match count {
                    1 => tile::<S, 1, 1>(s, a, row, panel),
                    2 => tile::<S, 2, 1>(s, a, row, panel),
                    3 => tile::<S, 3, 1>(s, a, row, panel),
                    4 => tile::<S, 4, 1>(s, a, row, panel),
                    5 if ROWS >= 5 => tile::<S, 5, 1>(s, a, row, panel),
                    _ => tile::<S, ROWS, 1>(s, a, row, panel),
                }
            }
        }
    }
}

/// `ROWS` rows times `PANELS` panels.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(s: S, a: &Linear, row: usize, panel: usize) {
    // SAFETY: rows and panels are inside by the caller's promise.
    unsafe {
        let x = a.src.add(row * a.src_stride);
        let w = a.weights.add(panel * a.cin * 16);
        let mut sums = [[s.load16(a.bias.add(panel * 16)); PANELS]; ROWS];
        for sums in &mut sums {
            for (n, sum) in sums.iter_mut().enumerate().skip(1) {
                *sum = s.load16(a.bias.add((panel + n) * 16));
            }
        }
        for k in 0..a.cin {
            for n in 0..PANELS {
                let at = w.add((n * a.cin + k) * 16);
                s.prefetch(at.wrapping_add(AHEAD));
                let weights = s.load16(at);
                for (r, sums) in sums.iter_mut().enumerate() {
                    sums[n] = s.fma16_splat(x.add(r * a.src_stride + k), weights, sums[n]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                store(s, a, row + r, (panel + n) * 16, sum);
            }
        }
    }
}

/// Sixteen outputs from `first` on, or as many as there are.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, a: &Linear, row: usize, first: usize, sum: S::P16) {
    let (low, high) = s.halves(sum);
    let mut outputs = [0.0_f32; 16];
    let count = (a.cout - first).min(16);
    // SAFETY: `outputs` has room for 16; `count` outputs follow `first` in the row.
    unsafe {
        s.store8(outputs.as_mut_ptr(), low);
        s.store8(outputs.as_mut_ptr().add(8), high);
        std::ptr::copy_nonoverlapping(outputs.as_ptr(), a.dst.add(row * a.dst_stride + first), count);
    }
}
