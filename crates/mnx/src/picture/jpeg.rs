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

pub(super) use frame::Colours;
pub(super) use structure::{Around, Structure};

use super::memory::{Door, decoded_bytes, zeros};
use super::orientation::swaps_sides;
use super::refusal::{Refusal, one_line};
use super::turn::Decoded;

pub(super) fn decode(bytes: &[u8], door: Door<'_>) -> Result<Decoded, Refusal> {
    let structure = Structure::read(bytes, door)?;
    let (width, height) = structure.sides();
    let pixels = decoded_bytes(width, height);
    let turning = if swaps_sides(structure.orientation) { door.turning(pixels) } else { 0 };
    let turn = door.admit_threads(width, height, structure.memory(turning), structure.threads())?;
    let pixels = structure.pixels()?;
    let picture = RgbImage::from_raw(width, height, pixels).ok_or_else(too_few)?;
    Ok(Decoded { picture, orientation: structure.orientation, turn })
}

impl Structure {
    /// Width and height.
    pub(super) fn sides(&self) -> (u32, u32) {
        (self.frame.width.into(), self.frame.height.into())
    }

    /// What decoding takes. Afterwards, `turning` the picture takes so many bytes besides it.
    pub(super) fn memory(&self, turning: u64) -> u64 {
        self.frame.memory(self.plain, turning) + self.fences
    }

    /// How many threads decoding starts. The general decoder starts none for narrow pictures.
    pub(super) fn threads(&self) -> u64 {
        if self.plain || self.frame.width <= 128 { 0 } else { self.frame.channels() }
    }

    /// Whether some channels have fewer samples than there are pixels.
    pub(super) fn is_subsampled(&self) -> bool {
        self.frame.is_subsampled()
    }

    /// Red, green and blue of every pixel.
    pub(super) fn pixels(&self) -> Result<Vec<u8>, Refusal> {
        let pixels = if self.plain { fast(self)? } else { general(self)? };
        let (width, height) = self.sides();
        if pixels.len() as u64 == decoded_bytes(width, height) { Ok(pixels) } else { Err(too_few().into()) }
    }
}

fn too_few() -> String {
    "fewer pixels than the header says".to_owned()
}

fn fast(structure: &Structure) -> Result<Vec<u8>, Refusal> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&structure.stream), options);
    decoder.decode_headers().map_err(|error| reason(structure, error))?;
    let bytes = usize::from(structure.frame.width) * usize::from(structure.frame.height) * 3;
    let mut pixels = zeros(bytes)?;
    decoder.decode_into(&mut pixels).map_err(|error| reason(structure, error))?;
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
    let pixels = decoder.decode().map_err(|error| reason(structure, error))?;
    match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => Ok(pixels),
        Some(PixelFormat::L8) => Ok(pixels.iter().flat_map(|&grey| [grey; 3]).collect()),
        other => Err(format!("pixels of the kind {other:?}")),
    }
}

/// The refusal for a decoder's error. [`structure`] has found the file sound and of a known kind, so its data is damaged.
fn reason(structure: &Structure, error: impl std::fmt::Display) -> String {
    if structure.frame.has_two_of_four() {
        return format!("sampling factors that are not decoded ({})", structure.frame.sampling());
    }
    format!("damaged data ({})", one_line(error).trim_matches('"'))
}
