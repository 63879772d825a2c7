//! JPEGs as the strips or tiles of a TIFF file. They are decoded as those in files of their own, so that damage is found.

use std::borrow::Cow;
use std::ops::Range;

use image::metadata::Orientation;

use super::column::paste;
use super::directory::Directory;
use super::number::{kind, tag};
use super::parts::Parts;
use crate::picture::jpeg::{Around, Colours, Structure};
use crate::picture::memory::{Door, PIXEL, black, decoded_bytes};
use crate::picture::orientation;
use crate::picture::refusal::{Refusal, damaged};
use crate::picture::turn::Decoded;

/// Most bytes of the tables that all parts share: four of steps and eight of codes have 2.8 KB.
const MOST_TABLES: usize = 4096;

/// A TIFF file whose strips or tiles are JPEGs.
pub(in crate::picture) struct Jpegs<'a> {
    directory: Directory<'a>,
    parts: Parts,
    /// Tables of all parts, as the beginning of a JPEG; empty if each part has its own.
    tables: &'a [u8],
    colours: Colours,
    /// Whether 0 is white.
    inverted: bool,
    width: u32,
    height: u32,
    orientation: Orientation,
}

impl<'a> Jpegs<'a> {
    pub(super) fn new(directory: Directory<'a>, parts: Parts, orientation: Orientation) -> Result<Self, Refusal> {
        let photometric = directory.value(tag::PHOTOMETRIC, kind::BLACK_IS_0);
        let colours = match (photometric, directory.value(tag::SAMPLES, 1)) {
            (kind::WHITE_IS_0 | kind::BLACK_IS_0, 1) => Colours::Grey,
            (kind::RGB, 3) => Colours::Rgb,
            (kind::YCBCR, 3) => Colours::YCbCr,
            (_, samples) => return Err(format!("JPEGs of {samples} channels, colours of kind {photometric}").into()),
        };
        if parts.planes != 1 {
            return Err("JPEGs in planes".to_owned().into());
        }
        let tables = directory.content(tag::JPEG_TABLES).unwrap_or_default();
        if tables.len() > MOST_TABLES {
            return Err(damaged(&format!("JPEG tables of {} bytes", tables.len())));
        }
        let tables = if tables.is_empty() { tables } else { beginning(tables)? };
        // Both sides are known to fit.
        let [width, height] = [tag::WIDTH, tag::HEIGHT].map(|side| directory.value(side, 0) as u32);
        let inverted = photometric == kind::WHITE_IS_0;
        Ok(Jpegs { directory, parts, tables, colours, inverted, width, height, orientation })
    }

    pub(in crate::picture) fn decode(self, door: Door<'_>) -> Result<Decoded, Refusal> {
        let pixels = decoded_bytes(self.width, self.height);
        // The time that decoding takes is that of all tiles, what lies outside of the picture included.
        let [across, down] = [self.parts.across * self.parts.width, self.parts.down * self.parts.height];
        door.check(self.width, self.height, across.saturating_mul(down).saturating_mul(PIXEL))?;
        let (mut memory, mut threads) = (0, 0);
        for part in self.places() {
            let structure = self.structure(part, door)?;
            memory = memory.max(structure.memory(0));
            threads = threads.max(structure.threads());
        }
        let turning = if orientation::swaps_sides(self.orientation) { door.turning(pixels) } else { 0 };
        let memory = pixels.saturating_add(memory.max(turning));
        let turn = door.admit_threads(self.width, self.height, memory, threads)?;
        let mut picture = black(self.width, self.height)?;
        for part in self.places() {
            let (x, y) = (part.x, part.y);
            let structure = self.structure(part, door)?;
            let (width, _) = structure.sides();
            paste(&mut picture, &structure.pixels()?, width as usize * PIXEL as usize, [x, y]);
        }
        if self.inverted {
            picture.iter_mut().for_each(|value| *value = 255 - *value);
        }
        Ok(Decoded { picture, orientation: self.orientation, turn })
    }

    /// The parts from left to right and from top to bottom.
    fn places(&self) -> impl Iterator<Item = Part> {
        let parts = (0..self.parts.down).flat_map(move |row| (0..self.parts.across).map(move |column| (column, row)));
        parts.zip(self.parts.places(&self.directory)).map(|((column, row), bytes)| {
            let (x, y) = (column * self.parts.width, row * self.parts.height);
            // Tiles at the edges are whole. The last strip may be.
            let rows =
                if self.parts.tiled { self.parts.height } else { self.parts.height.min(u64::from(self.height) - y) };
            Part { bytes, x: x as u32, y: y as u32, rows }
        })
    }

    /// The structure of a part, which must have the size of its strip or tile.
    fn structure(&self, part: Part, door: Door<'_>) -> Result<Structure, Refusal> {
        let bytes = &self.directory.bytes[part.bytes];
        let Some(content) = bytes.strip_prefix(&[0xFF, 0xD8]) else {
            return Err(damaged("a strip or tile that is no JPEG"));
        };
        let whole = if self.tables.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            let mut whole = Vec::new();
            let length = self.tables.len() + content.len();
            whole.try_reserve_exact(length).map_err(|_| Refusal::Memory { bytes: length as u64 })?;
            whole.extend_from_slice(self.tables);
            whole.extend_from_slice(content);
            whole.into()
        };
        let (width, height) = (self.parts.width, self.parts.height);
        let structure = Structure::read_inside(&whole, door, Around { colours: self.colours, width, height })?;
        let (width, height) = structure.sides();
        let (width, height) = (u64::from(width), u64::from(height));
        if self.colours == Colours::Rgb && structure.is_subsampled() {
            return Err("a JPEG of red, green and blue with fewer samples of some".to_owned().into());
        }
        if width < self.parts.width || height < part.rows {
            return Err(damaged("a JPEG that is smaller than its strip or tile"));
        }
        Ok(structure)
    }
}

/// A strip or tile: where its bytes and its pixels are, and how many rows it has at least.
struct Part {
    bytes: Range<usize>,
    x: u32,
    y: u32,
    rows: u64,
}

/// Tables up to the end-of-image marker, which would end every part.
fn beginning(tables: &[u8]) -> Result<&[u8], Refusal> {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = tables.get(at..at + 4)
        && marker != 0xD9
    {
        at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
    }
    tables
        .get(..at)
        .filter(|start| start.starts_with(&[0xFF, 0xD8]))
        .ok_or_else(|| damaged("JPEG tables that are none"))
}
