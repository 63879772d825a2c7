//! Resizing of 8-bit pixels, bilinear or bicubic. Only what a crop keeps is computed. Here is antialiased resizing with Pillow's
//! arithmetic; plain bilinear resizing is in `bilinear`.
//!
//! Pillow resizes along rows, rounds to bytes, and resizes along columns. Its filter is as wide as the coarser of the two grids
//! requires; weights are integers with 22 fraction bits. A picture that loses more than twice as much height as width is
//! resized along columns first, because that is quicker.
//!
//! The result here is that of Pillow 13, byte for byte. Earlier versions always begin with the rows. There a byte may differ by
//! 1, and by more at the edges in bicubic pictures, because overshoot is cut off between the passes. Faster libraries keep
//! fewer bits of a weight. One was seen to differ by 2, more than the 1 that is promised.
//!
//! ```text
//! for each row in reach of the crop:     narrow[row][x] = round(sum of weight(x, i) * source[row][i])
//! for each row of the crop:              square[y][x]   = round(sum of weight(y, j) * narrow[j][x])
//! ```

mod bilinear;

use std::ops::Range;

use mnx_graph::Interpolation;
use mnx_tensor::Error;

use crate::Frame;
use crate::picture::PixelFormat;

/// Fraction bits of a weight, as in Pillow: 32 less 8 for the pixel and 2 to spare.
///
/// A sum of weighted pixels stays below 2³¹: the weights of a pixel sum to 1, and the absolute values of bicubic weights to at
/// most 1.25. Rounding adds up to half a unit per weight, which matters only with millions of them.
const FRACTION_BITS: u32 = 22;

/// Channels after the first pass.
const CHANNELS: usize = 3;

/// One axis of a picture: which resized pixels the crop keeps, and which source pixels they are made of.
pub(crate) struct Axis {
    /// The first resized pixel that the crop keeps.
    pub(crate) offset: u64,
    /// Pixels of the source.
    size: usize,
    /// Of a picture that is thin there may be more than 32 bits count, though few are computed.
    pub(crate) resized: u64,
    /// Source pixels per resized pixel.
    pub(crate) scale: f64,
    kept: usize,
    interpolation: Interpolation,
}

impl Axis {
    /// An axis of `size` pixels that is resized to `resized` pixels. The crop keeps the `kept` pixels in the middle.
    pub(crate) fn new(size: usize, resized: u64, kept: usize, interpolation: Interpolation) -> Self {
        let scale = size as f64 / resized as f64;
        Axis { offset: half_to_even(resized - kept as u64), size, resized, scale, kept, interpolation }
    }

    /// Whether the axis is neither resized nor cropped, so that there is nothing to compute.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.size as u64 == self.resized
    }

    /// How many pixels the axis loses.
    fn loss(&self) -> i64 {
        self.size as i64 - self.resized as i64
    }

    /// Source pixels in reach of resized pixel `index`, which counts from the crop's first; and the centre and scale of its
    /// filter.
    fn reach(&self, index: usize) -> (Range<usize>, f64, f64) {
        let scale = self.scale.max(1.0);
        let radius = radius(self.interpolation) * scale;
        let centre = ((self.offset + index as u64) as f64 + 0.5) * self.scale;
        // The casts truncate, and negative numbers become 0. The range is never empty: the centre lies inside.
        let start = (centre - radius + 0.5) as usize;
        let end = ((centre + radius + 0.5) as usize).min(self.size);
        (start..end, centre, scale)
    }

    /// Source pixels in reach of any kept pixel.
    fn source(&self) -> Range<usize> {
        self.reach(0).0.start..self.reach(self.kept - 1).0.end
    }
}

/// Python's `round(n / 2.0)`, with which torchvision centres a crop. It rounds halves to even: 0.5 to 0, 1.5 to 2, 2.5 to 2.
fn half_to_even(n: u64) -> u64 {
    let half = n / 2;
    half + (n & half & 1)
}

