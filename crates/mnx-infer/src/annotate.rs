//! Draws boxes with labels on pictures.

use ab_glyph::{FontRef, PxScale};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Rgb};
use imageproc::drawing::{draw_filled_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect;
use mnx::Picture;

use crate::error::Error;

/// DejaVu Sans Bold, its letters of Latin, Greek and Cyrillic.
static FONT: &[u8] = include_bytes!("../font/DejaVuSans-Bold.ttf");

/// Colours of classes, which begin again after the last one. Neighbours are easy to tell apart.
const PALETTE: [[u8; 3]; 16] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [220, 190, 255],
    [170, 110, 40],
    [255, 250, 200],
    [128, 0, 0],
    [170, 255, 195],
];
const BLACK: Rgb<u8> = Rgb([0; 3]);
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// The picture's long side is this many times as long as letters are high.
const LETTERS: f32 = 42.0;
/// Smallest height of letters that are easy to read, in pixels.
const LEGIBLE: f32 = 14.0;
/// Smallest height at which they can be told apart. Where there is less room, they are cut off.
const LEAST: f32 = 7.0;

/// A box to draw.
pub(crate) struct Marked {
    /// Which colour it gets.
    pub(crate) class: usize,
    /// What its label says.
    pub(crate) text: String,
    /// Left, top, right and bottom in pixels. It may reach out of the picture.
    pub(crate) corners: [f32; 4],
}

/// A picture's own pixels, to draw on.
type Canvas<'a> = ImageBuffer<Rgb<u8>, &'a mut [u8]>;

/// Draws boxes, the first one on top, and labels on top of all boxes. Returns a PNG file.
///
/// # Errors
/// [`Error::Failed`] if the picture cannot be encoded.
pub(crate) fn annotate(mut picture: Picture, boxes: &[Marked]) -> Result<Vec<u8>, Error> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let canvas = Canvas::from_raw(width, height, picture.pixels_mut());
    let mut canvas = canvas.ok_or_else(|| Error::failed("a picture of another size than its pixels"))?;
    let font = FontRef::try_from_slice(FONT).map_err(Error::failed)?;
    let sizes = Sizes::of(width, height);
    for marked in boxes.iter().rev() {
        draw_box(&mut canvas, marked, &sizes);
    }
    for marked in boxes.iter().rev() {
        draw_label(&mut canvas, marked, &sizes, &font);
    }
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive);
    encoder.write_image(canvas.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(Error::failed)?;
    Ok(file)
}

/// Lengths that suit a picture, in pixels.
struct Sizes {
    letters: f32,
    /// Width of a box's line.
    line: i32,
    /// Width of the dark line on either side of it.
    rim: i32,
}

impl Sizes {
    fn of(width: u32, height: u32) -> Sizes {
        let letters = (width.max(height) as f32 / LETTERS).max(LEGIBLE);
        // A strip of text is a little higher than its letters. It must fit into the picture.
        let letters = letters.min(height as f32 / 1.3).max(LEAST);
        let line = (letters / 7.0).round().max(1.0) as i32;
        Sizes { letters, line, rim: (line / 3).max(1) }
    }
}

fn color(class: usize) -> Rgb<u8> {
    Rgb(PALETTE[class % PALETTE.len()])
}

/// Black or white, whichever is easier to read on this colour.
fn ink_on(Rgb([red, green, blue]): Rgb<u8>) -> Rgb<u8> {
    let light = 0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue);
    if light > 140.0 { BLACK } else { WHITE }
}

/// The corners in whole pixels, both inclusive, as far as they are in the picture or just beside it.
fn in_pixels(canvas: &Canvas, corners: [f32; 4], beside: i32) -> [i32; 4] {
    let bound = |corner: f32, length: u32| corner.round().clamp(-beside as f32, (length as i32 + beside) as f32) as i32;
    let [left, top, right, bottom] = corners;
    let (left, top) = (bound(left, canvas.width()), bound(top, canvas.height()));
    let (right, bottom) = (bound(right, canvas.width()) - 1, bound(bottom, canvas.height()) - 1);
    [left, top, right.max(left), bottom.max(top)]
}

