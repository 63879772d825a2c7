//! One layer on plain NCHW tensors, for people who want just that. Weights are packed and activations
//! blocked on each call; a network does both once.
//!
//! ```
//! # use mnx_tensor as mnx;
//! use mnx::{Clamp, Tensor, ops};
//!
//! let input = Tensor::from_slice([1, 2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.])?;
//! let sum = ops::pointwise(input.view(), &[1.0, 1.0], None, &ops::Conv::default())?;
//! assert_eq!(sum.data(), [6., 8., 10., 12.]);
//!
//! let relu6 = ops::Conv { clamp: Clamp::RELU6, padding: ops::Margins::ONE, ..Default::default() };
//! let centre = [0., 0., 0., 0., 1., 0., 0., 0., 0.];
//! let same = ops::depthwise3x3(input.view(), &[centre, centre].concat(), None, &relu6)?;
//! assert_eq!(same.data(), [1., 2., 3., 4., 5., 6., 6., 6.]);
//! # Ok::<(), mnx_tensor::Error>(())
//! ```

pub mod int8;

use crate::layer::Layer;
use crate::operation::{Clamp, Operation};
use crate::part::{Geometry, Part, Planes, PlanesMut, Residual};
use crate::{
    AlignedBuf, AlignedBytes, Arithmetic, BlockedShape, Blocking, Cpu, Error, Tensor, TensorView, pack, strip,
};

/// Rows and columns of zeros around a picture: 0 or 1 per side of a 3x3 layer, 0 to 3 of a 7x7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margins {
    /// Above.
    pub top: usize,
    /// Below.
    pub bottom: usize,
    /// To the left.
    pub left: usize,
    /// To the right.
    pub right: usize,
}

impl Margins {
    /// None.
    pub const ZERO: Margins = Margins { top: 0, bottom: 0, left: 0, right: 0 };
    /// One on each side.
    pub const ONE: Margins = Margins { top: 1, bottom: 1, left: 1, right: 1 };
    /// Three on each side.
    pub const THREE: Margins = Margins { top: 3, bottom: 3, left: 3, right: 3 };
}

/// How a convolution is run. The default: stride 1, no padding, no clamp, no residual, the fastest kernels.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// 1 or 2 (a pointwise layer has no stride and ignores it, and the padding).
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Margins,
    /// What follows the sum.
    pub clamp: Clamp,
    /// Added after the clamp to this many first channels; the output's shape.
    pub residual: Option<(TensorView<'a>, usize)>,
    /// Which kernels run; `None`: as [`Cpu::choose`] does.
    pub cpu: Option<Cpu>,
}

impl Default for Conv<'_> {
    fn default() -> Self {
        Conv { stride: 1, padding: Margins::ZERO, clamp: Clamp::NONE, residual: None, cpu: None }
    }
}

/// Depthwise 3x3 convolution: `[N, C, H, W]` and `weights` `[C][3][3]` to `[N, C, H', W']`.
///
/// # Errors
/// Slices of the wrong length, stride or padding out of range, an ISA that the CPU lacks.
pub fn depthwise3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let operation = Operation::Depthwise { kernel: 3, stride: stride(options)? };
    run_unpacked(operation, input, input.shape()[1], weights, bias, options)
}

/// Pointwise (1x1) convolution: `[N, Cin, H, W]` and `weights` `[Cout][Cin]` to `[N, Cout, H, W]`; Cout
/// follows from the number of weights.
///
/// # Errors
/// Slices of the wrong length, an ISA that the CPU lacks.
pub fn pointwise(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    run_unpacked(Operation::Pointwise, input, outputs(input, 1, weights), weights, bias, options)
}

/// Dense 3x3 convolution: `[N, Cin, H, W]` and `weights` `[Cout][Cin][3][3]` to `[N, Cout, H', W']`; Cout
/// follows from the number of weights. By the kernels for channel-blocked input, the fast ones from eight input
/// channels on.
///
/// # Errors
/// Slices of the wrong length, stride or padding out of range, an ISA that the CPU lacks.
pub fn conv3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let operation = Operation::Conv { kernel: 3, stride: stride(options)? };
    run_unpacked(operation, input, outputs(input, 3, weights), weights, bias, options)
}

