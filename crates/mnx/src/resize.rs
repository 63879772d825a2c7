//! Antialiased bilinear resizing of 8-bit pixels with Pillow's arithmetic, of the part that a crop
//! keeps.
//!
//! Pillow weighs with a triangle as wide as the coarser of the two grids, in integers of 22 fraction
//! bits, along rows first; it rounds to bytes, then goes along columns. The result here is the same
//! byte for byte, but where Pillow 13 and later go along columns first (some pictures more than twice
//! as tall as wide): there a byte may differ by 1. Faster libraries keep fewer bits of a weight,
//! which was seen to differ by 2, more than the 1 that is promised.
//!
//! ```text
//! for each row in reach of the crop:     narrow[row][x] = round(sum of weight(x, i) * source[row][i])
//! for each row of the crop:              square[y][x]   = round(sum of weight(y, j) * narrow[j][x])
//! ```

use std::ops::Range;

use crate::Frame;
use crate::picture::PixelFormat;

/// Fraction bits of a weight: 32 less 8 for the pixel and 2 to spare, as in Pillow. The weights of a
/// pixel sum to 1, so that a sum of weighted pixels stays below 2³⁰; only their rounding adds to
/// that, half a unit each, which takes millions of them to matter.
const FRACTION_BITS: u32 = 22;

/// Channels after the first pass.
const CHANNELS: usize = 3;

/// One axis of a picture: which pixels the crop keeps, and what they are made of.
pub(crate) struct Axis {
    /// First of the resized pixels that the crop keeps.
    pub(crate) offset: usize,
    /// Whether the whole axis keeps its size, so that there is nothing to compute.
    pub(crate) unchanged: bool,
    /// Pixels of the source.
    size: usize,
    /// Source pixels to one resized pixel.
    scale: f64,
    kept: usize,
}

impl Axis {
    /// An axis of `size` pixels that is resized to `resized`, of which the middle `kept` are kept.
    pub(crate) fn new(size: usize, resized: usize, kept: usize) -> Self {
        let scale = size as f64 / resized as f64;
        Axis { offset: half_to_even(resized - kept), unchanged: size == resized, size, scale, kept }
    }

    /// Source pixels in reach of resized pixel `index` (counted from the crop's first), and the
    /// centre and radius of its triangle.
    fn reach(&self, index: usize) -> (Range<usize>, f64, f64) {
        let radius = self.scale.max(1.0);
        let centre = ((self.offset + index) as f64 + 0.5) * self.scale;
        // The casts truncate, and what is below 0 becomes 0. Never empty: the centre lies inside.
        let start = (centre - radius + 0.5) as usize;
        let end = ((centre + radius + 0.5) as usize).min(self.size);
        (start..end, centre, radius)
    }

    /// Source pixels in reach of any that is kept.
    fn source(&self) -> Range<usize> {
        self.reach(0).0.start..self.reach(self.kept - 1).0.end
    }
}

/// `round(n / 2.0)` of Python, with which torchvision centres a crop: 0.5 to 0, 1.5 to 2, 2.5 to 2.
fn half_to_even(n: usize) -> usize {
    let half = n / 2;
    half + (n & half & 1)
}

/// Weights of one axis, those of one resized pixel after another's.
#[derive(Default)]
struct Weights {
    /// Per kept pixel its first source pixel, and where its weights are in `values`.
    spans: Vec<(usize, Range<usize>)>,
    values: Vec<i32>,
    /// The weights of one pixel before they are rounded.
    exact: Vec<f64>,
}

impl Weights {
    fn compute(&mut self, axis: &Axis) {
        self.spans.clear();
        self.values.clear();
        for index in 0..axis.kept {
            let (reach, centre, radius) = axis.reach(index);
            let inverse = 1.0 / radius;
            self.exact.clear();
            self.exact.extend(reach.clone().map(|source| triangle((source as f64 - centre + 0.5) * inverse)));
            let sum: f64 = self.exact.iter().sum();
            let start = self.values.len();
            let unit = f64::from(1u32 << FRACTION_BITS);
            self.values.extend(self.exact.iter().map(|weight| (0.5 + weight / sum * unit) as i32));
            self.spans.push((reach.start, start..self.values.len()));
        }
    }

