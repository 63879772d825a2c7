//! Refuses kinds of TIFF that the decoder would get wrong.

use std::borrow::Cow;
use std::io::Cursor;

use ::tiff::decoder::Decoder;
use ::tiff::tags::Tag;

use super::decode::one_line;

/// A kind of fourth channel: alpha that the colours were multiplied by.
const PREMULTIPLIED: u16 = 1;
/// A kind of grey picture in which 0 is white.
const INVERTED: u16 = 0;

/// Returns the file, or names the kind of TIFF that is not decoded.
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
