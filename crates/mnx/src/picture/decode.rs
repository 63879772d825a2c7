//! Decodes the bytes of a picture file into upright red, green and blue bytes.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use super::{bmp, gif, jpeg, orientation, tiff, webp};
use crate::{Error, Picture, PictureFormat, PictureLimits};

/// Most bytes that a decoder may allocate besides the pixels, for palettes, metadata and tables. A colour profile that
/// unpacks to more is an attack.
const DECODER_BYTES: u64 = 64 << 20;

/// What errors call a picture that did not come from a file.
const NO_NAME: &str = "picture";

impl Picture {
    /// Reads a picture file and decodes it as [`decode`](Self::decode) does, with the default [`PictureLimits`].
    ///
    /// # Errors
    /// [`Error::ReadPicture`] if the file cannot be read. Otherwise as [`decode`](Self::decode); errors name the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &PictureLimits::default())
    }

    /// As [`open`](Self::open), with limits of your own.
    ///
    /// # Errors
    /// As [`open`](Self::open); and [`Error::PictureBytes`] if the file is longer than the limit.
    pub fn open_with(path: impl AsRef<Path>, limits: &PictureLimits) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = read(path, limits.file_bytes)?;
        decode(&bytes, &path.display().to_string(), limits)
    }

    /// Decodes the bytes of a picture file with the default [`PictureLimits`]: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM. The
    /// content tells the format ([`PictureFormat`]). If there are several frames or pages, the first one is decoded.
    ///
    /// - Orientation: EXIF's is applied, or XMP's if EXIF has none.
    /// - Alpha is dropped, not mixed with a background: a transparent pixel has the colour that is stored for it.
    /// - Grey becomes three equal channels.
    /// - From channels of 16 bits the high 8 are kept.
    /// - Colour profiles are ignored.
    /// - JPEG: pixels are as libjpeg-turbo makes them, or there is an error.
    ///
    /// Some files do not have all their pixels. The others are as in Pillow:
    /// - GIF, where the first frame leaves the screen uncovered: the palette's transparent colour, or else colour number 0.
    /// - Animated WebP, around the first frame: black.
    /// - BMP, where run lengths skip pixels: colour number 0.
    ///
    /// # Errors
    /// - [`Error::NoPicture`] if the bytes are none of the formats.
    /// - [`Error::PicturePixels`] if the header claims too many pixels.
    /// - [`Error::BadPicture`] if the picture is cut off, damaged or of a kind that is not decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_with(bytes, &PictureLimits::default())
    }

    /// As [`decode`](Self::decode), with limits of your own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with(bytes: &[u8], limits: &PictureLimits) -> Result<Self, Error> {
        decode(bytes, NO_NAME, limits)
    }
}

/// Reads the whole file, unless it is longer than `limit`. (A device may never end.)
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(Error::ReadPicture { path: path.into(), source }),
        Ok(length) if length as u64 > limit => Err(Error::PictureBytes { path: path.into(), limit }),
        Ok(_) => Ok(bytes),
    }
}

/// Why a file of a known format has no pixels.
pub(super) enum Refusal {
    /// The header claims more pixels than are allowed.
    TooLarge { width: u32, height: u32 },
    /// What is wrong with the file.
    Found(String),
}

impl From<String> for Refusal {
    fn from(found: String) -> Self {
        Refusal::Found(found)
    }
}

fn decode(bytes: &[u8], name: &str, limits: &PictureLimits) -> Result<Picture, Error> {
    let format = known(bytes, name)?;
    let decoded = match format {
        PictureFormat::Jpeg => jpeg::decode(bytes, limits.pixels),
        PictureFormat::Gif => gif::decode(bytes, limits.pixels),
        _ => others(bytes, format, limits.pixels),
    };
    let (stored, orientation) = decoded.map_err(|refusal| match refusal {
        Refusal::TooLarge { width, height } => {
            Error::PicturePixels { name: name.into(), limit: limits.pixels, width, height }
        }
        Refusal::Found(found) => Error::BadPicture { name: name.into(), format: format.name(), found },
    })?;
    let mut upright = DynamicImage::ImageRgb8(stored);
    upright.apply_orientation(orientation);
    let upright = upright.into_rgb8();
    let (width, height) = upright.dimensions();
    Picture::from_rgb8(upright.into_raw(), width as usize, height as usize)
}

