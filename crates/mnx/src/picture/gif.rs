//! The first frame of a GIF, as Pillow shows it.

use ::gif::{ColorOutput, DecodeOptions, Frame, MemoryLimit};
use image::RgbImage;
use image::metadata::Orientation;

use super::decode::{Refusal, one_line, within};

/// Decodes the first frame. Colours are taken as they are stored: a transparent pixel has its palette colour. Where the frame
/// leaves the screen uncovered, the palette's transparent colour is shown, or else colour number 0.
pub(super) fn decode(bytes: &[u8], most_pixels: u64) -> Result<(RgbImage, Orientation), Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // The limit is for the frame alone, which has a byte per pixel.
    options.set_memory_limit(MemoryLimit::Bytes(most_pixels.max(1).try_into().unwrap_or(std::num::NonZeroU64::MIN)));
    let mut decoder = options.read_info(bytes).map_err(reason)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    within(most_pixels, screen.0, screen.1)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.read_next_frame().map_err(reason)?.ok_or_else(|| "a file without a frame".to_owned())?;
    // A frame that is larger than the screen widens it.
    let width = screen.0.max(u32::from(frame.left) + u32::from(frame.width));
    let height = screen.1.max(u32::from(frame.top) + u32::from(frame.height));
    within(most_pixels, width, height)?;

    let palette = colours(frame.palette.as_deref().or(global.as_deref()));
    let mut picture = RgbImage::from_pixel(width, height, palette[usize::from(frame.transparent.unwrap_or(0))]);
    place(frame, &palette, &mut picture);
    Ok((picture, Orientation::NoTransforms))
}

/// 256 colours. Those that the file lacks are black.
fn colours(palette: Option<&[u8]>) -> [image::Rgb<u8>; 256] {
    let mut colours = [image::Rgb([0; 3]); 256];
    for (colour, stored) in colours.iter_mut().zip(palette.unwrap_or_default().chunks_exact(3)) {
        *colour = image::Rgb([stored[0], stored[1], stored[2]]);
    }
    colours
}

fn place(frame: &Frame, palette: &[image::Rgb<u8>; 256], picture: &mut RgbImage) {
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    for (y, row) in (top..).zip(frame.buffer.chunks_exact(usize::from(frame.width).max(1))) {
        for (x, &number) in (left..).zip(row) {
            picture.put_pixel(x, y, palette[usize::from(number)]);
        }
    }
}

fn reason(error: ::gif::DecodingError) -> Refusal {
    one_line(error).into()
}
