//! Every kernel of every ISA that this machine has against the naive loops: exactly, in the rounding that the ISA
//! has. By a table of awkward sizes and by proptest.

mod common;

use common::{assert_same, values};
use mnx_tensor::naive::{self, Rounding, Shape};
use mnx_tensor::ops::{self, Conv, Margins};
use mnx_tensor::{Clamp, Cpu, Element, Isa, Layer, Operation, PackedWeights, Tensor, half, pack};
use proptest::prelude::*;

fn rounding(isa: Isa) -> Rounding {
    if isa.fuses() { Rounding::Fused } else { Rounding::Separate }
}

#[derive(Clone, Debug)]
struct Case {
    n: usize,
    cin: usize,
    cout: usize,
    h: usize,
    w: usize,
    stride: usize,
    padding: Margins,
    clamp: Clamp,
    /// How many channels the residual covers, if there is one.
    residual: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Depthwise,
    Conv,
    Dense,
    /// 7x7.
    Dense7,
    Pointwise,
}

fn check(kind: Kind, case: &Case, poison: &[f32]) {
    let &Case { n, cin, cout, h, w, stride, padding, clamp, .. } = case;
    let kernel = if kind == Kind::Dense7 { 7 } else { 3 };
    let shape = Shape { cin, cout, height: h, width: w, kernel, stride, padding };
    let (rows, columns) = if kind == Kind::Pointwise { (h, w) } else { shape.output_size() };
    let depth = match kind {
        Kind::Depthwise => 9,
        Kind::Conv | Kind::Dense => cin * 9,
        Kind::Dense7 => cin * 49,
        Kind::Pointwise => cin,
    };
    let mut x = values(n * cin * h * w, 1);
    for (i, &p) in poison.iter().enumerate().take(x.len()) {
        let at = (i * 7919 + 3) % x.len();
        x[at] = p;
    }
    let (weights, bias) = (values(cout * depth, 2), values(cout, 3));
    let shortcut = Tensor::from_slice([n, cout, rows, columns], &values(n * cout * rows * columns, 4)).unwrap();
    let input = Tensor::from_slice([n, cin, h, w], &x).unwrap();
    for cpu in Cpu::available() {
        let residual = case.residual.map(|covered| (shortcut.view(), covered));
        let options = Conv { stride, padding, clamp, residual, cpu: Some(cpu) };
        let run = match kind {
            Kind::Depthwise => ops::depthwise3x3,
            Kind::Conv => ops::conv3x3,
            Kind::Dense => ops::dense3x3,
            Kind::Dense7 => ops::dense7x7,
            Kind::Pointwise => ops::pointwise,
        };
        let found = run(input.view(), &weights, Some(&bias), &options).unwrap();
        assert_eq!(found.shape(), [n, cout, rows, columns]);
        for picture in 0..n {
            let x = input.view().picture(picture);
            let mut expected = match kind {
                Kind::Pointwise => naive::pointwise(cin, cout, h * w, x, &weights, &bias, rounding(cpu.isa())),
                _ => naive::conv(&shape, kind == Kind::Depthwise, x, &weights, &bias, rounding(cpu.isa())),
            };
            let view = shortcut.view();
            naive::epilogue(&mut expected, cout, clamp, case.residual.map(|c| (view.picture(picture), c)));
            assert_same(found.view().picture(picture), &expected, &(cpu, kind, case));
        }
    }
}

fn paddings() -> impl Iterator<Item = Margins> {
    (0..16).map(|b| Margins { top: b & 1, bottom: b >> 1 & 1, left: b >> 2 & 1, right: b >> 3 & 1 })
}

/// Of a 7x7 layer: each of 0 to 3 on each side.
fn wide_paddings() -> impl Iterator<Item = Margins> {
    (0..256).map(|b| Margins { top: b & 3, bottom: b >> 2 & 3, left: b >> 4 & 3, right: b >> 6 & 3 })
}

fn sizes() -> impl Iterator<Item = usize> {
    (1..=17).chain([28, 56])
}

