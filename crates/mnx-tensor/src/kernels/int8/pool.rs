//! Pools in int8: plain loops over sixteen bytes, which the compiler turns into vectors of the entry point's ISA.

use crate::part::Span;
use crate::simd::dot::{Bounds, Dot};
use crate::{Operands, PANEL, Part};

/// Kernel `maxpool3x3s2-int8`: the largest u8 of each window. Padding takes no part.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn maxpool<S: Dot>(_s: S, _layer: &Operands<'_>, part: &Part) {
    let (g, of_part) = (&part.geometry, part.rows());
    for b in part.channels.start..part.channels.end {
        let (src, dst) = (part.src.block::<[u8; PANEL]>(b), part.dst.block::<[u8; PANEL]>(b));
        for y in of_part.start..of_part.end {
            let rows = inside(2 * y, g.pad_top, g.height);
            for x in 0..g.out_width {
                let columns = inside(2 * x, g.pad_left, g.width);
                // SAFETY: the window's pixels are inside the plane; the output's are writable by the caller's promise.
                unsafe {
                    let mut most = [0_u8; PANEL];
                    for row in rows.start..rows.end {
                        let first = src.wrapping_add(row * g.width + columns.start);
                        most = larger(most, first.read());
                        if columns.len() > 1 {
                            most = larger(most, first.wrapping_add(1).read());
                        }
                        if columns.len() > 2 {
                            most = larger(most, first.wrapping_add(2).read());
                        }
                    }
                    dst.wrapping_add(y * g.out_width + x).write(most);
                }
            }
        }
    }
}

/// The larger byte of each pair, in one loop of known length: one vector.
#[inline(always)]
fn larger(mut x: [u8; PANEL], y: [u8; PANEL]) -> [u8; PANEL] {
    for i in 0..PANEL {
        x[i] = x[i].max(y[i]);
    }
    x
}

/// Of a window that starts at `start` of the padded plane what lies inside.
#[inline(always)]
fn inside(start: usize, pad: usize, size: usize) -> Span {
    let end = (start + 3).saturating_sub(pad).min(size);
    Span { start: start.saturating_sub(pad).min(end), end }
}

/// Kernel `pool-int8`: `f32(Σ (q − zero)) · factor` over the whole plane, requantised.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn pool<S: Dot>(s: S, layer: &Operands<'_>, part: &Part) {
    let pixels = part.geometry.height * part.geometry.width;
    let requantize = layer.int8.requantize;
    let share = -(pixels as i64 * i64::from(requantize.zero_in)) as i32;
    let bounds = Bounds::new(&requantize, false);
    let factors = [requantize.pool_factor(pixels); PANEL];
    for b in part.channels.start..part.channels.end {
        let src = part.src.block::<[u8; PANEL]>(b);
        let mut natural = [share; PANEL];
        for p in 0..pixels {
            // SAFETY: the pixel is inside block `b`.
            let pixel = unsafe { src.wrapping_add(p).read() };
            natural.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum = sum.wrapping_add(i32::from(byte)));
        }
        let mut sums = [0; PANEL];
        sums.iter_mut().zip(S::FORM.order).for_each(|(sum, channel)| *sum = natural[usize::from(channel)]);
        // SAFETY: sixteen sums and factors; whole blocks are writable at `dst`.
        unsafe {
            let reals = s.scale(s.load_sums(sums.as_ptr()), s.load_reals(factors.as_ptr()));
            s.store_pixels(&[reals], bounds, part.dst.block(b));
        }
    }
}
