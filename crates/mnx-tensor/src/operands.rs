//! What a kernel computes with.

use crate::int8::requantize::Constants;
use crate::{Arithmetic, Clamp, Operation};

/// A layer without the choice of its kernel. Its lengths suit each other.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'w> {
    pub(crate) operation: Operation,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) weights: &'w [u8],
    pub(crate) bias: &'w [u8],
    pub(crate) clamp: Clamp,
    pub(crate) int8: Constants<'w>,
    /// Bytes of input that a pointwise kernel goes over once per panel.
    pub(crate) chunk_bytes: usize,
}

impl Operands<'_> {
    /// Pixels that a pointwise kernel in f32 goes over once per panel, so that their inputs stay in the cache: whole tiles of `tile`.
    #[inline(always)]
    pub(crate) fn chunk_pixels(&self, tile: usize) -> usize {
        (self.chunk_bytes / (size_of::<f32>() * self.cin.max(1))).max(1).next_multiple_of(tile)
    }

    /// Panel or block `group` of weights, of `len` elements each, as the kernel's elements.
    #[inline(always)]
    pub(crate) fn weights_of<T>(&self, group: usize, len: usize) -> *const T {
        self.weights.as_ptr().cast::<T>().wrapping_add(group * len)
    }

    /// The bias of panel or block `group`, as the kernel's elements.
    #[inline(always)]
    pub(crate) fn bias_of<T>(&self, group: usize, lanes: usize) -> *const T {
        self.bias.as_ptr().cast::<T>().wrapping_add(group * lanes)
    }
}
