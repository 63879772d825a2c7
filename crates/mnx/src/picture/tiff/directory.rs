//! The first directory of a TIFF file: its tags, and where their values are.

use super::number::tag;
use crate::picture::refusal::{Refusal, damaged};

/// Most tags in a directory. There are some hundred kinds.
const MOST_ENTRIES: u64 = 4096;

pub(super) struct Directory<'a> {
    pub(super) bytes: &'a [u8],
    little_endian: bool,
    /// BigTIFF, whose counts and places have eight bytes.
    big: bool,
    entries: Vec<Entry>,
}

struct Entry {
    /// Where it is itself.
    place: u64,
    tag: u16,
    /// Bytes of a value; 0 for types that nobody knows.
    size: usize,
    count: u64,
    /// Where the values are.
    at: u64,
}

impl<'a> Directory<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let little_endian = bytes.starts_with(b"II");
        let mut directory = Directory { bytes, little_endian, big: false, entries: Vec::new() };
        directory.big = directory.number(2, 2)? == 43;
        let (word, count, entry) = if directory.big { (8, 8, 20) } else { (4, 2, 12) };
        let start = directory.number(if directory.big { 8 } else { 4 }, word)?;
        let entries = directory.number(start, count)?;
        let first = start.checked_add(count as u64)?;
        let end = entries.checked_mul(entry)?.checked_add(first)?;
        if end > bytes.len() as u64 || entries > MOST_ENTRIES {
            return None;
        }
        for entry_at in (first..end).step_by(entry as usize) {
            let numbers = (directory.number(entry_at, 2)?, directory.number(entry_at + 2, 2)?);
            let ((tag, kind), count) = (numbers, directory.number(entry_at + 4, word)?);
            let size = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 0,
            };
            let place = entry_at + 4 + word as u64;
            let inside = count.checked_mul(size as u64).is_some_and(|length| length <= word as u64);
            let at = if inside { place } else { directory.number(place, word)? };
            directory.entries.push(Entry { place: entry_at, tag: tag as u16, size, count, at });
        }
        Some(directory)
    }

    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?.get(..size)?;
        let joined = |sum, &byte: &u8| sum << 8 | u64::from(byte);
        Some(if self.little_endian { bytes.iter().rev().fold(0, joined) } else { bytes.iter().fold(0, joined) })
    }

    /// Whether each tag that a decoder reads is there once, which its own check may count on, and has its values in the file.
    pub(super) fn check_tags(&self) -> Result<(), Refusal> {
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

    fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag && entry.size > 0)
    }

    /// The values of a tag as numbers, none if it is not there.
    pub(super) fn values(&self, tag: u16) -> impl Iterator<Item = u64> {
        let values = |entry: &Entry| {
            let (at, size) = (entry.at, entry.size);
            (0..entry.count).map_while(move |index| self.number(at + index * size as u64, size))
        };
        self.entry(tag).map(values).into_iter().flatten()
    }

    pub(super) fn value(&self, tag: u16, default: u64) -> u64 {
        self.values(tag).next().unwrap_or(default)
    }

    /// The bytes that a tag holds.
    pub(super) fn content(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entry(tag)?;
        let length = usize::try_from(entry.count.checked_mul(entry.size as u64)?).ok()?;
        self.bytes.get(usize::try_from(entry.at).ok()?..)?.get(..length)
    }

    /// Puts another number in place of a tag's only one, in a copy of the file. `None` if the tag has several, or is not there.
    pub(super) fn replace(&self, copy: &mut [u8], tag: u16, number: u32) -> Option<()> {
        let entry = self.entry(tag).filter(|entry| entry.count == 1)?;
        // A number of two bytes is what decoders want of most tags. The entry itself has room for one of four.
        let (kind, size) = if number <= u16::MAX.into() { (3, 2) } else { (4, 4) };
        self.put(copy, entry.place + 2, 2, kind)?;
        self.put(copy, entry.place + if self.big { 12 } else { 8 }, size, number.into())
    }

    fn put(&self, copy: &mut [u8], at: u64, size: usize, number: u64) -> Option<()> {
        let target = copy.get_mut(usize::try_from(at).ok()?..)?.get_mut(..size)?;
        target.copy_from_slice(&number.to_le_bytes()[..size]);
        if !self.little_endian {
            target.reverse();
        }
        Some(())
    }
}
