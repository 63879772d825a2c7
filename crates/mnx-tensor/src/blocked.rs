//! The channel-blocked activation layout.

use crate::{Element, Error};

/// Channels that lie side by side in one block.
pub const BLOCK: usize = 8;

/// How the channels of a pixel lie in memory: so many elements side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocking {
    /// What a channel of a pixel is.
    pub element: Element,
    /// Channels of a block.
    pub lanes: usize,
}

impl Blocking {
    /// Eight channels of f32: a vector of AVX2, two of NEON, half of one of AVX-512.
    pub const F32: Blocking = Blocking { element: Element::F32, lanes: BLOCK };

    /// Sixteen channels of u8: as many as a panel has output channels, so that a kernel stores whole blocks.
    pub const U8: Blocking = Blocking { element: Element::U8, lanes: 16 };
    /// Four channels of u8, what one dot product takes together: the picture that an int8 network's first layer reads.
    pub const U8_STEM: Blocking = Blocking { element: Element::U8, lanes: 4 };
    /// Planes of one f32 channel, as in NCHW.
    pub const PLANAR: Blocking = Blocking { element: Element::F32, lanes: 1 };

    /// Bytes of one pixel of a block.
    pub const fn pixel_bytes(self) -> usize {
        self.element.size() * self.lanes
    }
}

/// Shape of one picture's activations in blocks of channels: `[⌈C/lanes⌉][H][W][lanes]`, the channels past C zero.
///
/// Blocks are `plane` bytes apart, which is at least one block's bytes: planes whose size is near a multiple of
/// 4 KiB would otherwise fall on the same few sets of the L1 cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedShape {
    /// How channels lie.
    pub blocking: Blocking,
    /// C.
    pub channels: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// Bytes from one block of channels to the next.
    pub plane: usize,
}

impl BlockedShape {
    /// In blocks of eight f32 channels; see [`of`](BlockedShape::of).
    ///
    /// # Errors
    /// As [`of`](BlockedShape::of).
    pub fn new(channels: usize, height: usize, width: usize) -> Result<Self, Error> {
        BlockedShape::of(Blocking::F32, channels, height, width)
    }

    /// With a plane stride that keeps neighbouring blocks off each other's cache sets.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the bytes cannot be counted.
    pub fn of(blocking: Blocking, channels: usize, height: usize, width: usize) -> Result<Self, Error> {
        let too_large = Error::TooLarge { shape: [1, channels, height, width] };
        let bytes = height.checked_mul(width).and_then(|p| p.checked_mul(blocking.pixel_bytes()));
        let plane = bytes.and_then(padded_plane).ok_or(too_large.clone())?;
        let shape = BlockedShape { blocking, channels, height, width, plane };
        let total = plane.checked_mul(channels.div_ceil(blocking.lanes));
        total.filter(|&bytes| bytes <= isize::MAX as usize).ok_or(too_large)?;
        Ok(shape)
    }

    /// Blocks of channels.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.blocking.lanes)
    }

    /// Bytes in all, with padding.
    pub fn bytes(&self) -> usize {
        self.plane * self.blocks()
    }

    /// Elements in all, with padding.
    pub fn len(&self) -> usize {
        self.bytes() / self.blocking.element.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.channels * self.height * self.width == 0
    }

    /// NCHW values of one picture into this layout, `T` its element; lanes past the last channel become `filler`.
    ///
    /// # Panics
    /// When a slice is shorter than the shape asks for.
    pub fn block<T: Copy>(&self, nchw: &[T], filler: T, blocked: &mut [T]) {
        assert!(blocked.len() >= self.len(), "room for blocks: {} values, expected {}", blocked.len(), self.len());
        let (pixels, lanes) = (self.height * self.width, self.blocking.lanes);
        for (b, plane) in blocked.chunks_mut(self.plane_len().max(1)).take(self.blocks()).enumerate() {
            for lane in 0..lanes {
                let channel = b * lanes + lane;
                for (p, pixel) in plane.chunks_exact_mut(lanes).take(pixels).enumerate() {
                    pixel[lane] = if channel < self.channels { nchw[channel * pixels + p] } else { filler };
                }
            }
        }
    }

    /// The reverse of [`block`](Self::block).
    ///
    /// # Panics
    /// When a slice is shorter than the shape asks for.
    pub fn unblock<T: Copy>(&self, blocked: &[T], nchw: &mut [T]) {
        let (pixels, lanes) = (self.height * self.width, self.blocking.lanes);
        for channel in 0..self.channels {
            let plane = &blocked[channel / lanes * self.plane_len()..];
            for p in 0..pixels {
                nchw[channel * pixels + p] = plane[p * lanes + channel % lanes];
            }
        }
    }

    /// Elements from one block of channels to the next.
    fn plane_len(&self) -> usize {
        self.plane / self.blocking.element.size()
    }
}

/// `bytes` rounded up to cache lines, and one line more where that is a whole number of quarter pages.
fn padded_plane(bytes: usize) -> Option<usize> {
    const LINE: usize = 64;
    const QUARTER_PAGE: usize = 1024;
    let plane = bytes.checked_next_multiple_of(LINE)?;
    // Small planes don't alias: eight blocks of one cover less than a page.
    if plane > QUARTER_PAGE && plane.is_multiple_of(QUARTER_PAGE) { plane.checked_add(LINE) } else { Some(plane) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_round_trips_and_zeroes_the_tail() {
        for (c, h, w) in [(1, 1, 1), (3, 2, 5), (8, 3, 3), (17, 4, 2)] {
            let shape = BlockedShape::new(c, h, w).unwrap();
            let values: Vec<f32> = (0..c * h * w).map(|v| v as f32 + 1.0).collect();
            let mut blocked = vec![f32::NAN; shape.len()];
            shape.block(&values, 0.0, &mut blocked);
            let last = (shape.blocks() - 1) * shape.plane / 4;
            for p in 0..h * w {
                for lane in c - (shape.blocks() - 1) * BLOCK..BLOCK {
                    assert_eq!(blocked[last + p * BLOCK + lane], 0.0);
                }
            }
            let mut back = vec![0.0; values.len()];
            shape.unblock(&blocked, &mut back);
            assert_eq!(back, values);
        }
    }

    #[test]
    #[should_panic(expected = "room for blocks: 8 values, expected 16")]
    fn nothing_is_left_out() {
        BlockedShape::new(2, 1, 1).unwrap().block(&[1.0, 2.0], 0.0, &mut [0.0; 8]);
    }

    #[test]
    fn large_planes_keep_off_page_multiples() {
        let plane = BlockedShape::new(96, 112, 112).unwrap().plane;
        assert!(plane > 112 * 112 * 32 && !plane.is_multiple_of(4096));
        assert_eq!(BlockedShape::new(8, 7, 7).unwrap().plane, 1600);
        assert!(BlockedShape::new(usize::MAX, 2, 2).is_err());
        assert!(BlockedShape::new(8, 1, (1 << (usize::BITS - 3)) - 1).is_err());
    }
}
