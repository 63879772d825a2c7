//! Memory that starts on a cache line.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::Error;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A fixed-length `[u8]` aligned to 64 bytes, zeroed at birth: memory whose parts have element types of their own.
///
/// Large ones come from the operating system as pages of zeros that nobody has written to: memory that is not used costs nothing.
#[derive(Default)]
pub struct AlignedBytes {
    /// Up to a line of slack lets the bytes start on one.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub fn try_zeroed(len: usize) -> Result<Self, Error> {
        // Not `vec![0; len]`, which aborts where this fails; both get zeroed pages instead of writing zeros.
        let bytes = len.checked_add(LINE - 1).and_then(|n| bytemuck::allocation::try_zeroed_vec(n).ok());
        let bytes: Vec<u8> = bytes.ok_or(Error::Memory { bytes: len })?;
        let start = (bytes.as_ptr() as usize).wrapping_neg() % LINE;
        Ok(AlignedBytes { bytes, start, len })
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({})", self.len)
    }
}

/// A fixed-length `[f32]` aligned to 64 bytes, zeroed at birth, in [`AlignedBytes`].
#[derive(Default)]
pub struct AlignedBuf {
    bytes: AlignedBytes,
}

impl AlignedBuf {
    /// `len` zeros.
    ///
    /// # Panics
    /// When the machine has no memory for them: [`try_zeroed`](Self::try_zeroed) is for lengths that somebody else chose.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).expect("memory for a buffer")
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub fn try_zeroed(len: usize) -> Result<Self, Error> {
        let bytes = len.saturating_mul(size_of::<f32>());
        Ok(AlignedBuf { bytes: AlignedBytes::try_zeroed(bytes)? })
    }

    /// The same memory as bytes (`4 * len` of them).
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same memory as bytes, to be written.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Clone for AlignedBuf {
    /// A copy at its own address, aligned there.
    fn clone(&self) -> Self {
        AlignedBuf::from(&self[..])
    }
}

impl From<&[f32]> for AlignedBuf {
    fn from(values: &[f32]) -> Self {
        let mut buf = AlignedBuf::zeroed(values.len());
        buf.copy_from_slice(values);
        buf
    }
}

impl Deref for AlignedBuf {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // An empty default lies nowhere, aligned or not.
        if self.bytes.bytes.is_empty() { &[] } else { bytemuck::cast_slice(&self.bytes) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        if self.bytes.bytes.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(&mut self.bytes) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} f32)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_exactly_as_long_as_asked() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buf = AlignedBuf::zeroed(len);
            buf.fill(1.0);
            for buf in [AlignedBuf::zeroed(len), buf.clone()] {
                assert_eq!(buf.len(), len);
                assert_eq!(buf.as_ptr() as usize % 64, 0);
                assert_eq!(buf.as_bytes().len(), 4 * len);
            }
            assert!(AlignedBuf::zeroed(len).iter().all(|&v| v == 0.0));
        }
    }

    #[test]
    fn a_default_is_empty() {
        let mut buf = AlignedBuf::default();
        assert!(buf.is_empty() && buf.as_bytes().is_empty() && buf.iter_mut().next().is_none());
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        for floats in [usize::MAX, usize::MAX / 4, 1_usize.checked_shl(60).unwrap_or(1 << 30)] {
            let bytes = floats.saturating_mul(4);
            assert_eq!(AlignedBuf::try_zeroed(floats).unwrap_err(), Error::Memory { bytes });
        }
    }
}