/// Fills the pixels between two corners, both inclusive. What is outside of the picture is left out.
fn fill(canvas: &mut Canvas, [left, top, right, bottom]: [i32; 4], color: Rgb<u8>) {
    if right >= left && bottom >= top {
        let size = ((right - left + 1) as u32, (bottom - top + 1) as u32);
        draw_filled_rect_mut(canvas, Rect::at(left, top).of_size(size.0, size.1), color);
    }
}

/// Draws a frame that reaches `outwards` from the box and `inwards` into it.
fn frame(canvas: &mut Canvas, [left, top, right, bottom]: [i32; 4], (outwards, inwards): (i32, i32), color: Rgb<u8>) {
    let (outer_left, outer_top) = (left - outwards, top - outwards);
    let (outer_right, outer_bottom) = (right + outwards, bottom + outwards);
    let thick = outwards + inwards - 1;
    fill(canvas, [outer_left, outer_top, outer_right, outer_top + thick], color);
    fill(canvas, [outer_left, outer_bottom - thick, outer_right, outer_bottom], color);
    fill(canvas, [outer_left, outer_top, outer_left + thick, outer_bottom], color);
    fill(canvas, [outer_right - thick, outer_top, outer_right, outer_bottom], color);
}

/// A line in the class's colour between two dark ones, so that it shows on every background. Where the box's edge is outside
/// the picture, the line is, too.
fn draw_box(canvas: &mut Canvas, marked: &Marked, sizes: &Sizes) {
    let corners = in_pixels(canvas, marked.corners, sizes.line + sizes.rim);
    frame(canvas, corners, (sizes.rim, sizes.line + sizes.rim), BLACK);
    frame(canvas, corners, (0, sizes.line), color(marked.class));
}

/// A strip with the label, above the box if there is room, else inside of it; always in the picture as far as it fits.
fn draw_label(canvas: &mut Canvas, marked: &Marked, sizes: &Sizes, font: &FontRef) {
    let (width, height) = (canvas.width() as i32, canvas.height() as i32);
    let [left, top, ..] = in_pixels(canvas, marked.corners, 0);
    let (text, letters) = fitted(&marked.text, sizes.letters, width, font);
    let margin = (letters / 5.0).round() as i32;
    let strip_width = text_width(&text, letters, font) + 2 * margin;
    let strip_height = (letters * 1.2).ceil() as i32;
    let above = top - sizes.rim - strip_height;
    let y = if above >= 0 { above } else { top }.min(height - strip_height).max(0);
    let x = (left - sizes.rim).min(width - strip_width).max(0);
    let background = color(marked.class);
    fill(canvas, [x, y, x + strip_width - 1, y + strip_height - 1], background);
    let inset = (strip_height - letters.round() as i32) / 2;
    draw_text_mut(canvas, ink_on(background), x + margin, y + inset, PxScale::from(letters), font, &text);
}

fn text_width(text: &str, letters: f32, font: &FontRef) -> i32 {
    text_size(PxScale::from(letters), font, text).0 as i32
}

