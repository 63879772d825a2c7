//! Memory that starts on a cache line.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// One cache line: its alignment is what a `Vec` of it inherits.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

// SAFETY: sixteen f32 without padding (64 bytes, align 64); all-zero bits are sixteen zeros.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: as above; every bit pattern is valid, there is no interior mutability and no pointer.
unsafe impl bytemuck::Pod for Line {}

/// A fixed-length `[f32]` aligned to 64 bytes, zeroed at birth.
#[derive(Clone, Default)]
pub struct AlignedBuf {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuf {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        // `vec![zero; n]` of a Pod type asks the allocator for zeroed pages instead of writing them.
        AlignedBuf { lines: bytemuck::allocation::zeroed_vec(len.div_ceil(16)), len }
    }

    /// The same memory as bytes (`4 * len` of them).
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    /// The same memory as bytes, to be written.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self)
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
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} f32)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_exactly_as_long_as_asked() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.len(), len);
            assert_eq!(buf.as_ptr() as usize % 64, 0);
            assert!(buf.iter().all(|&v| v == 0.0));
            assert_eq!(buf.as_bytes().len(), 4 * len);
        }
    }
}
