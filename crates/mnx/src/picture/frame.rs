//! Borrowed pixels.

use super::nv12::{Chroma, Yuv};
use crate::Error;

/// What the bytes of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PixelFormat {
    Rgb8,
    Rgba8,
    Bgr8,
    Bgra8,
    Grey8,
    /// The luma of NV12; its chroma is elsewhere.
    Nv12,
}

impl PixelFormat {
    /// Bytes of a pixel in a row.
    pub(crate) fn bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
            PixelFormat::Grey8 | PixelFormat::Nv12 => 1,
        }
    }

    /// Which of three resized bytes are red, green and blue.
    pub(crate) fn order(self) -> [usize; 3] {
        match self {
            PixelFormat::Bgr8 | PixelFormat::Bgra8 => [2, 1, 0],
            _ => [0, 1, 2],
        }
    }
}

/// A borrowed picture of 8-bit pixels, as a camera or a video decoder hands it over.
///
/// Rows run from top to bottom and start `stride` bytes apart. Bytes between the end of a row and the start of the next are
/// never read. The last row may end with its last pixel.
///
/// | frame | bytes of a pixel | as in |
/// | --- | --- | --- |
/// | [`rgb8`](Self::rgb8) | red, green, blue | Pillow, decoders of pictures |
/// | [`rgba8`](Self::rgba8) | red, green, blue, ignored | a canvas of a browser |
/// | [`bgr8`](Self::bgr8) | blue, green, red | OpenCV |
/// | [`bgra8`](Self::bgra8) | blue, green, red, ignored | screens, Windows, macOS |
/// | [`grey8`](Self::grey8) | grey | machine vision |
/// | [`nv12`](Self::nv12) | luma; chroma of 2 x 2 pixels apart | cameras, video decoders |
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
    chroma: Option<Chroma<'a>>,
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

    /// As [`rgb8`](Self::rgb8), of blue, green and red bytes.
    ///
    /// # Errors
    /// As [`rgb8`](Self::rgb8).
    pub fn bgr8(pixels: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        Self::new(pixels, width, height, stride, PixelFormat::Bgr8)
    }

    /// As [`rgba8`](Self::rgba8), of blue, green, red and ignored bytes.
    ///
    /// # Errors
    /// As [`rgb8`](Self::rgb8).
    pub fn bgra8(pixels: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        Self::new(pixels, width, height, stride, PixelFormat::Bgra8)
    }

    /// As [`rgb8`](Self::rgb8), of one byte per pixel, which red, green and blue all are.
    ///
    /// # Errors
    /// As [`rgb8`](Self::rgb8).
    pub fn grey8(pixels: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        Self::new(pixels, width, height, stride, PixelFormat::Grey8)
    }

    /// A frame of video: a plane of luma, a byte per pixel, and a plane of chroma, two bytes (blue, red) per 2 x 2 pixels. Where a
    /// side is odd, the last chroma is that of one row or column. `strides` are those of luma and chroma, in bytes.
    ///
    /// The frame is converted before it is resized: its pixels are those that [`Yuv`] defines.
    ///
    /// ```
    /// # fn main() -> Result<(), mnx::Error> {
    /// // Black and white above, grey below.
    /// let (luma, chroma) = ([16, 235, 126, 126], [128, 128]);
    /// let frame = mnx::Frame::nv12([&luma, &chroma], 2, 2, [2, 2], mnx::Yuv::Bt601)?;
    /// assert_eq!((frame.width(), frame.height()), (2, 2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`rgb8`](Self::rgb8), for either plane.
    pub fn nv12(
        [luma, chroma]: [&'a [u8]; 2],
        width: usize,
        height: usize,
        [stride, chroma_stride]: [usize; 2],
        yuv: Yuv,
    ) -> Result<Self, Error> {
        let frame = Self::new(luma, width, height, stride, PixelFormat::Nv12)?;
        check(chroma, [width.div_ceil(2), height.div_ceil(2)], chroma_stride, 2, " of chroma")?;
        Ok(Frame { chroma: Some(Chroma { bytes: chroma, stride: chroma_stride, yuv }), ..frame })
    }

    fn new(pixels: &'a [u8], width: usize, height: usize, stride: usize, format: PixelFormat) -> Result<Self, Error> {
        let plane = if format == PixelFormat::Nv12 { " of luma" } else { "" };
        check(pixels, [width, height], stride, format.bytes(), plane)?;
        Ok(Frame { pixels, width, height, stride, format, chroma: None })
    }

    /// The pixels of a picture, whose sizes were checked.
    pub(super) fn of_picture(pixels: &'a [u8], width: usize, height: usize) -> Self {
        Frame { pixels, width, height, stride: 3 * width, format: PixelFormat::Rgb8, chroma: None }
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

    /// The frame with its chroma, if that is apart, in red, green and blue bytes, which are written to `room`.
    ///
    /// # Errors
    /// [`TensorError::Memory`](crate::TensorError::Memory) when there is no memory for them.
    pub(crate) fn in_one_plane<'r>(self, room: &'r mut Vec<u8>) -> Result<Frame<'r>, mnx_tensor::Error>
    where
        'a: 'r,
    {
        let Some(chroma) = self.chroma else { return Ok(self) };
        let bytes = self.width.saturating_mul(self.height).saturating_mul(3);
        let more = bytes.saturating_sub(room.len());
        room.try_reserve_exact(more).map_err(|_| mnx_tensor::Error::Memory { bytes })?;
        room.resize(bytes, 0);
        for (y, row) in room.chunks_exact_mut(3 * self.width).enumerate() {
            chroma.convert(self.row(y), y, row);
        }
        Ok(Frame::of_picture(room, self.width, self.height))
    }
}

/// Whether a plane has so many columns and rows of so many bytes each.
fn check(pixels: &[u8], [width, height]: [usize; 2], stride: usize, bytes: usize, of: &str) -> Result<(), Error> {
    let wrong = |expected: String, found: String| Err(Error::Frame { expected, found });
    let fits = |side: usize| side >= 1 && u32::try_from(side).is_ok();
    if !fits(width) || !fits(height) {
        return wrong("sides of 1 to 4294967295 pixels".into(), format!("{width} x {height}"));
    }
    let row = width.checked_mul(bytes);
    let Some(row) = row.filter(|&row| row <= stride) else {
        return wrong(format!("a stride{of} of at least {width} x {bytes} bytes"), format!("{stride}"));
    };
    let needed = (height - 1).checked_mul(stride).and_then(|above| above.checked_add(row));
    if needed.is_none_or(|needed| needed > pixels.len()) {
        let expected = format!("{height} rows{of} of {row} bytes, {stride} bytes apart");
        return wrong(expected, format!("{} bytes", pixels.len()));
    }
    Ok(())
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Frame { width, height, stride, format, .. } = self;
        write!(f, "Frame {{ {format:?}, {width} x {height}, stride: {stride} }}")
    }
}
