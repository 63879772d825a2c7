//! The oracle: every layer as nested loops over plain NCHW slices, in the contract's order of summation.
//! Slow, and short enough to be checked by reading.
//!
//! [`Rounding::Fused`] gives the bits that every FMA ISA must give; [`Rounding::Separate`] those of `scalar`.

pub mod int8;

use crate::{Clamp, Operation, ops::Margins};

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
    /// Rows and columns of a filter, of all but a pointwise layer.
    pub kernel: usize,
    /// Rows and columns from one window to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Margins,
}

impl Shape {
    /// Output rows and columns.
    pub fn output_size(&self) -> (usize, usize) {
        let p = self.padding;
        let size = |n: usize| if n < self.kernel { 0 } else { (n - self.kernel) / self.stride + 1 };
        (size(self.height + p.top + p.bottom), size(self.width + p.left + p.right))
    }

    /// Where tap `(ky, kx)` of output pixel `(y, x)` lies in a plane; `None` in the padding.
    fn pixel(&self, (y, x): (usize, usize), (ky, kx): (usize, usize)) -> Option<usize> {
        let row = (y * self.stride + ky).checked_sub(self.padding.top).filter(|&row| row < self.height)?;
        let column = (x * self.stride + kx).checked_sub(self.padding.left).filter(|&column| column < self.width)?;
        Some(row * self.width + column)
    }

    /// Row and column of each tap of a filter, in the order of summation.
    fn taps(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let kernel = self.kernel;
        (0..kernel * kernel).map(move |k| (k / kernel, k % kernel))
    }
}

/// What an operation makes of one picture, before clamp and residual.
pub fn layer(operation: Operation, shape: &Shape, x: &[f32], w: &[f32], bias: &[f32], r: Rounding) -> Vec<f32> {
    let &Shape { cin, cout, height, width, .. } = shape;
    match operation {
        Operation::Depthwise { .. } => conv(shape, true, x, w, bias, r),
        Operation::Conv { .. } | Operation::Dense { .. } => conv(shape, false, x, w, bias, r),
        Operation::Pointwise | Operation::PointwiseHalf | Operation::Linear => {
            pointwise(cin, cout, height * width, x, w, bias, r)
        }
        Operation::MaxPool { .. } => max_pool(shape, x),
        Operation::Pool => pool(cout, height, width, x),
        // Its output is no f32: see [`int8::quantized`].
        Operation::Quantize => Vec::new(),
    }
}

/// Depthwise (`depthwise`: cin = cout, a filter of `[1][K][K]` each) or dense KxK convolution of one
/// picture. Taps outside the picture are left out by depthwise kernels; dense ones multiply zeros, which is
/// the same unless a weight is infinite or NaN.
pub fn conv(shape: &Shape, depthwise: bool, x: &[f32], w: &[f32], bias: &[f32], r: Rounding) -> Vec<f32> {
    let (rows, columns) = shape.output_size();
    let (depth, size, pixels) =
        (if depthwise { 1 } else { shape.cin }, shape.kernel.pow(2), shape.height * shape.width);
    let mut out = Vec::with_capacity(shape.cout * rows * columns);
    for o in 0..shape.cout {
        for at in 0..rows * columns {
            let mut sum = bias[o];
            for i in 0..depth {
                let channel = if depthwise { o } else { i };
                for (k, tap) in shape.taps().enumerate() {
                    let weight = w[(o * depth + i) * size + k];
                    match shape.pixel((at / columns, at % columns), tap) {
                        Some(pixel) => sum = r.fma(x[channel * pixels + pixel], weight, sum),
                        None if depthwise => (),
                        None => sum = r.fma(0.0, weight, sum),
                    }
                }
            }
            out.push(sum);
        }
    }
    out
}

/// Max pool of one picture: NaN where the window has one; taps outside the picture take no part.
pub fn max_pool(shape: &Shape, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = shape.output_size();
    let larger = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
    let window = |plane: &[f32], at| {
        shape.taps().filter_map(|tap| shape.pixel(at, tap)).fold(f32::NEG_INFINITY, |most, p| larger(most, plane[p]))
    };
    let planes = x.chunks_exact((shape.height * shape.width).max(1)).take(shape.cout);
    planes.flat_map(|plane| (0..rows * columns).map(move |at| window(plane, (at / columns, at % columns)))).collect()
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
