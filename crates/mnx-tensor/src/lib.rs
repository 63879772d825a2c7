//! NCHW tensors and the hand-written SIMD kernels under mnx.
//!
//! The public tensor is plain NCHW ([`Tensor`], [`TensorView`]). Kernels work on *channel-blocked*
//! activations ([`BlockedShape`], NCHW8c: eight channels of a pixel side by side) and on packed weights
//! ([`pack`]). Each kernel is written once, over the [`simd::Simd`] trait, and instantiated per ISA in one
//! [kernel table](table), which feeds dispatch, tests and benches.
//!
//! People who want a single layer on a plain tensor use [`ops`]; the oracle of all tests is [`naive`].
//!
//! # Arithmetic
//!
//! Every output element of a convolution or linear layer is one chain of fused multiply-adds that starts
//! at the bias and runs in a fixed order (input channel, row, column), then the clamp, then the
//! residual. So every FMA ISA gives the same bits, whatever the tile, strip or thread; +0 and −0 count as equal. The `scalar`
//! and `simd128` ISAs multiply and add separately, and have bits of their own.
//!
//! # Naming grammar of kernels
//!
//! `dw3x3s1`, `dw3x3s2`: depthwise 3x3, stride 1 or 2. `pw`: pointwise (GEMM), `pw8`: its last
//! panel where that is half empty. `conv3x3s1`, `conv3x3s2`: dense 3x3. `dense3x3s1`, `dense3x3s2`, `dense7x7s2`: dense
//! 3x3 or 7x7 on a planar (NCHW) input, a network's stem. `maxpool3x3s2`: max pool. `pool`: global average. `linear`:
//! classifier; `linear-bf16`, `linear-f16`: with weights of 16 bits. `quantize`: a picture in f32 to u8. With `-int8` at the
//! end: inputs in u8, and weights, if there are any, in i8.
//! A table entry adds the ISA and the tile, in pixels x output channels.

#[cfg(not(target_endian = "little"))]
compile_error!("mnx reads its weight files in place: little-endian targets only");

#[cfg(target_arch = "x86_64")]
mod amx;
mod blocked;
mod buffer;
mod constant;
mod cpu;
pub mod dispatch;
mod element;
mod error;
pub mod extents;
pub mod half;
pub mod int8;
mod isa;
mod kernels;
mod layer;
pub mod memory;
pub mod naive;
mod operands;
mod operation;
pub mod ops;
pub mod pack;
pub mod part;
pub mod peak;
pub mod simd;
pub mod strip;
pub mod table;
mod tensor;
mod tuning;
mod weights;

pub use blocked::{BLOCK, BlockedShape, Blocking};
pub use buffer::{AlignedBuf, AlignedBytes};
pub use cpu::{Cpu, TunedFor};
pub use element::{Arithmetic, Element};
pub use error::{Error, ErrorKind};
pub use int8::{PreparedInt8, Requantize};
pub use isa::Isa;
pub use layer::Layer;
pub use operands::Operands;
pub use operation::{Clamp, Operation};
pub use pack::PANEL;
pub use part::Part;
pub use tensor::{Tensor, TensorView};
pub use tuning::Tuning;
pub use weights::PackedWeights;
