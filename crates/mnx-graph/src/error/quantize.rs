//! What can be wrong when a network is quantised.

use mnx_tensor::ErrorKind;

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A model that is quantised already. Its f32 weights are lost.
    #[error("quantize: expected an f32 network, found layer {layer} already int8: quantise the file it was made of")]
    AlreadyInt8 {
        /// The first int8 layer.
        layer: String,
    },
    /// A calibration without a picture.
    #[error("quantize: expected a calibration with at least 1 picture, found none")]
    NoPictures,
    /// A value that holds infinity or NaN for a picture.
    #[error("calibration: expected finite numbers in {value}, found {found} at index {index} of picture {picture}")]
    NotFinite {
        /// Name of the value, e.g. `input`.
        value: String,
        /// Which picture of the batch, from 0.
        picture: usize,
        /// Index in the picture's value, `[C, H, W]`.
        index: usize,
        /// The number.
        found: f32,
    },
    /// A calibration, or a session, of a network with other values.
    #[error("calibration: expected the values of one network, found another one's: {value} differs")]
    OtherNetwork {
        /// Name of the first value that is missing or has other channels.
        value: String,
    },
    /// A layer to be kept that the network does not have.
    #[error("keep: expected names of layers or blocks of this network, found {name:?}")]
    Keep {
        /// The name.
        name: String,
    },
    /// No layer is left to quantise.
    #[error("keep: expected at least one layer to quantise, found that all are kept")]
    NothingLeft,
    /// Numbers that no scale of a weight file is large enough for.
    #[error("quantize: expected scales and factors up to 2^64, found larger ones for {what}")]
    TooLarge {
        /// The layer or value.
        what: String,
    },
}

impl QuantizeError {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}