#[test]
fn depthwise_of_every_plane_size_and_padding() {
    for (h, w) in sizes().flat_map(|h| sizes().map(move |w| (h, w))) {
        for (i, padding) in paddings().enumerate() {
            // Channels and batch vary along, so that each meets many sizes.
            let cin = [1, 3, 8, 12][(h + i) % 4];
            for stride in [1, 2] {
                let residual = (i % 3 == 0).then_some(cin * (i % 4) / 3);
                let clamp = if i % 2 == 0 { Clamp::RELU6 } else { Clamp::NONE };
                let n = 1 + (h + w + i) % 3;
                check(Kind::Depthwise, &Case { n, cin, cout: cin, h, w, stride, padding, clamp, residual }, &[]);
            }
        }
    }
}

#[test]
fn depthwise_of_every_channel_count() {
    for cin in [1, 2, 3, 7, 8, 12, 17, 24, 56, 104] {
        for (h, w, stride) in [(7, 7, 1), (7, 7, 2), (9, 14, 1), (14, 9, 2)] {
            for residual in [None, Some(cin), Some(cin / 2), Some(cin / 3)] {
                let case =
                    Case { n: 2, cin, cout: cin, h, w, stride, padding: Margins::ONE, clamp: Clamp::NONE, residual };
                check(Kind::Depthwise, &case, &[]);
            }
        }
    }
}

/// Three tiles and more in a row, of one size and of two.
#[test]
fn depthwise_of_every_row_width_and_padding() {
    for w in 18..=90 {
        for (i, padding) in paddings().enumerate() {
            for stride in [1, 2] {
                let h = 1 + (w + i) % 5;
                let residual = (i % 3 == 0).then_some(9);
                let clamp = if (w + i) % 2 == 0 { Clamp::RELU6 } else { Clamp::NONE };
                check(Kind::Depthwise, &Case { n: 1, cin: 9, cout: 9, h, w, stride, padding, clamp, residual }, &[]);
            }
        }
    }
}

#[test]
fn depthwise_of_planes_larger_than_the_l1_cache() {
    for (h, w) in [(57, 112), (112, 113), (31, 300)] {
        for stride in [1, 2] {
            let residual = Some(7);
            let case =
                Case { n: 1, cin: 9, cout: 9, h, w, stride, padding: Margins::ONE, clamp: Clamp::RELU6, residual };
            check(Kind::Depthwise, &case, &[]);
        }
    }
}

#[test]
fn pointwise_of_every_plane_size() {
    for (h, w) in sizes().flat_map(|h| sizes().map(move |w| (h, w))) {
        let (cin, cout) = ([3, 8, 17, 24][h % 4], [8, 7, 24, 40][(h + w) % 4]);
        let case = Case {
            n: 1 + h % 3,
            cin,
            cout,
            h,
            w,
            stride: 1,
            padding: Margins::default(),
            clamp: Clamp::RELU6,
            residual: (w % 5 == 0).then_some(cout - 1),
        };
        check(Kind::Pointwise, &case, &[]);
    }
}

#[test]
fn pointwise_of_every_pair_of_channel_counts() {
    const CHANNELS: [usize; 10] = [1, 2, 3, 7, 8, 12, 17, 24, 56, 104];
    for (cin, cout) in CHANNELS.into_iter().flat_map(|i| CHANNELS.map(move |o| (i, o))) {
        for (h, w) in [(1, 1), (7, 7), (4, 13)] {
            let residual = [None, Some(cout), Some(cout / 2)][(cin + cout + h) % 3];
            let padding = Margins::default();
            check(
                Kind::Pointwise,
                &Case { n: 1, cin, cout, h, w, stride: 1, padding, clamp: Clamp::NONE, residual },
                &[],
            );
        }
    }
}

/// So many input channels that no pixel fits into the budget of a chunk.
#[test]
fn pointwise_of_the_most_channels() {
    let padding = Margins::default();
    for cin in [49_153, 65_536] {
        let case = Case { n: 1, cin, cout: 3, h: 3, w: 5, stride: 1, padding, clamp: Clamp::NONE, residual: None };
        check(Kind::Pointwise, &case, &[]);
    }
}

