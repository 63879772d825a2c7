//! The int8 kernels, each written once over [`Dot`](crate::simd::dot::Dot). Sums are exact, so the order of products is each
//! kernel's own affair.

mod conv;
#[cfg(target_arch = "x86_64")]
mod conv_tiles;
#[cfg(target_arch = "x86_64")]
mod depthwise;
mod depthwise_rows;
mod epilogue;
#[cfg(target_arch = "x86_64")]
mod gather;
#[cfg(target_arch = "x86_64")]
mod interleaved;
mod pointwise;
#[cfg(target_arch = "x86_64")]
mod pointwise_tiles;
mod pool;
mod quantize;

pub(crate) use conv::{conv, dense};
#[cfg(target_arch = "x86_64")]
pub(crate) use conv_tiles::conv_by_depth;
pub(crate) use depthwise_rows::depthwise_rows;
#[cfg(target_arch = "x86_64")]
pub(crate) use interleaved::{by_width, interleaved};
pub(crate) use pointwise::{linear, pw};
#[cfg(target_arch = "x86_64")]
pub(crate) use pointwise_tiles::by_depth;
pub(crate) use pool::{maxpool, pool};
pub(crate) use quantize::quantize;

use crate::int8::form::{GROUP, Products};
use crate::part::Geometry;
use crate::{Operation, PANEL};

/// Bytes in a cache line: scratch is in whole ones.
const LINE: usize = 64;

/// Weights of a group of four input channels.
const ROW: usize = PANEL * GROUP;

/// Input channels of a tile: bytes of its row.
const TILE_CHANNELS: usize = 64;

/// Pixels of a tile, at most.
const TILE_PIXELS: usize = 16;

/// Bytes of inputs as words that a pointwise kernel goes over once per panel: they should stay in the L1 cache.
const WIDE_BYTES: usize = 24 << 10;

/// Pixels whose inputs a kernel that multiplies words widens at a time: at least two tiles.
#[inline(always)]
fn wide_pixels(cin: usize) -> usize {
    (WIDE_BYTES / (2 * cin.next_multiple_of(16)).max(1)).clamp(24, 384) / 12 * 12
}

/// Bytes of a strip's inputs that a kernel on tiles goes over once per panel: they should stay in the L1 cache, beside a panel.
const STRIP_BYTES: usize = 16 << 10;

/// Bytes of inputs, or of sums, in a pair of tiles.
const PAIR: usize = 2 * TILE_PIXELS * TILE_CHANNELS;

/// How many tiles hold the input channels of a pixel.
#[inline(always)]
fn chunks(cin: usize) -> usize {
    cin.div_ceil(TILE_CHANNELS).max(1)
}

/// Tiles of pixels in a strip: pairs.
#[inline(always)]
fn strip_tiles(cin: usize) -> usize {
    (STRIP_BYTES / PAIR / chunks(cin)).max(1) * 2
}

/// Bytes of scratch for a pointwise kernel on tiles: a strip's inputs, and the sums of a pair.
pub(crate) fn tiles_scratch_bytes(cin: usize) -> usize {
    (strip_tiles(cin) / 2).saturating_mul(chunks(cin)).saturating_mul(PAIR).saturating_add(PAIR)
}

/// Bytes of padded rows that a convolution on tiles goes over once per panel: a little less than an L1 cache, or one output row's.
const PADDED_BYTES: usize = 44 << 10;

/// Output rows of a strip of a convolution on tiles.
#[inline(always)]
fn conv_strip_rows(cin: usize, geometry: &Geometry, operation: Operation) -> usize {
    let row = chunks(cin).saturating_mul(geometry.padded_row(operation)).saturating_mul(TILE_CHANNELS);
    let (kernel, stride) = (operation.kernel(), operation.stride());
    ((PADDED_BYTES / row.max(1)).saturating_sub(kernel - stride) / stride).clamp(1, geometry.out_height.max(1))
}

/// Bytes of scratch for a convolution on tiles: the input rows of a strip, what a last tile that is not whole reads behind
/// them, and the sums of a pair.
pub(crate) fn conv_tiles_scratch_bytes(cin: usize, geometry: &Geometry, operation: Operation) -> usize {
    if geometry.out_width == 0 {
        return 0;
    }
    let (kernel, stride) = (operation.kernel(), operation.stride());
    let rows = (conv_strip_rows(cin, geometry, operation) - 1) * stride + kernel;
    let pixels = rows.saturating_mul(geometry.padded_row(operation)).saturating_mul(chunks(cin));
    pixels.saturating_add(TILE_PIXELS * stride).saturating_mul(TILE_CHANNELS).saturating_add(PAIR)
}

/// Bytes of scratch for an operation on inputs of `products`' form; a depthwise one's kernel may interleave rows.
pub(crate) fn scratch_bytes(
    operation: Operation,
    products: Products,
    interleaves: bool,
    cin: usize,
    geometry: &Geometry,
) -> usize {
    if geometry.out_width == 0 {
        return 0;
    }
    let size = if products == Products::Words { 2 } else { 1 };
    let elements = match operation {
        Operation::Conv { kernel, .. } => {
            cin.next_multiple_of(16).saturating_mul(kernel).saturating_mul(geometry.padded_row(operation))
        }
        Operation::Dense { kernel, .. } => {
            cin.next_multiple_of(4).saturating_mul(kernel).saturating_mul(geometry.padded_row(operation))
        }
        Operation::Pointwise | Operation::Linear if products == Products::Words => {
            cin.next_multiple_of(16).saturating_mul(wide_pixels(cin))
        }
        // Four rows of sixteen channels.
        Operation::Depthwise { .. } if interleaves => geometry.padded_row(operation).saturating_mul(4 * 16),
        _ => 0,
    };
    elements.saturating_mul(size).div_ceil(LINE).saturating_mul(LINE)
}