/// The weights of one axis, pixel by pixel.
#[derive(Clone, Default)]
struct Weights {
    /// For each kept pixel, its first source pixel, and where its weights are in `values`.
    spans: Vec<(usize, Range<usize>)>,
    values: Vec<i32>,
    /// The weights of one pixel before they are rounded.
    exact: Vec<f64>,
}

impl Weights {
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them: of a squashed picture there are some for each of its pixels.
    fn compute(&mut self, axis: &Axis) -> Result<(), Error> {
        let reaches = || (0..axis.kept).map(|index| axis.reach(index).0.len());
        make_room(&mut self.spans, axis.kept)?;
        make_room(&mut self.values, reaches().sum())?;
        make_room(&mut self.exact, reaches().max().unwrap_or(0))?;
        self.spans.clear();
        self.values.clear();
        for index in 0..axis.kept {
            let (reach, centre, scale) = axis.reach(index);
            let inverse = 1.0 / scale;
            let weigh = |source: usize| filter(axis.interpolation, (source as f64 - centre + 0.5) * inverse);
            self.exact.clear();
            self.exact.extend(reach.clone().map(weigh));
            let sum: f64 = self.exact.iter().sum();
            let start = self.values.len();
            let unit = f64::from(1u32 << FRACTION_BITS);
            // Rounds to the nearest: the cast alone truncates towards 0.
            self.values
                .extend(self.exact.iter().map(|weight| (0.5_f64.copysign(*weight) + weight / sum * unit) as i32));
            self.spans.push((reach.start, start..self.values.len()));
        }
        Ok(())
    }

    /// For each kept pixel, its first source pixel and its weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans.iter().map(|(first, span)| (*first, &self.values[span.clone()]))
    }
}

/// Half the filter's width, in pixels of the coarser grid.
fn radius(interpolation: Interpolation) -> f64 {
    match interpolation {
        Interpolation::Bicubic => 2.0,
        _ => 1.0,
    }
}

/// The weight of a pixel at a distance from the centre. The filter is a triangle, or Keys' cubic convolution with a = -1/2.
fn filter(interpolation: Interpolation, distance: f64) -> f64 {
    let x = distance.abs();
    match interpolation {
        Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
        Interpolation::Bicubic => 0.0,
        _ => (1.0 - x).max(0.0),
    }
}