/// Dense 3x3 convolution by the kernels for planar input, the fast ones for a network's first layer; otherwise as
/// [`conv3x3`], with the same bits.
///
/// # Errors
/// As [`conv3x3`].
pub fn dense3x3(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    let operation = Operation::Dense { kernel: 3, stride: stride(options)? };
    run_unpacked(operation, input, outputs(input, 3, weights), weights, bias, options)
}

/// Dense 7x7 convolution of stride 2: `[N, Cin, H, W]` and `weights` `[Cout][Cin][7][7]` to `[N, Cout, H', W']`; Cout
/// follows from the number of weights. The padding is up to 3 per side.
///
/// # Errors
/// Slices of the wrong length, another stride, padding out of range, an ISA that the CPU lacks.
pub fn dense7x7(input: TensorView, weights: &[f32], bias: Option<&[f32]>, options: &Conv) -> Result<Tensor, Error> {
    if options.stride != 2 {
        return Err(Error::Value { what: "stride", expected: "2", found: options.stride });
    }
    let operation = Operation::Dense { kernel: 7, stride: 2 };
    run_unpacked(operation, input, outputs(input, 7, weights), weights, bias, options)
}

/// Max pool 3x3 of stride 2: `[N, C, H, W]` to `[N, C, H', W']`. The padding, 0 or 1 per side, takes no part. Where a
/// window has a NaN, so has the output.
///
/// # Errors
/// Padding out of range, an ISA that the CPU lacks.
pub fn max_pool3x3(input: TensorView, padding: Margins, cpu: Option<Cpu>) -> Result<Tensor, Error> {
    let operation = Operation::MaxPool { kernel: 3, stride: 2 };
    let layer = Layer::new(chosen(cpu)?, operation, [input.shape()[1]; 2], &[], &[], Clamp::NONE)?;
    forward(&layer, input, padding, None)
}

/// Global average pool: `[N, C, H, W]` to `[N, C, 1, 1]`.
///
/// # Errors
/// A picture without pixels, an ISA that the CPU lacks.
pub fn global_average_pool(input: TensorView, cpu: Option<Cpu>) -> Result<Tensor, Error> {
    let layer = Layer::new(chosen(cpu)?, Operation::Pool, [input.shape()[1]; 2], &[], &[], Clamp::NONE)?;
    forward(&layer, input, Margins::ZERO, None)
}

/// Linear layer: features `[N, Cin, 1, 1]` and `weights` `[Cout][Cin]` to `[N, Cout, 1, 1]`; Cout follows
/// from the number of weights.
///
/// # Errors
/// Slices of the wrong length, an ISA that the CPU lacks.
pub fn linear(features: TensorView, weights: &[f32], bias: Option<&[f32]>, cpu: Option<Cpu>) -> Result<Tensor, Error> {
    let options = Conv { cpu, ..Conv::default() };
    run_unpacked(Operation::Linear, features, outputs(features, 1, weights), weights, bias, &options)
}

