//! Dense 3x3 convolution in int8 on AMX: tiles of up to 16 pixels times one panel, one tap and 64 input channels at a time.
//!
//! ```text
//! for each strip of output rows:
//!   copy the input rows that they read to scratch, with the zero point around them: of each chunk of 64 channels the
//!   bytes of a pixel side by side
//!   for each panel, for each pair of tiles of pixels:               sums start at the bias, in tiles
//!     for each tap, for each chunk: sums += inputs · weights
//!     the pair before: store its sums, requantise, store
//! ```
//!
//! At stride 1 a tile goes on from the end of an output row to the next one: what an output reads lies as far from its
//! place in the copy as with any other. Of the places between two rows nothing is stored. At stride 2 a tile is within a row.

use super::conv::conv;
use super::epilogue::Epilogue;
use super::gather::Chunk;
use super::pointwise_tiles::{alone, call, some_outputs};
use super::{PAIR, chunks, conv_strip_rows};
use crate::int8::form::GROUP;
use crate::part::{Part, Span};
use crate::simd::dot::Avx512Vnni;
use crate::simd::tiles::{ROW, ROWS, TILE, Taps, Tiles};
use crate::{Operands, PANEL};

/// Rows and columns of the filter.
const KERNEL: usize = 3;
const TAPS: usize = KERNEL * KERNEL;

/// Whether tiles are faster than dot products of vectors, in cycles for a pixel as in pointwise layers. Vectors take half a cycle
/// for each tap and group of a panel. Tiles take twelve for the nine taps of a chunk of a panel, four more for the detour of the
/// panel's sums, and before the first panel fifteen for gathering a chunk.
#[inline(always)]
fn tiles_pay(panels: usize, groups: usize, chunks: usize) -> bool {
    panels * groups * TAPS >= 2 * (panels * (4 + 12 * chunks) + 15 * chunks)
}

/// Kernels `conv3x3s1-int8` and `conv3x3s2-int8`: on tiles where it pays, else [`conv`] in tiles of up to 12 pixels.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); the CPU has AMX, and this process may use it.
#[inline(always)]
pub(crate) unsafe fn conv_by_depth<const STRIDE: usize>(_: Avx512Vnni, layer: &Operands<'_>, part: &Part) {
    let pays = tiles_pay(part.channels.len(), layer.cin.div_ceil(GROUP), chunks(layer.cin));
    // SAFETY: the caller's promise; the instance proves the instructions on vectors.
    unsafe {
        match (pays, STRIDE) {
            (true, 1) => call(s1_on_tiles, layer, part),
            (true, _) => call(s2_on_tiles, layer, part),
            (false, 1) => call(s1_on_vectors, layer, part),
            (false, _) => call(s2_on_vectors, layer, part),
        }
    }
}

alone!(s1_on_tiles = conv_tiles::<1>);
alone!(s2_on_tiles = conv_tiles::<2>);
alone!(s1_on_vectors = conv::<_, KERNEL, 1, 12>);
alone!(s2_on_vectors = conv::<_, KERNEL, 2, 12>);

/// A tile of pixels of a strip.
#[derive(Clone, Copy)]
struct Places {
    /// In the copy: the first pixel that its first output reads.
    base: usize,
    /// Of its first output.
    row: usize,
    column: usize,
    /// How many places it has.
    count: usize,
}

/// A pair of tiles whose sums are in registers.
struct Pending {
    epilogue: Epilogue<Avx512Vnni>,
    second_set: bool,
    pair: bool,
    places: [Places; 2],
    /// The strip's first output row.
    top: usize,
}

