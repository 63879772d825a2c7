//! Single int8 layers on plain NCHW bytes.

use crate::int8::{Requantize, check_factor, feature_bytes};
use crate::ops::{Margins, check_residual, expect, geometry, length};
use crate::part::{Planes, PlanesMut, Residual};
use crate::{
    AlignedBytes, Arithmetic, BlockedShape, Blocking, Clamp, Error, Layer, Operation, Part, TensorView, memory,
};

/// An int8 layer on `input`, `[N, Cin, H, W]`: bytes `[N, Cout, rows, columns]`. What `residual` holds, of the output's
/// shape, is added to its first channels with the layer's shortcut factor. Not for linear layers: see [`linear`].
///
/// # Errors
/// Lengths that do not fit the shape, a layer of another kind, padding out of range, an average pool of so many pixels that its
/// sum could exceed an i32 or of scales that make its factor infinite or NaN, no memory.
pub fn forward(
    layer: &Layer<'_>,
    input: &[u8],
    [n, cin, height, width]: [usize; 4],
    padding: Margins,
    residual: Option<(&[u8], usize)>,
) -> Result<Vec<u8>, Error> {
    let operation = layer.operation();
    let suits = is_int8(layer) && operation != Operation::Linear && operation != Operation::Quantize;
    expect(layer, "one in int8 that is neither Linear nor Quantize", suits)?;
    if cin != layer.cin() {
        return Err(Error::Channels { expected: layer.cin(), found: cin });
    }
    let geometry = geometry(operation, padding, height, width)?;
    if operation == Operation::Pool {
        check_pool(&layer.operands().int8.requantize, height.saturating_mul(width))?;
    }
    let from = BlockedShape::of(layer.input(), cin, height, width)?;
    let to = BlockedShape::of(layer.output(), layer.cout(), geometry.out_height, geometry.out_width)?;
    let (of_input, of_output) = (cin * height * width, layer.cout() * geometry.out_height * geometry.out_width);
    length("input", times(n, of_input)?, input.len())?;
    check_residual(layer, residual.map(|(_, channels)| channels))?;
    let outputs = times(n, of_output)?;
    if let Some((values, _)) = residual {
        length("residual", outputs, values.len())?;
    }
    let mut output = memory::zeros(outputs)?;
    if output.is_empty() {
        return Ok(output);
    }
    let mut src = AlignedBytes::try_zeroed(from.bytes())?;
    let mut dst = AlignedBytes::try_zeroed(to.bytes())?;
    let mut added = AlignedBytes::try_zeroed(to.bytes())?;
    let mut scratch = AlignedBytes::try_zeroed(layer.scratch_bytes(&geometry))?;
    for picture in 0..n {
        // What fills up a block may be anything.
        from.block(&input[picture * of_input..][..of_input], 201, &mut src);
        if let Some((values, _)) = residual {
            to.block(&values[picture * of_output..][..of_output], 3, &mut added);
        }
        let part = Part {
            src: Planes { ptr: src.as_ptr(), stride: from.plane },
            dst: PlanesMut {
                ptr: dst.as_mut_ptr(),
                stride: if operation == Operation::Pool { Blocking::U8.pixel_bytes() } else { to.plane },
            },
            residual: residual.map(|(_, channels)| Residual {
                planes: Planes { ptr: added.as_ptr(), stride: to.plane },
                channels,
                clamp: Clamp::NONE,
            }),
            geometry,
            scratch: scratch.as_mut_ptr(),
            pixels: (0..geometry.out_height * geometry.out_width).into(),
            channels: (0..layer.groups()).into(),
        };
        // SAFETY: input, output, residual and scratch are whole, each in a buffer of its own.
        unsafe { layer.run(&part) }
        let output = &mut output[picture * of_output..][..of_output];
        if operation == Operation::Pool {
            output.copy_from_slice(&dst[..layer.cout()]);
        } else {
            to.unblock(&dst, output);
        }
    }
    Ok(output)
}

