//! Copies of some rows of channel-blocked planes in the form in which a kernel reads them.

use crate::Operation;
use crate::part::{Geometry, Planes, PlanesMut, Span};

/// Floats of a pixel of a block.
const PIXEL: usize = crate::BLOCK;

/// Copies the input rows that output rows `rows` of an [`Operation::Conv`] read, with the zeros around them. Of `blocks` blocks,
/// `(out_width − 1)·stride + kernel` pixels a row, `(rows − 1)·stride + kernel` rows. Pixel 0 of `to` is the first pixel of the first of them.
///
/// # Safety
/// `src` is readable for those rows of `blocks` blocks that are inside the plane, `to` is writable for what is copied,
/// and the two do not overlap.
pub unsafe fn pad_rows(
    src: Planes,
    geometry: &Geometry,
    operation: Operation,
    rows: Span,
    blocks: usize,
    to: PlanesMut,
) {
    let &Geometry { height, width, out_width, pad_top, pad_left, .. } = geometry;
    if rows.is_empty() || out_width == 0 {
        return;
    }
    let (kernel, stride, columns) = (operation.kernel(), operation.stride(), geometry.padded_row(operation));
    let before = pad_left.min(columns);
    let inside = width.min(columns - before);
    for b in 0..blocks {
        let (from, to) = (src.ptr.wrapping_add(b * src.stride), to.ptr.wrapping_add(b * to.stride));
        for i in 0..(rows.len() - 1) * stride + kernel {
            let row = (rows.start * stride + i).wrapping_sub(pad_top);
            let to = to.wrapping_add(i * columns * PIXEL);
            // SAFETY: a row of `to` has `columns` pixels; a row of the plane, if it is inside, `width`.
            unsafe {
                if row >= height {
                    to.write_bytes(0, columns * PIXEL);
                    continue;
                }
                to.write_bytes(0, before * PIXEL);
                let (to, from) = (to.add(before * PIXEL), from.wrapping_add(row * width * PIXEL));
                to.copy_from_nonoverlapping(from, inside * PIXEL);
                to.add(inside * PIXEL).write_bytes(0, (columns - before - inside) * PIXEL);
            }
        }
    }
}

/// Copies the pixels that output rows `rows` of a pointwise layer of stride `stride` read: every `stride`-th pixel of
/// every `stride`-th row, without padding. Of `blocks` blocks, `out_width` pixels a row. Pixel 0 of `to` is the first
/// pixel of the first of them.
///
/// # Safety
/// `src` is readable for those rows of `blocks` blocks, all of them inside the plane, `to` is writable for what is
/// copied, and the two do not overlap.
pub unsafe fn sample_rows(src: Planes, geometry: &Geometry, stride: usize, rows: Span, blocks: usize, to: PlanesMut) {
    for b in 0..blocks {
        let from = src.ptr.wrapping_add(b * src.stride);
        let mut to = to.ptr.wrapping_add(b * to.stride);
        for row in rows.start..rows.end {
            for column in 0..geometry.out_width {
                let pixel = (row * geometry.width + column) * stride;
                // SAFETY: the pixel is inside by the caller's promise, and `to` has a place for it.
                unsafe { to.copy_from_nonoverlapping(from.wrapping_add(pixel * PIXEL), PIXEL) };
                to = to.wrapping_add(PIXEL);
            }
        }
    }
}
