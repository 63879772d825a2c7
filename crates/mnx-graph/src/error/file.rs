//! What can be wrong with a weight file.

use mnx_tensor::ErrorKind;

use super::one_of;

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file that does not start with the magic number of a weight file.
    #[error("weight file: expected it to start with \"MNXW\", found \"{}\"", .found.escape_ascii())]
    Foreign {
        /// Its first bytes, up to four.
        found: Vec<u8>,
    },
    /// A weight file of another version of the format.
    #[error(
        "weight file: expected a version that this program understands, {}, found version {found}",
        one_of(understood)
    )]
    Version {
        /// The versions that are understood.
        understood: &'static [u32],
        /// The file's version.
        found: u32,
    },
    /// A weight file ends too early.
    #[error("weight file: expected {expected} bytes up to the end of {what}, found {found}: it is truncated")]
    Truncated {
        /// What is incomplete.
        what: &'static str,
        /// Bytes up to its end.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A weight file goes on after its last tensor.
    #[error("weight file: expected it to end after {expected} bytes, found at least {found}")]
    TrailingBytes {
        /// Bytes that belong to it.
        expected: u64,
        /// Bytes that are there, or a lower bound.
        found: u64,
    },
    /// A padding byte of a weight file is not zero.
    #[error("weight file: expected zeros after {after}, found {found:#04x} at byte {offset}")]
    NotZero {
        /// What the padding follows.
        after: String,
        /// Where in the file.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// Bytes of a weight file are not those that were written.
    #[error("weight file: expected the CRC-32 of {what} to be {expected:08x}, found {found:08x}: it is damaged")]
    Checksum {
        /// The header, or a tensor.
        what: String,
        /// The checksum in the file.
        expected: u32,
        /// The checksum of the bytes in the file.
        found: u32,
    },
    /// A header that is no JSON, or lacks a field, or has one that is unknown or of the wrong type.
    #[error("weight file: header: {message}")]
    Header {
        /// What is wrong, with its line and column.
        message: String,
    },
    /// An arithmetic that this program does not know.
    #[error(
        "weight file: layer {layer}: expected an arithmetic that this program runs, {}, found \"{found}\"",
        one_of(understood)
    )]
    Arithmetic {
        /// Name of the first such layer.
        layer: String,
        /// Those that there are kernels for.
        understood: &'static [mnx_tensor::Arithmetic],
        /// The name in the file.
        found: String,
    },
    /// Weights or names of arithmetics for more or fewer layers than the spec has.
    #[error("weight file: expected {expected} layers, as its spec says, found {found}")]
    LayerCount {
        /// Layers of the network.
        expected: usize,
        /// Layers that were given.
        found: usize,
    },
    /// A weight file's tensor table has more or fewer rows than its spec asks for.
    #[error("weight file: expected {expected} tensors, as its spec says, found {found}")]
    TensorCount {
        /// Two per f32 layer; those of quantised layers and values besides.
        expected: usize,
        /// Rows of the table.
        found: usize,
    },
    /// A row of a weight file's tensor table is not what its spec asks for.
    #[error("weight file: tensor {index}, {tensor}: expected {field} {expected}, as its spec says, found {found}")]
    TensorEntry {
        /// Row of the table, from 0.
        index: usize,
        /// Name of the tensor that belongs there.
        tensor: String,
        /// Key of the first value that differs.
        field: &'static str,
        /// The value that follows from the spec.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// An element type that this program does not know.
    #[error(
        "weight file: tensor {index}, {tensor}: expected an element type that this program understands, {}, found \"{found}\"",
        one_of(understood)
    )]
    Element {
        /// Row of the table, from 0.
        index: usize,
        /// Name of the tensor that belongs there.
        tensor: String,
        /// Those that are understood.
        understood: &'static [mnx_tensor::Element],
        /// The name in the file.
        found: String,
    },
    /// A lane past the last channel of a packed tensor is not zero.
    #[error("tensor {tensor}: expected zeros in lanes past the last channel, found {value} at packed index {index}")]
    UnusedLane {
        /// Name of the tensor.
        tensor: String,
        /// Index in the packed tensor.
        index: usize,
        /// The value there.
        value: String,
    },
    /// A weight is infinite or NaN.
    #[error("tensor {tensor}: expected finite values, found {value} at index {index}")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A scale or a quantised weight outside its range.
    #[error("tensor {tensor}: expected {expected}, found {found} at index {index}")]
    Value {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such value.
        index: usize,
        /// Which values are allowed.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Scales of an int8 layer and of the values around it that do not go together: their quotient is out of range.
    #[error(
        "weight file: layer {layer}, {}: expected scales whose factor is from 2^-126 to 2^64, found {found:.3e}",
        .channel.map_or("shortcut".into(), |channel| format!("channel {channel}"))
    )]
    Factor {
        /// Name of the layer.
        layer: String,
        /// The output channel: the factor is its weights' scale times the input's scale, divided by the output's. `None`:
        /// the shortcut's scale divided by the output's.
        channel: Option<usize>,
        /// The factor.
        found: f64,
    },
    /// Sums of an int8 layer that could exceed 32 bits.
    #[error(
        "weight file: layer {layer}, channel {channel}: expected sums of at most {}, found up to {found}",
        i32::MAX
    )]
    Sums {
        /// Name of the layer.
        layer: String,
        /// The output channel.
        channel: usize,
        /// The bias and, for inputs that are as far from their zero point as possible, the products, all without their sign.
        found: u64,
    },
}

impl FileError {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            FileError::Version { .. } | FileError::Arithmetic { .. } | FileError::Element { .. } => {
                ErrorKind::Unsupported
            }
            FileError::Foreign { .. }
            | FileError::Truncated { .. }
            | FileError::TrailingBytes { .. }
            | FileError::NotZero { .. }
            | FileError::Checksum { .. }
            | FileError::Header { .. }
            | FileError::LayerCount { .. }
            | FileError::TensorCount { .. }
            | FileError::TensorEntry { .. }
            | FileError::UnusedLane { .. }
            | FileError::NotFinite { .. }
            | FileError::Value { .. }
            | FileError::Factor { .. }
            | FileError::Sums { .. } => ErrorKind::InvalidFile,
        }
    }
}