/// The format by the first bytes, if it is one that is decoded.
fn known(bytes: &[u8], name: &str) -> Result<PictureFormat, Error> {
    let found = match PictureFormat::of(bytes) {
        Some(format) if format.is_decoded() => return Ok(format),
        Some(format) => {
            let article = if format.name().starts_with(['A', 'I', 'O', 'S']) { "an" } else { "a" };
            format!("{article} {} picture", format.name())
        }
        None if bytes.is_empty() => "an empty file".into(),
        None => {
            let start = &bytes[..bytes.len().min(12)];
            format!("content that begins with \"{}\"", start.escape_ascii())
        }
    };
    Err(Error::NoPicture { name: name.into(), found })
}

/// The formats whose decoders `image` drives.
fn others(bytes: &[u8], format: PictureFormat, most_pixels: u64) -> Result<(RgbImage, Orientation), Refusal> {
    let (bytes, numbered) = match format {
        PictureFormat::WebP => (webp::prepare(bytes)?, None),
        PictureFormat::Tiff => (tiff::check(bytes)?, None),
        PictureFormat::Bmp => bmp::prepare(bytes),
        _ => (bytes.into(), None),
    };
    let decoder = match format {
        PictureFormat::Png => ImageFormat::Png,
        PictureFormat::WebP => ImageFormat::WebP,
        PictureFormat::Bmp => ImageFormat::Bmp,
        PictureFormat::Tiff => ImageFormat::Tiff,
        PictureFormat::Pnm => ImageFormat::Pnm,
        other => return Err(format!("no decoder for {}", other.name()).into()),
    };
    let mut reader = ImageReader::with_format(Cursor::new(&bytes[..]), decoder);
    reader.limits(allocations(DECODER_BYTES.saturating_add(row_bytes(&bytes, format, most_pixels))));
    let mut decoder = reader.into_decoder().map_err(reason)?;
    let (width, height) = decoder.dimensions();
    let pixels = within(most_pixels, width, height)?;
    let orientation = orientation::of(&mut decoder);
    let frame_bytes = pixels.saturating_mul(8).saturating_add(DECODER_BYTES);
    decoder.set_limits(allocations(frame_bytes)).map_err(reason)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(reason)?;
    let mut picture = to_rgb8(decoded)?;
    if let Some(numbered) = numbered {
        numbered.colour(&mut picture);
    }
    Ok((picture, orientation))
}

/// The number of pixels. Refused if there are none or too many.
pub(super) fn within(most_pixels: u64, width: u32, height: u32) -> Result<u64, Refusal> {
    match u64::from(width) * u64::from(height) {
        0 => Err(format!("{width} x {height} pixels").into()),
        pixels if pixels > most_pixels => Err(Refusal::TooLarge { width, height }),
        pixels => Ok(pixels),
    }
}

fn allocations(bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

/// Most bytes of a PNG's row. The decoder asks for this before it tells the width.
fn row_bytes(bytes: &[u8], format: PictureFormat, most_pixels: u64) -> u64 {
    match (format, bytes.get(16..20)) {
        (PictureFormat::Png, Some(&[a, b, c, d])) => {
            u64::from(u32::from_be_bytes([a, b, c, d])).min(most_pixels).saturating_mul(8)
        }
        _ => 0,
    }
}

/// The decoder's message on one line.
fn reason(error: ImageError) -> Refusal {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends too early".to_owned().into()
        }
        other => one_line(other).into(),
    }
}

pub(super) fn one_line(error: impl std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replicates grey, drops alpha, and keeps the high byte of 16 bits. (The conversions of `image` round 16 bits, which gives a
/// different picture.)
fn to_rgb8(decoded: DynamicImage) -> Result<RgbImage, String> {
    let (width, height) = (decoded.width(), decoded.height());
    let high = |value: u16| (value >> 8) as u8;
    let pixels = match decoded {
        DynamicImage::ImageRgb8(rgb) => return Ok(rgb),
        DynamicImage::ImageRgba8(rgba) => drop_fourth(rgba.into_raw()),
        DynamicImage::ImageLuma8(grey) => grey.iter().flat_map(|&v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(grey) => grey.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLuma16(grey) => grey.iter().flat_map(|&v| [high(v); 3]).collect(),
        DynamicImage::ImageLumaA16(grey) => grey.chunks_exact(2).flat_map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(rgba) => {
            rgba.chunks_exact(4).flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect()
        }
        other => return Err(format!("pixels of the kind {:?}", other.color())),
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| "fewer pixels than the header says".into())
}

/// Drops every fourth byte, in place to save a second copy of a large picture.
fn drop_fourth(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for i in 0..count {
        pixels.copy_within(4 * i..4 * i + 3, 3 * i);
    }
    pixels.truncate(3 * count);
    pixels.shrink_to_fit();
    pixels
}
