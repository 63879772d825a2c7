//! Kinds of TIFF that the decoder would show wrong.

use std::borrow::Cow;
use std::io::Cursor;

use ::tiff::decoder::Decoder;
use ::tiff::tags::Tag;

use super::decode::one_line;

/// Colours were multiplied by this kind of fourth channel.
const PREMULTIPLIED: u16 = 1;
/// 0 is white.
const INVERTED: u16 = 0;

/// The file again, or what it is that is not decoded.
pub(super) fn check(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(one_line)?;
    let mut numbers = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).map(Option::unwrap_or_default).map_err(one_line);
    if numbers(Tag::ExtraSamples)?.contains(&PREMULTIPLIED) {
        return Err("colours that are multiplied by alpha".into());
    }
    let bits = numbers(Tag::BitsPerSample)?;
    if numbers(Tag::PhotometricInterpretation)? == [INVERTED] && bits.iter().any(|&bits| bits > 8) {
        return Err("grey of 16 bits where 0 is white".into());
    }
    Ok(bytes.into())
}
