//! Copies of some rows of channel-blocked planes, in the form that a kernel reads.

use crate::part::{Geometry, Planes, PlanesMut, Span};
use crate::{Blocking, Operation};

/// Copies what output rows `rows` of an [`Operation::Conv`] read, with zeros around it: `(rows − 1)·stride + kernel` rows of
/// `(out_width − 1)·stride + kernel` pixels, for each of `blocks` blocks. The first pixel of the first row becomes pixel 0 of
/// `to`.
///
/// # Safety
/// `src` is readable for those rows of `blocks` blocks that are inside the plane, `to` is writable for what is copied,
/// and the two do not overlap.
pub unsafe fn pad_rows(
    src: Planes,
    geometry: &Geometry,
    operation: Operation,
    rows: Span,
    (blocks, blocking): (usize, Blocking),
    to: PlanesMut,
) {
    let pixel_bytes = blocking.pixel_bytes();
    let &Geometry { height, width, out_width, pad_top, .. } = geometry;
    if rows.is_empty() || out_width == 0 {
        return;
    }
    let (kernel, stride, columns) = (operation.kernel(), operation.stride(), geometry.padded_row(operation));
    let [before, inside, after] = geometry.across(operation);
    for b in 0..blocks {
        let (from, to) = (src.block::<u8>(b), to.block::<u8>(b));
        for i in 0..(rows.len() - 1) * stride + kernel {
            let row = (rows.start * stride + i).wrapping_sub(pad_top);
            let to = to.wrapping_add(i * columns * pixel_bytes);
            // SAFETY: a row of `to` has `columns` pixels; a row of the plane, if it is inside, `width`.
            unsafe {
                if row >= height {
                    to.write_bytes(0, columns * pixel_bytes);
                    continue;
                }
                to.write_bytes(0, before * pixel_bytes);
                let (to, from) = (to.add(before * pixel_bytes), from.wrapping_add(row * width * pixel_bytes));
                to.copy_from_nonoverlapping(from, inside * pixel_bytes);
                to.add(inside * pixel_bytes).write_bytes(0, after * pixel_bytes);
            }
        }
    }
}

/// Copies what output rows `rows` of a strided pointwise layer read: every `stride`-th pixel of every `stride`-th row, for
/// each of `blocks` blocks. The first of them becomes pixel 0 of `to`.
///
/// # Safety
/// `src` is readable for those rows of `blocks` blocks, all of them inside the plane, `to` is writable for what is
/// copied, and the two do not overlap.
pub unsafe fn sample_rows(
    src: Planes,
    geometry: &Geometry,
    stride: usize,
    rows: Span,
    (blocks, blocking): (usize, Blocking),
    to: PlanesMut,
) {
    let pixel_bytes = blocking.pixel_bytes();
    for b in 0..blocks {
        let (from, mut to) = (src.block::<u8>(b), to.block::<u8>(b));
        for row in rows.start..rows.end {
            for column in 0..geometry.out_width {
                let pixel = (row * geometry.width + column) * stride;
                // SAFETY: the pixel is inside by the caller's promise, and `to` has a place for it.
                unsafe { to.copy_from_nonoverlapping(from.wrapping_add(pixel * pixel_bytes), pixel_bytes) };
                to = to.wrapping_add(pixel_bytes);
            }
        }
    }
}
