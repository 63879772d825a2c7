//! Which values a network's layers read and make, by the names that weight files have for them.

use std::collections::HashMap;

use crate::wiring::{Source, Wire, Wiring};
use crate::{Network, Padding};

/// A network's values and layers.
pub(super) struct Flow {
    /// The input, then what each layer and pool makes, in the order of the layers; the outputs come last.
    pub(super) values: Vec<Value>,
    /// How many of them are outputs: `logits`, or a detector's `scores` and `boxes`, each of all levels together.
    pub(super) outputs: usize,
    /// In the order of [`Network::layers`].
    pub(super) layers: Vec<LayerFlow>,
}

/// A value between layers.
pub(super) struct Value {
    /// `input`, the name of an output, or the name of what makes it and `.output`.
    pub(super) name: String,
    /// 1 of a detector's outputs.
    pub(super) channels: usize,
    /// Index of the value whose scale and zero point it has: its own, but a max pool's output has those of its input.
    pub(super) scale_of: usize,
}

/// What a layer reads and makes, as indices in [`Flow::values`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerFlow {
    pub(super) input: usize,
    pub(super) output: usize,
    /// What is added to its sums.
    pub(super) shortcut: Option<usize>,
    /// Height and width of its input.
    pub(super) size: (usize, usize),
}

impl Flow {
    /// For an input of this height and width.
    pub(super) fn new(network: &Network, (height, width): (usize, usize)) -> Flow {
        let wiring = Wiring::new(network);
        let mut flow = Flow { values: Vec::new(), outputs: 1, layers: Vec::new() };
        let mut numbers = HashMap::from([(Source::Input, flow.value("input".into(), network.channels()))]);
        for (index, Wire { layer, src, .. }) in wiring.layers.iter().enumerate() {
            if *src == Source::Pool {
                numbers.insert(*src, flow.value("pool.output".into(), layer.cin));
            }
            if layer.makes_output() {
                continue;
            }
            let made = flow.value(format!("{}.output", layer.name), layer.cout);
            numbers.insert(Source::Layer(index), made);
            if let Some(output) = wiring.max_pool(index) {
                let pooled = flow.value("maxpool.output".into(), layer.cout);
                flow.values[pooled].scale_of = made;
                numbers.insert(output, pooled);
            }
        }
        let first = flow.values.len();
        match network.classifier() {
            Some(classifier) => _ = flow.value("logits".into(), classifier.cout),
            None => ["scores", "boxes"].into_iter().for_each(|name| _ = flow.value(name.into(), 1)),
        }
        flow.outputs = flow.values.len() - first;
        for (wire, placed) in wiring.layers.iter().zip(network.place(height, width)) {
            // Class heads and box heads take turns.
            let output = numbers.get(&Source::Layer(placed.index)).copied();
            let output = output.unwrap_or_else(|| first + (wire.block - network.blocks.len()) % flow.outputs);
            let shortcut = wire.shortcut.map(|addend| numbers[&addend.value]);
            flow.layers.push(LayerFlow { input: numbers[&wire.src], output, shortcut, size: placed.input });
        }
        flow
    }

    /// Appends a value that has a scale of its own, and returns its number.
    fn value(&mut self, name: String, channels: usize) -> usize {
        let number = self.values.len();
        self.values.push(Value { name, channels, scale_of: number });
        number
    }
}

/// For each place of a filter, row by row, the share of a layer's outputs for which it lies on the input and not on the
/// padding.
pub(super) fn shares_on_input(
    padding: Padding,
    kernel: usize,
    stride: usize,
    (height, width): (usize, usize),
) -> Vec<f64> {
    let shares = |size: usize| {
        let outputs = size.div_ceil(stride);
        let before = padding.of(kernel, size, stride).0;
        let on_input = move |place: usize| {
            let inside = |output: &usize| (before..before + size).contains(&(output * stride + place));
            (0..outputs).filter(inside).count() as f64 / outputs.max(1) as f64
        };
        (0..kernel).map(on_input).collect::<Vec<_>>()
    };
    let (rows, columns) = (shares(height), shares(width));
    rows.iter().flat_map(|row| columns.iter().map(move |column| row * column)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn values_are_those_of_the_weight_file() {
        let network = Network::new(&Spec::family("resnet18").unwrap()).unwrap();
        let flow = Flow::new(&network, (224, 224));
        assert_eq!(flow.layers.len(), network.layers().count());
        let name = |value: usize| &*flow.values[value].name;
        let of = |layer: &str| flow.layers[network.layers().position(|l| l.name == layer).unwrap()];
        assert_eq!(name(of("conv1").input), "input");
        // A max pool keeps the scale of what it reads.
        let first = of("layer1.0.conv1");
        assert_eq!(name(first.input), "maxpool.output");
        assert_eq!(name(flow.values[first.input].scale_of), "conv1.output");
        let projected = of("layer2.0.conv2");
        assert_eq!(name(projected.shortcut.unwrap()), "layer2.0.downsample.0.output");
        assert_eq!((name(of("fc").input), name(of("fc").output)), ("pool.output", "logits"));
        assert_eq!(name(of("layer1.0.conv2").shortcut.unwrap()), "maxpool.output");
    }

    #[test]
    fn places_at_the_edge_lie_on_the_padding_once() {
        let third = 2.0 / 3.0;
        let all = shares_on_input(Padding::Torch, 3, 1, (1, 3));
        assert_eq!(all, [0.0, 0.0, 0.0, third, 1.0, third, 0.0, 0.0, 0.0]);
        // TensorFlow pads after the picture only.
        assert_eq!(shares_on_input(Padding::Tf, 3, 2, (2, 4))[..3], [1.0, 1.0, 0.5]);
        assert_eq!(shares_on_input(Padding::Torch, 1, 2, (7, 7)), [1.0]);
    }
}