/// Chunks of pixels end somewhere in a plane with many input channels.
#[test]
fn pointwise_of_several_chunks() {
    let padding = Margins::default();
    let case =
        Case { n: 1, cin: 960, cout: 33, h: 14, w: 15, stride: 1, padding, clamp: Clamp::RELU6, residual: Some(30) };
    check(Kind::Pointwise, &case, &[]);
}

#[test]
fn dense_of_every_plane_size_and_padding() {
    for (i, (h, w)) in sizes().flat_map(|h| sizes().map(move |w| (h, w))).enumerate() {
        for stride in [1, 2] {
            let padding = paddings().nth(i * 5 % 16).unwrap();
            let (cin, cout) = ([3, 1, 4][h % 3], [32, 3, 12, 8, 17][(w + i) % 5]);
            let residual = (i % 4 == 0).then_some(cout / 2);
            check(Kind::Dense, &Case { n: 1, cin, cout, h, w, stride, padding, clamp: Clamp::RELU6, residual }, &[]);
        }
    }
}

#[test]
fn dense_of_every_pair_of_channel_counts() {
    const CHANNELS: [usize; 10] = [1, 2, 3, 7, 8, 12, 17, 24, 56, 104];
    for (cin, cout) in CHANNELS.into_iter().flat_map(|i| CHANNELS.map(move |o| (i, o))) {
        for (h, w, stride) in [(7, 5, 1), (5, 13, 2)] {
            let residual = [None, Some(cout), Some(cout / 2)][(cin + cout) % 3];
            let padding = Margins::ONE;
            let case = Case { n: 3, cin, cout, h, w, stride, padding, clamp: Clamp::RELU6, residual };
            check(Kind::Dense, &case, &[]);
        }
    }
}

#[test]
fn conv_of_every_plane_size_and_padding() {
    for (i, (h, w)) in sizes().flat_map(|h| sizes().map(move |w| (h, w))).enumerate() {
        for stride in [1, 2] {
            let padding = paddings().nth(i * 5 % 16).unwrap();
            let (cin, cout) = ([3, 8, 11, 16][h % 4], [32, 3, 12, 8, 17][(w + i) % 5]);
            let residual = (i % 4 == 0).then_some(cout / 2);
            check(Kind::Conv, &Case { n: 1, cin, cout, h, w, stride, padding, clamp: Clamp::RELU, residual }, &[]);
        }
    }
}

#[test]
fn conv_of_every_pair_of_channel_counts() {
    const CHANNELS: [usize; 10] = [1, 2, 3, 7, 8, 12, 17, 24, 56, 104];
    for (cin, cout) in CHANNELS.into_iter().flat_map(|i| CHANNELS.map(move |o| (i, o))) {
        for (h, w, stride) in [(7, 7, 1), (5, 13, 2)] {
            let residual = [None, Some(cout), Some(cout / 2)][(cin + cout) % 3];
            let case = Case { n: 2, cin, cout, h, w, stride, padding: Margins::ONE, clamp: Clamp::NONE, residual };
            check(Kind::Conv, &case, &[]);
        }
    }
}

#[test]
fn dense_of_seven_rows_of_every_plane_size_and_padding() {
    for (i, (h, w)) in sizes().flat_map(|h| sizes().map(move |w| (h, w))).enumerate() {
        // 101 has no factor in common with 256: every padding comes up.
        let padding = wide_paddings().nth(i * 101 % 256).unwrap();
        let (cin, cout) = ([3, 1, 9][h % 3], [32, 3, 12, 8, 17][(w + i) % 5]);
        let residual = (i % 4 == 0).then_some(cout / 2);
        check(Kind::Dense7, &Case { n: 1, cin, cout, h, w, stride: 2, padding, clamp: Clamp::RELU, residual }, &[]);
    }
}

