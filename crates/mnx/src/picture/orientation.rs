//! How a picture must be turned to be upright, according to its metadata.

use image::ImageDecoder;
use image::metadata::Orientation;

/// The orientation that a decoder finds. Damaged metadata is ignored, because the pixels are fine.
pub(super) fn of(decoder: &mut impl ImageDecoder) -> Orientation {
    let (exif, xmp) = (decoder.exif_metadata().ok().flatten(), decoder.xmp_metadata().ok().flatten());
    match decoder.orientation() {
        // In TIFF the orientation is one of the file's own tags.
        Ok(own) if exif.is_none() && own != Orientation::NoTransforms => own,
        _ => find(exif.as_deref(), xmp.as_deref()),
    }
}

/// The EXIF orientation, or XMP's if EXIF has none, as in Pillow.
pub(super) fn find(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let by_exif = exif.and_then(|chunk| {
        // Some writers of WebP begin EXIF as JPEG files do.
        in_exif(chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk))
    });
    by_exif.or_else(|| xmp.and_then(in_xmp)).unwrap_or(Orientation::NoTransforms)
}

/// Whether a picture lies on its side, so that turning it takes a second one.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// The orientation in EXIF's first directory. It should be a number of two bytes; some programs write one or four.
fn in_exif(exif: &[u8]) -> Option<Orientation> {
    const ORIENTATION: u32 = 0x112;
    let little_endian = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| {
        let bytes = exif.get(at..)?.get(..size)?;
        let joined = |sum, &byte: &u8| sum << 8 | u32::from(byte);
        Some(if little_endian { bytes.iter().rev().fold(0, joined) } else { bytes.iter().fold(0, joined) })
    };
    let start = usize::try_from(number(4, 4)?).ok()?;
    let entries = exif.get(start..)?.get(2..)?.chunks_exact(12).take(number(start, 2)? as usize);
    let found =
        (0..entries.len()).map(|index| start + 2 + 12 * index).find(|&at| number(at, 2) == Some(ORIENTATION))?;
    let size = match number(found + 2, 2)? {
        1 => 1,
        3 => 2,
        4 => 4,
        _ => return None,
    };
    number(found + 8, size)
        .filter(|_| number(found + 4, 4) == Some(1))
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
}

/// XMP's `tiff:Orientation`, which is an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    match xmp[at + NAME.len()..] {
        [b'=', b'"' | b'\'', digit @ b'1'..=b'8', ..] | [b'>', digit @ b'1'..=b'8', ..] => {
            Orientation::from_exif(digit - b'0')
        }
        _ => None,
    }
}
