//! What can be wrong with an ONNX model.

use mnx_tensor::ErrorKind;

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// Bytes that are no ONNX model.
    #[error("ONNX: expected a model, found something else: {message}")]
    Format {
        /// What is wrong with them.
        message: String,
    },
    /// An ONNX model that is no network of mnx as a whole.
    #[error("ONNX: expected {expected}, found {found}")]
    Graph {
        /// What networks have.
        expected: String,
        /// What the model has.
        found: String,
    },
    /// The first operation of an ONNX model that does not fit.
    #[error("ONNX: operation {index}, {operation} `{name}`: expected {expected}, found {found}")]
    Operation {
        /// Its place in the file, from 0.
        index: usize,
        /// What it is, e.g. `Conv`.
        operation: String,
        /// The name that the model gives it.
        name: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl OnnxError {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            OnnxError::Format { .. } => ErrorKind::InvalidFile,
            OnnxError::Graph { .. } | OnnxError::Operation { .. } => ErrorKind::Unsupported,
        }
    }
}
