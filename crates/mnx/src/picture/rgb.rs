//! Makes red, green and blue bytes of what `image` decodes.

use image::{DynamicImage, RgbImage};

use super::memory::zeros;
use super::refusal::Refusal;

/// Replicates grey, drops alpha, and keeps the high byte of 16 bits. (The conversions of `image` round 16 bits, which gives a
/// different picture.)
pub(super) fn to_rgb8(decoded: DynamicImage) -> Result<RgbImage, Refusal> {
    let (width, height) = (decoded.width(), decoded.height());
    let pixels = match decoded {
        DynamicImage::ImageRgb8(rgb) => return Ok(rgb),
        DynamicImage::ImageRgba8(rgba) => drop_fourth(rgba.into_raw()),
        DynamicImage::ImageLuma8(grey) => spread(&grey, 1, |p| [p[0]; 3])?,
        DynamicImage::ImageLumaA8(grey) => spread(&grey, 2, |p| [p[0]; 3])?,
        DynamicImage::ImageLuma16(grey) => spread(&grey, 1, |p| [high_byte(p[0]); 3])?,
        DynamicImage::ImageLumaA16(grey) => spread(&grey, 2, |p| [high_byte(p[0]); 3])?,
        DynamicImage::ImageRgb16(rgb) => spread(&rgb, 3, |p| [p[0], p[1], p[2]].map(high_byte))?,
        DynamicImage::ImageRgba16(rgba) => spread(&rgba, 4, |p| [p[0], p[1], p[2]].map(high_byte))?,
        other => return Err(format!("pixels of the kind {:?}", other.color()).into()),
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| "fewer pixels than the header says".to_owned().into())
}

/// Makes a pixel of every `each` samples.
fn spread<T>(samples: &[T], each: usize, pixel: impl Fn(&[T]) -> [u8; 3]) -> Result<Vec<u8>, Refusal> {
    let mut pixels = zeros(samples.len() / each * 3)?;
    for (target, source) in pixels.as_chunks_mut().0.iter_mut().zip(samples.chunks_exact(each)) {
        *target = pixel(source);
    }
    Ok(pixels)
}

/// What is kept of 16 bits.
pub(super) fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
}

/// Drops every fourth byte, in place to save a second copy of a large picture.
fn drop_fourth(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for i in 0..count {
        pixels.copy_within(4 * i..4 * i + 3, 3 * i);
    }
    pixels.truncate(3 * count);
    pixels.shrink_to_fit();
    pixels
}
