//! Reads the first directory of a TIFF file before the decoder does. That one allocates and repeats what the file claims, and gets
//! some kinds of pictures wrong.

use std::borrow::Cow;

use super::decode::Refusal;

/// Numbers of tags.
mod tag {
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    pub(super) const STRIP_BYTES: u16 = 279;
    pub(super) const PLANES: u16 = 284;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTES: u16 = 325;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    /// The last one before those that anybody may use, except XMP.
    pub(super) const LAST: u16 = 530;
    pub(super) const XMP: u16 = 700;
}

/// A kind of fourth channel: alpha that the colours were multiplied by.
const PREMULTIPLIED: u64 = 1;
/// A kind of grey picture in which 0 is white.
const INVERTED: u64 = 0;
/// A layout with a plane for each channel.
const IN_PLANES: u64 = 2;
/// Kinds of compression: none, those of fax machines, JPEG.
const PLAIN: u64 = 1;
const FAX: std::ops::RangeInclusive<u64> = 2..=4;
const JPEG: u64 = 7;
/// Bytes that a strip by fax may have beside one for each pixel. The decoder's time is quadratic in codes that stand
/// for no pixels.
const FAX_BYTES: u64 = 1024;

/// Returns the file and how much memory its tiles take, or names what is not decoded.
pub(super) fn check(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, u64), Refusal> {
    let directory = Directory::read(bytes).ok_or_else(|| damaged("a directory that leaves the file"))?;
    directory.check_tags()?;
    if directory.values(tag::EXTRA_SAMPLES).any(|kind| kind == PREMULTIPLIED) {
        return Err("colours that are multiplied by alpha".to_owned().into());
    }
    let inverted = directory.values(tag::PHOTOMETRIC).eq([INVERTED]);
    if inverted && directory.values(tag::BITS).any(|bits| bits > 8) {
        return Err("grey of 16 bits where 0 is white".to_owned().into());
    }
    let memory = Parts::of(&directory)?.check(&directory)?;
    Ok((bytes.into(), memory))
}

fn damaged(what: &str) -> Refusal {
    format!("damaged data ({what})").into()
}

/// The first directory.
struct Directory<'a> {
    bytes: &'a [u8],
    little_endian: bool,
    /// BigTIFF, whose counts and places have eight bytes.
    big: bool,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    /// Bytes of a value; 0 for types that nobody knows.
    size: usize,
    count: u64,
    /// Where the values are.
    at: u64,
}

impl<'a> Directory<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let little_endian = bytes.starts_with(b"II");
        let mut directory = Directory { bytes, little_endian, big: false, entries: Vec::new() };
        directory.big = directory.number(2, 2)? == 43;
        let (word, count, entry) = if directory.big { (8, 8, 20) } else { (4, 2, 12) };
        let start = directory.number(if directory.big { 8 } else { 4 }, word)?;
        let entries = directory.number(start, count)?;
        let first = start.checked_add(count as u64)?;
        let end = entries.checked_mul(entry)?.checked_add(first)?;
        if end > bytes.len() as u64 {
            return None;
        }
        for at in (first..end).step_by(entry as usize) {
            let (tag, kind, count) =
                (directory.number(at, 2)?, directory.number(at + 2, 2)?, directory.number(at + 4, word)?);
            let size = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 0,
            };
            let place = at + 4 + word as u64;
            let inside = count.checked_mul(size as u64).is_some_and(|length| length <= word as u64);
            let at = if inside { place } else { directory.number(place, word)? };
            directory.entries.push(Entry { tag: tag as u16, size, count, at });
        }
        Some(directory)
    }

    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?.get(..size)?;
        let joined = |sum, &byte: &u8| sum << 8 | u64::from(byte);
        Some(if self.little_endian { bytes.iter().rev().fold(0, joined) } else { bytes.iter().fold(0, joined) })
    }

    /// Whether each tag that a decoder reads is there once, which its own check may count on, and has its values in the file.
    fn check_tags(&self) -> Result<(), Refusal> {
        let read = |entry: &&Entry| entry.tag <= tag::LAST || entry.tag == tag::XMP;
        let mut tags: Vec<u16> = self.entries.iter().filter(read).map(|entry| entry.tag).collect();
        tags.sort_unstable();
        if let Some([twice, ..]) = tags.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(damaged(&format!("tag {twice} is there twice")));
        }
        for entry in self.entries.iter().filter(read) {
            let end = entry.count.checked_mul(entry.size as u64).and_then(|length| length.checked_add(entry.at));
            if end.is_none_or(|end| end > self.bytes.len() as u64) {
                return Err(damaged(&format!("tag {} ends behind the file", entry.tag)));
            }
        }
        Ok(())
    }

    /// The values of a tag as numbers, none if it is not there.
    fn values(&self, tag: u16) -> impl Iterator<Item = u64> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag && entry.size > 0);
        let values = |entry: &Entry| {
            let (at, size) = (entry.at, entry.size);
            (0..entry.count).map_while(move |index| self.number(at + index * size as u64, size))
        };
        entry.map(values).into_iter().flatten()
    }

    fn value(&self, tag: u16, default: u64) -> u64 {
        self.values(tag).next().unwrap_or(default)
    }
}

