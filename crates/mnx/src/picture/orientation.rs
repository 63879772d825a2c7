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
        Orientation::from_exif_chunk(chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk))
    });
    by_exif.or_else(|| xmp.and_then(in_xmp)).unwrap_or(Orientation::NoTransforms)
}

/// Whether a picture lies on its side, so that turning it takes a second one.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
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
