//! Decodes the bytes of a picture file into upright red, green and blue bytes.

use std::cell::Cell;
use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::memory::{Door, decoded_bytes};
use super::orientation::swaps_sides;
use super::reader::Held;
use super::refusal::{Refusal, damaged, one_line};
use super::rgb::to_rgb8;
use super::turn::{Decoded, upright};
use super::{bmp, gif, jpeg, orientation, png, tiff, webp};
use crate::{Error, Picture, PictureFormat, PictureLimits, PictureReader};

/// Most bytes that a decoder may allocate for metadata before it tells the size.
const METADATA: u64 = 16 << 20;

/// Most bytes that a decoder keeps of a row's pixel.
const ROW: u64 = 16;

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
        open(path.as_ref(), Door { limits, reader: None })
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
    /// What it takes at its peak, besides the file and some tables, is known from the header and limited by
    /// [`PictureLimits::decoded_bytes`]. Bytes for a pixel:
    ///
    /// | format | bytes |
    /// | --- | --- |
    /// | PNG, GIF, baseline JPEG | 3 |
    /// | progressive JPEG | 6 for halved chroma, 9 for full, 4 to 5 for grey, 11 for CMYK |
    /// | JPEG with a scan for each channel or unusual sampling | 8 to 12 |
    /// | WebP | lossy 5; lossless 8; with alpha or animated 13 |
    /// | BMP, PNM | those of the file's pixels; 3 more for grey and for 16 bits |
    /// | TIFF | twice those of the file's pixels; 3 more for grey and for 16 bits; LZW in tiles 6 at least |
    /// | TIFF of JPEGs | 3, and what a strip or tile takes as a JPEG |
    /// | any that lies on its side | 6, if that is more; if that is too much, it is turned in place, which takes longer |
    ///
    /// Some files do not have all their pixels. The others are as in Pillow:
    /// - GIF, where the first frame leaves the screen uncovered: the palette's transparent colour, or else colour number 0.
    /// - Animated WebP, around the first frame: black.
    /// - BMP, where run lengths skip pixels: colour number 0.
    ///
    /// # Errors
    /// - [`Error::NoPicture`] if the bytes are none of the formats.
    /// - [`Error::PicturePixels`] and [`Error::PictureMemory`] if the header claims too many pixels.
    /// - [`Error::OutOfMemory`] if the machine does not give enough memory.
    /// - [`Error::BadPicture`] if the picture is cut off, damaged or of a kind that is not decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_with(bytes, &PictureLimits::default())
    }

    /// As [`decode`](Self::decode), with limits of your own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with(bytes: &[u8], limits: &PictureLimits) -> Result<Self, Error> {
        decode(bytes, NO_NAME, Door { limits, reader: None })
    }
}

impl PictureReader {
    /// As [`Picture::open_with`], once there is memory.
    ///
    /// # Errors
    /// As [`Picture::open_with`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Picture, Error> {
        open(path.as_ref(), Door { limits: self.limits(), reader: Some(self) })
    }

    /// As [`Picture::decode_with`], once there is memory.
    ///
    /// # Errors
    /// As [`Picture::decode_with`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture, Error> {
        decode(bytes, NO_NAME, Door { limits: self.limits(), reader: Some(self) })
    }
}

fn open(path: &Path, door: Door<'_>) -> Result<Picture, Error> {
    let bytes = read(path, door.limits.file_bytes)?;
    decode(&bytes, &path.display().to_string(), door)
}

/// Reads the whole file, unless it is longer than `limit`. (A device may never end.)
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut fill = || {
        let file = File::open(path)?;
        // Where the length is known, the buffer need not grow.
        let length = file.metadata().map_or(0, |found| found.len()).min(limit);
        bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)
    };
    match fill() {
        Err(source) => Err(Error::ReadPicture { path: path.into(), source }),
        Ok(length) if length as u64 > limit => Err(Error::PictureBytes { path: path.into(), limit }),
        Ok(_) => Ok(bytes),
    }
}

