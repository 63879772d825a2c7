//! The weight file, `.mnx`: one little-endian file that holds everything about a network. `docs/weight-file.md` explains it
//! byte by byte.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0…3 | `MNXW` |
//! | 4…7 | version of the format, u32: 1 or 2 |
//! | 8…15 | length of the header in bytes, u64 |
//! | 16…19 | CRC-32 of the header, u32 |
//! | 20…23 | zero |
//! | 24… | the header, JSON |
//! | to the next multiple of 64 | zeros |
//! | the rest | payload: the tensors, each padded with zeros to a multiple of 64 |
//!
//! The header is `{"spec": …, "tensors": […]}`. In version 2 there is `"arithmetic": […]` between the two.
//!
//! - `spec` is a [`Spec`]. Version 1 has no detectors.
//! - `arithmetic` names an [`Arithmetic`](mnx_tensor::Arithmetic) for every layer in order of execution. (Version 1 is f32
//!   throughout.)
//! - `tensors` has a row for every tensor:
//!
//! | key | value |
//! | --- | --- |
//! | `name` | the layer's name in a checkpoint, and `.weight` or `.bias`; for int8 layers see `docs/weight-file.md` |
//! | `dtype` | name of an [`Element`](mnx_tensor::Element) |
//! | `dims` | before packing; output channels first |
//! | `packing` | name of a [`Packing`](mnx_conv::Packing) |
//! | `offset`, `length` | in bytes; the offset counts from the start of the payload |
//! | `crc32` | checksum of the packed bytes |
//!
//! Offsets are contiguous: no hole, no overlap. So the spec, the arithmetic and the `dtype` of the classifier's weight
//! determine the whole table except the checksums;
//! a reader derives it and compares.

mod layout;
mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Spec;

pub use layout::PackedInt8;
pub(crate) use layout::{LARGEST_SCALE, Layout, Tensor};
pub(crate) use read::{Front, check_payload, front};
pub use write::{
    Int8Weights, LayerWeights, Quantization, Weights, try_write_model, write_model, write_model_with, write_quantized,
};
pub(crate) use write::{model_file, quantized_file};

const MAGIC: [u8; 4] = *b"MNXW";
/// Classifiers whose layers are all f32. Networks that fit it are written in it, so that earlier releases can read them.
const VERSION_1: u32 = 1;
/// Each layer has an arithmetic of its own; detectors; a classifier's weights in 16 bits.
const VERSION_2: u32 = 2;
/// The versions that are understood.
const VERSIONS: &[u32] = &[VERSION_1, VERSION_2];
/// Bytes before the header.
pub(crate) const PREFIX_LEN: usize = 24;
/// Alignment of the payload and of every tensor in it: a cache line.
pub(crate) const ALIGNMENT: usize = 64;

/// The JSON header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    spec: Spec,
    /// One name per layer, from version 2 on.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    arithmetic: Option<Vec<String>>,
    tensors: Vec<Entry>,
}

/// Reads a value whose key is present. `null` is no value here.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// A row of the tensor table.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    dtype: String,
    dims: Vec<usize>,
    packing: String,
    offset: u64,
    length: u64,
    crc32: u32,
}
