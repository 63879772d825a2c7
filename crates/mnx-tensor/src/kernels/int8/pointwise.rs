//! Pointwise (1x1) convolution and the classifier in int8: a matrix product of packed weights with pixels, or with rows of
//! features, that lie in blocks of 16 channels.
//!
//! ```text
//! for each chunk of pixels, for each panel:                       16 output channels
//!   for each tile of up to MAX pixels:                            sums start at the bias, in registers
//!     for each group of 4 input channels: sums += dot(pixel[group], panel[group])
//!     requantise, store
//! ```

use bytemuck::Zeroable;

use super::epilogue::Epilogue;
use super::{ROW, wide_pixels};
use crate::constant::{sized, unrolled};
use crate::int8::form::Products;
use crate::kernels::balanced;
use crate::part::{Part, Span};
use crate::simd::dot::Dot;
use crate::{Operands, PANEL};

/// Where a tile finds its inputs.
struct Source<S: Dot> {
    /// Pixel 0 of the chunk, block 0.
    ptr: *const S::Input,
    /// Inputs from pixel to pixel.
    pixel: usize,
    /// Inputs from block to block.
    block: usize,
}

/// Kernel `pw-int8`: tiles of up to `MAX` pixels times one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn pw<S: Dot, const MAX: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    let most = match S::FORM.products {
        Products::Words => wide_pixels(layer.cin),
        _ => {
            let pixels = layer.chunk_bytes / layer.cin.next_multiple_of(16).max(1);
            pixels.max(1).next_multiple_of(MAX)
        }
    };
    // Of about the same size: a lone pixel in the last one would go through all weights.
    let chunks = part.pixels.len().div_ceil(most).max(1);
    let chunk = part.pixels.len().div_ceil(chunks).next_multiple_of(MAX);
    let mut start = part.pixels.start;
    while start < part.pixels.end {
        let end = part.pixels.end.min(start + chunk);
        // SAFETY: the caller's promise.
        unsafe {
            let source = source::<S>(part, layer.cin, start, end - start, (16, part.src.stride));
            for panel in part.channels.start..part.channels.end {
                let epilogue = Epilogue::new(s, layer, part, panel);
                for (pixel, count) in balanced::<MAX>(Span { start: 0, end: end - start }) {
                    sized!(count in 1 to MAX, tile::<S>(s, layer, &source, panel, pixel, start, &epilogue))
                }
            }
        }
        start = end;
    }
}

/// Kernel `linear-int8`: tiles of up to `MAX` rows times one panel, with f32 outputs.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(crate) unsafe fn linear<S: Dot, const MAX: usize>(s: S, layer: &Operands<'_>, part: &Part) {
    let chunk = if S::FORM.products == Products::Words { wide_pixels(layer.cin) } else { usize::MAX };
    let mut start = part.pixels.start;
    while start < part.pixels.end {
        let end = part.pixels.end.min(start.saturating_add(chunk));
        // SAFETY: the caller's promise.
        unsafe {
            let source = source::<S>(part, layer.cin, start, end - start, (part.src.stride, 16));
            for panel in part.channels.start..part.channels.end {
                for (row, count) in balanced::<MAX>(Span { start: 0, end: end - start }) {
                    sized!(count in 1 to MAX, rows::<S>(s, layer, part, &source, panel, row, start))
                }
            }
        }
        start = end;
    }
}

/// The inputs of `pixels` pixels from `start` on, which lie `pixel` bytes apart, and their blocks `block` bytes: as they are,
/// or widened into scratch.
///
/// # Safety
/// The pixels are readable; scratch has room for them.
#[inline(always)]
unsafe fn source<S: Dot>(
    part: &Part,
    cin: usize,
    start: usize,
    pixels: usize,
    (pixel, block): (usize, usize),
) -> Source<S> {
    let from = part.src.ptr.wrapping_add(start * pixel);
    if S::FORM.products != Products::Words {
        return Source { ptr: from.cast(), pixel, block };
    }
    let to = part.scratch.cast::<i16>();
    for b in 0..cin.div_ceil(16) {
        for p in 0..pixels {
            let (from, to) = (from.wrapping_add(b * block + p * pixel), to.wrapping_add((b * pixels + p) * 16));
            // SAFETY: the caller's promise.
            unsafe { widen(from, to) }
        }
    }
    Source { ptr: to.cast_const().cast(), pixel: 16, block: pixels * 16 }
}

