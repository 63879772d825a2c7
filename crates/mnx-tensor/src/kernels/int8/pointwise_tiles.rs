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

use super::epilogue::Epilogue;
use super::gather::Chunk;
use super::pointwise::pw;
use super::{PAIR, chunks, strip_tiles};
use crate::constant::sized;
use crate::int8::form::GROUP;
use crate::part::{Part, Span};
use crate::simd::dot::{Avx512Vnni, Dot};
use crate::simd::tiles::{ROW, ROWS, TILE, Taps, Tiles};
use crate::{Operands, PANEL};

/// Pixels whose sums become outputs at a time.
const MOST: usize = 8;

/// A pair of tiles whose sums are in registers.
struct Pending {
    epilogue: Epilogue<Avx512Vnni>,
    second_set: bool,
    /// The first.
    pixel: usize,
    /// How many there are in each tile; in the second there may be none.
    first: usize,
    second: usize,
}

/// Whether tiles are faster than dot products of vectors: in cycles for a pixel, as measured on a Xeon (Granite Rapids). Vectors take
/// half a cycle for each group of four input channels of a panel. Tiles take one cycle for a chunk of a panel and two more for
/// the detour of its sums through memory; and before the first panel five for gathering a chunk.
#[inline(always)]
fn tiles_pay(panels: usize, groups: usize, chunks: usize) -> bool {
    panels * groups >= 2 * (panels * (2 + chunks) + 5 * chunks)
}

/// Kernel `pw-int8`: on tiles where it pays, else [`pw`] in tiles of up to 12 pixels: with few input channels, or few panels at a
/// time.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); the CPU has AMX, and this process may use it.
#[inline(always)]
pub(crate) unsafe fn by_depth(_: Avx512Vnni, layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise; the instance proves the instructions on vectors.
    unsafe {
        let pays = tiles_pay(part.channels.len(), layer.cin.div_ceil(GROUP), chunks(layer.cin));
        call(if pays { on_tiles } else { on_vectors }, layer, part);
    }
}

