//! Bilinear resizing without antialiasing: each pixel is a mean of the four that are nearest, however much smaller the picture
//! becomes. It is PyTorch's `interpolate(mode="bilinear", align_corners=False)` and OpenCV's `INTER_LINEAR` in floating point,
//! rounded to the nearest byte, halves upwards. (OpenCV itself rounds weights of bytes to 11 bits and may differ by 1.)
//!
//! Pixels are squares: the centre of resized pixel x is at (x + 1/2) · size / resized. Beyond the centres of the outermost
//! pixels, those are repeated.

use mnx_tensor::Error;

use super::{Axis, CHANNELS, make_room};
use crate::Frame;
use crate::picture::PixelFormat;

/// Two neighbours of a resized pixel along one axis.
#[derive(Clone, Copy)]
struct Pair {
    first: usize,
    second: usize,
    /// How much of the mean is the second one.
    share: f32,
}

/// The pairs of the kept columns. The buffer is kept from picture to picture.
#[derive(Clone, Default)]
pub(super) struct Nearest {
    columns: Vec<Pair>,
}

impl Axis {
    /// The neighbours of kept pixel `index`.
    fn pair(&self, index: usize) -> Pair {
        let centre = ((self.offset + index as u64) as f64 + 0.5) * self.scale - 0.5;
        let last = self.size - 1;
        let place = centre.clamp(0.0, last as f64);
        let first = place as usize;
        Pair { first, second: (first + 1).min(last), share: (place - first as f64) as f32 }
    }
}

impl Nearest {
    /// Resizes and crops a frame. `square` becomes three bytes per pixel, in rows without gaps.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for the columns.
    pub(super) fn resize(&mut self, frame: Frame<'_>, x: &Axis, y: &Axis, square: &mut Vec<u8>) -> Result<(), Error> {
        make_room(&mut self.columns, x.kept)?;
        self.columns.clear();
        self.columns.extend((0..x.kept).map(|index| x.pair(index)));
        square.resize(x.kept * y.kept * CHANNELS, 0);
        for (index, target) in square.chunks_exact_mut(x.kept * CHANNELS).enumerate() {
            let pair = y.pair(index);
            let rows = [frame.row(pair.first), frame.row(pair.second)];
            match frame.format() {
                PixelFormat::Rgb8 | PixelFormat::Bgr8 => self.row::<3>(rows, pair.share, target),
                PixelFormat::Rgba8 | PixelFormat::Bgra8 => self.row::<4>(rows, pair.share, target),
                PixelFormat::Grey8 | PixelFormat::Nv12 => self.row::<1>(rows, pair.share, target),
            }
        }
        Ok(())
    }

