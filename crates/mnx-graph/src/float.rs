//! Floating-point numbers as checkpoints and ONNX models store them.

use mnx_tensor::{Error, half, memory};

/// The type of stored numbers.
#[derive(Clone, Copy)]
pub(crate) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// Little-endian numbers as f64, which holds each of them exactly.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is no memory for them.
    pub(crate) fn exact(self, bytes: &[u8]) -> Result<Vec<f64>, Error> {
        let (pairs, fours, eights) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0, bytes.as_chunks::<8>().0);
        let of_pairs = |widen: fn(u16) -> f32| {
            memory::collect(pairs.iter().map(|&b| f64::from(widen(u16::from_le_bytes(b)))), pairs.len())
        };
        match self {
            Float::F16 => of_pairs(half::f16_to_f32),
            Float::Bf16 => of_pairs(half::bf16_to_f32),
            Float::F32 => memory::collect(fours.iter().map(|&b| f64::from(f32::from_le_bytes(b))), fours.len()),
            Float::F64 => memory::collect(eights.iter().map(|&b| f64::from_le_bytes(b)), eights.len()),
        }
    }
}
