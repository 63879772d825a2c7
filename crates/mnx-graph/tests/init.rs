//! Random weights keep activations at a trained network's scale.

use mnx_conv::{Dense, Depthwise3x3, Linear, Pointwise};
use mnx_graph::{Activation, Block, LayerKind, Model, Spec, init};
use mnx_tensor::ops::{Conv, Padding};
use mnx_tensor::{Clamp, Tensor};

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

/// The layers of a block from number `first` on, and its shortcut.
fn run_block(model: &Model, block: &Block, first: usize, input: &Tensor) -> Tensor {
    let mut value = input.clone();
    for (i, layer) in block.layers.iter().enumerate() {
        let (weight, bias) = model.weights(first + i);
        let clamp = if layer.activation == Activation::Relu6 { Clamp::RELU6 } else { Clamp::NONE };
        let (view, options) = (value.view(), Conv { padding: Padding::ONE, ..Conv::default() });
        value = match layer.kind {
            LayerKind::Dense3x3 => {
                Dense::new(weight, bias, layer.cin, layer.cout, 3, layer.stride, clamp).unwrap().forward(view, &options)
            }
            LayerKind::Depthwise3x3 => {
                Depthwise3x3::new(weight, bias, layer.cout, layer.stride, clamp).unwrap().forward(view, &options)
            }
            LayerKind::Pointwise => {
                Pointwise::new(weight, bias, layer.cin, layer.cout, clamp).unwrap().forward(view, &Conv::default())
            }
            other => panic!("no {other:?} in a block"),
        }
        .unwrap();
    }
    let covered = block.identity_channels * value.shape()[2] * value.shape()[3];
    value.data_mut()[..covered].iter_mut().zip(input.data()).for_each(|(v, x)| *v += x);
    value
}

fn root_mean_square(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
}

#[test]
fn activations_keep_their_scale_through_every_block() {
    for (family, width, side) in
        [("mobilenext", 0.35, 96), ("mobilenext", 0.1, 33), ("mobilenext-cifar", 0.5, 32), ("mobilenext", 0.35, 1)]
    {
        let mut spec = Spec::family(family).unwrap();
        spec.width = width;
        let model = Model::from_bytes(init(&spec, 3).unwrap()).unwrap();
        let mut value = noise([1, 3, side, side]);
        let mut layers = 0;
        for block in &model.network().blocks {
            value = run_block(&model, block, layers, &value);
            layers += block.layers.len();
            let (scale, name) = (root_mean_square(value.data()), &block.name);
            assert!((0.2..5.0).contains(&scale), "{family} {width} @{side}, {name}: root mean square {scale}");
            assert!(value.data().iter().all(|v| !v.is_subnormal()), "{family} {width} @{side}, {name}");
        }
        let [_, channels, h, w] = value.shape();
        let pooled: Vec<f32> =
            value.data().chunks_exact(h * w).map(|p| p.iter().sum::<f32>() / (h * w) as f32).collect();
        let pooled = Tensor::from_slice([1, channels, 1, 1], &pooled).unwrap();
        let (weight, bias) = model.weights(layers);
        let logits = Linear::new(weight, bias, channels, spec.classes).unwrap().forward(pooled.view(), None).unwrap();
        let scale = root_mean_square(logits.data());
        assert!((0.2..5.0).contains(&scale), "{family} {width} @{side}: logits' root mean square {scale}");
    }
}
