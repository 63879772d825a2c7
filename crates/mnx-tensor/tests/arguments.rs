//! What single layers answer to wrong arguments: an error that says what is wrong, never a wrong result and no access outside
//! of a slice.

use mnx_tensor::ops::{self, Conv, Margins};
use mnx_tensor::{
    Arithmetic, Clamp, Cpu, Error, Layer, Operation, PackedWeights, PreparedInt8, Requantize, Tensor, TensorView,
};

fn cpu() -> Cpu {
    Cpu::choose(None, None).unwrap()
}

#[test]
fn only_linear_layers_have_weights_of_16_bits() {
    let (weights, bias, cpu) = ([0; 128], [0.0; 16], Cpu::choose(None, None).unwrap());
    for packed in [PackedWeights::Bf16(&weights), PackedWeights::F16(&weights)] {
        let layer = |operation, channels| Layer::with_weights(cpu, operation, channels, packed, &bias, Clamp::NONE);
        assert!(layer(Operation::Linear, [8, 9]).is_ok());
        let error = layer(Operation::Pointwise, [8, 9]).unwrap_err();
        assert!(matches!(error, Error::Kernel { weights, .. } if weights == packed.element()), "{error}");
        assert!(matches!(
            layer(Operation::Linear, [9, 9]).unwrap_err(),
            Error::Length { expected: 144, found: 128, .. }
        ));
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let x = Tensor::zeros([1, 3, 4, 4]).unwrap();
    let conv = Conv::default();
    let padding = Margins { top: 2, ..Margins::ONE };
    let wrong = [
        (ops::depthwise3x3(x.view(), &[0.0; 26], None, &conv), "weights: expected 27 values, found 26"),
        (ops::depthwise3x3(x.view(), &[0.0; 27], Some(&[0.0; 2]), &conv), "bias: expected 3 values, found 2"),
        (ops::pointwise(x.view(), &[0.0; 7], None, &conv), "weights: expected 6 values, found 7"),
        (ops::dense3x3(x.view(), &[0.0; 28], None, &conv), "weights: expected 27 values, found 28"),
        (ops::conv3x3(x.view(), &[0.0; 28], None, &conv), "weights: expected 27 values, found 28"),
        (
            ops::depthwise3x3(x.view(), &[0.0; 27], None, &Conv { stride: 3, ..conv }),
            "stride: expected 1 or 2, found 3",
        ),
        (ops::dense7x7(x.view(), &[0.0; 147], None, &conv), "stride: expected 2, found 1"),
        (ops::dense3x3(x.view(), &[0.0; 27], None, &Conv { padding, ..conv }), "padding: expected 0 or 1, found 2"),
        (ops::conv3x3(x.view(), &[0.0; 27], None, &Conv { padding, ..conv }), "padding: expected 0 or 1, found 2"),
        (
            ops::dense7x7(
                x.view(),
                &[0.0; 147],
                None,
                &Conv { stride: 2, padding: Margins { left: 4, ..Margins::THREE }, ..conv },
            ),
            "padding: expected 0 to 3, found 4",
        ),
        (ops::max_pool3x3(x.view(), Margins::THREE, None), "padding: expected 0 or 1, found 3"),
        (
            ops::pointwise(x.view(), &[0.0; 9], None, &Conv { residual: Some((x.view(), 4)), ..conv }),
            "residual channels: expected at most the output's, found 4",
        ),
        (ops::linear(x.view(), &[0.0; 3], None, None), "pixels of a picture's features: expected 1, found 16"),
        (
            ops::global_average_pool(Tensor::zeros([1, 2, 0, 3]).unwrap().view(), None),
            "pixels of a picture to pool: expected at least 1, found 0",
        ),
    ];
    for (result, expected) in wrong {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn numbers_of_values_do_not_wrap() {
    let conv = Conv::default();
    let wide = TensorView::new([0, 1 << (usize::BITS - 24), 1, 1], &[]).unwrap();
    for operation in [Operation::Linear, Operation::Pointwise] {
        let cpu = Cpu::choose(None, None).unwrap();
        assert!(Layer::new(cpu, operation, [wide.shape()[1], 1 << 24], &[], &[], Clamp::NONE).is_err());
    }
    for kernel in [usize::MAX, 1 << (usize::BITS / 2)] {
        let operation = Operation::Dense { kernel, stride: 1 };
        assert_eq!(operation.weights_len(1, 1), usize::MAX);
        assert_eq!(operation.int8_weights_len(1, 1), usize::MAX);
        let (expected, found) = (usize::MAX, 0);
        let length = Error::Length { what: "weights", expected, found };
        assert_eq!(operation.pack(&[], [1, 1]).unwrap_err(), length);
        assert_eq!(operation.pack_int8(&[], [1, 1]).unwrap_err(), length);
    }
    assert_eq!(Operation::Pointwise.pack_int8(&[], [usize::MAX, 0]), Ok(Vec::new()));
    let side = 1 << (usize::BITS / 4 + 4);
    let empty = TensorView::new([0, 8, side, side], &[]).unwrap();
    assert_eq!(ops::pointwise(empty, &[0.0; 8], None, &conv).unwrap().data(), []);
    assert_eq!(ops::dense3x3(empty, &[0.0; 72], None, &conv).unwrap().data(), []);
    assert_eq!(ops::conv3x3(empty, &[0.0; 72], None, &conv).unwrap().data(), []);
    assert_eq!(ops::max_pool3x3(empty, Margins::ONE, None).unwrap().data(), []);
    assert_eq!(ops::global_average_pool(empty, None).unwrap().shape(), [0, 8, 1, 1]);
}

#[test]
fn nothing_to_do_is_fine() {
    let empty = Tensor::zeros([0, 3, 4, 4]).unwrap();
    let (conv, padding) = (Conv::default(), Margins::ONE);
    assert_eq!(ops::pointwise(empty.view(), &[0.0; 9], None, &conv).unwrap().shape(), [0, 3, 4, 4]);
    assert_eq!(ops::depthwise3x3(empty.view(), &[0.0; 27], None, &conv).unwrap().shape(), [0, 3, 2, 2]);
    assert_eq!(ops::max_pool3x3(empty.view(), padding, None).unwrap().shape(), [0, 3, 2, 2]);
}

#[test]
fn residuals_that_are_not_added_are_errors() {
    let x = Tensor::zeros([1, 8, 3, 3]).unwrap();
    let pools = [Operation::Pool, Operation::MaxPool { kernel: 3, stride: 2 }];
    let residual = Tensor::zeros([1, 8, 1, 1]).unwrap();
    for operation in pools {
        let layer = Layer::new(cpu(), operation, [8, 8], &[], &[], Clamp::NONE).unwrap();
        assert!(ops::forward(&layer, x.view(), Margins::ZERO, None).is_ok());
        let error = ops::forward(&layer, x.view(), Margins::ZERO, Some((residual.view(), 8))).unwrap_err();
        assert_eq!(error.to_string(), "residual channels: expected none: this layer adds no residual, found 8");
    }
    let features = Tensor::zeros([1, 8, 1, 1]).unwrap();
    let (weights, bias) = ([0.0; 128], [0.0; 16]);
    let layer = Layer::new(cpu(), Operation::Linear, [8, 8], &weights, &bias, Clamp::NONE).unwrap();
    assert!(ops::forward(&layer, features.view(), Margins::ZERO, Some((features.view(), 8))).is_err());

    let (weights, bias, factors) = ([1; 128], [0; 8], [1.0; 8]);
    let of = |shortcut| Requantize { shortcut, ..Requantize::PLAIN };
    for (shortcut, adds) in [(None, false), (Some((0, 1.0)), true)] {
        let own = PreparedInt8::new(cpu(), Operation::Pointwise, [8, 8], &weights, &bias, &factors, of(shortcut));
        let own = own.unwrap();
        let result = ops::int8::forward(&own.layer(), &[1; 8], [1, 8, 1, 1], Margins::ZERO, Some((&[3; 8], 8)));
        assert_eq!(result.is_ok(), adds, "{result:?}");
    }
}

#[test]
fn half_a_panel_has_eight_channels_at_most() {
    let (weights, bias) = ([1.0; 256], [0.0; 16]);
    let layer = |cout| Layer::new(cpu(), Operation::PointwiseHalf, [8, cout], &weights[..128], &bias, Clamp::NONE);
    assert!(layer(8).is_ok());
    assert!(matches!(layer(9).unwrap_err(), Error::Value { found: 9, .. }));
}

#[test]
fn numbers_of_int8_values_do_not_wrap() {
    let (weights, bias, factors) = ([1; 64], [0; 16], [1.0; 16]);
    let own = |operation, channels| {
        PreparedInt8::new(cpu(), operation, channels, &weights, &bias, &factors, Requantize::PLAIN).unwrap()
    };
    let most = 1 << (usize::BITS - 2);
    let (linear, pointwise) = (own(Operation::Linear, [4, 16]), own(Operation::Pointwise, [4, 16]));
    let pool = PreparedInt8::new(cpu(), Operation::Pool, [4, 4], &[], &[], &[], Requantize::PLAIN).unwrap();
    let side = 1 << (usize::BITS / 2);
    let error = ops::int8::forward(&pool.layer(), &[], [1, 4, side, side], Margins::ZERO, None).unwrap_err();
    assert!(matches!(error, Error::Value { found: usize::MAX, .. }), "{error}");
    for rows in [most, usize::MAX] {
        assert!(ops::int8::linear(&linear.layer(), &[], rows).is_err());
        assert!(ops::int8::forward(&pointwise.layer(), &[], [rows, 4, 1, 1], Margins::ZERO, None).is_err());
        assert!(ops::int8::forward(&pointwise.layer(), &[], [1, 4, rows, 1], Margins::ZERO, None).is_err());
    }
    assert_eq!(ops::int8::linear(&linear.layer(), &[], 0), Ok(Vec::new()));
    assert_eq!(ops::int8::forward(&pointwise.layer(), &[], [0, 4, 1, 1], Margins::ZERO, None), Ok(Vec::new()));
    assert_eq!(ops::int8::forward(&pointwise.layer(), &[], [1, 4, usize::MAX, 0], Margins::ZERO, None), Ok(Vec::new()));
}

/// NEON without dot products adds up two products in 16 bits.
#[test]
fn int8_weights_of_the_least_i8_are_errors() {
    let (bias, factors) = ([0; 16], [1.0; 16]);
    for operation in [Operation::Linear, Operation::Pointwise, Operation::Depthwise { kernel: 3, stride: 1 }] {
        let cin = if operation.is_per_channel() { 16 } else { 4 };
        let mut weights = vec![-127; operation.int8_weights_len(cin, 16)];
        let made = |weights: &[i8]| {
            PreparedInt8::new(cpu(), operation, [cin, 16], weights, &bias, &factors, Requantize::PLAIN).map(drop)
        };
        assert_eq!(made(&weights), Ok(()));
        weights[41] = -128;
        assert_eq!(made(&weights), Err(Error::LeastWeight { index: 41 }));
    }
}

#[test]
fn int8_sums_of_more_than_32_bits_are_errors() {
    let cin = 1 << 17;
    let made = |channels: [usize; 2], weights: &[i8], bias: &[i32], zero_in| {
        let requantize = Requantize { zero_in, ..Requantize::PLAIN };
        PreparedInt8::new(cpu(), Operation::Pointwise, channels, weights, bias, &[1e-9; 17], requantize).map(drop)
    };
    let most = [i32::MAX - 4 * 127 * 255; 17];
    assert_eq!(made([4, 17], &[-127; 128], &most, 0), Ok(()));
    let mut more = most;
    more[16] += 1;
    let found = i32::MAX as u64 + 1;
    assert_eq!(made([4, 17], &[-127; 128], &more, 0), Err(Error::Sum { channel: 16, found }));
    assert_eq!(made([4, 17], &[-127; 128], &more, 128), Ok(()));
    assert_eq!(made([4, 17], &[-126; 128], &more, 0), Ok(()));
    more[16] = i32::MIN;
    assert_eq!(made([4, 17], &[0; 128], &more, 0), Err(Error::Sum { channel: 16, found }));
    // Every weight of one output; of the others all are 0.
    let mut weights = vec![0; 32 * cin];
    weights.chunks_exact_mut(4).skip(16 * cin / 4).step_by(16).for_each(|group| group.fill(127));
    assert_eq!(made([cin, 17], &weights, &[0; 17], 0), Err(Error::Sum { channel: 16, found: (127 * 255) << 17 }));
    weights.iter_mut().for_each(|weight| *weight = *weight / 127 * 64);
    assert_eq!(made([cin, 17], &weights, &[0; 17], 0), Ok(()));
}

#[test]
fn int8_factors_that_could_make_outputs_infinite_are_errors() {
    let made = |operation: Operation, factor, shortcut| {
        let requantize = Requantize { shortcut: Some((0, shortcut)), ..Requantize::PLAIN };
        PreparedInt8::new(cpu(), operation, [4, 1], &[1; 64], &[0], &[factor], requantize).map(drop)
    };
    for operation in [Operation::Pointwise, Operation::Linear] {
        assert_eq!(made(operation, -2_f32.powi(64), 1.0), Ok(()));
        for (factor, found) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-1e20, "-100000000000000000000")] {
            let text = |what: &str| format!("{what}: expected a number between -2^64 and 2^64, found {found}");
            assert_eq!(made(operation, factor, 1.0).unwrap_err().to_string(), text("factor"));
            assert_eq!(made(operation, 1.0, factor).unwrap_err().to_string(), text("factor of a shortcut"));
        }
    }
}

#[test]
fn int8_pools_whose_sums_or_factors_are_not_exact_are_errors() {
    let pool = |zero_in, scales, pixels| {
        let requantize = Requantize { zero_in, scales, ..Requantize::PLAIN };
        let own = PreparedInt8::new(cpu(), Operation::Pool, [1, 1], &[], &[], &[], requantize).unwrap();
        ops::int8::forward(&own.layer(), &[], [1, 1, 1, pixels], Margins::ZERO, None).unwrap_err().to_string()
    };
    // The next thing that is wrong: there is no input.
    for (zero_in, most) in [(0, 8_421_504), (255, 8_421_504), (128, 16_777_215)] {
        assert_eq!(pool(zero_in, (1.0, 1.0), most), format!("input: expected {most} values, found 0"));
        let found = most + 1;
        let expected = "so few that their sum fits an i32";
        let text = format!("pixels of a picture to pool: expected {expected}, found {found}");
        assert_eq!(pool(zero_in, (1.0, 1.0), found), text);
    }
    for (scales, found) in [((1.0, 0.0), "inf"), ((f32::NAN, 1.0), "NaN")] {
        let text = format!("factor of an average pool: expected a number between -2^64 and 2^64, found {found}");
        assert_eq!(pool(0, scales, 4), text);
    }
}

#[test]
fn int8_weights_need_an_input_channel() {
    let dense = Operation::Dense { kernel: 3, stride: 1 };
    for operation in [Operation::Linear, Operation::Pointwise, Operation::Conv { kernel: 3, stride: 1 }, dense] {
        let made = PreparedInt8::new(cpu(), operation, [0, 16], &[], &[], &[], Requantize::PLAIN);
        assert!(matches!(made.unwrap_err(), Error::Value { found: 0, .. }), "{operation:?}");
        // Without output channels there is nothing to do.
        assert!(PreparedInt8::new(cpu(), operation, [8, 0], &[], &[], &[], Requantize::PLAIN).is_ok());
    }
}

#[test]
fn layers_are_run_by_the_function_for_them() {
    let (weights, bias, factors) = ([1; 64], [0; 16], [1.0; 16]);
    let plain = Requantize::PLAIN;
    let int8 = PreparedInt8::new(cpu(), Operation::Pointwise, [4, 16], &weights, &bias, &factors, plain).unwrap();
    let x = Tensor::zeros([1, 4, 1, 1]).unwrap();
    let error = ops::forward(&int8.layer(), x.view(), Margins::ZERO, None).unwrap_err();
    assert_eq!(error.to_string(), "layer: expected one in f32, found Pointwise in int8");
    let error = ops::int8::linear(&int8.layer(), &[0; 4], 1).unwrap_err();
    assert_eq!(error.to_string(), "layer: expected Linear in int8, found Pointwise in int8");
    let (weights, bias) = ([0.0; 64], [0.0; 16]);
    let f32 = Layer::new(cpu(), Operation::Pointwise, [4, 16], &weights, &bias, Clamp::NONE).unwrap();
    assert_eq!(f32.arithmetic(), Arithmetic::F32);
    assert!(matches!(
        ops::int8::forward(&f32, &[0; 4], [1, 4, 1, 1], Margins::ZERO, None).unwrap_err(),
        Error::Layer { operation: Operation::Pointwise, arithmetic: Arithmetic::F32, .. }
    ));
}
