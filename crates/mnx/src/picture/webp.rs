//! WebP files: checks chunk lengths and mends the first frame of animations, which the decoder does not.

use std::borrow::Cow;
use std::iter;

/// Bytes that the decoder takes for a pixel of a lossy picture, of a lossless one, and of one with alpha or several frames.
const LOSSY: u64 = 5;
const LOSSLESS: u64 = 8;
const COMPOSED: u64 = 13;
/// Bytes of tables, and of a row of a lossy picture a pixel.
const TABLES: u64 = 1 << 20;
const ROW: u64 = 64;

/// Where the contents of the first chunk begin.
const FIRST_CHUNK: usize = 20;

/// Prepares the file for the decoder, and tells how much memory decoding takes. Every chunk must end inside the file, because
/// the decoder allocates what a chunk claims. It also allocates what a stream inside claims before it compares that with
/// the header.
pub(super) fn prepare(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, u64), String> {
    let size = bytes.get(4..8).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    // What follows belongs to nobody.
    let bytes = &bytes[..bytes.len().min(size.saturating_add(8))];
    if bytes.len() < FIRST_CHUNK {
        return Err("a file that is cut off (no chunk)".into());
    }
    let (mut at, mut mixed, mut memory) = (12, None, 0);
    for chunk in chunks(&bytes[at..]) {
        let (name, content) = chunk?;
        memory = memory.max(if name == b"ANMF" { frame(content)? } else { memory_of(name, content) });
        if name == b"ANMF" && content.len() >= 16 {
            mixed = mixed.or(Some(at + 8 + 15));
        }
        at += 8 + content.len().next_multiple_of(2);
    }
    let mut bytes = Cow::Borrowed(bytes);
    if let Some(at) = mixed {
        // The first frame has nothing to be mixed with. The decoder would mix it with black, and transparent pixels would lose
        // their colour.
        bytes.to_mut()[at] |= 2;
    }
    Ok((bytes, memory))
}

/// The chunks of a file or of a frame, by name and content. The first that goes past the end is an error, and the last.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8; 4], &[u8]), String>> {
    iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let Some((content, after)) = rest.split_at_checked(length) else {
            bytes = &[];
            let left = rest.len();
            return Some(Err(format!("a file that is cut off (a chunk of {length} bytes, {left} left)")));
        };
        bytes = after.get(length % 2..).unwrap_or_default();
        Some(Ok((name, content)))
    })
}

/// What the decoder takes for a frame. Its chunks end inside it, and their pictures are as large as it: the decoder believes both.
fn frame(content: &[u8]) -> Result<u64, String> {
    let Some((header, inside)) = content.split_at_checked(16) else { return Ok(0) };
    let side = |at: usize| 1 + u32::from_le_bytes([header[at], header[at + 1], header[at + 2], 0]);
    let (sides, mut memory) = ([side(6), side(9)], 0);
    for chunk in chunks(inside) {
        let (name, content) = chunk?;
        if let Some(found) = sides_of(name, content).filter(|found| *found != sides) {
            return Err(format!(
                "damaged data (a frame of {} x {} with a picture of {} x {})",
                sides[0], sides[1], found[0], found[1]
            ));
        }
        memory = memory.max(memory_of(name, content));
    }
    Ok(memory)
}

/// Width and height of a picture, of 14 bits each.
fn sides_of(name: &[u8; 4], content: &[u8]) -> Option<[u32; 2]> {
    let number = |at: usize| content.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match name {
        // After a tag.
        b"VP8 " => Some([number(6) & 0x3FFF, number(6) >> 16 & 0x3FFF]),
        b"VP8L" => Some([1 + (number(1) & 0x3FFF), 1 + (number(1) >> 14 & 0x3FFF)]),
        _ => None,
    }
}

/// What the decoder takes for the pixels that a chunk claims.
fn memory_of(name: &[u8; 4], content: &[u8]) -> u64 {
    let of = |width: u64, height: u64, each: u64| width * height * each + width * ROW + TABLES;
    let number = |at: usize| content.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match name {
        b"VP8 " | b"VP8L" => {
            let [width, height] = sides_of(name, content).unwrap_or_default();
            of(width.into(), height.into(), if name == b"VP8L" { LOSSLESS } else { LOSSY })
        }
        // The canvas, of 24 bits each.
        b"VP8X" => {
            let side = |at: usize| u64::from(1 + (number(at) & 0xFF_FFFF));
            of(side(4), side(7), if number(0) & 0x12 == 0 { LOSSY } else { COMPOSED })
        }
        _ => 0,
    }
}
