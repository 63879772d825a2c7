//! The oracle: every layer as nested loops over plain NCHW slices, in the contract's order of summation.
//! Slow, and short enough to be checked by reading.
//!
//! [`Rounding::Fused`] gives the bits that every FMA ISA must give; [`Rounding::Separate`] those of `scalar`.

use crate::{Clamp, ops::Padding};

/// How often a multiply-add rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Once, as hardware FMA does.
    Fused,
    /// After the multiplication and after the addition.
    Separate,
}

impl Rounding {
    fn fma(self, x: f32, w: f32, acc: f32) -> f32 {
        match self {
            Rounding::Fused => x.mul_add(w, acc),
            Rounding::Separate => x * w + acc,
        }
    }
}

/// Sizes of a convolution of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Stride of a 3x3.
    pub stride: usize,
    /// Zeros around the picture, of a 3x3.
    pub padding: Padding,
}

impl Shape {
    /// Output rows and columns of a 3x3.
    pub fn output_size(&self) -> (usize, usize) {
        let p = self.padding;
        let size = |n: usize| if n < 3 { 0 } else { (n - 3) / self.stride + 1 };
        (size(self.height + p.top + p.bottom), size(self.width + p.left + p.right))
    }
}

/// Depthwise (`depthwise`: cin = cout, a filter of `[1][3][3]` each) or dense 3x3 convolution of one
/// picture. Taps outside the picture are left out by depthwise kernels; dense ones multiply zeros, which is
/// the same unless a weight is infinite or NaN.
pub fn conv3x3(shape: &Shape, depthwise: bool, x: &[f32], w: &[f32], bias: &[f32], r: Rounding) -> Vec<f32> {
    let (rows, columns) = shape.output_size();
    let depth = if depthwise { 1 } else { shape.cin };
    let mut out = Vec::with_capacity(shape.cout * rows * columns);
    for o in 0..shape.cout {
        for y in 0..rows {
            for x0 in 0..columns {
                let mut sum = bias[o];
                for i in 0..depth {
                    let channel = if depthwise { o } else { i };
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let row = (y * shape.stride + ky).checked_sub(shape.padding.top);
                            let column = (x0 * shape.stride + kx).checked_sub(shape.padding.left);
                            let weight = w[((o * depth + i) * 3 + ky) * 3 + kx];
                            match (row, column) {
                                (Some(row), Some(column)) if row < shape.height && column < shape.width => {
                                    sum = r.fma(x[(channel * shape.height + row) * shape.width + column], weight, sum);
                                }
                                _ if depthwise => (),
                                _ => sum = r.fma(0.0, weight, sum),
                            }
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Pointwise convolution of one picture of `pixels` pixels; with one pixel, the linear layer.
pub fn pointwise(cin: usize, cout: usize, pixels: usize, x: &[f32], w: &[f32], bias: &[f32], r: Rounding) -> Vec<f32> {
    let mut out = Vec::with_capacity(cout * pixels);
    for o in 0..cout {
        for p in 0..pixels {
            let step = |sum, i: usize| r.fma(x[i * pixels + p], w[o * cin + i], sum);
            out.push((0..cin).fold(bias[o], step));
        }
    }
    out
}

/// Clamp, then the residual on the first `covered` of `channels` channels.
pub fn epilogue(out: &mut [f32], channels: usize, clamp: Clamp, residual: Option<(&[f32], usize)>) {
    let pixels = out.len() / channels.max(1);
    for (i, value) in out.iter_mut().enumerate() {
        *value = clamp.apply(*value);
        if let Some((shortcut, covered)) = residual
            && i / pixels.max(1) < covered
        {
            *value += shortcut[i];
        }
    }
}

/// Global average pool of one picture.
pub fn pool(channels: usize, height: usize, width: usize, x: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (height * width) as f32;
    let row_sum = |row: &[f32]| row.iter().fold(0.0, |sum, v| sum + v);
    let plane = |c: usize| x[c * height * width..][..height * width].chunks_exact(width);
    (0..channels).map(|c| plane(c).fold(0.0, |sum, row| sum + row_sum(row)) * scale).collect()
}
