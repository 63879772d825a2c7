//! The first frame of a GIF, as Pillow shows it.

use ::gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image::metadata::Orientation;

use super::memory::{Door, PIXEL, black};
use super::refusal::{Refusal, one_line};
use super::turn::Decoded;

/// What the decoder has for decompression.
const TABLES: u64 = 1 << 18;

/// Decodes the first frame. Colours are taken as they are stored: a transparent pixel has its palette colour. Where the frame
/// leaves the screen uncovered, the palette's transparent colour is shown, or else colour number 0.
pub(super) fn decode(bytes: &[u8], door: Door<'_>) -> Result<Decoded, Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // Pixels go to a buffer of ours.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(bytes).map_err(reason)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let needed = |width: u32, height: u32| u64::from(width) * (u64::from(height) * PIXEL + 1) + TABLES;
    // What the screen alone forbids needs no frame.
    door.check(screen.0, screen.1, needed(screen.0, screen.1))?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.next_frame_info().map_err(reason)?.ok_or_else(|| "a file without a frame".to_owned())?;
    let palette = colours(frame.palette.as_deref().or(global.as_deref()));
    let background = palette[usize::from(frame.transparent.unwrap_or(0))];
    let place = [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    // A frame that is larger than the screen widens it.
    let width = screen.0.max(u32::from(frame.left) + u32::from(frame.width));
    let height = screen.1.max(u32::from(frame.top) + u32::from(frame.height));
    let turn = door.admit(width, height, needed(width, height))?;
    let mut picture = black(width, height)?;
    let start = picture.len() - place[2] * place[3];
    let pixels: &mut [u8] = &mut picture;
    decoder.read_into_buffer(&mut pixels[start..]).map_err(reason)?;
    spread(pixels, width as usize, place, &palette, background);
    Ok(Decoded { picture, orientation: Orientation::NoTransforms, turn })
}

/// 256 colours. Those that the file lacks are black.
fn colours(palette: Option<&[u8]>) -> [image::Rgb<u8>; 256] {
    let mut colours = [image::Rgb([0; 3]); 256];
    for (colour, stored) in colours.iter_mut().zip(palette.unwrap_or_default().chunks_exact(3)) {
        *colour = image::Rgb([stored[0], stored[1], stored[2]]);
    }
    colours
}

/// Makes colours of a frame's numbers, which are at the end of the picture's memory. No number is overwritten before it is
/// read: each takes a byte, and the pixels that come after its row three bytes each.
fn spread(
    picture: &mut [u8],
    picture_width: usize,
    [left, top, width, height]: [usize; 4],
    palette: &[image::Rgb<u8>; 256],
    background: image::Rgb<u8>,
) {
    let stride = picture_width * PIXEL as usize;
    let mut numbers = picture.len() - width * height;
    let mut row = vec![0; width];
    for y in 0..picture.len() / stride {
        let inside = (top..top + height).contains(&y);
        if inside {
            row.copy_from_slice(&picture[numbers..numbers + width]);
            numbers += width;
        }
        let pixels = picture[y * stride..(y + 1) * stride].as_chunks_mut::<3>().0;
        pixels.fill(background.0);
        if inside {
            for (pixel, &number) in pixels[left..].iter_mut().zip(&row) {
                *pixel = palette[usize::from(number)].0;
            }
        }
    }
}

fn reason(error: ::gif::DecodingError) -> Refusal {
    one_line(error).into()
}