#[test]
fn max_pool_of_every_plane_size_and_padding() {
    for (i, (h, w)) in sizes().flat_map(|h| sizes().map(move |w| (h, w))).enumerate() {
        let channels = [1, 3, 8, 12, 17][(h + w) % 5];
        for padding in [Margins::ONE, paddings().nth(i * 5 % 16).unwrap()] {
            let shape = Shape { cin: channels, cout: channels, height: h, width: w, kernel: 3, stride: 2, padding };
            let mut x = values(2 * channels * h * w, i);
            for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -1e-40] {
                let at = (i * 7919 + poison.to_bits() as usize) % x.len();
                // Runs of zeros of both signs, of infinities and of NaN.
                x[at..].iter_mut().take(1 + i % 9).for_each(|v| *v = poison);
            }
            let input = Tensor::from_slice([2, channels, h, w], &x).unwrap();
            for cpu in Cpu::available() {
                let found = ops::max_pool3x3(input.view(), padding, Some(cpu)).unwrap();
                assert_eq!(found.shape(), [2, channels, shape.output_size().0, shape.output_size().1]);
                for picture in 0..2 {
                    let expected = naive::max_pool(&shape, input.view().picture(picture));
                    assert_same(found.view().picture(picture), &expected, &(cpu, &shape));
                }
            }
        }
    }
}

/// A NaN anywhere in the window is the result, wherever it stands and whatever stands beside it; padding is no value.
#[test]
fn max_pool_keeps_nan_and_leaves_padding_out() {
    for cpu in Cpu::available() {
        for at in 0..9 {
            for other in [f32::NEG_INFINITY, -1.0, 0.0, f32::INFINITY] {
                let mut x = [other; 9];
                x[at] = f32::NAN;
                let input = Tensor::from_slice([1, 1, 3, 3], &x).unwrap();
                let found = ops::max_pool3x3(input.view(), Margins::default(), Some(cpu)).unwrap();
                assert!(found.data()[0].is_nan(), "{cpu:?}: {at} {other}");
            }
        }
        let below = Tensor::from_slice([1, 1, 1, 2], &[-3.0, -2.0]).unwrap();
        assert_eq!(ops::max_pool3x3(below.view(), Margins::ONE, Some(cpu)).unwrap().data(), [-2.0]);
        let zeros = Tensor::from_slice([1, 1, 1, 2], &[0.0, -0.0]).unwrap();
        assert_eq!(ops::max_pool3x3(zeros.view(), Margins::ONE, Some(cpu)).unwrap().data(), [0.0]);
    }
}

#[test]
fn nan_infinity_and_denormals_go_through_every_clamp() {
    let poison = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, f32::MAX, f32::MIN, -0.0];
    for clamp in [Clamp::RELU6, Clamp::NONE, Clamp::RELU] {
        for residual in [None, Some(13), Some(17)] {
            for stride in [1, 2] {
                let case = Case { n: 2, cin: 17, cout: 17, h: 9, w: 8, stride, padding: Margins::ONE, clamp, residual };
                for kind in [Kind::Depthwise, Kind::Conv, Kind::Dense, Kind::Dense7, Kind::Pointwise] {
                    if kind == Kind::Dense7 && stride == 1 {
                        continue;
                    }
                    check(kind, &case, &poison);
                    // And with nothing else in the input.
                    check(kind, &case, &[1e-40; 4000]);
                }
            }
        }
    }
}

/// Infinities in a shortcut must not leak into channels past the identity.
#[test]
fn a_partial_residual_leaves_other_lanes_alone() {
    for cpu in Cpu::available() {
        let input = Tensor::from_slice([1, 3, 1, 1], &[1.0, 2.0, 3.0]).unwrap();
        let shortcut = Tensor::from_slice([1, 3, 1, 1], &[10.0, f32::INFINITY, f32::NAN]).unwrap();
        let options = Conv { cpu: Some(cpu), residual: Some((shortcut.view(), 1)), ..Conv::default() };
        let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let found = ops::pointwise(input.view(), &identity, None, &options).unwrap();
        assert_eq!(found.data(), [11.0, 2.0, 3.0]);
    }
}

#[test]
fn pool_of_every_plane_size() {
    for (h, w) in sizes().flat_map(|h| sizes().map(move |w| (h, w))) {
        let channels = [1, 2, 3, 7, 8, 12, 17, 24, 56, 104][(h + w) % 10];
        let input = Tensor::from_slice([2, channels, h, w], &values(2 * channels * h * w, 5)).unwrap();
        for cpu in Cpu::available() {
            let found = ops::global_average_pool(input.view(), Some(cpu)).unwrap();
            for picture in 0..2 {
                let expected = naive::pool(channels, h, w, input.view().picture(picture));
                assert_same(found.view().picture(picture), &expected, &(cpu, channels, h, w));
            }
        }
    }
}

