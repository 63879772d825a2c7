//! Max pool 3x3 at stride 2. Neighbouring windows share a column, whose maximum over the rows is taken once. Padding takes
//! no part.

use crate::part::{Geometry, Span};
use crate::simd::Simd;
use crate::{Operands, Part};

/// Kernel `maxpool3x3s2`.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn maxpool<S: Simd>(s: S, _layer: &Operands<'_>, part: &Part) {
    let (g, of_part) = (&part.geometry, part.rows());
    for b in part.channels.start..part.channels.end {
        let (src, dst) = (part.src.block::<f32>(b), part.dst.block::<f32>(b));
        for y in of_part.start..of_part.end {
            let top = (2 * y).saturating_sub(g.pad_top);
            let rows = (top..(2 * y + 3).saturating_sub(g.pad_top).min(g.height)).into();
            // SAFETY: rows are inside; the output's pixels are writable by the caller's promise.
            unsafe {
                let mut left = column(s, g, src, rows, 0);
                for x in 0..g.out_width {
                    let right = column(s, g, src, rows, 2 * x + 2);
                    let most = s.max8(column(s, g, src, rows, 2 * x + 1), s.max8(left, right));
                    s.store8(dst.wrapping_add((y * g.out_width + x) * 8), most);
                    left = right;
                }
            }
        }
    }
}

/// The maximum of column `x` of the padded plane at `src`; −∞ where there is none.
///
/// # Safety
/// The rows are readable.
#[inline(always)]
unsafe fn column<S: Simd>(s: S, g: &Geometry, src: *const f32, rows: Span, x: usize) -> S::C8 {
    let mut most = s.splat8(f32::NEG_INFINITY);
    let x = x.wrapping_sub(g.pad_left);
    if x < g.width {
        for row in rows.start..rows.end {
            // SAFETY: the column is inside, the rows by the caller's promise.
            most = s.max8(most, unsafe { s.load8(src.wrapping_add((row * g.width + x) * 8)) });
        }
    }
    most
}