/// One of the two ways of a kernel.
type Way = unsafe fn(&Operands<'_>, &Part);

/// Calls a way, by a pointer that the compiler cannot see through: with optimisation across crates it inlines both even so.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), and the CPU has what the way needs.
#[inline(always)]
pub(super) unsafe fn call(way: Way, layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { std::hint::black_box(way)(layer, part) }
}

/// Functions of their own: in one, what one way needs weighs on the registers and the stack of the other.
macro_rules! alone {
    ($name:ident = $kernel:expr) => {
        /// # Safety
        /// As [`Layer::run`](crate::Layer::run), and the CPU has the instructions; for a kernel on tiles AMX too, which this process may use.
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw,avx512vnni")]
        unsafe fn $name(layer: &Operands<'_>, part: &Part) {
            // SAFETY: the caller's promise.
            unsafe { $kernel(Avx512Vnni::assume(), layer, part) }
        }
    };
}
pub(super) use alone;

alone!(on_tiles = pw_tiles);
alone!(on_vectors = pw::<_, 12>);

/// The part on tiles.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run); the CPU has AMX, and this process may use it.
#[inline(always)]
unsafe fn pw_tiles(s: Avx512Vnni, layer: &Operands<'_>, part: &Part) {
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
    // SAFETY: the caller's promise. What runs until `registers` is dropped is inlined here or copies memory: nobody else uses tiles.
    let registers = unsafe { Tiles::new(per_tile, rows) };
    let mut pending: Option<Pending> = None;
    let mut start = part.pixels.start;
    while start < part.pixels.end {
        let strip = Span { start, end: part.pixels.end.min(start + per_strip * per_tile) };
        for chunk in 0..chunks {
            // SAFETY: the pixels are readable, and scratch has room for a strip.
            unsafe { gather(layer, part, strip, chunk, per_tile, inputs.wrapping_add(chunk * per_strip * TILE)) }
        }
        for panel in part.channels.start..part.channels.end {
            // SAFETY: the panel is the layer's.
            let (weights, epilogue) =
                unsafe { (layer.weights_of::<i8>(panel, groups * ROW), Epilogue::new(s, layer, part, panel)) };
            let mut taps = Taps {
                inputs: [inputs, inputs.wrapping_add(TILE)].map(|of| of.cast_const()),
                inputs_row: ROW,
                inputs_step: per_strip * TILE,
                weights,
                last_weights: weights.wrapping_add((groups - rows) * ROW),
                weights_row: ROW,
                whole: chunks - 1,
            };
            let mut pixel = strip.start;
            while pixel < strip.end {
                let first = per_tile.min(strip.end - pixel);
                let second = per_tile.min(strip.end - pixel - first);
                let pair = second > 0;
                let second_set = pending.as_ref().is_some_and(|pending| !pending.second_set);
                // SAFETY: inputs are in scratch, weights and bias are the panel's.
                unsafe {
                    registers.start(second_set, pair, layer.bias_of(panel, PANEL));
                    registers.add(second_set, pair, &taps);
                }
                if let Some(before) = pending.replace(Pending { epilogue, second_set, pixel, first, second }) {
                    // SAFETY: its outputs are part of the layer's; scratch has room for its sums.
                    unsafe { finish(s, &registers, &before, sums) }
                }
                taps.inputs = taps.inputs.map(|of| of.wrapping_add(2 * TILE));
                pixel += first + second;
            }
        }
        start = strip.end;
    }
    if let Some(last) = pending {
        // SAFETY: as above.
        unsafe { finish(s, &registers, &last, sums) }
    }
}

/// Copies a chunk of the input channels of a strip: tiles lie [`TILE`] bytes apart.
///
/// # Safety
/// The pixels are readable, `to` is writable for the tiles.
#[inline(always)]
unsafe fn gather(layer: &Operands<'_>, part: &Part, strip: Span, chunk: usize, per_tile: usize, mut to: *mut u8) {
    let chunk = Chunk::new(layer, part, chunk);
    let mut pixel = strip.start;
    while pixel < strip.end {
        let end = strip.end.min(pixel + per_tile);
        // SAFETY: the caller's promise; the row's CPU has AVX-512.
        unsafe { chunk.copy(Span { start: pixel, end }, to) };
        (pixel, to) = (end, to.wrapping_add(TILE));
    }
}

/// Makes outputs of a pair's sums.
///
/// # Safety
/// As [`Epilogue::store`] for its pixels; `sums` has room for two tiles.
#[inline(always)]
unsafe fn finish(s: Avx512Vnni, registers: &Tiles, pair: &Pending, sums: *mut i32) {
    let &Pending { ref epilogue, second_set, pixel, first, second } = pair;
    // SAFETY: the caller's promise.
    unsafe {
        registers.store(second_set, second > 0, sums);
        for (tile, pixel, count) in [(0, pixel, first), (1, pixel + first, second)] {
            some_outputs(s, sums.wrapping_add(tile * TILE / size_of::<i32>()), epilogue, pixel, count);
        }
    }
}

/// Outputs of any number of neighbouring pixels, whose sums are in memory.
///
/// # Safety
/// As [`Epilogue::store`]; the sums are readable.
#[inline(always)]
pub(super) unsafe fn some_outputs(
    s: Avx512Vnni,
    mut sums: *const i32,
    epilogue: &Epilogue<Avx512Vnni>,
    mut pixel: usize,
    mut count: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        while count >= MOST {
            outputs::<Avx512Vnni, MOST>(s, sums, epilogue, pixel);
            (sums, pixel, count) = (sums.add(MOST * PANEL), pixel + MOST, count - MOST);
        }
        if count > 0 {
            sized!(count in 1 to MOST, outputs::<Avx512Vnni>(s, sums, epilogue, pixel));
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