/// Weights of 16 bits give the bits of f32 weights that were rounded first.
#[test]
fn linear_of_every_channel_count_and_batch() {
    for batch in (1..=8).chain([13]) {
        for (cin, cout) in [(1, 1), (3, 2), (7, 17), (12, 64), (17, 65), (56, 104), (1280, 100)] {
            let (x, weights, bias) = (values(batch * cin, 6), values(cout * cin, 7), values(cout, 8));
            let rounded = [half::bf16_to_f32, half::f16_to_f32].map(|widen: fn(u16) -> f32| {
                let narrow = if widen(1) < 1e-30 { half::f32_to_bf16 } else { half::f32_to_f16 };
                weights.iter().map(|&weight| widen(narrow(weight))).collect::<Vec<_>>()
            });
            let packed = |values: &[f32]| pack::panels(values, cout, cin).unwrap();
            let bits =
                |narrow: fn(f32) -> u16| packed(&weights).iter().map(|&weight| narrow(weight)).collect::<Vec<_>>();
            let (f32, bf16, f16) = (packed(&weights), bits(half::f32_to_bf16), bits(half::f32_to_f16));
            let stored = [
                (PackedWeights::F32(&f32), &weights),
                (PackedWeights::Bf16(&bf16), &rounded[0]),
                (PackedWeights::F16(&f16), &rounded[1]),
            ];
            let packed_bias = pack::bias(&bias, cout).unwrap();
            let input = Tensor::from_slice([batch, cin, 1, 1], &x).unwrap();
            for (cpu, (stored, multiplied)) in
                Cpu::available().into_iter().flat_map(|cpu| stored.map(|stored| (cpu, stored)))
            {
                let element = stored.element();
                let operation = Operation::Linear;
                let layer =
                    Layer::with_weights(cpu, operation, [cin, cout], stored, &packed_bias, Clamp::NONE).unwrap();
                let found = ops::forward(&layer, input.view(), Margins::ZERO, None).unwrap();
                for n in 0..batch {
                    let x = input.view().picture(n);
                    let expected = naive::pointwise(cin, cout, 1, x, multiplied, &bias, rounding(cpu.isa()));
                    assert_same(found.view().picture(n), &expected, &(cpu, element, batch, cin, cout));
                }
                if element == Element::F32 {
                    let by_name = ops::linear(input.view(), &weights, Some(&bias), Some(cpu)).unwrap();
                    assert_eq!(by_name.data(), found.data());
                }
                let widened = stored.widened().unwrap();
                assert_eq!(widened[..], packed(multiplied)[..]);
            }
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..=3, 1_usize..40, 1_usize..40, 1_usize..20, 1_usize..20, 1_usize..=2);
    (sizes, 0_usize..16, any::<bool>(), prop::option::of(0.0..=1.0_f64)).prop_map(
        |((n, cin, cout, h, w, stride), padding, relu6, residual)| Case {
            n,
            cin,
            cout,
            h,
            w,
            stride,
            padding: paddings().nth(padding).unwrap(),
            clamp: if relu6 { Clamp::RELU6 } else { Clamp::NONE },
            residual: residual.map(|share| (share * cout as f64) as usize),
        },
    )
}

proptest! {
    #[test]
    fn depthwise_agrees(mut case in case()) {
        case.cin = case.cout;
        check(Kind::Depthwise, &case, &[]);
    }

    #[test]
    fn dense_agrees(case in case()) {
        check(Kind::Dense, &case, &[]);
    }

    #[test]
    fn conv_agrees(case in case()) {
        check(Kind::Conv, &case, &[]);
    }

    #[test]
    fn dense_of_seven_rows_agrees(mut case in case(), padding in 0_usize..256) {
        (case.stride, case.padding) = (2, wide_paddings().nth(padding).unwrap());
        check(Kind::Dense7, &case, &[]);
    }

    #[test]
    fn pointwise_agrees(case in case()) {
        check(Kind::Pointwise, &case, &[]);
    }
}
