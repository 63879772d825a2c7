//! PNG files, decoded row by row: only the pixels that come out are in memory whole.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, Decoder, DecodingError, InterlaceInfo, Limits, Reader, Transformations};
use image::RgbImage;
use image::metadata::Orientation;

use super::memory::{Door, PIXEL, black, decoded_bytes};
use super::orientation;
use super::refusal::{Refusal, one_line};
use super::rgb::high_byte;
use super::turn::Decoded;

const XMP: &str = "XML:com.adobe.xmp";
/// Most bytes of XMP once it is unpacked. What is longer is ignored.
const MOST_XMP: usize = 1 << 20;
/// Most bytes of a row that the decoder keeps and those that are made of it: rows of 8 bytes a pixel, some of them twice.
const ROWS: u64 = 48;
/// What the decoder keeps for a text, beside its bytes.
const TEXT: u64 = 256;
/// What the decoder has for decompression.
const TABLES: u64 = 1 << 20;

pub(super) fn decode(bytes: &[u8], door: Door<'_>) -> Result<Decoded, Refusal> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let info = decoder.read_header_info().map_err(reason)?;
    let (width, height) = info.size();
    let row = u64::from(width) * ROWS + TABLES;
    let metadata = Metadata::of(bytes);
    let turn = door.admit(width, height, metadata.needed(width, height, row, door))?;
    // Nothing is unpacked but pixels.
    decoder.set_limits(Limits { bytes: usize::try_from(row).unwrap_or(usize::MAX).saturating_add(2 * bytes.len()) });
    decoder.set_ignore_text_chunk(false);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(reason)?;
    let picture = pixels(&mut reader, width, height)?;
    if metadata.behind {
        // The pixels are fine, whatever follows.
        let _ = reader.finish();
    }
    let orientation = orientation_of(&reader);
    Ok(Decoded { picture, orientation, turn })
}

/// What stands in a file beside its pixels.
#[derive(Default)]
struct Metadata<'a> {
    exif: Option<&'a [u8]>,
    xmp: bool,
    /// What the decoder keeps for texts.
    texts: u64,
    /// Whether EXIF or XMP comes after the pixels.
    behind: bool,
}

impl<'a> Metadata<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut found = Metadata::default();
        let (mut at, mut pixels) = (8, false);
        while let Some(&[l0, l1, l2, l3, ref name @ ..]) = bytes.get(at..at + 8) {
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            let Some(content) = bytes.get(at + 8..).and_then(|rest| rest.get(..length)) else { break };
            match name {
                b"IDAT" => pixels = true,
                b"tEXt" | b"zTXt" => found.texts += TEXT,
                b"eXIf" => {
                    found.exif = found.exif.or(Some(content));
                    found.behind |= pixels;
                }
                b"iTXt" => {
                    found.texts += TEXT;
                    let is_xmp = content.starts_with(XMP.as_bytes());
                    found.xmp |= is_xmp;
                    found.behind |= pixels && is_xmp;
                }
                b"IEND" => break,
                _ => {}
            }
            at += length + 12;
        }
        found
    }

    /// What decoding takes, and turning.
    fn needed(&self, width: u32, height: u32, row: u64, door: Door<'_>) -> u64 {
        // Whether XMP turns the picture is not known before it is unpacked.
        let turned = self.xmp || orientation::swaps_sides(orientation::find(self.exif, None));
        let pixels = decoded_bytes(width, height).saturating_add(self.texts);
        pixels.saturating_add(if turned { door.turning(pixels).max(row) } else { row })
    }
}

fn orientation_of(reader: &Reader<Cursor<&[u8]>>) -> Orientation {
    let info = reader.info();
    let xmp = info.utf8_text.iter().find(|chunk| chunk.keyword.contains(XMP)).and_then(|chunk| {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_XMP).ok()?;
        chunk.get_text().ok()
    });
    orientation::find(info.exif_metadata.as_deref(), xmp.as_deref().map(str::as_bytes))
}

fn pixels(reader: &mut Reader<Cursor<&[u8]>>, width: u32, height: u32) -> Result<RgbImage, Refusal> {
    let mut picture = black(width, height)?;
    let stride = width as usize * PIXEL as usize;
    let (color, depth) = reader.output_color_type();
    let samples = match color {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err("numbers of colours without a palette".to_owned().into()),
    };
    let wide = depth == BitDepth::Sixteen;
    let bytes = samples * if wide { 2 } else { 1 };
    let (mut narrow, mut line) = (Vec::new(), 0);
    while let Some(row) = reader.next_interlaced_row().map_err(reason)? {
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                let target = picture.chunks_exact_mut(stride).nth(line);
                rgb(row.data(), samples, wide, target.ok_or_else(|| "more rows than the header says".to_owned())?);
                line += 1;
            }
            InterlaceInfo::Adam7(place) => {
                narrow.resize(row.data().len() / bytes * PIXEL as usize, 0);
                rgb(row.data(), samples, wide, &mut narrow);
                ::png::expand_interlaced_row(&mut picture, stride, &narrow, place, 8 * PIXEL as u8);
            }
        }
    }
    Ok(picture)
}

/// Pixels of so many samples as red, green and blue: grey is replicated, alpha dropped, of 16 bits the high byte kept.
fn rgb(row: &[u8], samples: usize, wide: bool, target: &mut [u8]) {
    let targets = target.as_chunks_mut::<3>().0;
    let byte = |pixel: &[u8], sample: usize| {
        if wide { high_byte(u16::from_be_bytes([pixel[2 * sample], pixel[2 * sample + 1]])) } else { pixel[sample] }
    };
    let bytes = samples * if wide { 2 } else { 1 };
    match (samples, wide) {
        (3, false) => target.iter_mut().zip(row).for_each(|(target, source)| *target = *source),
        (1 | 2, _) => {
            targets.iter_mut().zip(row.chunks_exact(bytes)).for_each(|(target, pixel)| *target = [byte(pixel, 0); 3]);
        }
        _ => targets.iter_mut().zip(row.chunks_exact(bytes)).for_each(|(target, pixel)| {
            *target = [byte(pixel, 0), byte(pixel, 1), byte(pixel, 2)];
        }),
    }
}

fn reason(error: DecodingError) -> Refusal {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends too early".to_owned().into()
        }
        other => without_flags(one_line(other)).into(),
    }
}

/// The decoder's messages show a chunk with all its flags. The name is enough.
fn without_flags(mut message: String) -> String {
    const CHUNK: &str = "ChunkType { type: ";
    while let Some(start) = message.find(CHUNK) {
        let name = start + CHUNK.len();
        let end = message[name..].find(',').map(|length| name + length);
        let close = message[start..].find(" }").map(|length| start + length + 2);
        let (Some(end), Some(close)) = (end, close) else { break };
        message = format!("{}{}{}", &message[..start], &message[name..end.min(close)], &message[close..]);
    }
    message
}
