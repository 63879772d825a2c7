//! Random weights keep activations at a trained network's scale.

use mnx_conv::FusedLayer;
use mnx_graph::{Activation, Block, Layer, Model, Spec, init};
use mnx_tensor::ops::{Margins, max_pool3x3};
use mnx_tensor::{Clamp, Operation, Tensor};

/// Normal enough: the sum of twelve uniform values of a linear congruential generator.
fn noise(shape: [usize; 4]) -> Tensor {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

fn clamp(activation: Activation) -> Clamp {
    match activation {
        Activation::Relu6 => Clamp::RELU6,
        Activation::Relu => Clamp::RELU,
        _ => Clamp::NONE,
    }
}

/// Layer number `index` of the model.
fn run_layer(model: &Model, index: usize, layer: &Layer, input: &Tensor) -> Tensor {
    let (weight, bias) = model.weights(index).unwrap();
    let operation = layer.operation();
    let channels = if operation.is_per_channel() { [layer.cout; 2] } else { [layer.cin, layer.cout] };
    let fused = FusedLayer::new(operation, channels, weight, bias, clamp(layer.activation)).unwrap();
    let padding = match operation.kernel() {
        7 => Margins::THREE,
        3 => Margins::ONE,
        _ => Margins::ZERO,
    };
    let sampled = if operation == Operation::Pointwise { sample(input, layer.stride) } else { input.clone() };
    fused.forward(sampled.view(), padding, None).unwrap()
}

/// Every `stride`-th pixel of every `stride`-th row.
fn sample(input: &Tensor, stride: usize) -> Tensor {
    let [n, c, h, w] = input.shape();
    let (rows, columns) = (h.div_ceil(stride), w.div_ceil(stride));
    let planes = input.data().chunks_exact(h * w);
    let pixels = |plane: &[f32]| -> Vec<f32> {
        (0..rows * columns).map(|i| plane[(i / columns * w + i % columns) * stride]).collect()
    };
    Tensor::from_slice([n, c, rows, columns], &planes.flat_map(pixels).collect::<Vec<_>>()).unwrap()
}

/// The layers of a block from number `first` on, and its shortcut.
fn run_block(model: &Model, block: &Block, first: usize, input: &Tensor) -> Tensor {
    let mut value = input.clone();
    for (i, layer) in block.layers.iter().enumerate() {
        value = run_layer(model, first + i, layer, &value);
    }
    let projected = block.projection.as_ref().map(|l| run_layer(model, first + block.layers.len(), l, input));
    let shortcut = projected.as_ref().unwrap_or(input);
    let covered = block.identity_channels * value.shape()[2] * value.shape()[3];
    let sums = value.data_mut()[..covered].iter_mut().zip(shortcut.data());
    sums.for_each(|(v, x)| *v = clamp(block.activation).apply(*v + x));
    if block.max_pool { max_pool3x3(value.view(), Margins::ONE, None).unwrap() } else { value }
}

fn root_mean_square(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
}

#[test]
fn activations_keep_their_scale_through_every_block() {
    for (family, width, side) in [
        ("mobilenext", 0.35, 96),
        ("mobilenext", 0.1, 33),
        ("mobilenext-cifar", 0.5, 32),
        ("mobilenext", 0.35, 1),
        ("mobilenetv2", 0.35, 96),
        ("mobilenetv2-cifar", 0.1, 32),
        ("resnet18", 1.0, 64),
        ("resnet50", 1.0, 64),
    ] {
        let mut spec = Spec::family(family).unwrap();
        spec.width = width;
        if family.starts_with("resnet") {
            // As narrow as the others, which have a width multiplier for it.
            spec.stages.iter_mut().for_each(|stage| stage.channels /= 4);
        }
        let model = Model::from_bytes(init(&spec, 3).unwrap()).unwrap();
        let mut value = noise([1, 3, side, side]);
        let mut layers = 0;
        for block in &model.network().blocks {
            value = run_block(&model, block, layers, &value);
            layers += block.all_layers().count();
            let (scale, name) = (root_mean_square(value.data()), &block.name);
            assert!((0.2..5.0).contains(&scale), "{family} {width} @{side}, {name}: root mean square {scale}");
            assert!(value.data().iter().all(|v| !v.is_subnormal()), "{family} {width} @{side}, {name}");
        }
        let [_, channels, h, w] = value.shape();
        let pooled: Vec<f32> =
            value.data().chunks_exact(h * w).map(|p| p.iter().sum::<f32>() / (h * w) as f32).collect();
        let pooled = Tensor::from_slice([1, channels, 1, 1], &pooled).unwrap();
        let (weight, bias) = model.weights(layers).unwrap();
        let channels = [channels, spec.classes];
        let linear = FusedLayer::new(Operation::Linear, channels, weight, bias, Clamp::NONE).unwrap();
        let logits = linear.forward(pooled.view(), Margins::ZERO, None).unwrap();
        let scale = root_mean_square(logits.data());
        assert!((0.2..5.0).contains(&scale), "{family} {width} @{side}: logits' root mean square {scale}");
    }
}