/// Rounds a sum to a byte, halves upwards. The half has been added to the sum already.
fn round(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// Resizes frames. Buffers are kept from picture to picture.
#[derive(Clone, Default)]
pub(crate) struct Resizer {
    weights: Weights,
    /// The result of the first pass. Along rows, it has the kept pixels of every row in reach of the crop. Along columns, it has
    /// the kept rows of every pixel in reach, with as many bytes per pixel as the frame.
    narrow: Vec<u8>,
    /// The result of both passes.
    square: Vec<u8>,
    /// One row of sums, for the pass along columns.
    sums: Vec<i32>,
    /// Of plain bilinear resizing.
    nearest: bilinear::Nearest,
}

impl Resizer {
    /// Resizes and crops a frame of one plane. Returns three bytes per pixel in the [order](PixelFormat::order) of the frame, in
    /// rows without gaps. The axes are those of the frame's width and height.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub(crate) fn resize(&mut self, frame: Frame<'_>, x: &Axis, y: &Axis) -> Result<&[u8], Error> {
        make_room(&mut self.square, y.kept * x.kept * CHANNELS)?;
        if x.interpolation == Interpolation::Bilinear {
            self.nearest.resize(frame, x, y, &mut self.square)?;
        } else if y.loss() > 0 && y.loss() > 2 * x.loss() {
            self.columns_first(frame, x, y)?;
        } else {
            self.rows_first(frame, x, y)?;
        }
        Ok(&self.square)
    }

    fn rows_first(&mut self, frame: Frame<'_>, x: &Axis, y: &Axis) -> Result<(), Error> {
        let Resizer { weights, narrow, square, sums, .. } = self;
        weights.compute(x)?;
        let (rows, row_bytes) = (y.source(), x.kept * CHANNELS);
        make_room(narrow, rows.len() * row_bytes)?;
        narrow.resize(rows.len() * row_bytes, 0);
        for (row, target) in rows.clone().zip(narrow.chunks_exact_mut(row_bytes)) {
            along_row(frame.format(), frame.row(row), 0, weights, target);
        }
        weights.compute(y)?;
        let row = |row: usize| &narrow[(row - rows.start) * row_bytes..][..row_bytes];
        along_columns(row, row_bytes, weights, sums, square)?;
        Ok(())
    }

    fn columns_first(&mut self, frame: Frame<'_>, x: &Axis, y: &Axis) -> Result<(), Error> {
        let Resizer { weights, narrow, square, sums, .. } = self;
        weights.compute(y)?;
        let (pixels, bytes) = (x.source(), frame.format().bytes());
        let row_bytes = pixels.len() * bytes;
        let row = |row: usize| &frame.row(row)[pixels.start * bytes..][..row_bytes];
        make_room(narrow, y.kept * row_bytes)?;
        along_columns(row, row_bytes, weights, sums, narrow)?;
        weights.compute(x)?;
        square.resize(y.kept * x.kept * CHANNELS, 0);
        for (row, target) in narrow.chunks_exact(row_bytes).zip(square.chunks_exact_mut(x.kept * CHANNELS)) {
            along_row(frame.format(), row, pixels.start, weights, target);
        }
        Ok(())
    }
}

/// Lets a buffer become as long as this without asking for more memory.
fn make_room<T>(buffer: &mut Vec<T>, len: usize) -> Result<(), Error> {
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|_| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// The pass along columns: from rows of `row_bytes` bytes to `target`, whose rows have no gaps.
fn along_columns<'a>(
    row: impl Fn(usize) -> &'a [u8],
    row_bytes: usize,
    weights: &Weights,
    sums: &mut Vec<i32>,
    target: &mut Vec<u8>,
) -> Result<(), Error> {
    make_room(sums, row_bytes)?;
    target.clear();
    for (first, weights) in weights.iter() {
        sums.clear();
        sums.resize(row_bytes, HALF);
        for (index, weight) in weights.iter().enumerate() {
            for (sum, &byte) in sums.iter_mut().zip(row(first + index)) {
                *sum += i32::from(byte) * weight;
            }
        }
        target.extend(sums.iter().map(|&sum| round(sum)));
    }
    Ok(())
}

/// The pass along one row, to kept pixels of three bytes. The row's first pixel is pixel `start` of the axis.
fn along_row(format: PixelFormat, row: &[u8], start: usize, weights: &Weights, target: &mut [u8]) {
    match format {
        PixelFormat::Rgb8 | PixelFormat::Bgr8 => along_row_of::<3>(row, start, weights, target),
        PixelFormat::Rgba8 | PixelFormat::Bgra8 => along_row_of::<4>(row, start, weights, target),
        PixelFormat::Grey8 | PixelFormat::Nv12 => along_row_of::<1>(row, start, weights, target),
    }
}

