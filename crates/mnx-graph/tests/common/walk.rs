//! A network computed layer by layer in the oracle's loops, with every value whole.

use std::collections::HashSet;

use mnx_graph::{Activation, Layer, LayerKind, Quantization, Weights};
use mnx_tensor::int8::Requantize;
use mnx_tensor::naive::{self, Rounding, Shape, int8};
use mnx_tensor::ops::Margins;
use mnx_tensor::{Clamp, Operation};

use super::random::RandomNetwork;

/// What a network makes of one picture.
pub struct Walked {
    pub blocks: Vec<Vec<f32>>,
    /// Of a classifier.
    pub features: Option<Vec<f32>>,
    /// By name: logits, or scores and boxes.
    pub outputs: Vec<(&'static str, Vec<f32>)>,
}

#[derive(Clone)]
enum Numbers {
    F32(Vec<f32>),
    U8(Vec<u8>, Quantization),
}

/// A value of one picture, NCHW.
#[derive(Clone)]
struct Value {
    name: String,
    height: usize,
    width: usize,
    numbers: Numbers,
}

impl Value {
    fn real(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::F32(values) => values.clone(),
            Numbers::U8(values, Quantization { scale, zero_point }) => {
                values.iter().map(|&q| scale * (f32::from(q) - f32::from(*zero_point))).collect()
            }
        }
    }

    fn bytes(&self) -> (&[u8], Quantization) {
        match &self.numbers {
            Numbers::U8(values, quantization) => (values, *quantization),
            Numbers::F32(_) => panic!("{} is f32", self.name),
        }
    }
}

/// A value that is added to a layer's output.
struct Shortcut<'a> {
    value: &'a Value,
    channels: usize,
    activation: Activation,
}

pub fn walk(net: &RandomNetwork, picture: &[f32], (height, width): (usize, usize), rounding: Rounding) -> Walked {
    let walk = Walk { net, quantized: quantized(net), rounding };
    let mut value = walk.kept("input", height, width, picture.to_vec());
    let (mut index, mut blocks) = (0, Vec::new());
    // What detectors read: the blocks' outputs, and those of their layers.
    let mut maps = Vec::new();
    for block in &net.network.blocks {
        let mut of_layers = Vec::new();
        let block_input = value.clone();
        let row = index..index + block.layers.len();
        let projection = row.end;
        index = row.end + usize::from(block.projection.is_some());
        let added = block
            .projection
            .as_ref()
            .map(|layer| walk.layer(projection, layer, &block_input, None))
            .unwrap_or(block_input);
        for (at, layer) in row.clone().zip(&block.layers) {
            let shortcut = (at + 1 == row.end && block.identity_channels > 0).then_some(Shortcut {
                value: &added,
                channels: block.identity_channels,
                activation: block.activation,
            });
            value = walk.layer(at, layer, &value, shortcut);
            of_layers.push(value.clone());
        }
        if block.max_pool {
            value = max_pool(&value, block.layers.last().unwrap().cout);
        }
        blocks.push(value.real());
        maps.push((value.clone(), of_layers));
    }
    if let Some(classifier) = net.network.classifier() {
        let pooled = walk.pool(&value);
        let logits = walk.layer(index, classifier, &pooled, None).real();
        return Walked { blocks, features: Some(pooled.real()), outputs: vec![("logits", logits)] };
    }
    let (mut scores, mut boxes) = (Vec::new(), Vec::new());
    for level in net.network.levels() {
        let (of_block, of_layers) = &maps[level.block];
        for (head, rows) in [(&level.scores, &mut scores), (&level.boxes, &mut boxes)] {
            value = level.layer.map_or(of_block, |layer| &of_layers[layer]).clone();
            for layer in &head.layers {
                value = walk.layer(index, layer, &value, None);
                index += 1;
            }
            let (planes, pixels) = (value.real(), value.height * value.width);
            let channels = planes.len() / pixels;
            rows.extend(
                (0..pixels)
                    .flat_map(|pixel| (0..channels).map(move |c| (c, pixel)))
                    .map(|(c, pixel)| planes[c * pixels + pixel]),
            );
        }
    }
    Walked { blocks, features: None, outputs: vec![("scores", scores), ("boxes", boxes)] }
}