/// The strips or tiles.
struct Parts {
    /// Of one part, and of the picture in parts.
    width: u64,
    height: u64,
    across: u64,
    down: u64,
    tiled: bool,
    planes: u64,
    /// Bytes of a pixel, of all channels.
    pixel: u64,
}

impl Parts {
    fn of(directory: &Directory) -> Result<Parts, Refusal> {
        let [width, height] = [tag::WIDTH, tag::HEIGHT].map(|side| directory.value(side, 0));
        let samples = directory.value(tag::SAMPLES, 1);
        let bits = directory.values(tag::BITS).max().unwrap_or(1);
        let in_planes = directory.value(tag::PLANES, 1) == IN_PLANES;
        let tiled = directory.values(tag::TILE_WIDTH).next().is_some();
        let (part_width, part_height) = if tiled {
            (directory.value(tag::TILE_WIDTH, 0), directory.value(tag::TILE_HEIGHT, 0))
        } else {
            (width, directory.value(tag::ROWS_PER_STRIP, height).min(height))
        };
        if width == 0 || height == 0 || part_width == 0 || part_height == 0 {
            return Err(damaged("a picture or a part of it without pixels"));
        }
        if tiled && in_planes {
            return Err("tiles in planes".to_owned().into());
        }
        Ok(Parts {
            width: part_width,
            height: part_height,
            across: width.div_ceil(part_width),
            down: height.div_ceil(part_height),
            tiled,
            planes: if in_planes { samples } else { 1 },
            pixel: samples.saturating_mul(bits.div_ceil(8)),
        })
    }

    /// Refuses a file that lacks some of them, or in which one has more bytes than it can need. Returns the memory that tiles take.
    fn check(&self, directory: &Directory) -> Result<u64, Refusal> {
        let (offsets, bytes) =
            if self.tiled { (tag::TILE_OFFSETS, tag::TILE_BYTES) } else { (tag::STRIP_OFFSETS, tag::STRIP_BYTES) };
        let parts = self.across.saturating_mul(self.down).saturating_mul(self.planes);
        // Each has at least a byte for its place.
        let found = directory.values(offsets).take(directory.bytes.len()).count() as u64;
        if found < parts {
            return Err(damaged(&format!("{parts} strips or tiles, places of {found}")));
        }
        let compression = directory.value(tag::COMPRESSION, PLAIN);
        let mut all = 0_u64;
        for (at, length) in directory.values(offsets).zip(directory.values(bytes)) {
            all = all.saturating_add(length);
            if FAX.contains(&compression) && length > self.width.saturating_mul(self.height).saturating_add(FAX_BYTES) {
                return Err(damaged("a strip of more bytes than pixels"));
            }
            if compression == JPEG && self.has_larger_jpeg(directory, at, length) {
                return Err(damaged("a JPEG that is larger than its strip or tile"));
            }
            if compression != PLAIN && all > directory.bytes.len() as u64 {
                return Err(damaged("strips or tiles of more bytes than the file"));
            }
        }
        if !self.tiled {
            return Ok(0);
        }
        let tile = self.width.saturating_mul(self.height).saturating_mul(self.pixel);
        Ok(tile.saturating_mul(self.across).saturating_mul(self.down).saturating_mul(2).saturating_add(tile))
    }

    /// Whether the JPEG at this place claims more rows or columns than a part has.
    fn has_larger_jpeg(&self, directory: &Directory, at: u64, length: u64) -> bool {
        let end = at.saturating_add(length).min(directory.bytes.len() as u64);
        let Some(jpeg) = directory.bytes.get(at as usize..end as usize) else { return false };
        let mut at = 2;
        while let Some(&[0xFF, marker, high, low, ref rest @ ..]) = jpeg.get(at..) {
            if let (0xC0..=0xC3, &[_, h0, h1, w0, w1, ..]) = (marker, rest) {
                let [height, width] = [[h0, h1], [w0, w1]].map(|side| u64::from(u16::from_be_bytes(side)));
                return height > self.height || width > self.width;
            }
            at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
        }
        false
    }
}