/// The part on tiles.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); the CPU has AMX, and this process may use it.
#[inline(always)]
unsafe fn conv_tiles<const STRIDE: usize>(s: Avx512Vnni, layer: &Operands<'_>, part: &Part) {
    let (rows, g) = (part.rows(), &part.geometry);
    if rows.is_empty() || g.out_width == 0 {
        return;
    }
    let groups = layer.cin.div_ceil(GROUP);
    let (chunks, of_chunk, columns) = (chunks(layer.cin), groups.min(ROWS), g.padded_row(layer.operation));
    let most = conv_strip_rows(layer.cin, g, layer.operation);
    let chunk_bytes = ((most - 1) * STRIDE + KERNEL) * columns * ROW;
    // Places of an output row, and of a tile.
    let (line, per_row) = if STRIDE == 1 { (columns, 1) } else { (g.out_width, g.out_width.div_ceil(ROWS)) };
    let per_tile = if STRIDE == 1 { ROWS } else { g.out_width.div_ceil(per_row) };
    let (sums, inputs) = (part.scratch.cast::<i32>(), part.scratch.wrapping_add(PAIR));
    // SAFETY: the caller's promise. What runs until `registers` is dropped is inlined here or copies memory: nobody else uses tiles.
    let registers = unsafe { Tiles::new(per_tile, of_chunk) };
    let mut pending: Option<Pending> = None;
    let mut top = rows.start;
    while top < rows.end {
        let height = most.min(rows.end - top);
        for chunk in 0..chunks {
            // SAFETY: the rows are readable, and scratch has room for a strip.
            unsafe { padded_rows::<STRIDE>(layer, part, top, height, chunk, inputs.wrapping_add(chunk * chunk_bytes)) }
        }
        let places = (height - 1) * line + g.out_width;
        let tiles = if STRIDE == 1 { places.div_ceil(per_tile) } else { height * per_row };
        let tile = |t: usize| {
            if STRIDE == 1 {
                let base = t * per_tile;
                Places { base, row: base / line, column: base % line, count: per_tile.min(places.saturating_sub(base)) }
            } else {
                let (row, column) = (t / per_row, t % per_row * per_tile);
                let base = (row * columns + column) * STRIDE;
                Places { base, row, column, count: per_tile.min(g.out_width - column) }
            }
        };
        for panel in part.channels.start..part.channels.end {
            // SAFETY: the panel is the layer's.
            let (weights, epilogue) =
                unsafe { (layer.weights_of::<i8>(panel, groups * TAPS * ROW), Epilogue::new(s, layer, part, panel)) };
            for t in (0..tiles).step_by(2) {
                let pair = t + 1 < tiles;
                let places = [tile(t), tile(if pair { t + 1 } else { t })];
                let second_set = pending.as_ref().is_some_and(|pending| !pending.second_set);
                // SAFETY: inputs are in scratch, weights and bias are the panel's.
                unsafe {
                    registers.start(second_set, pair, layer.bias_of(panel, PANEL));
                    for tap in 0..TAPS {
                        let at = |of: Places| {
                            inputs.wrapping_add((of.base + tap / KERNEL * columns + tap % KERNEL) * ROW).cast_const()
                        };
                        let weights = weights.wrapping_add(tap * ROW);
                        let taps = Taps {
                            inputs: places.map(at),
                            inputs_row: STRIDE * ROW,
                            inputs_step: chunk_bytes,
                            weights,
                            last_weights: weights.wrapping_add((groups - of_chunk) * TAPS * ROW),
                            weights_row: TAPS * ROW,
                            whole: chunks - 1,
                        };
                        registers.add(second_set, pair, &taps);
                    }
                }
                if let Some(before) = pending.replace(Pending { epilogue, second_set, pair, places, top }) {
                    // SAFETY: its outputs are part of the layer's; scratch has room for its sums.
                    unsafe { finish(s, &registers, &before, line, g.out_width, sums) }
                }
            }
        }
        top += height;
    }
    if let Some(last) = pending {
        // SAFETY: as above.
        unsafe { finish(s, &registers, &last, line, g.out_width, sums) }
    }
}

/// Copies a chunk of the input rows that output rows from `top` on read, with the zero point around them.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); `to` is writable for so many rows.
#[inline(always)]
unsafe fn padded_rows<const STRIDE: usize>(
    layer: &Operands<'_>,
    part: &Part,
    top: usize,
    height: usize,
    chunk: usize,
    to: *mut u8,
) {
    let (g, zero) = (&part.geometry, layer.int8.requantize.zero_in);
    let columns = g.padded_row(layer.operation);
    let [before, inside, after] = g.across(layer.operation);
    let chunk = Chunk::new(layer, part, chunk);
    for k in 0..(height - 1) * STRIDE + KERNEL {
        let row = (top * STRIDE + k).wrapping_sub(g.pad_top);
        let to = to.wrapping_add(k * columns * ROW);
        // SAFETY: the caller's promise; a row that is inside the plane is readable.
        unsafe {
            if row >= g.height {
                chunk.fill(zero, columns, to);
                continue;
            }
            chunk.fill(zero, before, to);
            chunk.copy(Span { start: row * g.width, end: row * g.width + inside }, to.add(before * ROW));
            chunk.fill(zero, after, to.add((before + inside) * ROW));
        }
    }
}

/// Makes outputs of a pair's sums: of each place that is one.
///
/// # Safety
/// As [`Epilogue::store`] for its pixels; `sums` has room for two tiles.
#[inline(always)]
unsafe fn finish(s: Avx512Vnni, registers: &Tiles, of: &Pending, line: usize, width: usize, sums: *mut i32) {
    // SAFETY: the caller's promise.
    unsafe {
        registers.store(of.second_set, of.pair, sums);
        for (i, &Places { mut row, mut column, count, .. }) in of.places[..1 + usize::from(of.pair)].iter().enumerate()
        {
            let (mut from, mut left) = (sums.add(i * TILE / size_of::<i32>()).cast_const(), count);
            while left > 0 {
                let outputs = width.saturating_sub(column).min(left);
                some_outputs(s, from, &of.epilogue, (of.top + row) * width + column, outputs);
                let gone = left.min(line - column);
                (from, left) = (from.wrapping_add(gone * PANEL), left - gone);
                (row, column) = (row + 1, 0);
            }
        }
    }
}
