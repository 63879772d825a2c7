//! One layer on plain NCHW tensors, for people who want just that. Weights are packed and activations
//! blocked on each call; a network does both once.
//!
//! ```
//! use mnx_tensor::{Clamp, Tensor, ops};
//!
//! let input = Tensor::from_slice([1, 2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.])?;
//! let sum = ops::pointwise(input.view(), &[1.0, 1.0], None, &ops::Conv::default())?;
//! assert_eq!(sum.data(), [6., 8., 10., 12.]);
//!
//! let relu6 = ops::Conv { clamp: Clamp::RELU6, padding: ops::Padding::ONE, ..Default::default() };
//! let centre = [0., 0., 0., 0., 1., 0., 0., 0., 0.];
//! let same = ops::depthwise3x3(input.view(), &[centre, centre].concat(), None, &relu6)?;
//! assert_eq!(same.data(), [1., 2., 3., 4., 5., 6., 6., 6.]);
//! # Ok::<(), mnx_tensor::Error>(())
//! ```

use crate::args::{self, Clamp, Geometry, Planes, PlanesMut};
use crate::table::{self, Kernels};
use crate::{AlignedBuf, BlockedShape, Error, Isa, Tensor, TensorView, pack, strip};

/// Rows and columns of zeros around a picture: 0 or 1 per side of a 3x3 layer, 0 to 3 of a 7x7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// Below.
    pub bottom: usize,
    /// To the left.
    pub left: usize,
    /// To the right.
    pub right: usize,
}

impl Padding {
    /// One on each side.
    pub const ONE: Padding = Padding { top: 1, bottom: 1, left: 1, right: 1 };
    /// Three on each side.
    pub const THREE: Padding = Padding { top: 3, bottom: 3, left: 3, right: 3 };
}

/// How a convolution is run. The default: stride 1, no padding, no clamp, no residual, the fastest ISA.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// 1 or 2 (a pointwise layer has no stride and ignores it, and the padding).
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
    /// What follows the sum.
    pub clamp: Clamp,
    /// Added after the clamp to this many first channels; the output's shape.
    pub residual: Option<(TensorView<'a>, usize)>,
    /// Which kernels run; `None`: as [`Isa::choose`] does.
    pub isa: Option<Isa>,
}

impl Default for Conv<'_> {
    fn default() -> Self {
        Conv { stride: 1, padding: Padding::default(), clamp: Clamp::NONE, residual: None, isa: None }
    }
}

impl Conv<'_> {
    /// Sizes of a convolution with filters of `kernel` rows and columns, 3 or 7.
    fn geometry(&self, kernel: usize, height: usize, width: usize) -> Result<Geometry, Error> {
        if !(1..=2).contains(&self.stride) {
            return Err(Error::Value { what: "stride", expected: "1 or 2", found: self.stride });
        }
        let Padding { top, bottom, left, right } = self.padding;
        if let Some(&found) = [top, bottom, left, right].iter().find(|&&p| p > kernel / 2) {
            let expected = if kernel == 3 { "0 or 1" } else { "0 to 3" };
            return Err(Error::Value { what: "padding", expected, found });
        }
        let size = |n: usize, padding: usize| (n + padding).checked_sub(kernel).map_or(0, |n| n / self.stride + 1);
        let (out_height, out_width) = (size(height, top + bottom), size(width, left + right));
        Ok(Geometry { height, width, out_height, out_width, pad_top: top, pad_left: left })
    }
}

/// Depthwise 3x3 convolution: `[N, C, H, W]` and `weights` `[C][3][3]` to `[N, C, H', W']`.
///
/// # Errors
/// Slices of the wrong length, stride or padding out of range, an ISA that the CPU lacks.
pub fn depthwise3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let channels = input.shape()[1];
    let (weights, bias) = pack_checked(channels, 9, weights, bias, pack::depthwise)?;
    depthwise3x3_packed(input, &weights, &bias, options)
}

