//! Layers in parts, as a plan runs them: strips of rows that were copied into a form of their own, some panels at a time,
//! with a clamp after the shortcut. Parts give the bits of the whole.

mod common;

use common::{assert_same, values};
use mnx_tensor::part::{Geometry, Planes, PlanesMut, Residual, Span};
use mnx_tensor::{
    AlignedBytes, BlockedShape, Blocking, Clamp, Cpu, Layer, Operation, Part, TensorView, naive, ops, pack, strip,
};
use proptest::prelude::*;

fn blocked(shape: BlockedShape, nchw: &[f32]) -> Vec<f32> {
    let mut buffer = vec![0.0; shape.len()];
    shape.block(nchw, 0.0, &mut buffer);
    buffer
}

fn planes(buffer: &[f32], shape: BlockedShape) -> Planes {
    Planes { ptr: buffer.as_ptr().cast(), stride: shape.plane }
}

/// Clamp of the layer, then the shortcut on the first `covered` channels, then its clamp there.
fn epilogue(plain: &[f32], channels: usize, clamp: Clamp, shortcut: &[f32], covered: usize, after: Clamp) -> Vec<f32> {
    let mut out = plain.to_vec();
    naive::epilogue(&mut out, channels, clamp, Some((shortcut, covered)));
    let touched = out.len() / channels * covered;
    out[..touched].iter_mut().for_each(|value| *value = after.apply(*value));
    out
}

#[derive(Clone, Debug)]
struct Case {
    cin: usize,
    cout: usize,
    h: usize,
    w: usize,
    stride: usize,
    pad: [usize; 4],
    strip: usize,
    covered: usize,
    after: Clamp,
}

fn check(case: &Case) {
    let &Case { cin, cout, h, w, stride, pad: [top, bottom, left, right], strip: step, covered, after } = case;
    let size = |n: usize| n.checked_sub(3).map_or(0, |n| n / stride + 1);
    let (out_height, out_width) = (size(h + top + bottom), size(w + left + right));
    if out_height * out_width == 0 {
        return;
    }
    let geometry = Geometry { height: h, width: w, out_height, out_width, pad_top: top, pad_left: left };
    let (from, to) = (BlockedShape::new(cin, h, w).unwrap(), BlockedShape::new(cout, out_height, out_width).unwrap());
    let (x, weights, bias) = (values(cin * h * w, 1), values(cout * cin * 9, 2), values(cout, 3));
    let mut shortcut = values(cout * out_height * out_width, 4);
    // What the shortcut does not cover must not be touched by it.
    let at = out_height * out_width * covered;
    shortcut[at..].iter_mut().for_each(|value| *value = f32::NAN);
    shortcut.iter_mut().step_by(5).for_each(|value| *value = if *value < 0.0 { f32::NEG_INFINITY } else { f32::NAN });
    let (src, residual) = (blocked(from, &x), blocked(to, &shortcut));
    let (packed, packed_bias) = (pack::panels(&weights, cout, cin * 9).unwrap(), pack::bias(&bias, cout).unwrap());
    for cpu in Cpu::available() {
        let padding = ops::Margins { top, bottom, left, right };
        let options = ops::Conv { stride, padding, cpu: Some(cpu), ..Default::default() };
        let view = TensorView::new([1, cin, h, w], &x).unwrap();
        let plain = ops::conv3x3(view, &weights, Some(&bias), &options).unwrap();
        let operation = Operation::Conv { kernel: 3, stride };
        let layer = Layer::new(cpu, operation, [cin, cout], &packed, &packed_bias, Clamp::RELU6).unwrap();
        let row = (out_width - 1) * stride + 3;
        let mut out = vec![f32::NAN; to.len()];
        for start in (0..out_height).step_by(step) {
            let rows: Span = (start..out_height.min(start + step)).into();
            let around = BlockedShape::new(cin, (rows.len() - 1) * stride + 3, row).unwrap();
            let mut padded = vec![f32::NAN; around.len()];
            let strip = PlanesMut { ptr: padded.as_mut_ptr().cast(), stride: around.plane };
            for panel in 0..cout.div_ceil(16) {
                let part = Part {
                    src: Planes { ptr: strip.ptr.wrapping_sub(start * stride * row * 32), stride: around.plane },
                    dst: PlanesMut { ptr: out.as_mut_ptr().cast(), stride: to.plane },
                    residual: Some(Residual { planes: planes(&residual, to), channels: covered, clamp: after }),
                    geometry,
                    scratch: std::ptr::null_mut(),
                    pixels: (rows.start * out_width..rows.end * out_width).into(),
                    channels: (panel..panel + 1).into(),
                };
                // SAFETY: all extents are those of the buffers; a strip is where its rows would be.
                unsafe {
                    strip::pad_rows(
                        planes(&src, from),
                        &geometry,
                        operation,
                        rows,
                        (from.blocks(), Blocking::F32),
                        strip,
                    );
                    layer.run(&part);
                }
            }
        }
        let mut found = vec![0.0; cout * out_height * out_width];
        to.unblock(&out, &mut found);
        let expected = epilogue(plain.data(), cout, Clamp::RELU6, &shortcut, covered, after);
        assert_same(&found, &expected, &(cpu, case));
    }
}