/// Names of the values that an int8 layer makes or reads.
fn quantized(net: &RandomNetwork) -> HashSet<String> {
    let is_int8 = |index: usize| matches!(net.layers[index], Weights::Int8(_));
    let mut names = HashSet::new();
    let (mut index, mut value) = (0, "input".to_owned());
    for block in &net.network.blocks {
        let mut added = value.clone();
        let mut last = index;
        for layer in &block.layers {
            let output = format!("{}.output", layer.name);
            if is_int8(index) {
                names.extend([value, output.clone()]);
            }
            (value, last, index) = (output, index, index + 1);
        }
        if let Some(layer) = &block.projection {
            let output = format!("{}.output", layer.name);
            if is_int8(index) {
                names.extend([added, output.clone()]);
            }
            (added, index) = (output, index + 1);
        }
        if block.identity_channels > 0 && is_int8(last) {
            names.insert(added);
        }
    }
    if net.network.classifier().is_some() && is_int8(index) {
        names.insert("pool.output".into());
    }
    for level in net.network.levels() {
        let block = &net.network.blocks[level.block];
        let map = level.layer.map_or(block.layers.last(), |layer| block.layers.get(layer)).unwrap();
        for head in [&level.scores, &level.boxes] {
            value = format!("{}.output", map.name);
            for layer in &head.layers {
                let output = format!("{}.output", layer.name);
                if is_int8(index) {
                    names.insert(value);
                    names.extend(layer.norm.is_some().then(|| output.clone()));
                }
                (value, index) = (output, index + 1);
            }
        }
    }
    names
}

struct Walk<'a> {
    net: &'a RandomNetwork,
    quantized: HashSet<String>,
    rounding: Rounding,
}