/// [`depthwise3x3`] with weights and bias as [`pack::depthwise`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`depthwise3x3`].
pub fn depthwise3x3_packed(input: TensorView, weights: &[f32], bias: &[f32], options: &Conv) -> Result<Tensor, Error> {
    let [n, channels, height, width] = input.shape();
    let geometry = options.geometry(3, height, width)?;
    length("packed weights", pack::depthwise_len(channels), weights.len())?;
    let layer = Layer::new(options, [n, channels, geometry.out_height, geometry.out_width], bias)?;
    let shape = BlockedShape::new(channels, height, width)?;
    layer.run(|kernels, picture, out, residual| {
        let src = blocked(shape, input.picture(picture))?;
        let args = args::Depthwise {
            src: planes(&src, shape),
            dst: out,
            residual,
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            geometry,
            rows: (0..geometry.out_height).into(),
            blocks: (0..shape.blocks()).into(),
            clamp: options.clamp,
        };
        // SAFETY: all extents are those of the buffers, which live through the call.
        unsafe { (kernels.depthwise(options.stride).run)(&args) }
        Ok(())
    })
}

/// Pointwise (1x1) convolution: `[N, Cin, H, W]` and `weights` `[Cout][Cin]` to `[N, Cout, H, W]`; Cout
/// follows from the number of weights.
///
/// # Errors
/// Slices of the wrong length, an ISA that the CPU lacks.
pub fn pointwise(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let cin = input.shape()[1];
    let cout = weights.len() / cin.max(1);
    let (weights, bias) = pack_checked(cout, cin, weights, bias, |w, cout| pack::panels(w, cout, cin))?;
    pointwise_packed(input, cout, &weights, &bias, options)
}

/// [`pointwise`] to `cout` channels with weights and bias as [`pack::panels`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`pointwise`].
pub fn pointwise_packed(
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    options: &Conv,
) -> Result<Tensor, Error> {
    let [n, cin, height, width] = input.shape();
    length("packed weights", pack::panels_len(cout, cin), weights.len())?;
    let layer = Layer::new(options, [n, cout, height, width], bias)?;
    let shape = BlockedShape::new(cin, height, width)?;
    layer.run(|kernels, picture, dst, residual| {
        let src = blocked(shape, input.picture(picture))?;
        let args = args::Pointwise {
            src: planes(&src, shape),
            dst,
            residual,
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            cin,
            cout,
            pixels: (0..height * width).into(),
            panels: (0..cout.div_ceil(pack::PANEL)).into(),
            clamp: options.clamp,
        };
        // SAFETY: all extents are those of the buffers, which live through the call.
        unsafe { kernels.pointwise(&args) }
        Ok(())
    })
}

/// Dense 3x3 convolution: `[N, Cin, H, W]` and `weights` `[Cout][Cin][3][3]` to `[N, Cout, H', W']`; Cout
/// follows from the number of weights. By the kernels for channel-blocked input, the fast ones from eight input
/// channels on.
///
/// # Errors
/// Slices of the wrong length, stride or padding out of range, an ISA that the CPU lacks.
pub fn conv3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let (cout, weights, bias) = pack_square(input, 3, weights, bias)?;
    conv3x3_packed(input, cout, &weights, &bias, options)
}

/// [`conv3x3`] to `cout` channels with weights and bias as [`pack::panels`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`conv3x3`].
pub fn conv3x3_packed(
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    options: &Conv,
) -> Result<Tensor, Error> {
    let [n, cin, height, width] = input.shape();
    let geometry = options.geometry(3, height, width)?;
    length("packed weights", pack::panels_len(cout, cin.saturating_mul(9)), weights.len())?;
    let layer = Layer::new(options, [n, cout, geometry.out_height, geometry.out_width], bias)?;
    let shape = BlockedShape::new(cin, height, width)?;
    layer.run(|kernels, picture, dst, residual| {
        let src = blocked(shape, input.picture(picture))?;
        let read = |outputs: usize| (outputs - 1) * options.stride + 3;
        let around = BlockedShape::new(cin, read(geometry.out_height), read(geometry.out_width))?;
        let mut padded = AlignedBuf::try_zeroed(around.len())?;
        let (from, to) = (planes(&src, shape), PlanesMut { ptr: padded.as_mut_ptr(), stride: around.plane });
        let rows = (0..geometry.out_height).into();
        let args = args::Conv3x3 {
            src: to.read(),
            row: around.width,
            dst,
            residual,
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            cin,
            cout,
            width: geometry.out_width,
            rows,
            panels: (0..cout.div_ceil(pack::PANEL)).into(),
            clamp: options.clamp,
        };
        // SAFETY: all extents are those of the buffers, which live through the calls.
        unsafe {
            strip::pad_rows(from, &geometry, options.stride, rows, shape.blocks(), to);
            (kernels.conv3x3(options.stride).run)(&args);
        }
        Ok(())
    })
}