    /// Per kept pixel its first source pixel and its weights.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans.iter().map(|(first, span)| (*first, &self.values[span.clone()]))
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// To bytes, halves upwards; the sum already has the half.
fn round(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// Resizes; keeps its buffers from picture to picture.
#[derive(Default)]
pub(crate) struct Resizer {
    weights: Weights,
    /// After the pass along rows: the kept pixels of every row in reach of the crop.
    narrow: Vec<u8>,
    /// After both passes.
    square: Vec<u8>,
    /// One row of sums of the pass along columns.
    sums: Vec<i32>,
}

impl Resizer {
    /// The crop of the resized frame, red, green and blue bytes, rows without gaps. The axes are
    /// those of the frame's width and height.
    pub(crate) fn resize(&mut self, frame: Frame<'_>, x: &Axis, y: &Axis) -> &[u8] {
        self.weights.compute(x);
        let rows = y.source();
        self.narrow.resize(rows.len() * x.kept * CHANNELS, 0);
        for (row, target) in rows.clone().zip(self.narrow.chunks_exact_mut(x.kept * CHANNELS)) {
            match frame.format() {
                PixelFormat::Rgb8 => along_row::<3>(frame.row(row), &self.weights, target),
                PixelFormat::Rgba8 => along_row::<4>(frame.row(row), &self.weights, target),
            }
        }
        self.weights.compute(y);
        self.along_columns(rows.start, x.kept * CHANNELS);
        &self.square
    }

    /// From `narrow`, whose first row is `first_row` of the source, to `square`.
    fn along_columns(&mut self, first_row: usize, row_bytes: usize) {
        let Resizer { weights, narrow, square, sums } = self;
        square.clear();
        for (first, weights) in weights.iter() {
            sums.clear();
            sums.resize(row_bytes, HALF);
            let rows = narrow[(first - first_row) * row_bytes..].chunks_exact(row_bytes);
            for (row, weight) in rows.zip(weights) {
                for (sum, &byte) in sums.iter_mut().zip(row) {
                    *sum += i32::from(byte) * weight;
                }
            }
            square.extend(sums.iter().map(|&sum| round(sum)));
        }
    }
}

/// One row of pixels of `BYTES` bytes to kept pixels of three; a fourth byte is passed over.
fn along_row<const BYTES: usize>(row: &[u8], weights: &Weights, target: &mut [u8]) {
    let (pixels, _) = row.as_chunks::<BYTES>();
    let (targets, _) = target.as_chunks_mut::<CHANNELS>();
    for ((first, weights), target) in weights.iter().zip(targets) {
        let mut sums = [HALF; CHANNELS];
        for (pixel, weight) in pixels[first..].iter().zip(weights) {
            for (sum, &byte) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(byte) * weight;
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
            let (_, centre, radius) = axis.reach(index);
            let weights: Vec<f64> = (0..axis.size).map(|i| triangle((i as f64 + 0.5 - centre) / radius)).collect();
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
            assert_eq!(half_to_even(n), expected, "{n}");
        }
    }

    /// Two roundings to the nearest byte are at most one unit away from the true mean.
    #[test]
    fn both_passes_agree_with_the_definition() {
        let noise: Vec<u8> = (0..40 * 40 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut resizer = Resizer::default();
        for (width, height) in [(1, 1), (2, 3), (7, 5), (13, 40), (40, 9), (33, 31)] {
            for (resize, kept) in [(1, 1), (4, 3), (8, 8), (11, 6), (23, 20)] {
                let frame = Frame::rgb8(&noise, width, height, 3 * width).unwrap();
                let short = width.min(height);
                let [x, y] = [width, height].map(|size| Axis::new(size, resize * size / short, kept));
                let expected = exact(frame, &x, &y);
                let found = resizer.resize(frame, &x, &y);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    let distance = (f64::from(*found) - expected).abs();
                    assert!(distance < 1.001, "{width} x {height} to {resize}/{kept}: {found} for {expected}");
                }
            }
        }
    }
}
