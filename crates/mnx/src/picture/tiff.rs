//! TIFF files: names the kinds that are not decoded, and mends what the decoder gets wrong. It reads the file's first directory
//! before the decoder does, which allocates and repeats what the file claims.

mod directory;
mod jpeg;
mod parts;

use std::borrow::Cow;

use image::RgbImage;
use mnx_tensor::memory;

use super::decode::Refusal;
use super::memory::{PIXEL, black, decoded_bytes};
use directory::{Directory, tag};
use jpeg::Jpegs;
use parts::Parts;

/// Kinds of colours.
mod kind {
    pub(super) const WHITE_IS_0: u64 = 0;
    pub(super) const BLACK_IS_0: u64 = 1;
    pub(super) const RGB: u64 = 2;
    pub(super) const PALETTE: u64 = 3;
    pub(super) const YCBCR: u64 = 6;
}

/// A kind of fourth channel: alpha that the colours were multiplied by.
const PREMULTIPLIED: u64 = 1;
/// Kinds of samples.
const SIGNED: u64 = 2;
const FLOAT: u64 = 3;
/// An order of a byte's bits in which the lowest comes first.
const REVERSED: u64 = 2;
/// Kinds of compression.
const PLAIN: u64 = 1;
const GROUP_4: u64 = 4;
const LZW: u64 = 5;
const JPEG: u64 = 7;
const DEFLATE: [u64; 2] = [8, 32946];
const PACK_BITS: u64 = 32773;

/// How a file is decoded.
pub(super) enum Prepared<'a> {
    /// By the decoder. Its tiles take so much memory, and it may see them in a column.
    File { bytes: Cow<'a, [u8]>, memory: u64, column: Option<Column> },
    /// As the JPEGs that its strips or tiles are.
    Jpegs(Jpegs<'a>),
}

/// Prepares the file for its decoder, or names what is not decoded.
pub(super) fn prepare(bytes: &[u8]) -> Result<Prepared<'_>, Refusal> {
    let directory = Directory::read(bytes).ok_or_else(|| damaged("a directory that leaves the file"))?;
    directory.check_tags()?;
    let parts = Parts::of(&directory)?;
    let compression = directory.value(tag::COMPRESSION, PLAIN);
    if let Some(kind) = not_decoded(&directory, compression) {
        return Err(kind.into());
    }
    let memory = parts.check(&directory)?;
    if compression == JPEG {
        return Ok(Prepared::Jpegs(Jpegs::new(directory, parts)?));
    }
    let bytes = mended(&directory, &parts, compression)?;
    // What the decoder reads row by row, and not a tile at once, can end early for it.
    let column =
        if compression == LZW && parts.tiled && parts.across > 1 { Column::of(&directory, &parts) } else { None };
    let Some(column) = column else { return Ok(Prepared::File { bytes, memory, column: None }) };
    let mut bytes = bytes.into_owned();
    let replaced = [(tag::WIDTH, column.tile_width), (tag::HEIGHT, column.height_of_all())];
    for (tag, number) in replaced {
        directory.replace(&mut bytes, tag, number).ok_or_else(|| damaged("several sizes"))?;
    }
    Ok(Prepared::File { bytes: bytes.into(), memory: memory.max(column.memory()), column: Some(column) })
}

/// The name of a kind that is not decoded.
fn not_decoded(directory: &Directory, compression: u64) -> Option<String> {
    let photometric = directory.value(tag::PHOTOMETRIC, kind::BLACK_IS_0);
    let grey = matches!(photometric, kind::WHITE_IS_0 | kind::BLACK_IS_0);
    let format = directory.value(tag::SAMPLE_FORMAT, 1);
    let unknown = directory.values(tag::BITS).find(|bits| ![1, 8, 16].contains(bits));
    let compressed = match compression {
        PLAIN | GROUP_4 | LZW | JPEG | PACK_BITS => None,
        deflate if DEFLATE.contains(&deflate) => None,
        2 => Some("modified Huffman codes (CCITT)".into()),
        3 => Some("Group 3 fax".into()),
        6 => Some("JPEG in its old form".into()),
        34712 => Some("JPEG 2000".into()),
        34887 => Some("LERC".into()),
        34925 => Some("LZMA".into()),
        50000 => Some("Zstandard".into()),
        50001 => Some("WebP".into()),
        50002 => Some("JPEG XL".into()),
        other => Some(format!("method {other}")),
    };
    if let Some(name) = compressed {
        return Some(format!("compression by {name}"));
    }
    let named = match photometric {
        kind::PALETTE => "a palette",
        kind::YCBCR if compression != JPEG => "colours as YCbCr that are no JPEG",
        _ if format == FLOAT => "floating-point samples",
        _ if format == SIGNED => "signed samples",
        _ if grey && directory.value(tag::SAMPLES, 1) == 2 => "grey with alpha",
        _ if directory.values(tag::EXTRA_SAMPLES).any(|kind| kind == PREMULTIPLIED) => {
            "colours that are multiplied by alpha"
        }
        kind::WHITE_IS_0 if directory.values(tag::BITS).any(|bits| bits > 8) => "grey of 16 bits where 0 is white",
        _ => return unknown.map(|bits| format!("samples of {bits} bits")),
    };
    Some(named.into())
}