/// An int8 linear layer on `rows` rows of features: f32 outputs, row by row.
///
/// # Errors
/// Lengths that do not fit, a layer of another kind, no memory.
pub fn linear(layer: &Layer<'_>, input: &[u8], rows: usize) -> Result<Vec<f32>, Error> {
    expect(layer, "Linear in int8", is_int8(layer) && layer.operation() == Operation::Linear)?;
    length("input", times(rows, layer.cin())?, input.len())?;
    let (features, outputs) = (feature_bytes(layer.cin()), layer.cout() * size_of::<f32>());
    let mut src = AlignedBytes::try_zeroed(times(rows, features)?)?;
    for (row, values) in src.chunks_exact_mut(features.max(1)).zip(input.chunks_exact(layer.cin().max(1))) {
        row.fill(77);
        row[..values.len()].copy_from_slice(values);
    }
    let mut output = memory::zeros::<f32>(times(rows, layer.cout())?)?;
    let geometry = geometry(Operation::Linear, Margins::ZERO, 1, 1)?;
    let mut scratch = AlignedBytes::try_zeroed(layer.scratch_bytes(&geometry))?;
    let part = Part {
        src: Planes { ptr: src.as_ptr(), stride: features },
        dst: PlanesMut { ptr: output.as_mut_ptr().cast(), stride: outputs },
        residual: None,
        geometry,
        scratch: scratch.as_mut_ptr(),
        pixels: (0..rows).into(),
        channels: (0..layer.groups()).into(),
    };
    // SAFETY: features and outputs have a row each.
    unsafe { layer.run(&part) }
    Ok(output)
}

/// One picture, `[1, C, H, W]`, as an int8 network reads it, by a layer of [`Operation::Quantize`]: NCHW bytes.
///
/// # Errors
/// A layer of another kind, another number of channels, no memory.
pub fn quantize(layer: &Layer<'_>, input: TensorView<'_>) -> Result<Vec<u8>, Error> {
    expect(layer, "Quantize in int8", is_int8(layer) && layer.operation() == Operation::Quantize)?;
    let [n, channels, height, width] = input.shape();
    if (n, channels) != (1, layer.cin()) {
        return Err(Error::Shape { what: "input", expected: [1, layer.cin(), height, width], found: input.shape() });
    }
    let to = BlockedShape::of(Blocking::U8_STEM, channels, height, width)?;
    let mut dst = AlignedBytes::try_zeroed(to.bytes())?;
    let part = Part {
        src: Planes { ptr: input.data().as_ptr().cast(), stride: height * width * size_of::<f32>() },
        dst: PlanesMut { ptr: dst.as_mut_ptr(), stride: to.plane },
        residual: None,
        geometry: crate::part::Geometry::POINT,
        scratch: std::ptr::null_mut(),
        pixels: (0..height * width).into(),
        channels: (0..layer.groups()).into(),
    };
    // SAFETY: the picture and the blocks are whole.
    unsafe { layer.run(&part) }
    let mut bytes = memory::zeros(channels * height * width)?;
    to.unblock(&dst, &mut bytes);
    Ok(bytes)
}

/// That the sum over so many pixels is exact, and its factor a number.
fn check_pool(requantize: &Requantize, pixels: usize) -> Result<(), Error> {
    let most = i32::MAX as usize / usize::from(requantize.reach());
    if pixels > most {
        let expected = "so few that their sum fits an i32";
        return Err(Error::Value { what: "pixels of a picture to pool", expected, found: pixels });
    }
    check_factor("factor of an average pool", &[requantize.pool_factor(pixels)])
}

fn is_int8(layer: &Layer<'_>) -> bool {
    layer.arithmetic() == Arithmetic::Int8
}

/// Values of `n` pictures or rows.
fn times(n: usize, values: usize) -> Result<usize, Error> {
    n.checked_mul(values).ok_or(Error::TooLarge { shape: [n, values, 1, 1] })
}
