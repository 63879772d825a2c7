//! A checkpoint whose values are changed in place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use mnx::{Layer, LayerWeights, Limits, Network, Spec, write_model};

/// A safetensors file of f32 values.
#[derive(Clone)]
pub struct Checkpoint {
    pub bytes: Vec<u8>,
    tensors: BTreeMap<String, Range<usize>>,
}

/// What of a channel decays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Scale and shift of the batch norm.
    Both,
    /// The scale alone: the channel becomes a constant.
    Gamma,
    /// The scale, where the shift is zero.
    GammaWithoutBeta,
    /// The shift alone, where there is no mean either.
    Beta,
    /// Nothing, but the variance is very large and the shift as small as the scale then.
    Variance,
    /// The convolution's weights, and with them mean and variance.
    Weights,
    /// Single weights, in channels of any kind.
    SomeWeights,
}

/// Numbers from 0 to 1, the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 24) as f64
    }
}

impl Checkpoint {
    pub fn open(path: &Path) -> Checkpoint {
        let bytes = std::fs::read(path).unwrap();
        let payload = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..payload]).unwrap();
        let floats = header.as_object().unwrap().iter().filter(|(_, tensor)| tensor["dtype"] == "F32");
        let tensors = floats.map(|(name, tensor)| {
            let [start, end] = [0, 1].map(|i| payload + tensor["data_offsets"][i].as_u64().unwrap() as usize);
            (name.clone(), start..end)
        });
        let tensors = tensors.collect();
        Checkpoint { bytes, tensors }
    }

    fn values(&self, module: &str, part: &str) -> Vec<f32> {
        let bytes = &self.bytes[self.tensors[&format!("{module}.{part}")].clone()];
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn set(&mut self, module: &str, part: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes[self.tensors[&format!("{module}.{part}")].clone()].copy_from_slice(&bytes);
    }

    /// A copy in which a share of the channels of every batch norm has decayed.
    pub fn decayed(&self, network: &Network, decay: Decay, share: f64, magnitude: f64) -> Checkpoint {
        let (mut copy, mut random) = (self.clone(), Random(1));
        for layer in network.layers() {
            let Some(norm) = &layer.norm else { continue };
            let parts = ["weight", "bias", "running_mean", "running_var"];
            let [mut gamma, mut beta, mut mean, mut variance] = parts.map(|part| self.values(norm, part));
            let mut weight = self.values(&layer.name, "weight");
            for (channel, row) in weight.chunks_exact_mut(self.depth(layer)).enumerate() {
                if decay == Decay::SomeWeights {
                    row.iter_mut().filter(|_| random.next() < share).for_each(|w| *w *= magnitude as f32);
                    continue;
                }
                if random.next() >= share {
                    continue;
                }
                let mut small = || ((2.0 * random.next() - 1.0) * magnitude) as f32;
                match decay {
                    Decay::Both => (gamma[channel], beta[channel]) = (small(), small()),
                    Decay::Gamma => gamma[channel] = small(),
                    Decay::GammaWithoutBeta => (gamma[channel], beta[channel]) = (small(), 0.0),
                    Decay::Beta => (beta[channel], mean[channel]) = (small(), 0.0),
                    Decay::Variance => (variance[channel], beta[channel]) = (magnitude as f32, 1e-15),
                    Decay::Weights => {
                        row.iter_mut().for_each(|w| *w *= magnitude as f32);
                        (mean[channel], variance[channel]) = (0.0, 0.0);
                    }
                    Decay::SomeWeights => unreachable!(),
                }
            }
            for (part, values) in parts.iter().zip([gamma, beta, mean, variance]) {
                copy.set(norm, part, &values);
            }
            copy.set(&layer.name, "weight", &weight);
        }
        copy
    }

    /// Weights of each output channel.
    fn depth(&self, layer: &Layer) -> usize {
        layer.weight_dims()[1..].iter().product()
    }

    /// The weight file as earlier releases made it: folded, nothing flushed.
    pub fn folded_only(&self, spec: &Spec) -> Vec<u8> {
        let source = |layer: &Layer| {
            let weight = self.values(&layer.name, "weight");
            let Some(norm) = &layer.norm else {
                return LayerWeights { weight, bias: self.values(&layer.name, "bias") };
            };
            let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
                .map(|part| self.values(norm, part).into_iter().map(f64::from).collect::<Vec<_>>());
            let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + 1e-5).sqrt()).collect();
            let bias = (0..layer.cout).map(|c| (beta[c] + (0.0 - mean[c]) * scale[c]) as f32).collect();
            let depth = self.depth(layer);
            let weight = weight.iter().enumerate().map(|(i, &w)| (f64::from(w) * scale[i / depth]) as f32).collect();
            LayerWeights { weight, bias }
        };
        let mut file = Vec::new();
        write_model(spec, &Limits::default(), source, &mut file).unwrap();
        file
    }
}