/// The text and the height of its letters with which it is no wider than the picture: smaller letters, and if those cannot be
/// read, less text.
fn fitted(text: &str, letters: f32, width: i32, font: &FontRef) -> (String, f32) {
    // Nobody reads a line longer than this.
    let mut text: String = text.chars().take(200).collect();
    let room = |letters: f32| width - 2 * (letters / 5.0).round() as i32;
    let wide = text_width(&text, letters, font);
    if wide <= room(letters) {
        return (text, letters);
    }
    let smaller = (letters * room(letters) as f32 / wide as f32 * 0.98).clamp(LEAST.min(letters), letters);
    let mut kept = text.chars().count();
    while kept > 1 && text_width(&text, smaller, font) > room(smaller) {
        kept -= 1;
        text = text.chars().take(kept - 1).chain(['…']).collect();
    }
    (text, smaller)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn drawn(width: usize, height: usize, grey: u8, boxes: &[Marked]) -> RgbImage {
        let picture = Picture::from_rgb8(vec![grey; width * height * 3], width, height).unwrap();
        let file = annotate(picture, boxes).unwrap();
        let image = image::load_from_memory_with_format(&file, image::ImageFormat::Png).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (width as u32, height as u32));
        image
    }

    fn marked(corners: [f32; 4]) -> Marked {
        Marked { class: 3, text: "person 98 %".into(), corners }
    }

    fn count(image: &RgbImage, color: Rgb<u8>) -> usize {
        image.pixels().filter(|&&pixel| pixel == color).count()
    }

    #[test]
    fn without_boxes_nothing_changes() {
        assert!(drawn(7, 5, 99, &[]).pixels().all(|&pixel| pixel == Rgb([99; 3])));
    }

    #[test]
    fn lines_are_where_the_box_is() {
        let image = drawn(640, 480, 128, &[marked([100.0, 200.0, 300.0, 400.0])]);
        for (x, y) in [(100, 300), (299, 300), (200, 200), (200, 399), (100, 200), (299, 399)] {
            assert_eq!(*image.get_pixel(x, y), color(3), "{x}, {y}");
        }
        for (x, y) in [(99, 300), (300, 300), (200, 400)] {
            assert_eq!(*image.get_pixel(x, y), BLACK, "{x}, {y}");
        }
        for (x, y) in [(200, 300), (50, 50), (310, 300)] {
            assert_eq!(*image.get_pixel(x, y), Rgb([128; 3]), "{x}, {y}");
        }
        // The strip is above the box, with white letters on it.
        assert_eq!(*image.get_pixel(101, 190), color(3));
        assert!(count(&image, WHITE) > 50);
    }

    /// The label stays in the picture wherever the box is.
    #[test]
    fn labels_stay_in_the_picture() {
        let places = [
            [0.0, 0.0, 100.0, 100.0],
            [600.0, 0.0, 640.0, 40.0],
            [630.0, 470.0, 640.0, 480.0],
            [-50.0, -50.0, 900.0, 900.0],
            [-900.0, 0.0, -800.0, 10.0],
            [f32::MIN, f32::MIN, f32::MAX, f32::MAX],
        ];
        let letters = count(&drawn(640, 480, 128, &[marked([100.0, 200.0, 300.0, 400.0])]), WHITE);
        for place in places {
            assert_eq!(count(&drawn(640, 480, 128, &[marked(place)]), WHITE), letters, "{place:?}");
        }
    }

    #[test]
    fn any_size_and_any_text() {
        let texts = ["", "a", "日本語 ½", "a\u{301}\u{200d}\n", &"long ".repeat(10_000)];
        for (width, height) in [(1, 1), (2, 3), (10_000, 10), (10, 3000), (16, 16), (200, 40)] {
            for text in texts {
                let (right, bottom) = (width as f32, height as f32);
                let corners = [0.0, 0.0, right, bottom];
                drawn(width, height, 0, &[Marked { class: usize::MAX, text: text.into(), corners }]);
            }
        }
    }

    #[test]
    fn sizes_grow_with_the_picture() {
        let letters = [(640, 480), (1280, 960), (12_800, 960)].map(|(width, height)| Sizes::of(width, height).letters);
        assert!(letters[0] >= LEGIBLE && letters[1] > 1.9 * letters[0] && letters[2] > 9.0 * letters[1], "{letters:?}");
        let thin = Sizes::of(10_000, 10);
        assert!(thin.letters * 1.2 <= 10.0 && thin.line == 1, "{}", thin.letters);
    }

    #[test]
    fn letters_stand_out_from_every_colour() {
        for colour in PALETTE {
            let light = |Rgb([r, g, b]): Rgb<u8>| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b);
            assert!((light(ink_on(Rgb(colour))) - light(Rgb(colour))).abs() > 100.0, "{colour:?}");
        }
    }
}