impl Walk<'_> {
    /// A value that was computed in f32, as it is kept.
    fn kept(&self, name: &str, height: usize, width: usize, values: Vec<f32>) -> Value {
        let numbers = if self.quantized.contains(name) {
            let quantization = self.net.values[name];
            let Quantization { scale, zero_point } = quantization;
            let bytes = values.iter().map(|&value| int8::quantized(value, scale, zero_point));
            Numbers::U8(bytes.collect(), quantization)
        } else {
            Numbers::F32(values)
        };
        Value { name: name.into(), height, width, numbers }
    }

    fn layer(&self, index: usize, layer: &Layer, src: &Value, shortcut: Option<Shortcut<'_>>) -> Value {
        // A strided pointwise layer reads every second pixel of every second row.
        let sampled;
        let src = if layer.kind == LayerKind::Pointwise && layer.stride == 2 {
            sampled = sample(src, layer.cin);
            &sampled
        } else {
            src
        };
        let operation = layer.operation();
        let padding = |size: usize| self.net.spec.padding.of(operation.kernel(), size, operation.stride());
        let ((top, bottom), (left, right)) = (padding(src.height), padding(src.width));
        let shape = Shape {
            cin: layer.cin,
            cout: layer.cout,
            height: src.height,
            width: src.width,
            kernel: operation.kernel(),
            stride: operation.stride(),
            padding: Margins { top, bottom, left, right },
        };
        let (height, width) = match operation {
            Operation::Pointwise | Operation::Linear => (src.height, src.width),
            _ => shape.output_size(),
        };
        let name = format!("{}.output", layer.name);
        let weights = match &self.net.layers[index] {
            Weights::F32(weights) => {
                let (x, w, bias) = (src.real(), &weights.weight, &weights.bias);
                let mut out = naive::layer(operation, &shape, &x, w, bias, self.rounding);
                let added = shortcut.as_ref().map(|shortcut| (shortcut.value.real(), shortcut.channels));
                let residual = added.as_ref().map(|(values, channels)| (&values[..], *channels));
                naive::epilogue(&mut out, layer.cout, clamp(layer.activation), residual);
                if let Some(Shortcut { channels, activation, .. }) = shortcut {
                    let covered = channels * height * width;
                    out[..covered].iter_mut().for_each(|v| *v = clamp(activation).apply(*v));
                }
                return self.kept(&name, height, width, out);
            }
            Weights::Int8(weights) => weights,
            _ => panic!("another arithmetic"),
        };
        let (x, input) = src.bytes();
        let sums = int8::sums(operation, &shape, x, &weights.weight, &weights.bias, input.zero_point);
        let exact = |scale: f32| f64::from(input.scale) * f64::from(scale);
        if layer.norm.is_none() {
            // One of the network's outputs.
            let pixels = height * width;
            let numbers = sums.iter().enumerate().map(|(i, &sum)| sum as f32 * exact(weights.scale[i / pixels]) as f32);
            return Value { name, height, width, numbers: Numbers::F32(numbers.collect()) };
        }
        let output = self.net.values[&name];
        let factors = weights.scale.iter().map(|&scale| (exact(scale) / f64::from(output.scale)) as f32);
        let factors: Vec<f32> = factors.collect();
        let zero = f32::from(output.zero_point);
        let activation = shortcut.as_ref().map_or(layer.activation, |shortcut| shortcut.activation);
        let six = (6.0 / f64::from(output.scale)).round_ties_even() as f32;
        let (lo, hi) = match activation {
            Activation::Linear => (-zero, 255.0 - zero),
            Activation::Relu => (0.0, 255.0 - zero),
            Activation::Relu6 => (0.0, six.min(255.0 - zero)),
            other => panic!("{other:?}"),
        };
        let added = shortcut.as_ref().map(|shortcut| shortcut.value.bytes());
        let factor = |q: Quantization| (f64::from(q.scale) / f64::from(output.scale)) as f32;
        let requantize = Requantize {
            zero_in: input.zero_point,
            zero_out: output.zero_point,
            lo,
            hi,
            shortcut: added.map(|(_, q)| (q.zero_point, factor(q))),
            ..Requantize::PLAIN
        };
        let added = added.zip(shortcut).map(|((values, _), shortcut)| (values, shortcut.channels));
        let bytes = int8::requantize(&sums, &factors, &requantize, added);
        Value { name, height, width, numbers: Numbers::U8(bytes, output) }
    }

    fn pool(&self, src: &Value) -> Value {
        let pixels = src.height * src.width;
        let name = "pool.output";
        if let (Numbers::U8(values, input), true) = (&src.numbers, self.quantized.contains(name)) {
            let output = self.net.values[name];
            let channels = values.len() / pixels;
            let factor = f64::from(input.scale) / (f64::from(output.scale) * pixels as f64);
            let zero = f32::from(output.zero_point);
            let requantize =
                Requantize { zero_out: output.zero_point, lo: -zero, hi: 255.0 - zero, ..Requantize::PLAIN };
            let sums = int8::pool(channels, pixels, values, input.zero_point);
            let bytes = int8::requantize(&sums, &vec![factor as f32; channels], &requantize, None);
            return Value { name: name.into(), height: 1, width: 1, numbers: Numbers::U8(bytes, output) };
        }
        let values = src.real();
        let pooled = naive::pool(values.len() / pixels, src.height, src.width, &values);
        self.kept(name, 1, 1, pooled)
    }
}

fn clamp(activation: Activation) -> Clamp {
    match activation {
        Activation::Relu6 => Clamp::RELU6,
        Activation::Relu => Clamp::RELU,
        _ => Clamp::NONE,
    }
}

fn max_pool(src: &Value, channels: usize) -> Value {
    let Value { ref name, height, width, ref numbers } = *src;
    let (kernel, stride, padding) = (3, 2, Margins::ONE);
    let shape = Shape { cin: channels, cout: channels, height, width, kernel, stride, padding };
    let numbers = match numbers {
        Numbers::F32(values) => Numbers::F32(naive::max_pool(&shape, values)),
        Numbers::U8(values, quantization) => Numbers::U8(int8::max_pool(&shape, values), *quantization),
    };
    let (height, width) = shape.output_size();
    Value { name: name.clone(), height, width, numbers }
}

fn sample(src: &Value, channels: usize) -> Value {
    let Value { ref name, height, width, ref numbers } = *src;
    let places = || {
        let rows = (0..channels).flat_map(move |c| (0..height).step_by(2).map(move |y| (c * height + y) * width));
        rows.flat_map(move |row| (0..width).step_by(2).map(move |x| row + x))
    };
    let numbers = match numbers {
        Numbers::F32(values) => Numbers::F32(places().map(|at| values[at]).collect()),
        Numbers::U8(values, quantization) => Numbers::U8(places().map(|at| values[at]).collect(), *quantization),
    };
    Value { name: name.clone(), height: height.div_ceil(2), width: width.div_ceil(2), numbers }
}
