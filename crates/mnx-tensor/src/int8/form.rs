//! The forms in which kernels read what an int8 layer multiplies.

use crate::PANEL;

/// Input channels that one dot product takes together.
pub const GROUP: usize = 4;

/// The form in which a kernel reads weights and inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// u8 inputs times i8 weights, four at a time.
    Bytes,
    /// i8 inputs, which are `q − 128`, times i8 weights, four at a time.
    SignedBytes,
    /// As `SignedBytes`, but in pairs: the first pair of sixteen channels, then the second.
    SignedPairs,
    /// i16 inputs times i16 weights, in pairs.
    Words,
}

impl Products {
    /// What is taken from a u8 before it is multiplied.
    pub(super) fn offset(self) -> i32 {
        match self {
            Products::Bytes | Products::Words => 0,
            Products::SignedBytes | Products::SignedPairs => 128,
        }
    }
}

/// The form of weights, bias and factors that a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it multiplies.
    pub products: Products,
    /// Which of a panel's channels each of its sixteen sums is for.
    pub order: [u8; PANEL],
}

/// Sums in the order of the channels.
pub(crate) const NATURAL: [u8; PANEL] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Elements of a block's taps as a depthwise kernel reads them: for a first and a second output row, three columns, sixteen
/// channels, four rows.
pub(crate) const TAPS: usize = 2 * 3 * PANEL * GROUP;