proptest! {
    #[test]
    fn strips_of_conv3x3_are_the_whole(
        (cin, cout, h, w) in (1_usize..20, 1_usize..36, 1_usize..16, 1_usize..24),
        stride in 1_usize..=2,
        pad in prop::array::uniform4(0_usize..=1),
        strip in 1_usize..6,
        share in 0.0..=1.0_f64,
        relu in any::<bool>(),
    ) {
        let covered = (share * cout as f64) as usize;
        let after = if relu { Clamp::RELU } else { Clamp { lo: -1.0, hi: 1.0 } };
        check(&Case { cin, cout, h, w, stride, pad, strip, covered, after });
    }
}

/// The other kernels with a shortcut.
#[test]
fn the_clamp_after_the_shortcut_is_every_kernels() {
    let (depthwise, dense) = ([1, 2], [(3, 1), (3, 2), (7, 2)]);
    let depthwise = depthwise.map(|stride| Operation::Depthwise { kernel: 3, stride });
    let dense = dense.map(|(kernel, stride)| Operation::Dense { kernel, stride });
    for operation in [Operation::Pointwise].into_iter().chain(depthwise).chain(dense) {
        for (channels, covered) in [(8, 8), (19, 19), (19, 11), (24, 3), (40, 0)] {
            for after in [Clamp::NONE, Clamp::RELU, Clamp { lo: -0.5, hi: 0.25 }] {
                clamps_after(operation, channels, covered, after);
            }
        }
    }
}

fn clamps_after(operation: Operation, channels: usize, covered: usize, after: Clamp) {
    let (height, width, pad) = (5, 9, operation.kernel() / 2);
    let size = |n: usize| (n + 2 * pad - operation.kernel()) / operation.stride() + 1;
    let (out_height, out_width) = (size(height), size(width));
    let geometry = Geometry { height, width, out_height, out_width, pad_top: pad, pad_left: pad };
    let (from, to) = (
        BlockedShape::new(channels, height, width).unwrap(),
        BlockedShape::new(channels, out_height, out_width).unwrap(),
    );
    let (x, shortcut) = (values(channels * height * width, 1), values(channels * out_height * out_width, 2));
    let (blocks, residual) = (blocked(from, &x), blocked(to, &shortcut));
    let depth = operation.kernel().pow(2) * if operation.is_per_channel() { 1 } else { channels };
    let weights = operation.pack(&values(channels * depth, 3), [channels; 2]).unwrap();
    let bias = pack::bias(&values(channels, 5), channels).unwrap();
    for cpu in Cpu::available() {
        let layer = |clamp| Layer::new(cpu, operation, [channels; 2], &weights, &bias, clamp).unwrap();
        let view = TensorView::new([1, channels, height, width], &x).unwrap();
        let padding = ops::Margins { top: pad, bottom: pad, left: pad, right: pad };
        let plain = ops::forward(&layer(Clamp::NONE), view, padding, None).unwrap();
        let layer = layer(Clamp::RELU6);
        let is_planar = layer.input() == Blocking::PLANAR;
        let mut scratch = AlignedBytes::try_zeroed(layer.scratch_bytes(&geometry)).unwrap();
        let mut out = vec![0.0; to.len()];
        let part = Part {
            src: if is_planar {
                Planes { ptr: x.as_ptr().cast(), stride: height * width * 4 }
            } else {
                planes(&blocks, from)
            },
            dst: PlanesMut { ptr: out.as_mut_ptr().cast(), stride: to.plane },
            residual: Some(Residual { planes: planes(&residual, to), channels: covered, clamp: after }),
            geometry,
            scratch: scratch.as_mut_ptr(),
            pixels: (0..out_height * out_width).into(),
            channels: (0..layer.groups()).into(),
        };
        // SAFETY: all extents are those of the buffers.
        unsafe { layer.run(&part) };
        let mut found = vec![0.0; shortcut.len()];
        to.unblock(&out, &mut found);
        let expected = epilogue(plain.data(), channels, Clamp::RELU6, &shortcut, covered, after);
        assert_same(&found, &expected, &(cpu, operation, channels, covered, after));
    }
}

/// By the definition, pixel by pixel, of rows in the middle too.
#[test]
fn every_second_pixel_of_every_second_row_is_sampled() {
    for (h, w) in [(1, 1), (2, 5), (7, 7), (8, 6)] {
        let shape = BlockedShape::new(17, h, w).unwrap();
        let src = blocked(shape, &values(17 * h * w, 1));
        let (out_height, out_width) = (h.div_ceil(2), w.div_ceil(2));
        let geometry = Geometry { height: h, width: w, out_height, out_width, pad_top: 0, pad_left: 0 };
        for first in 0..out_height {
            let rows: Span = (first..out_height).into();
            let to = BlockedShape::new(17, rows.len(), out_width).unwrap();
            let mut found = vec![f32::NAN; to.len()];
            let dst = PlanesMut { ptr: found.as_mut_ptr().cast(), stride: to.plane };
            // SAFETY: all extents are those of the buffers.
            unsafe {
                strip::sample_rows(planes(&src, shape), &geometry, 2, rows, (shape.blocks(), Blocking::F32), dst)
            };
            for (b, y, x, lane) in (0..3 * rows.len() * out_width * 8)
                .map(|i| (i / 8 / out_width / rows.len(), i / 8 / out_width % rows.len(), i / 8 % out_width, i % 8))
            {
                let expected = src[b * shape.plane / 4 + (2 * (first + y) * w + 2 * x) * 8 + lane];
                assert_eq!(found[b * to.plane / 4 + (y * out_width + x) * 8 + lane], expected);
            }
        }
    }
}
