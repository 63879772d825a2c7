//! Checks that the decoders do not make: is the file whole, are its colours what they seem?
//!
//! The JPEG decoder fills the rest of a picture that is cut off with grey and says nothing, and takes
//! every picture of four inks for Adobe's kind; the WebP decoder allocates what a chunk claims.

use image::ImageFormat;

/// `Err` says what was found where the file is cut off or cannot be decoded right.
pub(super) fn check(bytes: &[u8], format: ImageFormat) -> Result<(), String> {
    match format {
        ImageFormat::Jpeg => check_jpeg(bytes),
        ImageFormat::WebP => check_webp(bytes),
        _ => Ok(()),
    }
}

/// Walks the segments to the end-of-image marker. Segments are skipped by their length, so that the
/// end of a thumbnail inside one does not count.
fn check_jpeg(bytes: &[u8]) -> Result<(), String> {
    const CUT: &str = "a file that is cut off (no end-of-image marker)";
    let (mut four_inks, mut adobe) = (false, false);
    let mut rest = bytes.get(2..).ok_or(CUT)?;
    loop {
        let marker = next_marker(&mut rest).ok_or(CUT)?;
        match marker {
            0xD9 => break,
            // Markers without a length: restarts (the decoder steps over them) and a fill byte.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let length = match rest {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(CUT.into()),
        };
        let segment = rest.get(2..length.max(2)).ok_or(CUT)?;
        match marker {
            // Start of frame: precision, height, width, number of components.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => four_inks = segment.get(5) == Some(&4),
            0xEE => adobe |= segment.starts_with(b"Adobe"),
            _ => {}
        }
        rest = &rest[length.max(2)..];
    }
    if four_inks && !adobe {
        return Err("four channels (CMYK) without Adobe's marker, which says how they are meant".into());
    }
    Ok(())
}

/// The marker after the next 0xFF that neither fills nor escapes; `rest` begins after it.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let at = rest.iter().position(|&byte| byte == 0xFF)?;
        let marker = *rest.get(at + 1)?;
        match marker {
            0x00 => *rest = &rest[at + 2..],
            0xFF => *rest = &rest[at + 1..],
            _ => {
                *rest = &rest[at + 2..];
                return Some(marker);
            }
        }
    }
}

/// Walks the chunks: each must end inside the file.
fn check_webp(bytes: &[u8]) -> Result<(), String> {
    let mut at = 12;
    while let Some(&[_, _, _, _, a, b, c, d]) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let left = bytes.len() - at - 8;
        if length > left {
            return Err(format!("a file that is cut off (a chunk of {length} bytes, {left} left)"));
        }
        at = at + 8 + length + length % 2;
    }
    Ok(())
}
