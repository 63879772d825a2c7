//! TIFF files: names the kinds that are not decoded, and mends what the decoder gets wrong. It reads the file's first directory
//! before the decoder does, which allocates and repeats what the file claims.

mod column;
mod directory;
mod jpeg;
mod number;
mod parts;

use std::borrow::Cow;

use image::metadata::Orientation;
use mnx_tensor::memory;

use super::orientation;
use super::refusal::{Refusal, damaged};
use column::Column;
use directory::Directory;
use jpeg::Jpegs;
use number::{
    ALPHA, DEFLATE, FLOAT, GROUP_4, JPEG, LZW, PACK_BITS, PLAIN, PREMULTIPLIED, REVERSED, SIGNED, UNSPECIFIED, kind,
    tag,
};
use parts::{CUT, Parts};

/// How a file is decoded.
pub(super) enum Prepared<'a> {
    /// By the decoder. Its tiles take so much memory, and it may see them in a column.
    File { bytes: Cow<'a, [u8]>, memory: u64, column: Option<Column>, orientation: Orientation },
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
    let orientation = orientation_of(&directory);
    if compression == JPEG {
        return Ok(Prepared::Jpegs(Jpegs::new(directory, parts, orientation)?));
    }
    let mut bytes = mended(&directory, &parts, compression)?;
    let is_cut = compression == LZW && parts.tiled && parts.width != directory.value(tag::WIDTH, 0);
    let Some(column) = is_cut.then(|| Column::of(&directory, &parts)).flatten() else {
        return Ok(Prepared::File { bytes, memory, column: None, orientation });
    };
    let copy = owned(&mut bytes)?;
    let replaced = [(tag::WIDTH, column.tile_width), (tag::HEIGHT, column.height_of_all())];
    for (tag, number) in replaced {
        directory.replace(copy, tag, number).ok_or_else(|| damaged("several sizes"))?;
    }
    Ok(Prepared::File { bytes, memory: memory.max(column.memory()), column: Some(column), orientation })
}

/// The file's own, or XMP's where the file has none.
fn orientation_of(directory: &Directory) -> Orientation {
    match directory.content(tag::ORIENTATION) {
        None => orientation::find(None, directory.content(tag::XMP)),
        // A number of one byte is none, as in Pillow.
        Some([_]) => Orientation::NoTransforms,
        Some(_) => {
            let own = u8::try_from(directory.value(tag::ORIENTATION, 1)).ok();
            own.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
        }
    }
}

/// The name of a kind that is not decoded.
fn not_decoded(directory: &Directory, compression: u64) -> Option<String> {
    let Some(photometric) = directory.values(tag::PHOTOMETRIC).next() else {
        return Some("colours of a kind that is not said (tag 262)".into());
    };
    let samples = directory.value(tag::SAMPLES, 1);
    let beyond = directory.values(tag::EXTRA_SAMPLES).take(2).count();
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
        _ if grey && samples == 2 => "grey with alpha",
        _ if grey && samples > 1 => "grey with other channels",
        _ if beyond > 1 => "several channels beside the colours",
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
    let mut bytes = Cow::Borrowed(file);
    if reversed {
        // The decoder does not look at the order.
        reverse_bits(owned(&mut bytes)?, directory, parts, compression)?;
    }
    let predicted = compression == LZW || DEFLATE.contains(&compression);
    if !predicted && directory.value(tag::PREDICTOR, 1) != 1 {
        // Others have no predictor, whatever the tag says. The decoder would apply it.
        let done = directory.replace(owned(&mut bytes)?, tag::PREDICTOR, 1);
        done.ok_or_else(|| damaged("several predictors"))?;
    }
    if directory.values(tag::EXTRA_SAMPLES).eq([UNSPECIFIED]) {
        // The decoder leaves out such a channel at the wrong place. Alpha is left out later.
        directory.replace(owned(&mut bytes)?, tag::EXTRA_SAMPLES, ALPHA).ok_or_else(|| damaged("no channels"))?;
    }
    Ok(bytes)
}

/// The bytes as a copy that can be changed.
fn owned<'a>(bytes: &'a mut Cow<'_, [u8]>) -> Result<&'a mut [u8], Refusal> {
    if let Cow::Borrowed(file) = *bytes {
        *bytes = memory::copy(file).map_err(|_| Refusal::Memory { bytes: file.len() as u64 })?.into();
    }
    Ok(bytes.to_mut())
}

/// Turns the bits of every strip or tile around.
fn reverse_bits(copy: &mut [u8], directory: &Directory, parts: &Parts, compression: u64) -> Result<(), Refusal> {
    let mut end = 0;
    let compressed = parts.places(directory);
    // As many bytes as the decoder reads, whatever the file says.
    let plain = parts.plain_places(directory);
    let places: &mut dyn Iterator<Item = _> = if compression == PLAIN { &mut { plain } } else { &mut { compressed } };
    for place in places {
        if place.start < end {
            return Err(damaged("strips or tiles that overlap or are out of order"));
        }
        end = place.end;
        let part = copy.get_mut(place).ok_or_else(|| CUT.to_owned())?;
        part.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    Ok(())
}
