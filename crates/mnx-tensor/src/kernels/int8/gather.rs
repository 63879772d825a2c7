//! Inputs as AMX's tiles read them: of a pixel 64 channels side by side, where activations have blocks of 16.

use std::arch::x86_64::*;

use crate::int8::form::GROUP;
use crate::part::{Part, Span};
use crate::simd::tiles::{ROW, ROWS};
use crate::{Operands, PANEL};

/// Blocks of 16 input channels in a chunk.
const BLOCKS: usize = ROW / PANEL;

/// A chunk of 64 input channels. If the last of several is not whole, its channels are the last of its 64, and zeros stand
/// before them: then it may be multiplied with weights that begin so much earlier.
pub(super) struct Chunk {
    /// Pixel 0 of each block. Those that do not exist are a block of zeros.
    blocks: [*const u8; BLOCKS],
    /// Bytes from pixel to pixel.
    steps: [usize; BLOCKS],
    /// Groups of zeros before the channels.
    before: usize,
    /// For each group of the chunk, which group of its blocks it is.
    groups: [i32; ROWS],
}

impl Chunk {
    #[inline(always)]
    pub(super) fn new(layer: &Operands<'_>, part: &Part, chunk: usize) -> Self {
        static NONE: [u8; PANEL] = [0; PANEL];
        let left = layer.cin.div_ceil(GROUP) - chunk * ROWS;
        let before = if chunk > 0 { ROWS.saturating_sub(left) } else { 0 };
        let (mut blocks, mut steps) = ([NONE.as_ptr(); BLOCKS], [0; BLOCKS]);
        for (i, (block, step)) in blocks.iter_mut().zip(&mut steps).enumerate().take(left.div_ceil(PANEL / GROUP)) {
            (*block, *step) = (part.src.block::<u8>(chunk * BLOCKS + i), PANEL);
        }
        let mut groups = [0; ROWS];
        groups.iter_mut().enumerate().for_each(|(i, group)| *group = i as i32 - before as i32);
        Chunk { blocks, steps, before, groups }
    }

    /// Copies neighbouring pixels.
    ///
    /// # Safety
    /// The CPU has AVX-512. The pixels are readable, and `to` is writable for so many times [`ROW`] bytes.
    #[inline(always)]
    pub(super) unsafe fn copy(&self, pixels: Span, to: *mut u8) {
        for (i, p) in (pixels.start..pixels.end).enumerate() {
            let at = |block: usize| self.blocks[block].wrapping_add(p * self.steps[block]).cast();
            // SAFETY: the caller's promise.
            unsafe {
                let row = _mm512_castsi128_si512(_mm_loadu_si128(at(0)));
                let row = _mm512_inserti32x4::<1>(row, _mm_loadu_si128(at(1)));
                let row = _mm512_inserti32x4::<2>(row, _mm_loadu_si128(at(2)));
                let row = _mm512_inserti32x4::<3>(row, _mm_loadu_si128(at(3)));
                _mm512_storeu_si512(to.add(i * ROW).cast(), self.shifted(row));
            }
        }
    }

    /// Pixels that are nothing but `zero`.
    ///
    /// # Safety
    /// As [`copy`](Chunk::copy).
    #[inline(always)]
    pub(super) unsafe fn fill(&self, zero: u8, count: usize, to: *mut u8) {
        for i in 0..count {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(to.add(i * ROW).cast(), self.shifted(_mm512_set1_epi8(zero as i8))) }
        }
    }

    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn shifted(&self, row: __m512i) -> __m512i {
        if self.before == 0 {
            return row;
        }
        // SAFETY: the caller's promise.
        unsafe {
            let groups = _mm512_loadu_si512(self.groups.as_ptr().cast());
            _mm512_maskz_permutexvar_epi32(u16::MAX << self.before, groups, row)
        }
    }
}