/// A layer on a plain tensor `[N, Cin, H, W]`, all of it: to `[N, Cout, H', W']`. `padding` is for layers with filters of 3 or 7 rows and
/// columns, at most half of that on each side; the residual is added after the layer's clamp to that many first channels
/// and has the output's shape.
///
/// # Errors
/// Shapes that do not fit the layer or each other, padding out of range, no memory.
pub fn forward(
    layer: &Layer<'_>,
    input: TensorView,
    padding: Margins,
    residual: Option<(TensorView, usize)>,
) -> Result<Tensor, Error> {
    let (operation, shape) = (layer.operation(), input.shape());
    expect(layer, "one in f32", layer.arithmetic() == Arithmetic::F32)?;
    let [n, cin, height, width] = shape;
    if cin != layer.cin() {
        return Err(Error::Shape { what: "input", expected: [n, layer.cin(), height, width], found: shape });
    }
    let geometry = geometry(operation, padding, height, width)?;
    let shape = [n, layer.cout(), geometry.out_height, geometry.out_width];
    check_residual(layer, residual.map(|(_, channels)| channels))?;
    if let Some((view, _)) = residual
        && view.shape() != shape
    {
        return Err(Error::Shape { what: "residual", expected: shape, found: view.shape() });
    }
    let mut output = Tensor::zeros(shape)?;
    if shape.contains(&0) {
        return Ok(output);
    }
    let mut part = Part {
        src: Planes { ptr: std::ptr::null(), stride: 0 },
        dst: PlanesMut { ptr: std::ptr::null_mut(), stride: 0 },
        residual: None,
        geometry,
        scratch: std::ptr::null_mut(),
        pixels: (0..geometry.out_height * geometry.out_width).into(),
        channels: (0..layer.groups()).into(),
    };
    if operation == Operation::Linear {
        all_rows(layer, input, &mut output, part);
        return Ok(output);
    }
    let mut scratch = AlignedBytes::try_zeroed(operation.scratch_bytes(cin))?;
    part.scratch = scratch.as_mut_ptr();
    let to = BlockedShape::new(layer.cout(), geometry.out_height, geometry.out_width)?;
    let mut out = AlignedBuf::try_zeroed(to.len())?;
    part.dst = PlanesMut {
        ptr: out.as_mut_ptr().cast(),
        stride: if operation == Operation::Pool { Blocking::F32.pixel_bytes() } else { to.plane },
    };
    let planes = |buffer: &AlignedBuf, shape: BlockedShape| Planes { ptr: buffer.as_ptr().cast(), stride: shape.plane };
    for picture in 0..n {
        let values = input.picture(picture);
        let blocked_residual = residual.map(|(view, _)| blocked(to, view.picture(picture))).transpose()?;
        part.residual = blocked_residual.as_ref().zip(residual).map(|(buffer, (_, channels))| Residual {
            planes: planes(buffer, to),
            channels,
            clamp: Clamp::NONE,
        });
        let copy = copied(operation, &geometry, cin, values)?;
        part.src = match &copy {
            Some((buffer, shape)) => planes(buffer, *shape),
            None => Planes { ptr: values.as_ptr().cast(), stride: height * width * size_of::<f32>() },
        };
        // SAFETY: input, output and residual are whole, each in a buffer of its own shape.
        unsafe { layer.run(&part) }
        let picture = picture * shape[1..].iter().product::<usize>();
        if operation == Operation::Pool {
            output.data_mut()[picture..][..cin].copy_from_slice(&out[..cin]);
        } else {
            to.unblock(&out, &mut output.data_mut()[picture..][..shape[1..].iter().product()]);
        }
    }
    Ok(output)
}

/// A linear layer on every picture's features.
fn all_rows(layer: &Layer<'_>, input: TensorView, output: &mut Tensor, mut part: Part) {
    let bytes = |floats: usize| floats * size_of::<f32>();
    part.pixels = (0..input.shape()[0]).into();
    part.src = Planes { ptr: input.data().as_ptr().cast(), stride: bytes(layer.cin()) };
    part.dst = PlanesMut { ptr: output.data_mut().as_mut_ptr().cast(), stride: bytes(layer.cout()) };
    // SAFETY: features and outputs have a row per picture.
    unsafe { layer.run(&part) }
}

/// One picture as the operation's kernels read it. `None`: as it is.
fn copied(
    operation: Operation,
    geometry: &Geometry,
    cin: usize,
    values: &[f32],
) -> Result<Option<(AlignedBuf, BlockedShape)>, Error> {
    match operation {
        Operation::Dense { .. } => Ok(None),
        Operation::Conv { .. } => padded(operation, geometry, cin, values).map(Some),
        _ => {
            let shape = BlockedShape::new(cin, geometry.height, geometry.width)?;
            Ok(Some((blocked(shape, values)?, shape)))
        }
    }
}

/// Packs weights and bias, and runs the layer that they make.
fn run_unpacked(
    operation: Operation,
    input: TensorView,
    cout: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    options: &Conv,
) -> Result<Tensor, Error> {
    let cin = input.shape()[1];
    let cpu = chosen(options.cpu)?;
    length("bias", cout, bias.map_or(cout, <[f32]>::len))?;
    let packed = operation.pack(weights, [cin, cout])?;
    let bias = pack::bias(bias.unwrap_or(&[]), cout)?;
    let layer = Layer::new(cpu, operation, [cin, cout], &packed, &bias, options.clamp)?;
    forward(&layer, input, options.padding, options.residual)
}