/// Sixteen bytes as words.
///
/// # Safety
/// `from` is readable for 16 bytes, `to` writable for 16 words.
#[inline(always)]
pub(super) unsafe fn widen(from: *const u8, to: *mut i16) {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = from.cast::<[u8; 16]>().read_unaligned();
        let mut words = [0_i16; 16];
        words.iter_mut().zip(bytes).for_each(|(word, byte)| *word = i16::from(byte));
        to.cast::<[i16; 16]>().write_unaligned(words);
    }
}

/// The sums of `PIXELS` pixels from `pixel` of the chunk on, for one panel.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), for pixels and a panel that are part of it.
#[inline(always)]
unsafe fn sums<S: Dot, const PIXELS: usize>(
    s: S,
    layer: &Operands<'_>,
    source: &Source<S>,
    panel: usize,
    pixel: usize,
) -> [S::Sums; PIXELS] {
    // SAFETY: pixels and panel are inside by the caller's promise.
    unsafe {
        let groups = layer.cin.div_ceil(4);
        let mut w = layer.weights_of::<S::Weight>(panel, groups * ROW);
        let mut sums = [s.load_sums(layer.bias_of(panel, PANEL)); PIXELS];
        let mut x = source.ptr.wrapping_add(pixel * source.pixel);
        for _ in 0..groups / 4 {
            let quads = quads::<S, PIXELS>(s, x, source.pixel);
            s.dot::<0, PIXELS>(&quads, w, &mut sums);
            s.dot::<1, PIXELS>(&quads, w.add(ROW), &mut sums);
            s.dot::<2, PIXELS>(&quads, w.add(2 * ROW), &mut sums);
            s.dot::<3, PIXELS>(&quads, w.add(3 * ROW), &mut sums);
            (x, w) = (x.wrapping_add(source.block), w.wrapping_add(4 * ROW));
        }
        if !groups.is_multiple_of(4) {
            let quads = quads::<S, PIXELS>(s, x, source.pixel);
            s.dot::<0, PIXELS>(&quads, w, &mut sums);
            if groups % 4 > 1 {
                s.dot::<1, PIXELS>(&quads, w.add(ROW), &mut sums);
            }
            if groups % 4 > 2 {
                s.dot::<2, PIXELS>(&quads, w.add(2 * ROW), &mut sums);
            }
        }
        sums
    }
}

/// # Safety
/// Sixteen inputs are readable at each of `PIXELS` pixels.
#[inline(always)]
unsafe fn quads<S: Dot, const PIXELS: usize>(s: S, x: *const S::Input, pixel: usize) -> [S::Quad; PIXELS] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut quads = [s.load_quad::<16>(x); PIXELS];
        unrolled!(p in PIXELS => quads[p] = s.load_quad::<16>(x.wrapping_add(p * pixel)));
        quads
    }
}

/// # Safety
/// As [`sums`].
#[inline(always)]
unsafe fn tile<S: Dot, const PIXELS: usize>(
    s: S,
    layer: &Operands<'_>,
    source: &Source<S>,
    panel: usize,
    pixel: usize,
    start: usize,
    epilogue: &Epilogue<S>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = sums::<S, PIXELS>(s, layer, source, panel, pixel);
        epilogue.store(s, &sums, start + pixel);
    }
}

/// # Safety
/// As [`sums`]; pixels are rows.
#[inline(always)]
unsafe fn rows<S: Dot, const ROWS: usize>(
    s: S,
    layer: &Operands<'_>,
    part: &Part,
    source: &Source<S>,
    panel: usize,
    row: usize,
    start: usize,
) {
    let count = (layer.cout - panel * PANEL).min(PANEL);
    // SAFETY: the caller's promise; `count` outputs of the panel follow each other in a row.
    unsafe {
        let factors = s.load_reals(layer.int8.factors.as_ptr().add(panel * PANEL));
        let sums = sums::<S, ROWS>(s, layer, source, panel, row);
        unrolled!(r in ROWS => {
            let (mut own, mut outputs) = (<[f32; PANEL]>::zeroed(), <[f32; PANEL]>::zeroed());
            s.store_reals(own.as_mut_ptr(), s.scale(sums[r], factors));
            own.iter().zip(S::FORM.order).for_each(|(&value, channel)| outputs[usize::from(channel)] = value);
            let to = part.dst.block::<f32>(start + row + r).wrapping_add(panel * PANEL);
            std::ptr::copy_nonoverlapping(outputs.as_ptr(), to, count);
        });
    }
}