fn decode(bytes: &[u8], name: &str, door: Door<'_>) -> Result<Picture, Error> {
    let format = known(bytes, name)?;
    let decoded = of_decoder(|| match format {
        PictureFormat::Png => png::decode(bytes, door),
        PictureFormat::Jpeg => jpeg::decode(bytes, door),
        PictureFormat::Gif => gif::decode(bytes, door),
        _ => others(bytes, format, door),
    });
    let upright = decoded.and_then(|decoded| {
        let upright = upright(decoded.picture, decoded.orientation, door)?;
        Ok((upright, decoded.turn))
    });
    let (upright, turn) = upright.map_err(|refusal| {
        let name = name.into();
        match refusal {
            Refusal::TooLarge { width, height } => {
                Error::PicturePixels { name, limit: door.limits.pixels, width, height }
            }
            Refusal::TooMuch { width, height, bytes } => {
                Error::PictureMemory { name, limit: door.limits.decoded_bytes, bytes, width, height }
            }
            Refusal::Memory { bytes } => Error::OutOfMemory { name, bytes },
            Refusal::Found(found) => Error::BadPicture { name, format: format.name(), found },
        }
    })?;
    let (width, height) = upright.dimensions();
    let mut picture = Picture::from_rgb8(upright.into_raw(), width as usize, height as usize)?;
    picture.held = Held(turn.end(picture.pixels.len()));
    Ok(picture)
}

thread_local! {
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

/// Has panics inside decoders of pictures not reported: they are errors of the picture. Others are, as before.
pub fn silence_decoders() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !DECODES.get() {
                report(info);
            }
        }));
    });
}

/// What a decoder makes. Other people's decoders panic on some damaged data; that counts as a refusal.
fn of_decoder<T>(decode: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    DECODES.set(true);
    let decoded = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODES.set(false);
    decoded.unwrap_or_else(|_| Err(damaged("the decoder gave up")))
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
fn others(bytes: &[u8], format: PictureFormat, door: Door<'_>) -> Result<Decoded, Refusal> {
    let (mut numbered, mut memory, mut column, mut own) = (None, 0, None, None);
    let bytes = match format {
        PictureFormat::WebP => {
            let (bytes, needed) = webp::prepare(bytes)?;
            memory = needed;
            bytes
        }
        PictureFormat::Tiff => match tiff::prepare(bytes)? {
            tiff::Prepared::Jpegs(jpegs) => return jpegs.decode(door),
            tiff::Prepared::File { bytes, memory: needed, column: tiles, orientation } => {
                (memory, column, own) = (needed, tiles, Some(orientation));
                bytes
            }
        },
        PictureFormat::Bmp => {
            let (bytes, palette) = bmp::prepare(bytes)?;
            numbered = palette;
            bytes
        }
        _ => bytes.into(),
    };
    let decoder = match format {
        PictureFormat::WebP => ImageFormat::WebP,
        PictureFormat::Bmp => ImageFormat::Bmp,
        PictureFormat::Tiff => ImageFormat::Tiff,
        PictureFormat::Pnm => ImageFormat::Pnm,
        other => return Err(format!("no decoder for {}", other.name()).into()),
    };
    let mut reader = ImageReader::with_format(Cursor::new(&bytes[..]), decoder);
    reader.limits(allocations(METADATA));
    let mut decoder = reader.into_decoder().map_err(reason)?;
    let (width, height) = column.as_ref().map_or(decoder.dimensions(), |column| (column.width, column.height));
    let orientation = own.unwrap_or_else(|| orientation::of(&mut decoder));
    let memory = memory.max(needed(&decoder, format, swaps_sides(orientation), door));
    let turn = door.admit(width, height, memory)?;
    decoder.set_limits(allocations(memory.saturating_add(METADATA))).map_err(reason)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(reason)?;
    let mut picture = to_rgb8(decoded)?;
    if let Some(numbered) = numbered {
        numbered.colour(&mut picture);
    }
    if let Some(column) = column {
        picture = column.laid_out(&picture)?;
    }
    Ok(Decoded { picture, orientation, turn })
}

/// What decoding takes: the pixels as they are stored, those that come out, and those that are turned.
fn needed(decoder: &impl ImageDecoder, format: PictureFormat, turned: bool, door: Door<'_>) -> u64 {
    let (width, height) = decoder.dimensions();
    let pixels = decoded_bytes(width, height);
    let stored = decoder.total_bytes();
    let converted = match decoder.color_type() {
        // These stay where they are.
        ColorType::Rgb8 | ColorType::Rgba8 => 0,
        _ => pixels,
    };
    let parts = match format {
        // A strip can be the whole picture.
        PictureFormat::Tiff => stored.saturating_add(converted),
        _ => converted,
    };
    let row = u64::from(width) * ROW;
    let turned = if turned { pixels.saturating_add(door.turning(pixels)).saturating_sub(stored) } else { 0 };
    stored.saturating_add(parts.saturating_add(row).max(turned))
}

fn allocations(bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
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
