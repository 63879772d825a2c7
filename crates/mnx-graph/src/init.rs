//! Random weights, for benchmarks and tests.

use mnx_tensor::memory;

use crate::file::{LayerWeights, model_file};
use crate::wiring::{Addend, Source, Wire, Wiring};
use crate::{Activation, ClassifierDtype, Error, Layer, Limits, Network, Spec};

/// Standard deviation of biases. They keep activations away from zero where little else does, e.g. on planes of one pixel,
/// where a depthwise layer uses only one of its nine weights.
const BIAS: f64 = 0.3;

/// Makes a weight file with random weights. The same spec and seed give the same bytes on every machine.
///
/// Weights are approximately normal. Their standard deviation is fan_in^-0.5 divided by the expected root mean square of the
/// layer's input. So activations keep the scale of a trained network at any depth: ReLU6 passes some values and cuts
/// others, logits are of order 1, and nothing comes near the denormals.
///
/// ```
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), mnx_graph::Error> {
/// let mut spec = mnx::Spec::family("mobilenetv2").expect("a known family");
/// spec.width = 0.1;
/// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
/// assert_eq!(model.spec().classes, 1000);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`write_model`](crate::write_model).
pub fn init(spec: &Spec, seed: u64) -> Result<Vec<u8>, Error> {
    init_with(spec, seed, ClassifierDtype::F32)
}

/// As [`init`], with the classifier's weights in this type: the same numbers, rounded.
///
/// # Errors
/// As [`init`]; [`Error::Spec`] for a detector, which has no classifier, and a type other than f32.
pub fn init_with(spec: &Spec, seed: u64, classifier: ClassifierDtype) -> Result<Vec<u8>, Error> {
    let limits = Limits::default();
    let mut scales = input_scales(&Network::new_with(spec, &limits)?).into_iter();
    let mut random = SplitMix64(seed);
    let source = |layer: &Layer| {
        let input = scales.next().unwrap_or(1.0);
        let fan_in: usize = layer.weight_dims()[1..].iter().product();
        let weight = 1.0 / ((fan_in as f64).sqrt() * input);
        let mut normals = |count: usize, deviation: f64| {
            memory::collect((0..count).map(|_| (random.normal() * deviation) as f32), count)
        };
        let weights = usize::try_from(layer.weight_elements()).unwrap_or(usize::MAX);
        Ok(LayerWeights { weight: normals(weights, weight)?, bias: normals(layer.cout, BIAS)? })
    };
    model_file(spec, &limits, classifier, source)
}

/// Expected root mean square of each layer's input. Before the activation, every layer's output has variance 1 + BIAS².
fn input_scales(network: &Network) -> Vec<f64> {
    let linear = 1.0 + BIAS * BIAS;
    let wiring = Wiring::new(network);
    // Mean squares of the layers' outputs.
    let mut outputs: Vec<f64> = Vec::new();
    let of = |outputs: &[f64], source| match source {
        Source::Layer(layer) => outputs[layer],
        // The mean square of the largest of nine normal values is 1.485² + 0.357. It is hardly ever negative.
        Source::MaxPool(_) => 2.56 * linear,
        Source::Input | Source::Pool => 1.0,
    };
    let mut scales = Vec::new();
    for Wire { layer, src, shortcut, .. } in &wiring.layers {
        let src = if *src == Source::Pool { wiring.pooled() } else { *src };
        scales.push(of(&outputs, src).sqrt());
        let mut square = activated(layer.activation, linear);
        if let Some(Addend { value, channels, activation }) = *shortcut {
            // A projection comes after the layer that adds it.
            let projected = matches!(value, Source::Layer(layer) if wiring.layers[layer].projection);
            let added = if projected { linear } else { of(&outputs, value) };
            square += added * channels as f64 / layer.cout as f64;
            // A shortcut without a projection carries what a ReLU left, which is not negative. So the activation after the
            // addition cuts off hardly anything; only with a projection does it count.
            if projected {
                square = activated(activation, square);
            }
        }
        outputs.push(square);
    }
    scales
}

/// Mean square of symmetric values after an activation, which cuts off one half. The few values above 6 hardly count.
fn activated(activation: Activation, square: f64) -> f64 {
    if activation == Activation::Linear { square } else { square / 2.0 }
}

/// Sebastiano Vigna's SplitMix64 (2015).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An approximately normal number: mean 0, variance 1, within ±6.
    ///
    /// It is the sum of twelve uniform values of 16 bits. The sum is exact, so no machine's `ln` or `cos` matters. It is a
    /// multiple of 2⁻¹⁶, so never denormal.
    fn normal(&mut self) -> f64 {
        let quarters = |v: u64| (v & 0xffff) + (v >> 16 & 0xffff) + (v >> 32 & 0xffff) + (v >> 48);
        let sum: u64 = (0..3).map(|_| quarters(self.next())).sum();
        (sum as f64 - 12.0 * 32767.5) / 65536.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator's published first outputs for seed 1234567.
    #[test]
    fn splitmix_is_splitmix() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let mut random = SplitMix64(7);
        let values: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        // Four standard errors: 4 / sqrt(100,000) and 4 · sqrt(2 / 100,000).
        assert!(mean.abs() < 0.0127, "{mean}");
        assert!((variance - 1.0).abs() < 0.0179, "{variance}");
        assert!(values.iter().all(|v| v.abs() <= 6.0));
    }
}
