//! The vector operations that int8 kernels are written in: dot products of four bytes, and what makes bytes of sums.
//!
//! Integer sums are exact in any order, so each ISA may multiply in the form that suits it (see [`Form`]): four bytes at a time
//! where the CPU has such an instruction, else pairs of words.

use super::sealed::Sealed;
use crate::Isa;
use crate::int8::form::Form;
use crate::int8::requantize::Requantize;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod ymm;
#[cfg(target_arch = "x86_64")]
mod zmm;
#[cfg(target_arch = "x86_64")]
pub use {avx_vnni::AvxVnni, avx512_vnni::Avx512Vnni, ymm::Ymm, zmm::Zmm};
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::NeonDot;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

/// `x + MAGIC − MAGIC` is `x` rounded half to even, for every x between −2²² and 2²²: 1.5 · 2²³, beside which f32 has nothing behind
/// the point. The low bits of `x + MAGIC` are that integer's.
pub(crate) const MAGIC: f32 = 12_582_912.0;

/// Sixteen sums or channels at a time in an ISA's vector registers, however they are multiplied. As with [`Simd`](super::Simd), an
/// instance proves that the CPU has the instructions, and the trait is sealed: unsafe code relies on what its methods do.
pub trait Registers: Copy + Sealed {
    /// Sixteen i32.
    type Sums: Copy;
    /// Sixteen f32.
    type Reals: Copy;

    /// Sixteen sums from memory.
    ///
    /// # Safety
    /// `from` is readable for 16 i32.
    unsafe fn load_sums(self, from: *const i32) -> Self::Sums;

    /// Sixteen factors from memory.
    ///
    /// # Safety
    /// `from` is readable for 16 f32.
    unsafe fn load_reals(self, from: *const f32) -> Self::Reals;

    /// Sixteen f32 to memory.
    ///
    /// # Safety
    /// `to` is writable for 16 f32.
    unsafe fn store_reals(self, to: *mut f32, reals: Self::Reals);

    /// `f32(sums) · factors`, each rounded once.
    fn scale(self, sums: Self::Sums, factors: Self::Reals) -> Self::Reals;

    /// `reals + f32(q − zero) · factors` with the sixteen bytes `q` at `from`, each rounded once.
    ///
    /// # Safety
    /// `from` is readable for 16 bytes.
    unsafe fn add_shortcut(self, reals: Self::Reals, from: *const u8, zero: u8, factors: Self::Reals) -> Self::Reals;

    /// `round_half_even(clamp(reals, lo, hi)) + zero` of neighbouring pixels, sixteen bytes each.
    ///
    /// # Safety
    /// `to` is writable for `16 · PIXELS` bytes.
    unsafe fn store_pixels<const PIXELS: usize>(self, reals: &[Self::Reals; PIXELS], bounds: Bounds, to: *mut u8);
}

/// Dot products in such registers: of what, and by which instructions.
pub trait Dot: Registers {
    /// Which instructions these are.
    const ISA: Isa;

    /// Whether they are more than the ISA's own: dot products of bytes.
    const DOT_PRODUCTS: bool;

    /// What it multiplies, and the order of its sums.
    const FORM: Form;

    /// Whether its depthwise kernel is the one of [`Interleaved`] rows, which takes scratch.
    const INTERLEAVES: bool = false;

    /// What inputs are read as: `u8`, or `i16` of [`Products::Words`](crate::int8::Products::Words).
    type Input: bytemuck::Pod;
    /// What weights are read as: `i8` or `i16`.
    type Weight: bytemuck::Pod;
    /// Sixteen neighbouring inputs: four groups of four. An ISA that broadcasts from memory keeps the pointer.
    type Quad: Copy;

    /// `INPUTS` inputs for [`dot`](Dot::dot): 16, or 4 for group 0 alone.
    ///
    /// # Safety
    /// `from` is readable for so many inputs as long as the quad is used.
    unsafe fn load_quad<const INPUTS: usize>(self, from: *const Self::Input) -> Self::Quad;

    /// Adds to each pixel's sums the products of its inputs `4·GROUP` to `4·GROUP + 3` with sixteen channels' weights.
    ///
    /// # Safety
    /// `w` is readable for 64 weights, and what the quads were loaded from for the group.
    unsafe fn dot<const GROUP: usize, const PIXELS: usize>(
        self,
        x: &[Self::Quad; PIXELS],
        w: *const Self::Weight,
        sums: &mut [Self::Sums; PIXELS],
    );
}

/// What the depthwise kernel needs that keeps columns of the input in registers.
pub trait Columns: Dot {
    /// Four rows of sixteen channels of one pixel, the rows of a channel side by side.
    type Column: Copy;

    /// Four rows of a pixel, sixteen channels each.
    ///
    /// # Safety
    /// Each pointer is readable for 16 bytes.
    unsafe fn column(self, rows: [*const u8; 4]) -> Self::Column;

    /// Adds the products of a column with its taps, channel by channel.
    ///
    /// # Safety
    /// `w` is readable for 64 weights.
    unsafe fn dot_column(self, x: Self::Column, w: *const Self::Weight, sums: Self::Sums) -> Self::Sums;
}

/// What the depthwise kernel needs that interleaves rows in scratch: two of words, or four of bytes.
pub trait Interleaved: Dot {
    /// Rows of sixteen channels of one pixel, those of a channel side by side: of words the first two, of bytes all four.
    ///
    /// # Safety
    /// Each pointer is readable for 16 bytes, `to` writable for 64.
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut Self::Input);

    /// Adds to the sums of pixels, whose windows are `STRIDE` apart, the products of an interleaved line with the three columns of
    /// a filter, channel by channel. The columns' weights are 64 apart.
    ///
    /// # Safety
    /// `x` is readable for 64 bytes at each of the windows' pixels, `w` for three columns.
    unsafe fn dot_line<const STRIDE: usize, const PIXELS: usize>(
        self,
        x: *const Self::Input,
        w: *const Self::Weight,
        sums: &mut [Self::Sums; PIXELS],
    );
}

/// How an int8 layer's outputs are clamped.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Lower bound, an integer.
    pub lo: f32,
    /// Upper bound, an integer.
    pub hi: f32,
    /// The output's zero point.
    pub zero: u8,
    /// Whether every number that is rounded fits into an i32, so that bytes may be clamped in place of numbers.
    pub fits_i32: bool,
    /// The least u8 that can come out: what a kernel that clamps bytes clamps to.
    pub least: u8,
    /// The largest u8 that can come out.
    pub most: u8,
    /// Whether they are what a u8 can hold, with a zero point of 0, so that saturation clamps: outputs of a ReLU6, or of a ReLU.
    pub saturate: bool,
}

impl Bounds {
    /// The bounds of a layer, whose numbers all fit an i32 or may not.
    #[inline(always)]
    pub fn new(requantize: &Requantize, fits_i32: bool) -> Self {
        let &Requantize { lo, hi, zero_out: zero, .. } = requantize;
        let byte = |bound: f32| (bound as i32 + i32::from(zero)) as u8;
        let (least, most) = (byte(lo), byte(hi));
        Bounds { lo, hi, zero, fits_i32, least, most, saturate: (zero, least, most) == (0, 0, 255) }
    }
}