/// Sizes of an operation on a picture of `height` x `width`.
fn geometry(operation: Operation, padding: Margins, height: usize, width: usize) -> Result<Geometry, Error> {
    let same = Geometry { height, width, out_height: height, out_width: width, pad_top: 0, pad_left: 0 };
    let (kernel, stride) = (operation.kernel(), operation.stride());
    match operation {
        Operation::Pointwise | Operation::PointwiseHalf | Operation::Quantize => return Ok(same),
        Operation::Pool if height == 0 || width == 0 => {
            return Err(Error::Value { what: "pixels of a picture to pool", expected: "at least 1", found: 0 });
        }
        Operation::Pool => return Ok(Geometry { out_height: 1, out_width: 1, ..same }),
        Operation::Linear if (height, width) != (1, 1) => {
            return Err(Error::Value { what: "pixels of a picture's features", expected: "1", found: height * width });
        }
        Operation::Linear => return Ok(same),
        _ => {}
    }
    let Margins { top, bottom, left, right } = padding;
    if let Some(&found) = [top, bottom, left, right].iter().find(|&&p| p > kernel / 2) {
        let expected = ["0", "0 or 1", "0 to 2", "0 to 3"][(kernel / 2).min(3)];
        return Err(Error::Value { what: "padding", expected, found });
    }
    let size = |n: usize, padding: usize| n.saturating_add(padding).checked_sub(kernel).map_or(0, |n| n / stride + 1);
    let (out_height, out_width) = (size(height, top + bottom), size(width, left + right));
    Ok(Geometry { out_height, out_width, pad_top: top, pad_left: left, ..same })
}

/// That a function runs this layer.
fn expect(layer: &Layer<'_>, expected: &'static str, suits: bool) -> Result<(), Error> {
    let (operation, arithmetic) = (layer.operation(), layer.arithmetic());
    if suits { Ok(()) } else { Err(Error::Layer { expected, operation, arithmetic }) }
}

/// That the layer can add a residual to that many channels.
fn check_residual(layer: &Layer<'_>, covered: Option<usize>) -> Result<(), Error> {
    let wrong = |expected, found| Err(Error::Value { what: "residual channels", expected, found });
    match covered {
        Some(covered) if !layer.adds_residual() => wrong("none: this layer adds no residual", covered),
        Some(covered) if covered > layer.cout() => wrong("at most the output's", covered),
        _ => Ok(()),
    }
}

/// A picture in the form in which [`Operation::Conv`] reads it, with the zeros around it.
fn padded(
    operation: Operation,
    geometry: &Geometry,
    cin: usize,
    values: &[f32],
) -> Result<(AlignedBuf, BlockedShape), Error> {
    let shape = BlockedShape::new(cin, geometry.height, geometry.width)?;
    let src = blocked(shape, values)?;
    let rows = (geometry.out_height - 1) * operation.stride() + operation.kernel();
    let around = BlockedShape::new(cin, rows, geometry.padded_row(operation))?;
    let mut padded = AlignedBuf::try_zeroed(around.len())?;
    let from = Planes { ptr: src.as_ptr().cast(), stride: shape.plane };
    let to = PlanesMut { ptr: padded.as_mut_ptr().cast(), stride: around.plane };
    // SAFETY: both buffers are whole and of these shapes.
    unsafe {
        strip::pad_rows(
            from,
            geometry,
            operation,
            (0..geometry.out_height).into(),
            (shape.blocks(), shape.blocking),
            to,
        )
    };
    Ok((padded, around))
}

fn blocked(shape: BlockedShape, picture: &[f32]) -> Result<AlignedBuf, Error> {
    let mut buffer = AlignedBuf::try_zeroed(shape.len())?;
    shape.block(picture, 0.0, &mut buffer);
    Ok(buffer)
}

fn chosen(cpu: Option<Cpu>) -> Result<Cpu, Error> {
    cpu.map_or_else(|| Cpu::choose(None, None), Ok)
}

fn stride(options: &Conv) -> Result<usize, Error> {
    if (1..=2).contains(&options.stride) {
        return Ok(options.stride);
    }
    Err(Error::Value { what: "stride", expected: "1 or 2", found: options.stride })
}

/// Output channels, by the number of weights of filters of `kernel` rows and columns.
fn outputs(input: TensorView, kernel: usize, weights: &[f32]) -> usize {
    weights.len() / input.shape()[1].saturating_mul(kernel * kernel).max(1)
}

fn length(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}
