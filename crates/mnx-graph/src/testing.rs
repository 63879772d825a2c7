//! Networks with random weights in int8, or with some layers in int8, whose values use the range of a u8.
#![allow(dead_code)]

use std::collections::HashMap;

use mnx_graph::{
    Activation, Arithmetic, Int8Weights, Layer, LayerWeights, Limits, Network, Quantization, Spec, Weights,
    write_quantized,
};

/// A linear congruential generator.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// 0 to just below 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// `low` to just below `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

/// A network before packing.
pub struct RandomNetwork {
    pub spec: Spec,
    pub network: Network,
    /// In order of execution.
    pub layers: Vec<Weights>,
    /// Of every value, those too that stay f32.
    pub values: HashMap<String, Quantization>,
}

impl RandomNetwork {
    /// The layers for which `arithmetic` says so are in int8. The same seed gives the same network.
    pub fn new(spec: &Spec, seed: u64, arithmetic: impl Fn(usize, &Layer) -> Arithmetic) -> RandomNetwork {
        let network = Network::new(spec).expect("a network");
        let mut random = Random(seed);
        let mut values = HashMap::from([("input".to_owned(), Quantization { scale: 1.0 / 50.0, zero_point: 121 })]);
        let mut made =
            RandomNetwork { spec: spec.clone(), network: network.clone(), layers: Vec::new(), values: HashMap::new() };
        let mut index = 0;
        let mut value = "input".to_owned();
        for block in &network.blocks {
            let (block_input, row) = (value.clone(), block.layers.len());
            for (i, layer) in block.all_layers().enumerate() {
                let src = if i == row { &block_input } else { &value };
                // The row's last layer ends as its block does.
                let ends = i + 1 == row && block.identity_channels > 0;
                let activation = if ends { block.activation } else { layer.activation };
                let (input, output) = (values[src], random_value(&mut random, activation));
                let weights = random_layer(&mut random, layer, input, output);
                made.push(weights, input, arithmetic(index, layer));
                index += 1;
                let name = format!("{}.output", layer.name);
                values.insert(name.clone(), output);
                if i < row {
                    value = name;
                }
            }
        }
        // What the network puts out is f32, but its numbers are about as large as if it were this.
        let output = Quantization { scale: 0.05, zero_point: 128 };
        if let Some(classifier) = network.classifier() {
            let last = values[&value];
            let pool = Quantization { scale: last.scale * 0.5, zero_point: last.zero_point / 2 + 3 };
            values.insert("pool.output".into(), pool);
            let weights = random_layer(&mut random, classifier, pool, output);
            made.push(weights, pool, arithmetic(index, classifier));
        }
        for level in network.levels() {
            let block = &network.blocks[level.block];
            let made_by = level.layer.map_or(block.layers.last(), |layer| block.layers.get(layer));
            let map = format!("{}.output", made_by.expect("a layer").name);
            for head in [&level.scores, &level.boxes] {
                let mut input = values[&map];
                for layer in &head.layers {
                    let made_of = input;
                    input = if layer.norm.is_some() { random_value(&mut random, layer.activation) } else { output };
                    values.insert(format!("{}.output", layer.name), input);
                    let weights = random_layer(&mut random, layer, made_of, input);
                    made.push(weights, made_of, arithmetic(index, layer));
                    index += 1;
                }
            }
        }
        RandomNetwork { values, ..made }
    }

    /// All layers in int8.
    pub fn int8(spec: &Spec, seed: u64) -> RandomNetwork {
        RandomNetwork::new(spec, seed, |_, _| Arithmetic::Int8)
    }

    fn push(&mut self, weights: Int8Weights, input: Quantization, arithmetic: Arithmetic) {
        self.layers.push(match arithmetic {
            Arithmetic::Int8 => Weights::Int8(weights),
            _ => {
                let depth = weights.weight.len() / weights.bias.len();
                let weight = weights.weight.iter().enumerate().map(|(i, &w)| f32::from(w) * weights.scale[i / depth]);
                let bias = weights.bias.iter().zip(&weights.scale).map(|(&b, s)| b as f32 * s * input.scale);
                Weights::F32(LayerWeights { weight: weight.collect(), bias: bias.collect() })
            }
        });
    }

    /// Its weight file.
    pub fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let value = |name: &str| self.values[name];
        write_quantized(&self.spec, &Limits::default(), &self.layers, value, &mut file).expect("a weight file");
        file
    }
}

fn random_value(random: &mut Random, activation: Activation) -> Quantization {
    match activation {
        // Of about half of them ReLU6 cuts off what a u8 could hold.
        Activation::Relu6 => {
            Quantization { scale: random.between(0.018, 0.03), zero_point: random.between(0.0, 12.0) as u8 }
        }
        Activation::Relu => {
            Quantization { scale: random.between(0.01, 0.05), zero_point: random.between(0.0, 4.0) as u8 }
        }
        _ => Quantization { scale: random.between(0.01, 0.05), zero_point: random.between(90.0, 160.0) as u8 },
    }
}

/// Weights whose sums, times their factor, are a good part of what a u8 holds.
fn random_layer(random: &mut Random, layer: &Layer, input: Quantization, output: Quantization) -> Int8Weights {
    let elements = layer.weight_elements() as usize;
    let depth = elements / layer.cout;
    // Standard deviations of a weight, and of a sum of products with inputs that are spread over half of their range.
    let spread = 73.0 * 45.0 * (depth as f32).sqrt();
    let scale = |random: &mut Random| {
        let factor = random.between(0.4, 1.6) * 60.0 / spread;
        factor * output.scale / input.scale
    };
    Int8Weights {
        weight: (0..elements).map(|_| (random.bits() % 255) as i32 - 127).map(|w| w as i8).collect(),
        scale: (0..layer.cout).map(|_| scale(random)).collect(),
        bias: (0..layer.cout).map(|_| (random.between(-1.0, 1.3) * spread) as i32).collect(),
    }
}

/// A picture's values, of about what a network's input has.
pub fn random_input(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random(seed);
    (0..len).map(|_| random.between(-2.6, 2.9)).collect()
}