/// The file as the decoder gets it right.
fn mended<'a>(directory: &Directory<'a>, parts: &Parts, compression: u64) -> Result<Cow<'a, [u8]>, Refusal> {
    let file = directory.bytes;
    let reversed = directory.value(tag::FILL_ORDER, 1) == REVERSED;
    if reversed && compression != PLAIN && compression != GROUP_4 {
        return Err("bits in reverse order (FillOrder 2)".to_owned().into());
    }
    let predicted = compression == LZW || DEFLATE.contains(&compression);
    let in_vain = !predicted && directory.value(tag::PREDICTOR, 1) != 1;
    if !reversed && !in_vain {
        return Ok(file.into());
    }
    let mut copy = memory::copy(file).map_err(|_| Refusal::Memory { bytes: file.len() as u64 })?;
    if reversed {
        // The decoder does not look at the order.
        reverse_bits(&mut copy, directory, parts)?;
    }
    if in_vain {
        // Others have no predictor, whatever the tag says. The decoder would apply it.
        directory.replace(&mut copy, tag::PREDICTOR, 1).ok_or_else(|| damaged("several predictors"))?;
    }
    Ok(copy.into())
}

/// Turns the bits of every strip or tile around.
fn reverse_bits(copy: &mut [u8], directory: &Directory, parts: &Parts) -> Result<(), Refusal> {
    let mut places: Vec<_> = parts.places(directory).collect();
    places.sort_unstable_by_key(|place| place.start);
    if places.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(damaged("strips or tiles that overlap"));
    }
    for place in places {
        copy[place].iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    Ok(())
}

fn damaged(what: &str) -> Refusal {
    format!("damaged data ({what})").into()
}

/// Tiles of which the decoder makes one column, each below the one before it.
pub(super) struct Column {
    /// Of the picture.
    pub(super) width: u32,
    pub(super) height: u32,
    tile_width: u32,
    tile_height: u32,
    across: u32,
    down: u32,
}

impl Column {
    /// `None` if their rows cannot be counted.
    fn of(directory: &Directory, parts: &Parts) -> Option<Column> {
        let number = |of: u64| u32::try_from(of).ok();
        let column = Column {
            width: number(directory.value(tag::WIDTH, 0))?,
            height: number(directory.value(tag::HEIGHT, 0))?,
            tile_width: number(parts.width)?,
            tile_height: number(parts.height)?,
            across: number(parts.across)?,
            down: number(parts.down)?,
        };
        column.across.checked_mul(column.down)?.checked_mul(column.tile_height)?;
        Some(column)
    }

    fn height_of_all(&self) -> u32 {
        self.across * self.down * self.tile_height
    }

    /// Of the pixels in a column, and of those in their places.
    fn memory(&self) -> u64 {
        decoded_bytes(self.tile_width, self.height_of_all()).saturating_mul(2)
    }

    /// The picture of a column's pixels.
    pub(super) fn laid_out(&self, tiles: &RgbImage) -> Result<RgbImage, Refusal> {
        let mut picture = black(self.width, self.height)?;
        let pixel = PIXEL as usize;
        let (row, tile) =
            (self.tile_width as usize * pixel, self.tile_width as usize * self.tile_height as usize * pixel);
        for (tile, index) in tiles.chunks_exact(tile).zip(0..) {
            let (x, y) = (index % self.across * self.tile_width, index / self.across * self.tile_height);
            paste(&mut picture, tile, row, [x, y]);
        }
        Ok(picture)
    }
}

/// Puts rows of so many bytes where they belong. What lies outside of the picture is left out.
fn paste(picture: &mut RgbImage, pixels: &[u8], row: usize, [x, y]: [u32; 2]) {
    let pixel = PIXEL as usize;
    let (stride, x) = (picture.width() as usize * pixel, x as usize * pixel);
    for (target, source) in picture.chunks_exact_mut(stride).skip(y as usize).zip(pixels.chunks_exact(row)) {
        let target = &mut target[x..];
        let length = target.len().min(source.len());
        target[..length].copy_from_slice(&source[..length]);
    }
}
