//! WebP files: checks chunk lengths and mends the first frame of animations, which the decoder does not.

use std::borrow::Cow;

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
    let mut bytes = Cow::Borrowed(bytes);
    let (mut at, mut frames, mut memory) = (12, 0, 0);
    while let Some(&[n, a, m, e, l0, l1, l2, l3]) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let left = bytes.len() - at - 8;
        if length > left {
            return Err(format!("a file that is cut off (a chunk of {length} bytes, {left} left)"));
        }
        if [n, a, m, e] == *b"ANMF" && length >= 16 {
            frames += 1;
            if frames == 1 {
                // The first frame has nothing to be mixed with. The decoder would mix it with black, and transparent
                // pixels would lose their colour.
                bytes.to_mut()[at + 8 + 15] |= 2;
            }
        }
        if [n, a, m, e] == *b"ANMF" {
            check_frame(&bytes[at + 8..at + 8 + length])?;
        }
        // A frame has chunks of its own, after a header of 16 bytes.
        let header = if [n, a, m, e] == *b"ANMF" { 24.min(8 + length) } else { 0 };
        memory = memory.max(memory_of(&bytes[at + header..at + 8 + length]));
        at = at + 8 + length + length % 2;
    }
    Ok((bytes, memory))
}

/// Whether the chunks of a frame end inside it, and their pictures are as large as it. The decoder believes both.
fn check_frame(frame: &[u8]) -> Result<(), String> {
    let Some((header, mut chunks)) = frame.split_at_checked(16) else { return Ok(()) };
    let side = |at: usize| 1 + u32::from_le_bytes([header[at], header[at + 1], header[at + 2], 0]);
    let sides = [side(6), side(9)];
    while let Some((&[n, a, m, e, l0, l1, l2, l3], content)) = chunks.split_first_chunk() {
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some(own) = content.get(..length) else {
            return Err(format!("a file that is cut off (a chunk of {length} bytes, {} left)", content.len()));
        };
        if let Some(found) = sides_of(&[n, a, m, e], own).filter(|found| *found != sides) {
            return Err(format!(
                "damaged data (a frame of {} x {} with a picture of {} x {})",
                sides[0], sides[1], found[0], found[1]
            ));
        }
        chunks = content.get(length + length % 2..).unwrap_or_default();
    }
    Ok(())
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

/// What the decoder takes for the pixels that chunks claim.
fn memory_of(chunks: &[u8]) -> u64 {
    let (mut at, mut memory) = (0, 0);
    while let Some((&[n, a, m, e, l0, l1, l2, l3], content)) = chunks.get(at..).and_then(<[u8]>::split_first_chunk) {
        let of = |width: u64, height: u64, each: u64| width * height * each + width * ROW + TABLES;
        let number = |at: usize| content.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let name = &[n, a, m, e];
        memory = memory.max(match name {
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
        });
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        at = at.saturating_add(8).saturating_add(length).saturating_add(length % 2);
    }
    memory
}
