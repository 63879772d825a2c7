//! Pictures as pixels: a [`Frame`] borrows raw pixels, a [`Picture`] owns decoded ones.

#[cfg(feature = "image")]
mod bmp;
#[cfg(feature = "image")]
mod decode;
#[cfg(feature = "image")]
mod format;
#[cfg(feature = "image")]
mod gif;
#[cfg(feature = "image")]
mod jpeg;
mod limits;
#[cfg(feature = "image")]
mod memory;
#[cfg(feature = "image")]
mod orientation;
#[cfg(feature = "image")]
mod png;
#[cfg(feature = "image")]
mod reader;
#[cfg(test)]
mod tests;
#[cfg(feature = "image")]
mod tiff;
#[cfg(feature = "image")]
mod turn;
#[cfg(feature = "image")]
mod webp;

#[cfg(feature = "image")]
pub use format::PictureFormat;
pub use limits::PictureLimits;
#[cfg(feature = "image")]
pub use reader::PictureReader;

use crate::Error;

/// What the bytes of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PixelFormat {
    Rgb8,
    Rgba8,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 => 4,
        }
    }
}

/// A borrowed picture of 8-bit pixels, as a camera or a video decoder hands it over.
///
/// Rows run from top to bottom and start `stride` bytes apart. Bytes between the end of a row and the start of the next are
/// never read. The last row may end with its last pixel.
///
/// ```
/// # fn main() -> Result<(), mnx::Error> {
/// // 2 x 2 pixels, rows padded to 8 bytes, the last row short.
/// let pixels = [255, 0, 0, 0, 255, 0, 9, 9, 0, 0, 255, 255, 255, 255];
/// let frame = mnx::Frame::rgb8(&pixels, 2, 2, 8)?;
/// assert_eq!((frame.width(), frame.height()), (2, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pixels: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
}

impl<'a> Frame<'a> {
    /// A frame of red, green and blue bytes. `width` and `height` are in pixels, `stride` is in bytes: `3 * width` if rows
    /// follow each other without a gap.
    ///
    /// # Errors
    /// [`Error::Frame`] if a side is 0 or above 2³² - 1, if the stride is less than a row, or if there are too few bytes for
    /// these sizes.
    pub fn rgb8(pixels: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        Self::new(pixels, width, height, stride, PixelFormat::Rgb8)
    }

    /// As [`rgb8`](Self::rgb8), with an alpha byte after each pixel. Alpha is ignored: colours are taken as they are and never
    /// mixed with a background.
    ///
    /// # Errors
    /// As [`rgb8`](Self::rgb8).
    pub fn rgba8(pixels: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        Self::new(pixels, width, height, stride, PixelFormat::Rgba8)
    }

    fn new(pixels: &'a [u8], width: usize, height: usize, stride: usize, format: PixelFormat) -> Result<Self, Error> {
        let wrong = |expected: String, found: String| Err(Error::Frame { expected, found });
        let fits = |side: usize| side >= 1 && u32::try_from(side).is_ok();
        if !fits(width) || !fits(height) {
            return wrong("sides of 1 to 4294967295 pixels".into(), format!("{width} x {height}"));
        }
        let row = width.checked_mul(format.bytes());
        let Some(row) = row.filter(|&row| row <= stride) else {
            let bytes = format.bytes();
            return wrong(format!("a stride of at least {width} x {bytes} bytes"), format!("{stride}"));
        };
        let needed = (height - 1).checked_mul(stride).and_then(|above| above.checked_add(row));
        if needed.is_none_or(|needed| needed > pixels.len()) {
            let expected = format!("{height} rows of {row} bytes, {stride} bytes apart");
            return wrong(expected, format!("{} bytes", pixels.len()));
        }
        Ok(Frame { pixels, width, height, stride, format })
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    pub(crate) fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of row `y`, without the gap after it.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        &self.pixels[start..start + self.width * self.format.bytes()]
    }
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Frame { width, height, stride, format, .. } = self;
        write!(f, "Frame {{ {format:?}, {width} x {height}, stride: {stride} }}")
    }
}

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
        let Picture { width, height, ref pixels, .. } = *self;
        Frame { pixels, width, height, stride: 3 * width, format: PixelFormat::Rgb8 }
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
