//! Packed weights of f32 layers, in the type in which they are stored.

use std::borrow::Cow;

use crate::{Element, Error, half, memory};

/// Packed weights of a layer that computes in f32.
///
/// Those of 16 bits take half the memory and half the time to read. A kernel widens each to f32, exactly, before it
/// multiplies: the outputs have the bits that [`widened`](PackedWeights::widened) weights give.
///
/// ```
/// # use mnx_tensor as mnx;
/// use mnx::{Element, PackedWeights};
///
/// // 0.1 and -3.
/// let packed = [0x2e66, 0xc200];
/// let weights = PackedWeights::F16(&packed);
/// assert_eq!((weights.element(), weights.bytes().len()), (Element::F16, 4));
/// assert_eq!(weights.widened()?[..], [0.099975586, -3.0]);
/// # Ok::<(), mnx_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PackedWeights<'w> {
    /// As they are multiplied.
    F32(&'w [f32]),
    /// The bits of bf16 numbers. Only a [linear](crate::Operation::Linear) layer has them.
    Bf16(&'w [u16]),
    /// The bits of f16 numbers. Only a [linear](crate::Operation::Linear) layer has them.
    F16(&'w [u16]),
}

impl<'w> PackedWeights<'w> {
    /// Of bytes in memory. `None` for a type that no f32 layer's weights have, and for bytes that are no whole elements or not
    /// aligned as these are.
    pub fn of(element: Element, bytes: &'w [u8]) -> Option<Self> {
        match element {
            Element::F32 => bytemuck::try_cast_slice(bytes).ok().map(PackedWeights::F32),
            Element::Bf16 => bytemuck::try_cast_slice(bytes).ok().map(PackedWeights::Bf16),
            Element::F16 => bytemuck::try_cast_slice(bytes).ok().map(PackedWeights::F16),
            _ => None,
        }
    }

    /// The type in which they are stored.
    pub fn element(&self) -> Element {
        match self {
            PackedWeights::F32(_) => Element::F32,
            PackedWeights::Bf16(_) => Element::Bf16,
            PackedWeights::F16(_) => Element::F16,
        }
    }

    /// How many there are, unused lanes included.
    pub fn len(&self) -> usize {
        match self {
            PackedWeights::F32(weights) => weights.len(),
            PackedWeights::Bf16(weights) | PackedWeights::F16(weights) => weights.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As they lie in memory.
    pub fn bytes(&self) -> &'w [u8] {
        match self {
            PackedWeights::F32(weights) => bytemuck::cast_slice(weights),
            PackedWeights::Bf16(weights) | PackedWeights::F16(weights) => bytemuck::cast_slice(weights),
        }
    }

    /// The f32 numbers that are multiplied, in the same order.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is no memory for them.
    pub fn widened(&self) -> Result<Cow<'w, [f32]>, Error> {
        let all = |weights: &[u16], widen: fn(u16) -> f32| {
            memory::collect(weights.iter().map(|&bits| widen(bits)), weights.len())
        };
        Ok(match self {
            PackedWeights::F32(weights) => Cow::Borrowed(weights),
            PackedWeights::Bf16(weights) => Cow::Owned(all(weights, half::bf16_to_f32)?),
            PackedWeights::F16(weights) => Cow::Owned(all(weights, half::f16_to_f32)?),
        })
    }
}
