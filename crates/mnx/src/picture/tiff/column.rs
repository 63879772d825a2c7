//! Tiles by LZW in one column. What the decoder reads row by row, because the picture's rows are not the tile's, it can take for a file
//! that ends early. So it is given a picture as wide as a tile.

use image::RgbImage;

use super::directory::Directory;
use super::number::tag;
use super::parts::Parts;
use crate::picture::memory::{PIXEL, black, decoded_bytes};
use crate::picture::refusal::Refusal;

/// Tiles of which the decoder makes one column, each below the one before it.
pub(in crate::picture) struct Column {
    /// Of the picture.
    pub(in crate::picture) width: u32,
    pub(in crate::picture) height: u32,
    pub(super) tile_width: u32,
    tile_height: u32,
    across: u32,
    down: u32,
}

impl Column {
    /// `None` if their rows cannot be counted.
    pub(super) fn of(directory: &Directory, parts: &Parts) -> Option<Column> {
        let number = |of: u64| u32::try_from(of).ok();
        let column = Column {
            width: number(directory.value(tag::WIDTH, 0))?,
            height: number(directory.value(tag::HEIGHT, 0))?,
            tile_width: number(parts.width)?,
            tile_height: number(parts.height)?,
            across: number(parts.across)?,
            down: number(parts.down)?,
        };
        column.across.checked_mul(column.down)?.checked_mul(column.tile_height)?;
        Some(column)
    }

    pub(super) fn height_of_all(&self) -> u32 {
        self.across * self.down * self.tile_height
    }

    /// Of the pixels in a column, and of those in their places.
    pub(super) fn memory(&self) -> u64 {
        decoded_bytes(self.tile_width, self.height_of_all()).saturating_mul(2)
    }

    /// The picture of a column's pixels.
    pub(in crate::picture) fn laid_out(&self, tiles: &RgbImage) -> Result<RgbImage, Refusal> {
        let mut picture = black(self.width, self.height)?;
        let pixel = PIXEL as usize;
        let (row, tile) =
            (self.tile_width as usize * pixel, self.tile_width as usize * self.tile_height as usize * pixel);
        for (tile, index) in tiles.chunks_exact(tile).zip(0..) {
            let (x, y) = (index % self.across * self.tile_width, index / self.across * self.tile_height);
            paste(&mut picture, tile, row, [x, y]);
        }
        Ok(picture)
    }
}

/// Puts rows of so many bytes where they belong. What lies outside of the picture is left out.
pub(super) fn paste(picture: &mut RgbImage, pixels: &[u8], row: usize, [x, y]: [u32; 2]) {
    let pixel = PIXEL as usize;
    let (stride, x) = (picture.width() as usize * pixel, x as usize * pixel);
    for (target, source) in picture.chunks_exact_mut(stride).skip(y as usize).zip(pixels.chunks_exact(row)) {
        let target = &mut target[x..];
        let length = target.len().min(source.len());
        target[..length].copy_from_slice(&source[..length]);
    }
}
