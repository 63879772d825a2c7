//! The oracle of int8 layers: nested loops in integers, then the contract's roundings one by one.

use super::Shape;
use crate::{Operation, Requantize};

/// An int8 layer's exact sums for one picture, `[cout][rows][columns]`: the bias plus all products with `q − zero`. Weights are
/// in row-major order, as a checkpoint has them. Padding is the zero point, which adds nothing.
///
/// Not for pools, which have no weights.
pub fn sums(operation: Operation, shape: &Shape, x: &[u8], w: &[i8], bias: &[i32], zero: u8) -> Vec<i32> {
    let per_channel = operation.is_per_channel();
    let plain = matches!(operation, Operation::Pointwise | Operation::Linear);
    let (rows, columns) = if plain { (shape.height, shape.width) } else { shape.output_size() };
    let (depth, taps) = (if per_channel { 1 } else { shape.cin }, shape.kernel.pow(2));
    let pixels = shape.height * shape.width;
    let mut out = Vec::with_capacity(shape.cout * rows * columns);
    for o in 0..shape.cout {
        for at in 0..rows * columns {
            let mut sum = i64::from(bias[o]);
            for i in 0..depth {
                let channel = if per_channel { o } else { i };
                for (k, tap) in shape.taps().enumerate() {
                    let pixel = if plain { Some(at) } else { shape.pixel((at / columns, at % columns), tap) };
                    if let Some(pixel) = pixel {
                        let q = i64::from(x[channel * pixels + pixel]) - i64::from(zero);
                        sum += i64::from(w[(o * depth + i) * taps + k]) * q;
                    }
                }
            }
            out.push(i32::try_from(sum).expect("sums that fit, as opening a file checks"));
        }
    }
    out
}

/// The exact sum of each channel of one picture, less the zero point's share.
pub fn pool(channels: usize, pixels: usize, x: &[u8], zero: u8) -> Vec<i32> {
    let of_channel = |c: usize| x[c * pixels..][..pixels].iter().map(|&q| i32::from(q) - i32::from(zero)).sum();
    (0..channels).map(of_channel).collect()
}

/// The largest u8 of each window. Taps outside the picture take no part.
pub fn max_pool(shape: &Shape, x: &[u8]) -> Vec<u8> {
    let (rows, columns) = shape.output_size();
    let pixels = shape.height * shape.width;
    let window = |c: usize, at: usize| {
        let taps = shape.taps().filter_map(move |tap| shape.pixel((at / columns, at % columns), tap));
        taps.map(move |pixel| x[c * pixels + pixel]).max().unwrap_or(0)
    };
    (0..shape.cout).flat_map(|c| (0..rows * columns).map(move |at| window(c, at))).collect()
}

/// One sum to a byte. `shortcut` is what is added, if the channel has it.
pub fn requantized(sum: i32, factor: f32, r: &Requantize, shortcut: Option<u8>) -> u8 {
    let mut t = sum as f32 * factor;
    if let (Some(q), Some((zero, factor))) = (shortcut, r.shortcut) {
        t += (i32::from(q) - i32::from(zero)) as f32 * factor;
    }
    let clamped = t.max(r.lo).min(r.hi);
    (clamped.round_ties_even() as i32 + i32::from(r.zero_out)) as u8
}

/// Sums to bytes; the shortcut covers the first `covered` channels.
pub fn requantize(sums: &[i32], factors: &[f32], r: &Requantize, shortcut: Option<(&[u8], usize)>) -> Vec<u8> {
    let pixels = sums.len() / factors.len().max(1);
    let byte = |(i, &sum): (usize, &i32)| {
        let added = shortcut.filter(|&(_, covered)| i / pixels < covered).map(|(values, _)| values[i]);
        requantized(sum, factors[i / pixels], r, added)
    };
    sums.iter().enumerate().map(byte).collect()
}

/// A real number as the u8 that stands for it; NaN is the zero point.
pub fn quantized(x: f32, scale: f32, zero: u8) -> u8 {
    let t = x / scale;
    if t.is_nan() { zero } else { (t.round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) as u8 }
}
