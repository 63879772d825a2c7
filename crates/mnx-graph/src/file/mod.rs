//! The weight file, `.mnx`: one little-endian file that holds everything about a network.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0…3 | `MNXW` |
//! | 4…7 | version of the format, u32: 1 |
//! | 8…15 | length of the header in bytes, u64 |
//! | 16…19 | CRC-32 of the header, u32 |
//! | 20…23 | zero |
//! | 24… | the header, JSON: `{"spec": …, "tensors": […]}` |
//! | to the next multiple of 64 | zeros |
//! | the rest | payload: the tensors, each padded with zeros to a multiple of 64 |
//!
//! `spec` is a [`Spec`]. `tensors` has two entries per layer in order of execution, its weight and its bias:
//!
//! | key | value |
//! | --- | --- |
//! | `name` | of the layer in a checkpoint, and `.weight` or `.bias` |
//! | `dtype` | `f32` |
//! | `dims` | before packing; output channels first |
//! | `packing` | as [`Packing`] names it |
//! | `offset`, `length` | in bytes; the offset from the start of the payload |
//! | `crc32` | of the packed bytes |
//!
//! Offsets are contiguous: no hole, no overlap. So everything but the checksums follows from the spec, and a reader
//! derives it and compares.

mod read;
mod write;

use std::ops::Range;

use mnx_conv::Packing;
use serde::{Deserialize, Serialize};

use crate::{Error, Limits, Network, Spec};

pub(crate) use read::{Front, check_payload, front};
pub use write::{LayerWeights, write_model};

const MAGIC: [u8; 4] = *b"MNXW";
/// The version of the format that is written, and the only one that is understood.
pub(crate) const VERSION: u32 = 1;
/// Bytes before the header.
pub(crate) const PREFIX_LEN: usize = 24;
/// Of the payload and of every tensor in it: a cache line.
pub(crate) const ALIGNMENT: usize = 64;
const DTYPE: &str = "f32";

/// The JSON header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    spec: Spec,
    tensors: Vec<Entry>,
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

/// A tensor in its place, as the spec says.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    dims: Vec<usize>,
    packing: Packing,
    /// Bytes of the payload.
    pub(crate) range: Range<usize>,
    crc32: u32,
}

/// The tensors of a network in file order, with checksums of zero, and the length of the payload.
fn layout(network: &Network, limits: &Limits) -> Result<(Vec<Tensor>, usize), Error> {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut end = 0_usize;
    let mut push = |name: String, dims: Vec<usize>, packing: Packing| {
        let too_large =
            || Error::Limit { what: format!("bytes up to tensor {name}"), limit: isize::MAX as u64, found: u64::MAX };
        let elements = packing.packed_len(&dims).map_err(|_| too_large())?;
        if elements as u64 > limits.elements {
            return Err(Error::Limit {
                what: format!("elements of tensor {name}, packed"),
                limit: limits.elements,
                found: elements as u64,
            });
        }
        let (start, length) = (end, elements * size_of::<f32>());
        let past = start.checked_add(length).and_then(|n| n.checked_next_multiple_of(ALIGNMENT));
        end = past.filter(|&n| n <= isize::MAX as usize).ok_or_else(too_large)?;
        tensors.push(Tensor { name, dims, packing, range: start..start + length, crc32: 0 });
        Ok(())
    };
    for layer in network.layers() {
        push(format!("{}.weight", layer.name), layer.weight_dims(), layer.packing())?;
        push(format!("{}.bias", layer.name), vec![layer.cout], Packing::Bias16)?;
    }
    Ok((tensors, end))
}

impl Tensor {
    fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            dtype: DTYPE.into(),
            dims: self.dims.clone(),
            packing: self.packing.name().into(),
            offset: self.range.start as u64,
            length: self.range.len() as u64,
            crc32: self.crc32,
        }
    }
}