    /// A resized row between two rows of pixels of `BYTES` bytes. A fourth byte is ignored, and one is all three.
    fn row<const BYTES: usize>(&self, rows: [&[u8]; 2], share: f32, target: &mut [u8]) {
        let [above, below] = rows.map(|row| row.as_chunks::<BYTES>().0);
        let (targets, _) = target.as_chunks_mut::<CHANNELS>();
        for (columns, target) in self.columns.iter().zip(targets) {
            let (first, second) = (columns.first, columns.second);
            for (channel, target) in target.iter_mut().enumerate() {
                let between = |row: &[[u8; BYTES]]| {
                    let channel = channel % BYTES;
                    let (left, right) = (f32::from(row[first][channel]), f32::from(row[second][channel]));
                    left + (right - left) * columns.share
                };
                let (above, below) = (between(above), between(below));
                // The cast truncates.
                *target = (above + (below - above) * share + 0.5) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mnx_graph::Interpolation;

    use super::*;
    use crate::resize::Resizer;

    fn axis(size: usize, resized: usize, kept: usize) -> Axis {
        Axis::new(size, resized as u64, kept, Interpolation::Bilinear)
    }

    fn resized(frame: Frame<'_>, width: usize, height: usize) -> Vec<u8> {
        let (x, y) = (axis(frame.width(), width, width), axis(frame.height(), height, height));
        Resizer::default().resize(frame, &x, &y).unwrap().to_vec()
    }

    /// A grey picture, and the grey of the result.
    fn grey(pixels: &[u8], [width, height]: [usize; 2], [to_width, to_height]: [usize; 2]) -> Vec<u8> {
        let pixels: Vec<u8> = pixels.iter().flat_map(|&grey| [grey; 3]).collect();
        let frame = Frame::rgb8(&pixels, width, height, 3 * width).unwrap();
        resized(frame, to_width, to_height).chunks(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn by_hand() {
        // Centres at 1/4, 3/4, 5/4 and 7/4 of pixels whose centres are at 1/2 and 3/2.
        assert_eq!(grey(&[0, 100], [2, 1], [4, 1]), [0, 25, 75, 100]);
        assert_eq!(grey(&[0, 100], [1, 2], [1, 4]), [0, 25, 75, 100]);
        // Centres at 1 and 3 of four pixels: between two of them each. 0.5 rounds upwards.
        assert_eq!(grey(&[0, 1, 10, 21], [4, 1], [2, 1]), [1, 16]);
        // Of eight pixels, those in the middle of each half; of nine, every third. The others do not matter: there is no
        // antialiasing.
        assert_eq!(grey(&[9, 255, 253, 9, 9, 0, 2, 9], [8, 1], [2, 1]), [254, 1]);
        assert_eq!(grey(&[255, 9, 9, 255, 255, 9, 9, 7, 255], [9, 1], [3, 1]), [9, 255, 7]);
        // The middle of four.
        assert_eq!(grey(&[0, 40, 80, 120], [2, 2], [1, 1]), [60]);
        assert_eq!(grey(&[7], [1, 1], [3, 2]), [7; 6]);
    }

    /// The mean over both axes at once in f64, with weights that fall from 1 to 0 within a pixel.
    fn exact(frame: Frame<'_>, x: &Axis, y: &Axis) -> Vec<f64> {
        let weigh = |axis: &Axis, index: usize| -> Vec<f64> {
            let centre = ((axis.offset + index as u64) as f64 + 0.5) * axis.scale;
            let centre = centre.clamp(0.5, axis.size as f64 - 0.5);
            (0..axis.size).map(|i| (1.0 - (i as f64 + 0.5 - centre).abs()).max(0.0)).collect()
        };
        let bytes = frame.format().bytes();
        let mut means = Vec::new();
        for rows in (0..y.kept).map(|index| weigh(y, index)) {
            for columns in (0..x.kept).map(|index| weigh(x, index)) {
                for channel in 0..CHANNELS {
                    let value = |i: usize, j: usize| f64::from(frame.row(j)[i * bytes + channel]);
                    let along = |j: usize| columns.iter().enumerate().map(|(i, w)| w * value(i, j)).sum::<f64>();
                    means.push(rows.iter().enumerate().map(|(j, w)| w * along(j)).sum());
                }
            }
        }
        means
    }

    #[test]
    fn rounded_once_from_the_definition() {
        let noise: Vec<u8> = (0..48 * 48 * 4u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (width, height) in [(1, 1), (2, 3), (7, 5), (13, 40), (40, 9), (33, 31)] {
            let frames = [
                Frame::rgb8(&noise, width, height, 3 * width + 5).unwrap(),
                Frame::rgba8(&noise, width, height, 4 * width).unwrap(),
            ];
            for (resize, kept) in [(1, 1), (4, 3), (8, 8), (11, 6), (23, 20), (64, 64)] {
                let (x, y) = (axis(width, resize, kept), axis(height, resize, kept));
                for frame in frames {
                    let expected = exact(frame, &x, &y);
                    let mut resizer = Resizer::default();
                    let found = resizer.resize(frame, &x, &y).unwrap();
                    assert_eq!(found.len(), expected.len());
                    for (&found, expected) in found.iter().zip(expected) {
                        let distance = (f64::from(found) - expected).abs();
                        assert!(distance < 0.5001, "{width} x {height} to {resize}: {found} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn extreme_pictures() {
        let pixels = vec![200; 10_000 * 10 * 3];
        let long = Frame::rgb8(&pixels, 10_000, 10, 30_000).unwrap();
        let high = Frame::rgb8(&pixels, 10, 10_000, 30).unwrap();
        let dot = Frame::rgb8(&pixels, 1, 1, 3).unwrap();
        for frame in [long, high, dot] {
            assert!(resized(frame, 320, 320).iter().all(|&byte| byte == 200));
            assert_eq!(resized(frame, 1, 1), [200; 3]);
        }
    }
}
