//! Pointwise (1x1) convolution in int8 on AMX: tiles of up to 16 pixels times one panel, 64 input channels at a time.
//!
//! ```text
//! for each strip of pixels:
//!   copy its inputs to scratch: of each chunk of 64 channels the bytes of a pixel side by side
//!   for each panel, for each pair of tiles of pixels:               sums start at the bias, in tiles
//!     for each chunk: sums += inputs · weights
//!     the pair before: store its sums, requantise, store
//! ```
//!
//! Packed weights are what a tile of weights holds: a row is a group of four input channels of sixteen output channels.
//!
//! Where the last chunk is not whole, it begins so far before the end that it is; inputs that were multiplied already
//! are zeros in it. So no tile reads past its panel, and all chunks have the same size.

use std::arch::x86_64::*;

use super::epilogue::Epilogue;
use super::{PAIR, chunks, sized, strip_tiles};
use crate::int8::GROUP;
use crate::kernels::balanced;
use crate::part::{Part, Span};
use crate::simd::dot::{Avx512Vnni, Dot};
use crate::simd::tiles::{Product, ROW, ROWS, TILE, Tiles};
use crate::{Layer, PANEL};

/// Blocks of 16 input channels in a chunk.
const BLOCKS: usize = ROW / PANEL;

/// Pixels whose sums become outputs at a time.
const MOST: usize = 8;

/// A pair of tiles whose sums are in registers.
struct Pending {
    epilogue: Epilogue<Avx512Vnni>,
    second_set: bool,
    pixels: Span,
}

/// Kernel `pw-int8` on tiles.
///
/// # Safety
/// As [`Layer::run`].
#[inline(always)]
pub(crate) unsafe fn pw_tiles(s: Avx512Vnni, layer: &Layer<'_>, part: &Part) {
    if part.pixels.is_empty() {
        return;
    }
    let groups = layer.cin.div_ceil(GROUP);
    let (chunks, rows) = (chunks(layer.cin), groups.min(ROWS));
    // Of about the same size: rows of a tile that nobody needs take as long as others.
    let per_tile = part.pixels.len().div_ceil(part.pixels.len().div_ceil(ROWS));
    let tiles = part.pixels.len().div_ceil(per_tile);
    let strips = tiles.div_ceil(strip_tiles(layer.cin));
    let per_strip = tiles.div_ceil(strips).next_multiple_of(2);
    let (sums, inputs) = (part.scratch.cast::<i32>(), part.scratch.wrapping_add(PAIR));
    // SAFETY: the row's CPU has AMX, and may use it. Below nothing is called that is not inlined but what copies memory.
    let registers = unsafe { Tiles::new(per_tile, rows) };
    let mut pending: Option<Pending> = None;
    for start in (part.pixels.start..part.pixels.end).step_by(per_strip * per_tile) {
        let strip = Span { start, end: part.pixels.end.min(start + per_strip * per_tile) };
        for chunk in 0..chunks {
            // SAFETY: the pixels are readable, and scratch has room for a strip.
            unsafe { gather(layer, part, strip, chunk, per_tile, inputs.wrapping_add(chunk * per_strip * TILE)) }
        }
        for panel in part.channels.start..part.channels.end {
            // SAFETY: the panel is the layer's.
            let (weights, epilogue) =
                unsafe { (layer.weights_of::<i8>(panel, groups * ROW), Epilogue::new(s, layer, part, panel)) };
            for pixel in (strip.start..strip.end).step_by(2 * per_tile) {
                let pixels = Span { start: pixel, end: strip.end.min(pixel + 2 * per_tile) };
                let second_set = pending.as_ref().is_some_and(|pending| !pending.second_set);
                let product = Product {
                    inputs: inputs.wrapping_add((pixel - strip.start) / per_tile * TILE),
                    inputs_step: per_strip * TILE,
                    weights,
                    last_weights: weights.wrapping_add((groups - rows) * ROW),
                    whole: chunks - 1,
                    bias: layer.bias_of(panel, PANEL),
                    pair: pixels.len() > per_tile,
                };
                // SAFETY: inputs are in scratch, weights and bias are the panel's.
                unsafe { registers.multiply(second_set, &product) };
                if let Some(before) = pending.replace(Pending { epilogue, second_set, pixels }) {
                    // SAFETY: its outputs are part of the layer's; scratch has room for its sums.
                    unsafe { finish(s, &registers, &before, per_tile, sums) }
                }
            }
        }
    }
    if let Some(last) = pending {
        // SAFETY: as above.
        unsafe { finish(s, &registers, &last, per_tile, sums) }
    }
}

