//! Pictures as pixels: a [`Frame`] borrows raw pixels, a [`Picture`] owns decoded ones.

#[cfg(feature = "image")]
mod bmp;
#[cfg(feature = "image")]
mod decode;
#[cfg(feature = "image")]
mod format;
mod frame;
#[cfg(feature = "image")]
mod gif;
#[cfg(feature = "image")]
mod jpeg;
mod limits;
#[cfg(feature = "image")]
mod memory;
mod nv12;
#[cfg(feature = "image")]
mod orientation;
#[cfg(feature = "image")]
mod png;
#[cfg(feature = "image")]
mod reader;
#[cfg(feature = "image")]
mod refusal;
#[cfg(feature = "image")]
mod rgb;
#[cfg(test)]
mod tests;
#[cfg(feature = "image")]
mod tiff;
#[cfg(feature = "image")]
mod turn;
#[cfg(feature = "image")]
mod webp;

#[cfg(feature = "image")]
pub use decode::silence_decoders;
#[cfg(feature = "image")]
pub use format::PictureFormat;
pub use frame::Frame;
pub(crate) use frame::PixelFormat;
pub use limits::PictureLimits;
pub use nv12::Yuv;
#[cfg(feature = "image")]
pub use reader::PictureReader;

use crate::Error;

/// An owned, upright picture of red, green and blue bytes. Rows have no gaps.
///
/// ```
/// // Two pixels, red and blue; with the feature `image`, `Picture::open` reads files.
/// let picture = mnx::Picture::from_rgb8(vec![255, 0, 0, 0, 0, 255], 2, 1)?;
/// assert_eq!((picture.width(), picture.height()), (2, 1));
/// # Ok::<(), mnx::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    #[cfg(feature = "image")]
    held: reader::Held,
}

impl Picture {
    /// Makes a picture of `width * height` pixels, row by row, each of red, green and blue bytes.
    ///
    /// # Errors
    /// [`Error::Frame`] if a side is 0 or the number of bytes is not `3 * width * height`.
    pub fn from_rgb8(pixels: Vec<u8>, width: usize, height: usize) -> Result<Self, Error> {
        Frame::rgb8(&pixels, width, height, width.saturating_mul(3))?;
        if pixels.len() != 3 * width * height {
            let expected = format!("{} bytes (3 x {width} x {height})", 3 * width * height);
            return Err(Error::Frame { expected, found: pixels.len().to_string() });
        }
        Ok(Picture {
            width,
            height,
            pixels,
            #[cfg(feature = "image")]
            held: reader::Held::default(),
        })
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The red, green and blue bytes of all pixels, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of [`pixels`](Self::pixels), to change them in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes of [`pixels`](Self::pixels), to keep.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The picture as a borrowed frame.
    pub fn frame(&self) -> Frame<'_> {
        Frame::of_picture(&self.pixels, self.width, self.height)
    }
}

impl<'a> From<&'a Picture> for Frame<'a> {
    fn from(picture: &'a Picture) -> Self {
        picture.frame()
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture {{ {} x {} }}", self.width, self.height)
    }
}
