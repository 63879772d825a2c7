//! Makes pictures upright.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::memory::{Door, Turn, zeros};
use super::orientation::swaps_sides;
use super::refusal::Refusal;

/// A picture as it is stored, and how it must be turned.
pub(super) struct Decoded {
    pub(super) picture: RgbImage,
    pub(super) orientation: Orientation,
    pub(super) turn: Turn,
}

/// Turns a picture. One that lies on its side is there twice meanwhile, unless that would be too much memory.
pub(super) fn upright(picture: RgbImage, orientation: Orientation, door: Door<'_>) -> Result<RgbImage, Refusal> {
    let bytes = picture.len() as u64;
    let (picture, rest) = if swaps_sides(orientation) && door.turning(bytes) < bytes {
        (transposed(picture)?, after_transposition(orientation))
    } else {
        (picture, orientation)
    };
    let mut upright = DynamicImage::ImageRgb8(picture);
    upright.apply_orientation(rest);
    Ok(upright.into_rgb8())
}

/// What is left of a turn by a quarter. It needs no second picture.
fn after_transposition(orientation: Orientation) -> Orientation {
    match orientation {
        Orientation::Rotate90 => Orientation::FlipHorizontal,
        Orientation::Rotate270 => Orientation::FlipVertical,
        Orientation::Rotate270FlipH => Orientation::Rotate180,
        _ => Orientation::NoTransforms,
    }
}

/// Makes columns of rows, in place: each pixel pushes the next one away until the first one's place is reached. That takes ten
/// times as long as copying, because neighbours go far apart.
fn transposed(picture: RgbImage) -> Result<RgbImage, Refusal> {
    let (width, height) = picture.dimensions();
    let mut bytes = picture.into_raw();
    let pixels = bytes.as_chunks_mut::<3>().0;
    // The first pixel stays where it is, and so does the last.
    let last = pixels.len().saturating_sub(1);
    let mut moved = zeros(pixels.len().div_ceil(8))?;
    for first in 1..last {
        if moved[first / 8] >> (first % 8) & 1 == 1 {
            continue;
        }
        let (mut at, mut carried) = (first, pixels[first]);
        loop {
            // Row y, column x of `width` columns goes to row x, column y of `height` columns.
            at = (at as u64 * u64::from(height) % last as u64) as usize;
            std::mem::swap(&mut carried, &mut pixels[at]);
            moved[at / 8] |= 1 << (at % 8);
            if at == first {
                break;
            }
        }
    }
    RgbImage::from_raw(height, width, bytes).ok_or_else(|| "fewer pixels than the header says".to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PictureLimits;

    #[test]
    fn in_place_as_by_copying() {
        let ample = PictureLimits::default();
        for (width, height) in [(1, 1), (1, 7), (7, 1), (2, 3), (5, 5), (31, 12), (12, 31), (64, 48)] {
            let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
            let limits = PictureLimits { decoded_bytes: picture.len() as u64, ..ample };
            for number in 1..=8 {
                let orientation = Orientation::from_exif(number).unwrap();
                let turned = |limits: &PictureLimits| {
                    upright(picture.clone(), orientation, Door { limits, reader: None }).ok().unwrap()
                };
                assert_eq!(turned(&limits), turned(&ample), "{width} x {height}, orientation {number}");
            }
        }
    }
}
