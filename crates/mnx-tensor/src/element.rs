//! What tensors are made of, and what layers compute with.

use std::fmt;

/// The type of a tensor's elements.
///
/// ```
/// # use mnx_tensor as mnx;
/// use mnx::Element;
///
/// assert_eq!(Element::parse("i8"), Some(Element::I8));
/// assert_eq!((Element::I32.name(), Element::I32.size()), ("i32", 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Element {
    /// IEEE 754 single precision.
    F32,
    /// The upper half of an f32: as many exponents, 7 bits of fraction. Weights that are widened to f32 as they are read.
    Bf16,
    /// IEEE 754 half precision: up to 65,504, 10 bits of fraction. Weights that are widened to f32 as they are read.
    F16,
    /// Unsigned byte: activations in [`Arithmetic::Int8`].
    U8,
    /// Signed byte: weights in [`Arithmetic::Int8`].
    I8,
    /// Signed 32 bits: biases and sums in [`Arithmetic::Int8`].
    I32,
}

impl Element {
    /// Every element type.
    pub const ALL: &'static [Element] =
        &[Element::F32, Element::Bf16, Element::F16, Element::U8, Element::I8, Element::I32];

    /// Its name in weight files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
            Element::F16 => "f16",
            Element::U8 => "u8",
            Element::I8 => "i8",
            Element::I32 => "i32",
        }
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::Bf16 | Element::F16 => 2,
            Element::U8 | Element::I8 => 1,
        }
    }

    /// The element type of this [name](Element::name).
    pub fn parse(name: &str) -> Option<Element> {
        Element::ALL.iter().copied().find(|element| element.name() == name)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The numbers that a layer computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Arithmetic {
    /// f32 throughout.
    F32,
    /// u8 activations times i8 weights, summed exactly in i32 from an i32 bias on.
    Int8,
}

impl Arithmetic {
    /// Every arithmetic.
    pub const ALL: &'static [Arithmetic] = &[Arithmetic::F32, Arithmetic::Int8];

    /// Its name in weight files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::Int8 => "int8",
        }
    }

    /// The type in which layers have their weights unless a file says otherwise: see [`PackedWeights`](crate::PackedWeights).
    pub fn weights(self) -> Element {
        match self {
            Arithmetic::F32 => Element::F32,
            Arithmetic::Int8 => Element::I8,
        }
    }

    /// The arithmetic of this [name](Arithmetic::name).
    pub fn parse(name: &str) -> Option<Arithmetic> {
        Arithmetic::ALL.iter().copied().find(|arithmetic| arithmetic.name() == name)
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back_and_others_are_not() {
        for &element in Element::ALL {
            assert_eq!(Element::parse(element.name()), Some(element));
        }
        for &arithmetic in Arithmetic::ALL {
            assert_eq!(Arithmetic::parse(arithmetic.name()), Some(arithmetic));
        }
        for name in ["", "F32", "f8", "int8 "] {
            assert_eq!((Element::parse(name), Arithmetic::parse(name)), (None, None), "{name}");
        }
    }

    #[test]
    fn sizes_are_those_of_rust() {
        let half = size_of::<u16>();
        let sizes = [size_of::<f32>(), half, half, size_of::<u8>(), size_of::<i8>(), size_of::<i32>()];
        assert_eq!(Element::ALL.iter().map(|element| element.size()).collect::<Vec<_>>(), sizes);
    }
}
