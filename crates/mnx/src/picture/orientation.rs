//! How a picture must be turned to be upright, according to its metadata.

use image::ImageDecoder;
use image::metadata::Orientation;

/// The orientation that a decoder finds. Damaged metadata is ignored, because the pixels are fine.
pub(super) fn of(decoder: &mut impl ImageDecoder) -> Orientation {
    let (exif, xmp) = (decoder.exif_metadata().ok().flatten(), decoder.xmp_metadata().ok().flatten());
    find(exif.as_deref(), xmp.as_deref())
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

/// The orientation in EXIF's first directory. It should be an unsigned number of two bytes; some programs write others, which Pillow
/// takes unless they have one byte. What is no orientation turns nothing, and XMP is not asked then.
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
    let value = match (number(found + 2, 2)?, number(found + 4, 4)?) {
        (_, 0) => return None,
        (3 | 8, 1 | 2) => number(found + 8, 2),
        (4 | 9 | 13, 1) => number(found + 8, 4),
        _ => None,
    };
    let orientation = value.and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?));
    Some(orientation.unwrap_or(Orientation::NoTransforms))
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