/// Copies a chunk of the input channels of a strip, pixel by pixel: a pixel's bytes side by side, tiles [`TILE`] apart.
///
/// # Safety
/// The pixels are readable, `to` is writable for the tiles.
#[inline(always)]
unsafe fn gather(layer: &Layer<'_>, part: &Part, strip: Span, chunk: usize, per_tile: usize, to: *mut u8) {
    const NONE: [u8; PANEL] = [0; PANEL];
    let left = layer.cin.div_ceil(GROUP) - chunk * ROWS;
    // How many groups the last of several chunks begins before its own.
    let before = if chunk > 0 { ROWS.saturating_sub(left) } else { 0 };
    let (mut from, mut steps) = ([NONE.as_ptr(); BLOCKS], [0; BLOCKS]);
    for (i, (from, step)) in from.iter_mut().zip(&mut steps).enumerate().take(left.div_ceil(PANEL / GROUP)) {
        *from = part.src.block::<u8>(chunk * BLOCKS + i).wrapping_add(strip.start * PANEL);
        *step = PANEL;
    }
    let mut lanes = [0; ROWS];
    lanes.iter_mut().enumerate().for_each(|(i, lane)| *lane = i as i32 - before as i32);
    let mask = u16::MAX << before;
    for tile in 0..strip.len().div_ceil(per_tile) {
        for p in tile * per_tile..strip.len().min((tile + 1) * per_tile) {
            let at = |i: usize| from[i].wrapping_add(p * steps[i]).cast();
            // SAFETY: the caller's promise; the row's CPU has AVX-512.
            unsafe {
                let row = _mm512_castsi128_si512(_mm_loadu_si128(at(0)));
                let row = _mm512_inserti32x4::<1>(row, _mm_loadu_si128(at(1)));
                let row = _mm512_inserti32x4::<2>(row, _mm_loadu_si128(at(2)));
                let mut row = _mm512_inserti32x4::<3>(row, _mm_loadu_si128(at(3)));
                if before > 0 {
                    row = _mm512_maskz_permutexvar_epi32(mask, _mm512_loadu_si512(lanes.as_ptr().cast()), row);
                }
                _mm512_storeu_si512(to.add(tile * TILE + (p - tile * per_tile) * ROW).cast(), row);
            }
        }
    }
}

/// Makes outputs of a pair's sums.
///
/// # Safety
/// As [`Epilogue::store`] for its pixels; `sums` has room for two tiles.
#[inline(always)]
unsafe fn finish(s: Avx512Vnni, registers: &Tiles, pair: &Pending, per_tile: usize, sums: *mut i32) {
    let pixels = pair.pixels;
    // SAFETY: the caller's promise.
    unsafe {
        registers.store(pair.second_set, pixels.len() > per_tile, sums);
        for (i, start) in (pixels.start..pixels.end).step_by(per_tile).enumerate() {
            let from = sums.add(i * TILE / size_of::<i32>());
            for (p, count) in balanced::<MOST>(Span { start: 0, end: per_tile.min(pixels.end - start) }) {
                sized!(count, MOST, outputs::<Avx512Vnni>(s, from.add(p * PANEL), &pair.epilogue, start + p))
            }
        }
    }
}

/// Outputs of neighbouring pixels, whose sums are in memory.
///
/// # Safety
/// As [`Epilogue::store`]; the sums are readable.
#[inline(always)]
unsafe fn outputs<S: Dot, const PIXELS: usize>(s: S, sums: *const i32, epilogue: &Epilogue<S>, pixel: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut of_pixels = [s.load_sums(sums); PIXELS];
        for (p, of_pixel) in of_pixels.iter_mut().enumerate().skip(1) {
            *of_pixel = s.load_sums(sums.add(p * PANEL));
        }
        epilogue.store(s, &of_pixels, pixel);
    }
}
