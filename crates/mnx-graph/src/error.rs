//! What can be wrong with a spec, a file or an inference.

#[cfg(feature = "convert")]
mod checkpoint;
mod file;
#[cfg(feature = "onnx")]
mod onnx;
mod quantize;

#[cfg(feature = "convert")]
pub use checkpoint::CheckpointError;
pub use file::FileError;
#[cfg(feature = "onnx")]
pub use onnx::OnnxError;
pub use quantize::QuantizeError;

use std::fmt;
use std::path::{Path, PathBuf};

use mnx_tensor::ErrorKind;

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape, or a choice of ISA.
    #[error(transparent)]
    Tensor(#[from] mnx_tensor::Error),
    /// An input that the network does not take.
    #[error("input: expected N x {channels} x H x W with N, H and W at least 1, found {}", shape(*found))]
    Input {
        /// Channels of the network's input.
        channels: usize,
        /// The shape.
        found: [usize; 4],
    },
    /// An average pool in int8 over a plane of this size, which would not be exact.
    #[error("average pool of {height} x {width} in int8: expected {expected}, found {found}")]
    Average {
        /// Rows of the plane.
        height: usize,
        /// Columns.
        width: usize,
        /// What is allowed.
        expected: &'static str,
        /// What it would come to.
        found: String,
    },
    /// A session's number of threads.
    #[error("threads: expected 1 to {most}, found {found}")]
    Threads {
        /// The largest number, 1 without the feature `rayon`.
        most: usize,
        /// The number.
        found: usize,
    },
    /// The system starts no more threads.
    #[error("threads: expected the system to start {helpers} helpers, found: {source}")]
    Pool {
        /// Threads besides the calling one.
        helpers: usize,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A detector where a classifier belongs.
    #[error("{wanted}: expected a classifier, found a detector, which has boxes, not classes")]
    ExpectedClassifier {
        /// What was to be made of it.
        wanted: &'static str,
    },
    /// A field of a network spec has a value that no network can have.
    #[error("spec: expected `{field}` to be {expected}, found {found}")]
    Spec {
        /// Path of the field, e.g. `stages[2].stride`.
        field: String,
        /// Which values are allowed.
        expected: String,
        /// The value.
        found: String,
    },
    /// Mean and deviation of pixels of 0…255, where those of pixels in 0…1 belong.
    #[error(
        "preprocessing: expected mean and std of pixels in 0…1, found {}; divided by 255 they are {}",
        pair(found),
        pair(meant)
    )]
    PixelRange {
        /// Mean and deviation, per channel R, G, B.
        found: [[f32; 3]; 2],
        /// What they are for pixels in 0…1.
        meant: [[f32; 3]; 2],
    },
    /// Something would be larger than [`Limits`](crate::Limits) allows.
    #[error("{what}: expected at most {limit}, found {found}")]
    Limit {
        /// What was counted, and where.
        what: String,
        /// The largest count that is allowed.
        limit: u64,
        /// The count, or a lower bound of it where counting stopped early.
        found: u64,
    },
    /// A stage table is no JSON, or lacks a field, or has one that is unknown or of the wrong type.
    #[error("stage table{}: {message}", .field.as_ref().map(|f| format!(", field `{f}`")).unwrap_or_default())]
    StageTable {
        /// Key of the value that could not be read, where the message does not name it.
        field: Option<String>,
        /// What is wrong, with its line and column.
        message: String,
    },
    /// A weight file at this path; what is wrong with it is inside.
    #[error(transparent)]
    InFile(#[from] InFile),
    /// The operating system could not open, read or write.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The content of a weight file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a checkpoint.
    #[cfg(feature = "convert")]
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The content of an ONNX model.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// What cannot be quantised.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A file that is known, but of another kind.
    #[error("{expected}: expected {}, found {found}: {}", .expected.form(), found.advice(*expected))]
    WrongKind {
        /// What was wanted.
        expected: crate::Wanted,
        /// What it is.
        found: crate::FileKind,
    },
    /// Weights that do not fit their layer.
    #[error("tensor {tensor}: {error}")]
    Conv {
        /// Name of the tensor.
        tensor: String,
        /// What does not fit.
        error: mnx_conv::Error,
    },
    /// The machine did not give this much memory.
    #[error("expected {bytes} bytes of memory for {what}, found less")]
    Memory {
        /// What was to be held.
        what: &'static str,
        /// How many bytes.
        bytes: u64,
    },
    /// A [`Stopper`](crate::Stopper) ended the inference before it was complete. The session can run again after
    /// [`resume`](crate::Stopper::resume).
    #[error("inference: expected it to run to its end, found that another thread has stopped it")]
    Stopped,
}

impl Error {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Tensor(error) => error.kind(),
            Error::Conv { error, .. } => error.kind(),
            Error::InFile(file) => file.kind(),
            Error::Io(error) => error.into(),
            Error::Pool { .. } => ErrorKind::Io,
            Error::File(error) => error.kind(),
            #[cfg(feature = "convert")]
            Error::Checkpoint(error) => error.kind(),
            #[cfg(feature = "onnx")]
            Error::Onnx(error) => error.kind(),
            Error::Quantize(error) => error.kind(),
            Error::WrongKind { .. } => ErrorKind::InvalidFile,
            Error::Input { .. }
            | Error::ExpectedClassifier { .. }
            | Error::Average { .. }
            | Error::Threads { .. }
            | Error::Spec { .. }
            | Error::PixelRange { .. }
            | Error::StageTable { .. } => ErrorKind::InvalidInput,
            Error::Limit { .. } => ErrorKind::Limit,
            Error::Memory { .. } => ErrorKind::Memory,
            Error::Stopped => ErrorKind::Stopped,
        }
    }
}

/// What is wrong with a file, and where the file is. Its [source](std::error::Error::source) is the system's error, where
/// there is one.
#[derive(Debug)]
#[non_exhaustive]
pub struct InFile {
    /// Where the file is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: Box<Error>,
}

impl InFile {
    pub(crate) fn new(path: &Path, error: Error) -> Self {
        InFile { path: path.into(), error: Box::new(error) }
    }

    fn kind(&self) -> ErrorKind {
        match self.error.kind() {
            // The input was the file.
            ErrorKind::InvalidInput => ErrorKind::InvalidFile,
            kind => kind,
        }
    }
}

impl fmt::Display for InFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for InFile {
    /// That of the error inside, whose own words are in this one's.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// `1`, `1 or 2`, `1, 2 or 3`.
fn one_of(items: &[impl std::fmt::Display]) -> String {
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        let before = match i {
            0 => "",
            _ if i + 1 == items.len() => " or ",
            _ => ", ",
        };
        text.push_str(before);
        text.push_str(&item.to_string());
    }
    text
}

fn shape([n, c, h, w]: [usize; 4]) -> String {
    format!("{n} x {c} x {h} x {w}")
}

/// Mean and deviation as flags take them.
fn pair([mean, std]: &[[f32; 3]; 2]) -> String {
    let three = |values: &[f32; 3]| values.map(|v| v.to_string()).join(",");
    format!("{} and {}", three(mean), three(std))
}