/// As [`along_row`], for pixels of `BYTES` bytes. A fourth byte is ignored, and one is all three.
fn along_row_of<const BYTES: usize>(row: &[u8], start: usize, weights: &Weights, target: &mut [u8]) {
    let (pixels, _) = row.as_chunks::<BYTES>();
    let (targets, _) = target.as_chunks_mut::<CHANNELS>();
    for ((first, weights), target) in weights.iter().zip(targets) {
        let mut sums = [HALF; CHANNELS];
        for (pixel, weight) in pixels[first - start..].iter().zip(weights) {
            for (channel, sum) in sums.iter_mut().enumerate() {
                *sum += i32::from(pixel[channel % BYTES]) * weight;
            }
        }
        *target = sums.map(round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in real numbers: one weighted mean over both axes, no rounding in between.
    fn exact(frame: Frame<'_>, x: &Axis, y: &Axis) -> Vec<f64> {
        let weigh = |axis: &Axis, index: usize| {
            let (_, centre, scale) = axis.reach(index);
            let weigh = |i: usize| filter(axis.interpolation, (i as f64 + 0.5 - centre) / scale);
            let weights: Vec<f64> = (0..axis.size).map(weigh).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(move |weight| weight / sum).collect::<Vec<_>>()
        };
        let mut means = Vec::new();
        for row in (0..y.kept).map(|index| weigh(y, index)) {
            for column in (0..x.kept).map(|index| weigh(x, index)) {
                for channel in 0..CHANNELS {
                    let bytes = frame.format().bytes();
                    let value = |i: usize, j: usize| f64::from(frame.row(j)[i * bytes + channel]);
                    let of_row = |j: usize| column.iter().enumerate().map(|(i, w)| w * value(i, j)).sum::<f64>();
                    means.push(row.iter().enumerate().map(|(j, w)| w * of_row(j)).sum());
                }
            }
        }
        means
    }

    #[test]
    fn centre_is_half_to_even() {
        let python = [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6];
        for (n, expected) in python.into_iter().enumerate() {
            assert_eq!(half_to_even(n as u64), expected, "{n}");
        }
    }

    /// Two roundings to the nearest byte are at most one unit away from the true mean; the first one's share grows as the
    /// weights do without their signs. Nothing here is so dark or bright that the overshoot is cut off.
    #[test]
    fn both_passes_agree_with_the_definition() {
        let noise: Vec<u8> = (0..40 * 40 * 3u32).map(|i| 64 + (i.wrapping_mul(2_654_435_761) >> 25) as u8).collect();
        let mut resizer = Resizer::default();
        for (interpolation, most) in [(Interpolation::BilinearAntialiased, 1.001), (Interpolation::Bicubic, 1.126)] {
            for (width, height) in [(1, 1), (2, 3), (7, 5), (13, 40), (40, 9), (33, 31)] {
                let frame = Frame::rgb8(&noise, width, height, 3 * width).unwrap();
                let short = width.min(height);
                for (resize, kept) in [(1, 1), (4, 3), (8, 8), (11, 6), (23, 20)] {
                    // With the same scale on both axes, and squashed.
                    for [w, h] in [[width, height].map(|size| resize * size / short), [resize; 2]] {
                        let axis = |size, resized: usize| Axis::new(size, resized as u64, kept, interpolation);
                        let (x, y) = (axis(width, w), axis(height, h));
                        let expected = exact(frame, &x, &y);
                        let found = resizer.resize(frame, &x, &y).unwrap();
                        assert_eq!(found.len(), expected.len());
                        for (found, expected) in found.iter().zip(&expected) {
                            let distance = (f64::from(*found) - expected).abs();
                            assert!(distance < most, "{width} x {height} to {w} x {h}: {found} for {expected}");
                        }
                    }
                }
            }
        }
    }

    /// Keys' filter: 1 in the middle, 0 at whole pixels, and without signs at most 1.25 in sum.
    #[test]
    fn the_bicubic_filter_interpolates() {
        let at = |x: f64| filter(Interpolation::Bicubic, x);
        assert_eq!([0.0, 1.0, -1.0, 2.0, -2.0, 7.0].map(at), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!([0.5, -1.5].map(at), [0.5625, -0.0625]);
        for i in 0..100 {
            let taps = [-1.0, 0.0, 1.0, 2.0].map(|pixel| at(f64::from(i) / 100.0 - pixel));
            assert!((taps.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(taps.iter().map(|w| w.abs()).sum::<f64>() <= 1.25 + 1e-12);
        }
    }
}
