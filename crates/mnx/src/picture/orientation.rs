//! How a picture is to be turned, by its metadata.

use image::ImageDecoder;
use image::metadata::Orientation;

/// The orientation that a decoder finds. What is damaged does not make the pixels worse.
pub(super) fn of(decoder: &mut impl ImageDecoder) -> Orientation {
    let (exif, xmp) = (decoder.exif_metadata().ok().flatten(), decoder.xmp_metadata().ok().flatten());
    match decoder.orientation() {
        // TIFF has it among its own tags.
        Ok(own) if exif.is_none() && own != Orientation::NoTransforms => own,
        _ => find(exif.as_deref(), xmp.as_deref()),
    }
}

/// The EXIF orientation; where EXIF does not say, that of XMP, as Pillow does.
pub(super) fn find(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let by_exif = exif.and_then(|chunk| {
        // Some writers of WebP begin as JPEG files do.
        Orientation::from_exif_chunk(chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk))
    });
    by_exif.or_else(|| xmp.and_then(in_xmp)).unwrap_or(Orientation::NoTransforms)
}

/// `tiff:Orientation`, an attribute or an element.
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
