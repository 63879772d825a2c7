//! JPEG files: decoded as libjpeg-turbo does it, or refused.
//!
//! Two decoders share the work. `zune-jpeg` is fast and right for nearly all files. It is wrong if channels come in several
//! scans, or if the first channel has fewer samples than another; `jpeg-decoder` reads those files.
//!
//! Both decoders silently fill in what is missing and follow damaged data wherever it leads. So [`structure`] examines the
//! file first.

mod frame;
mod huffman;
mod scan;
mod structure;

use image::RgbImage;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use frame::Colours;
use structure::Structure;

use super::decode::{Decoded, Refusal, one_line};
use super::memory::{Door, decoded_bytes, zeros};
use super::orientation::swaps_sides;

pub(super) fn decode(bytes: &[u8], door: Door<'_>) -> Result<Decoded, Refusal> {
    let structure = Structure::read(bytes, door)?;
    let (width, height) = (structure.frame.width.into(), structure.frame.height.into());
    let pixels = decoded_bytes(width, height);
    let turning = if swaps_sides(structure.orientation) { door.turning(pixels) } else { 0 };
    // The general decoder starts no threads for narrow pictures.
    let threads = if structure.plain || width <= 128 { 0 } else { structure.frame.channels() };
    let turn = door.admit_threads(width, height, structure.frame.memory(structure.plain, turning), threads)?;
    let pixels = if structure.plain { fast(&structure)? } else { general(&structure)? };
    let picture =
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| "fewer pixels than the header says".to_owned())?;
    Ok(Decoded { picture, orientation: structure.orientation, turn })
}

fn fast(structure: &Structure) -> Result<Vec<u8>, Refusal> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&structure.stream), options);
    decoder.decode_headers().map_err(damaged)?;
    let bytes = usize::from(structure.frame.width) * usize::from(structure.frame.height) * 3;
    let mut pixels = zeros(bytes)?;
    decoder.decode_into(&mut pixels).map_err(damaged)?;
    Ok(pixels)
}

fn general(structure: &Structure) -> Result<Vec<u8>, String> {
    use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};
    let mut decoder = Decoder::new(&structure.stream[..]);
    decoder.set_color_transform(match structure.colours {
        Colours::Grey => ColorTransform::Grayscale,
        Colours::Rgb => ColorTransform::RGB,
        Colours::YCbCr => ColorTransform::YCbCr,
        Colours::Inks => return Err("four channels (CMYK) in several scans or of unusual sampling".into()),
    });
    let pixels = decoder.decode().map_err(damaged)?;
    match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => Ok(pixels),
        Some(PixelFormat::L8) => Ok(pixels.iter().flat_map(|&grey| [grey; 3]).collect()),
        other => Err(format!("pixels of the kind {other:?}")),
    }
}

/// The refusal for a decoder's error. [`structure`] has found the file sound and of a known kind, so its data is damaged.
fn damaged(error: impl std::fmt::Display) -> String {
    format!("damaged data ({})", one_line(error).trim_matches('"'))
}
