//! The strips or tiles of a TIFF file.

use std::ops::Range;

use super::directory::Directory;
use super::number::{GROUP_4, PLAIN, tag};
use crate::picture::refusal::{Refusal, damaged};

pub(super) const CUT: &str = "a file that is cut off (a strip or tile ends behind it)";

/// A layout with a plane for each channel.
const IN_PLANES: u64 = 2;
/// Bytes that a strip by fax may have beside one for each pixel. The decoder's time is quadratic in codes that stand
/// for no pixels.
const FAX_BYTES: u64 = 1024;

pub(super) struct Parts {
    /// Of one part, and of the picture in parts.
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) across: u64,
    pub(super) down: u64,
    pub(super) tiled: bool,
    pub(super) planes: u64,
    /// Bytes of a pixel, of all channels.
    pixel: u64,
    /// Bits of a pixel in one plane.
    bits: u64,
}

impl Parts {
    pub(super) fn of(directory: &Directory) -> Result<Parts, Refusal> {
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
        if width > u32::MAX.into() || height > u32::MAX.into() {
            return Err(damaged("more rows or columns than can be counted"));
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
            bits: if in_planes { bits } else { samples.saturating_mul(bits) },
        })
    }

    /// Where each is whose pixels are not compressed.
    pub(super) fn plain_places(&self, directory: &Directory) -> impl Iterator<Item = Range<usize>> {
        let (row, height) = (self.width.saturating_mul(self.bits).div_ceil(8), directory.value(tag::HEIGHT, 0));
        (0..).zip(directory.values(self.tags().0)).map(move |(index, at)| {
            // Tiles at the edges are whole, the last strip is not.
            let y = index / self.across % self.down * self.height;
            let rows = if self.tiled { self.height } else { self.height.min(height - y) };
            let number = |of| usize::try_from(of).unwrap_or(usize::MAX);
            number(at)..number(at.saturating_add(row.saturating_mul(rows)))
        })
    }

    /// Where each is in the file. What leaves the file is empty.
    pub(super) fn places(&self, directory: &Directory) -> impl Iterator<Item = Range<usize>> {
        let (offsets, bytes) = self.tags();
        directory.values(offsets).zip(directory.values(bytes)).map(|(at, length)| {
            let place = usize::try_from(at).ok().zip(usize::try_from(at.saturating_add(length)).ok());
            place.filter(|&(_, end)| end <= directory.bytes.len()).map_or(0..0, |(at, end)| at..end)
        })
    }

    fn tags(&self) -> (u16, u16) {
        if self.tiled { (tag::TILE_OFFSETS, tag::TILE_BYTES) } else { (tag::STRIP_OFFSETS, tag::STRIP_BYTES) }
    }

    /// Refuses a file that lacks some of them, or in which one has more bytes than it can need. Returns the memory that tiles take.
    pub(super) fn check(&self, directory: &Directory) -> Result<u64, Refusal> {
        let (offsets, bytes) = self.tags();
        let parts = self.across.saturating_mul(self.down).saturating_mul(self.planes);
        let compression = directory.value(tag::COMPRESSION, PLAIN);
        // Each has at least a byte for its place.
        let count = |of| directory.values(of).take(directory.bytes.len()).count() as u64;
        let found = if compression == PLAIN { count(offsets) } else { count(offsets).min(count(bytes)) };
        if found != parts {
            return Err(damaged(&format!("{parts} strips or tiles, places of {found}")));
        }
        let (mut all, file) = (0_u64, directory.bytes.len() as u64);
        for (at, length) in directory.values(offsets).zip(directory.values(bytes)) {
            all = all.saturating_add(length);
            if compression == GROUP_4 && length > self.width.saturating_mul(self.height).saturating_add(FAX_BYTES) {
                return Err(damaged("a strip of more bytes than pixels"));
            }
            // Where nothing is compressed, the picture tells how many bytes a part has.
            if compression == PLAIN {
                continue;
            }
            if all > file {
                return Err(damaged("strips or tiles of more bytes than the file"));
            }
            if at.saturating_add(length) > file {
                return Err(CUT.to_owned().into());
            }
        }
        if !self.tiled {
            return Ok(0);
        }
        let tile = self.width.saturating_mul(self.height).saturating_mul(self.pixel);
        Ok(tile.saturating_mul(self.across).saturating_mul(self.down).saturating_mul(2).saturating_add(tile))
    }
}
