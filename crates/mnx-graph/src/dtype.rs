//! The type in which a classifier's weights are stored.

use std::fmt;
use std::str::FromStr;

use mnx_tensor::{Element, half, memory};

use crate::Error;
use crate::spec::named;

/// The type in which a weight file holds the weights of its classifier, the one layer whose speed is that of the memory its
/// weights come from.
///
/// Types of 16 bits halve the memory that is read and cost accuracy: weights are rounded once, to the nearest, ties to even,
/// when the file is made. An inference widens them exactly and computes in f32, so the logits have the bits of an f32
/// classifier whose weights were rounded first. [`F16`](ClassifierDtype::F16) is eight times as exact as
/// [`Bf16`](ClassifierDtype::Bf16) and holds nothing above 65,504.
///
/// ```
/// # use mnx_graph as mnx;
/// use mnx::ClassifierDtype;
///
/// # fn main() -> Result<(), mnx_graph::Error> {
/// assert_eq!("f16".parse::<ClassifierDtype>()?, ClassifierDtype::F16);
/// assert_eq!(ClassifierDtype::default().name(), "f32");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClassifierDtype {
    /// As every other weight.
    #[default]
    F32,
    /// The upper half of an f32: 8 significant bits, f32's range.
    Bf16,
    /// IEEE 754 half precision: 11 significant bits for magnitudes from 2⁻¹⁴ to 65,504, below that multiples of 2⁻²⁴.
    F16,
}

impl ClassifierDtype {
    /// Every type.
    pub const ALL: &'static [ClassifierDtype] = &[ClassifierDtype::F32, ClassifierDtype::Bf16, ClassifierDtype::F16];

    /// Its name in weight files and on the command line.
    pub fn name(self) -> &'static str {
        self.element().name()
    }

    /// The type of the stored elements.
    pub fn element(self) -> Element {
        match self {
            ClassifierDtype::F32 => Element::F32,
            ClassifierDtype::Bf16 => Element::Bf16,
            ClassifierDtype::F16 => Element::F16,
        }
    }

    /// The bits of the nearest numbers of 16 bits. `None` of f32.
    pub(crate) fn narrowed(self, weights: &[f32]) -> Option<Result<Vec<u16>, mnx_tensor::Error>> {
        let narrow = match self {
            ClassifierDtype::F32 => return None,
            ClassifierDtype::Bf16 => half::f32_to_bf16,
            ClassifierDtype::F16 => half::f32_to_f16,
        };
        Some(memory::collect(weights.iter().map(|&weight| narrow(weight)), weights.len()))
    }

    /// The bits of an infinity: numbers of 16 bits that have them all set are not finite.
    pub(crate) fn infinity(self) -> u16 {
        if self == ClassifierDtype::F16 { 0x7c00 } else { 0x7f80 }
    }

    /// A number of 16 bits as f32.
    pub(crate) fn widen(self, bits: u16) -> f32 {
        if self == ClassifierDtype::F16 { half::f16_to_f32(bits) } else { half::bf16_to_f32(bits) }
    }
}

impl fmt::Display for ClassifierDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ClassifierDtype {
    type Err = Error;

    /// The type of this [name](ClassifierDtype::name).
    fn from_str(text: &str) -> Result<ClassifierDtype, Error> {
        named("classifier dtype", ClassifierDtype::ALL, "f32, bf16 or f16", text)
    }
}