/// Dense 3x3 convolution by the kernels for planar input, the fast ones for a network's first layer; otherwise as
/// [`conv3x3`], with the same bits.
///
/// # Errors
/// As [`conv3x3`].
pub fn dense3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let (cout, weights, bias) = pack_square(input, 3, weights, bias)?;
    dense3x3_packed(input, cout, &weights, &bias, options)
}

/// [`dense3x3`] to `cout` channels with weights and bias as [`pack::panels`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`dense3x3`].
pub fn dense3x3_packed(
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    options: &Conv,
) -> Result<Tensor, Error> {
    dense(3, input, cout, weights, bias, options)
}

/// Dense 7x7 convolution of stride 2: `[N, Cin, H, W]` and `weights` `[Cout][Cin][7][7]` to `[N, Cout, H', W']`; Cout
/// follows from the number of weights. The padding is up to 3 per side.
///
/// # Errors
/// Slices of the wrong length, another stride, padding out of range, an ISA that the CPU lacks.
pub fn dense7x7(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let (cout, weights, bias) = pack_square(input, 7, weights, bias)?;
    dense7x7_packed(input, cout, &weights, &bias, options)
}

/// [`dense7x7`] to `cout` channels with weights and bias as [`pack::panels`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`dense7x7`].
pub fn dense7x7_packed(
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    options: &Conv,
) -> Result<Tensor, Error> {
    if options.stride != 2 {
        return Err(Error::Value { what: "stride", expected: "2", found: options.stride });
    }
    dense(7, input, cout, weights, bias, options)
}

fn dense(
    kernel: usize,
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    options: &Conv,
) -> Result<Tensor, Error> {
    let [n, cin, height, width] = input.shape();
    let geometry = options.geometry(kernel, height, width)?;
    length("packed weights", pack::panels_len(cout, cin.saturating_mul(kernel * kernel)), weights.len())?;
    let layer = Layer::new(options, [n, cout, geometry.out_height, geometry.out_width], bias)?;
    let scratch = if layer.is_empty() { 0 } else { args::Dense::scratch_len(cin, kernel, options.stride) };
    let mut scratch = AlignedBuf::try_zeroed(scratch)?;
    layer.run(|kernels, picture, dst, residual| {
        let args = args::Dense {
            src: input.picture(picture).as_ptr(),
            dst,
            residual,
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            scratch: scratch.as_mut_ptr(),
            cin,
            cout,
            geometry,
            rows: (0..geometry.out_height).into(),
            clamp: options.clamp,
        };
        // SAFETY: all extents are those of the buffers, which live through the call.
        unsafe { (kernels.dense(kernel, options.stride).run)(&args) }
        Ok(())
    })
}

