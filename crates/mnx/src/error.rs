//! What can be wrong between a picture file and the labels.

use std::path::PathBuf;

use mnx_tensor::ErrorKind;

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A spec, a weight file or an inference: the sentence is the engine's own.
    #[error(transparent)]
    Graph(#[from] mnx_graph::Error),
    /// A picture file could not be read.
    #[error("{}: expected a readable picture file, found: {source}", .path.display())]
    ReadPicture {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture file holds more bytes than [`PictureLimits`](crate::PictureLimits) allows.
    #[error("{}: expected a file of at most {limit} bytes, found more", .path.display())]
    PictureBytes {
        /// The file.
        path: PathBuf,
        /// The largest number of bytes that is allowed.
        limit: u64,
    },
    /// The content is none of the formats that are decoded, whatever its name says.
    #[error("{name}: expected a PNG, JPEG, WebP, BMP, GIF, TIFF or PNM picture, found {found}")]
    NoPicture {
        /// The file, or `picture` where there is none.
        name: String,
        /// How the content begins.
        found: String,
    },
    /// A picture's header claims more pixels than [`PictureLimits`](crate::PictureLimits) allows.
    #[error("{name}: expected at most {limit} pixels, found {width} x {height} in the header")]
    PicturePixels {
        /// The file, or `picture` where there is none.
        name: String,
        /// The largest number of pixels that is allowed.
        limit: u64,
        /// Width that the header claims.
        width: u32,
        /// Height that the header claims.
        height: u32,
    },
    /// Decoding a picture would take more memory than [`PictureLimits`](crate::PictureLimits) allows.
    #[error(
        "{name}: expected a picture that takes at most {limit} bytes to decode, found {width} x {height} pixels in the \
         header, which take {bytes}"
    )]
    PictureMemory {
        /// The file, or `picture` where there is none.
        name: String,
        /// The largest number of bytes that is allowed.
        limit: u64,
        /// How many the picture takes.
        bytes: u64,
        /// Width that the header claims.
        width: u32,
        /// Height that the header claims.
        height: u32,
    },
    /// The machine did not give the memory that a picture takes.
    #[error("{name}: out of memory: expected {bytes} bytes to decode it, found less")]
    OutOfMemory {
        /// The file, or `picture` where there is none.
        name: String,
        /// How many bytes decoding takes.
        bytes: u64,
    },
    /// A picture that is cut off, damaged, or of a kind that is not decoded.
    #[error("{name}: expected a complete {format} picture of a kind that can be decoded, found: {found}")]
    BadPicture {
        /// The file, or `picture` where there is none.
        name: String,
        /// Format that the content begins as.
        format: &'static str,
        /// What is wrong with the rest.
        found: String,
    },
    /// Raw pixels whose sizes contradict each other.
    #[error("raw frame: expected {expected}, found {found}")]
    Frame {
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A preprocessing with a value that no picture can be prepared with.
    #[error("preprocessing: expected `{field}` to be {expected}, found {found}")]
    Preprocessing {
        /// Name of the value.
        field: &'static str,
        /// Which values are allowed.
        expected: String,
        /// The value.
        found: String,
    },
    /// A buffer for the network's input of the wrong length.
    #[error("input buffer: expected {expected} elements (3 x resolution x resolution), found {found}")]
    InputLength {
        /// How many elements one prepared picture has.
        expected: usize,
        /// How many the buffer has.
        found: usize,
    },
    /// A classifier's weights, given to a [`Detector`](crate::Detector).
    #[error("network: expected a detector, found a classifier, which needs a Classifier")]
    ExpectedDetector,
    /// An option of a detector that is out of range.
    #[error("detector: expected `{option}` to be {expected}, found {found}")]
    DetectOption {
        /// Name of the option.
        option: &'static str,
        /// Which values are allowed.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Outputs of a detector whose sizes contradict its priors and classes.
    #[error("detector's outputs: expected {expected}, found {found}")]
    Heads {
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A file of labels without one name per class.
    #[error("labels: expected {expected}, found {found}")]
    Labels {
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
    },
}

impl Error {
    /// What a caller does about it.
    ///
    /// ```
    /// let error = mnx::Model::open("absent.mnx").unwrap_err();
    /// assert_eq!(mnx::Error::from(error).kind(), mnx::ErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Graph(error) => error.kind(),
            Error::ReadPicture { source, .. } => source.into(),
            Error::PictureBytes { .. } | Error::PicturePixels { .. } | Error::PictureMemory { .. } => ErrorKind::Limit,
            Error::OutOfMemory { .. } => ErrorKind::Memory,
            Error::NoPicture { .. } | Error::BadPicture { .. } | Error::Labels { .. } => ErrorKind::InvalidFile,
            Error::Frame { .. }
            | Error::Preprocessing { .. }
            | Error::InputLength { .. }
            | Error::ExpectedDetector
            | Error::DetectOption { .. }
            | Error::Heads { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Graph(error.into())
    }
}

impl From<mnx_tensor::Error> for Error {
    fn from(error: mnx_tensor::Error) -> Self {
        Error::Graph(error.into())
    }
}