/// Max pool 3x3 of stride 2: `[N, C, H, W]` to `[N, C, H', W']`. The padding, 0 or 1 per side, takes no part. Where a
/// window has a NaN, so has the output.
///
/// # Errors
/// Padding out of range, an ISA that the CPU lacks.
pub fn max_pool3x3(input: TensorView, padding: Padding, isa: Option<Isa>) -> Result<Tensor, Error> {
    let [n, channels, height, width] = input.shape();
    let options = Conv { stride: 2, padding, isa, ..Conv::default() };
    let geometry = options.geometry(3, height, width)?;
    let layer = Layer::unbiased(&options, [n, channels, geometry.out_height, geometry.out_width])?;
    let shape = BlockedShape::new(channels, height, width)?;
    layer.run(|kernels, picture, dst, _| {
        let src = blocked(shape, input.picture(picture))?;
        let (rows, blocks) = ((0..geometry.out_height).into(), (0..shape.blocks()).into());
        // SAFETY: all extents are those of the buffers, which live through the call.
        unsafe { (kernels.maxpool3x3s2.run)(&args::MaxPool { src: planes(&src, shape), dst, geometry, rows, blocks }) }
        Ok(())
    })
}

/// Global average pool: `[N, C, H, W]` to `[N, C, 1, 1]`.
///
/// # Errors
/// A picture without pixels, an ISA that the CPU lacks.
pub fn global_average_pool(input: TensorView, isa: Option<Isa>) -> Result<Tensor, Error> {
    let [n, channels, height, width] = input.shape();
    if height * width == 0 {
        return Err(Error::Value { what: "pixels of a picture to pool", expected: "at least 1", found: 0 });
    }
    let kernels = table::choose(isa)?;
    let mut output = Tensor::zeros([n, channels, 1, 1])?;
    if n * channels == 0 {
        return Ok(output);
    }
    let shape = BlockedShape::new(channels, height, width)?;
    let mut means = AlignedBuf::try_zeroed(shape.blocks() * 8)?;
    for picture in 0..n {
        let src = blocked(shape, input.picture(picture))?;
        let src = planes(&src, shape);
        let blocks = (0..shape.blocks()).into();
        // SAFETY: all extents are those of the buffers, which live through the call.
        unsafe { (kernels.pool.run)(&args::Pool { src, dst: means.as_mut_ptr(), height, width, blocks }) }
        output.data_mut()[picture * channels..][..channels].copy_from_slice(&means[..channels]);
    }
    Ok(output)
}

/// Linear layer: features `[N, Cin, 1, 1]` and `weights` `[Cout][Cin]` to `[N, Cout, 1, 1]`; Cout follows
/// from the number of weights.
///
/// # Errors
/// Slices of the wrong length, an ISA that the CPU lacks.
pub fn linear(features: TensorView, weights: &[f32], bias: Option<&[f32]>, isa: Option<Isa>) -> Result<Tensor, Error> {
    let cin = features.shape()[1];
    let cout = weights.len() / cin.max(1);
    let (weights, bias) = pack_checked(cout, cin, weights, bias, |w, cout| pack::panels(w, cout, cin))?;
    linear_packed(features, cout, &weights, &bias, isa)
}

/// [`linear`] to `cout` outputs with weights and bias as [`pack::panels`] and [`pack::bias`](pack::bias()) make them.
///
/// # Errors
/// As [`linear`].
pub fn linear_packed(
    features: TensorView,
    cout: usize,
    weights: &[f32],
    bias: &[f32],
    isa: Option<Isa>,
) -> Result<Tensor, Error> {
    let [batch, cin, height, width] = features.shape();
    if height != 1 || width != 1 {
        return Err(Error::Shape { what: "features", expected: [batch, cin, 1, 1], found: features.shape() });
    }
    length("packed weights", pack::panels_len(cout, cin), weights.len())?;
    length("packed bias", pack::bias_len(cout), bias.len())?;
    let kernels = table::choose(isa)?;
    let mut output = Tensor::zeros([batch, cout, 1, 1])?;
    if batch * cout == 0 {
        return Ok(output);
    }
    let args = args::Linear {
        src: features.data().as_ptr(),
        src_stride: cin,
        dst: output.data_mut().as_mut_ptr(),
        dst_stride: cout,
        weights: weights.as_ptr(),
        bias: bias.as_ptr(),
        cin,
        cout,
        batch,
        panels: (0..cout.div_ceil(pack::PANEL)).into(),
    };
    // SAFETY: all extents are those of the buffers, which live through the call.
    unsafe { (kernels.linear.run)(&args) }
    Ok(output)
}

fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// Weights of `outputs` rows of `depth` values packed by `pack`, and their bias.
fn pack_checked(
    outputs: usize,
    depth: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    pack: impl Fn(&[f32], usize) -> Result<AlignedBuf, Error>,
) -> Result<(AlignedBuf, AlignedBuf), Error> {
    length("weights", outputs.saturating_mul(depth), weights.len())?;
    length("bias", outputs, bias.map_or(outputs, <[f32]>::len))?;
    Ok((pack(weights, outputs)?, pack::bias(bias.unwrap_or(&[]), outputs)?))
}

/// Cout, packed weights and packed bias of a dense layer with filters of `kernel` rows and columns.
fn pack_square(
    input: TensorView,
    kernel: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
) -> Result<(usize, AlignedBuf, AlignedBuf), Error> {
    let depth = input.shape()[1].saturating_mul(kernel * kernel);
    let cout = weights.len() / depth.max(1);
    let (weights, bias) = pack_checked(cout, depth, weights, bias, |w, cout| pack::panels(w, cout, depth))?;
    Ok((cout, weights, bias))
}

fn planes(buffer: &AlignedBuf, shape: BlockedShape) -> Planes {
    Planes { ptr: buffer.as_ptr(), stride: shape.plane }
}

fn blocked(shape: BlockedShape, picture: &[f32]) -> Result<AlignedBuf, Error> {
    let mut buffer = AlignedBuf::try_zeroed(shape.len())?;
    shape.block(picture, &mut buffer);
    Ok(buffer)
}

/// What the convolutions have in common: checked bias and residual, output, the loop over pictures.
struct Layer<'a> {
    kernels: &'static Kernels,
    shape: [usize; 4],
    residual: Option<(TensorView<'a>, usize)>,
}

impl<'a> Layer<'a> {
    /// A layer whose output has this shape.
    fn new(options: &Conv<'a>, shape: [usize; 4], bias: &[f32]) -> Result<Self, Error> {
        length("packed bias", pack::bias_len(shape[1]), bias.len())?;
        Layer::unbiased(options, shape)
    }

    /// A layer without weights.
    fn unbiased(options: &Conv<'a>, shape: [usize; 4]) -> Result<Self, Error> {
        let channels = shape[1];
        if let Some((view, covered)) = options.residual {
            if view.shape() != shape {
                return Err(Error::Shape { what: "residual", expected: shape, found: view.shape() });
            }
            if covered > channels {
                let expected = "at most the output's";
                return Err(Error::Value { what: "residual channels", expected, found: covered });
            }
        }
        Ok(Layer { kernels: table::choose(options.isa)?, shape, residual: options.residual })
    }

    /// Whether there is nothing to compute.
    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Calls `kernel` with each picture's number, blocked output and blocked residual.
    fn run(
        &self,
        mut kernel: impl FnMut(&Kernels, usize, PlanesMut, Option<args::Residual>) -> Result<(), Error>,
    ) -> Result<Tensor, Error> {
        let [n, channels, height, width] = self.shape;
        let mut output = Tensor::zeros(self.shape)?;
        if self.is_empty() {
            return Ok(output);
        }
        let shape = BlockedShape::new(channels, height, width)?;
        let mut out = AlignedBuf::try_zeroed(shape.len())?;
        for picture in 0..n {
            let block = |(view, covered): (TensorView, usize)| Ok((blocked(shape, view.picture(picture))?, covered));
            let shortcut: Option<(AlignedBuf, usize)> = self.residual.map(block).transpose()?;
            let residual = shortcut.as_ref().map(|(planes, channels)| args::Residual {
                planes: Planes { ptr: planes.as_ptr(), stride: shape.plane },
                channels: *channels,
                clamp: Clamp::NONE,
            });
            kernel(self.kernels, picture, PlanesMut { ptr: out.as_mut_ptr(), stride: shape.plane }, residual)?;
            let values = channels * height * width;
            shape.unblock(&out, &mut output.data_mut()[picture * values..][..values]);
        }
        Ok(output)
    }
}
