//! Which values a network's layers read and make, by the names that weight files have for them.

use crate::graph::{Graph, ValueId, Work};
use crate::int8::Numbers;
use crate::{LayerKind, Network, Padding};

/// A network's values and layers.
pub(super) struct Flow {
    /// The input, then what each layer and pool makes, in order of execution; the outputs come last.
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
    /// How many times it is read.
    pub(super) readers: usize,
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
    pub(super) fn new(network: &Network, size: (usize, usize)) -> Flow {
        let graph = Graph::new(network, &Numbers::f32(network), size);
        let mut values: Vec<Value> = Vec::new();
        let mut layers = vec![None; network.layers().count()];
        // A value's number is its place: every node makes one, after those that it reads.
        let mut ids = Vec::new();
        // The last layers of a detector's heads, with the planes that they make.
        let mut ends = Vec::new();
        for node in &graph.nodes {
            if ids.is_empty() {
                ids.push(node.src);
                let value = &graph[node.src];
                values.push(Value { name: value.name.clone(), channels: value.shape[0], scale_of: 0, readers: 0 });
            }
            let number = |id| ids.iter().position(|&known| known == id).expect("nodes read what was made before");
            if let Work::Rows { .. } = node.work {
                // What the layer before it makes is part of this output.
                let of_node = |end: &&mut (usize, _, ValueId)| end.2 == node.src;
                ends.iter_mut().filter(of_node).for_each(|end| end.2 = node.dst);
                continue;
            }
            let (input, output) = (number(node.src), values.len());
            let shortcut = node.shortcut.map(|addend| number(addend.value));
            for read in [Some(input), shortcut].into_iter().flatten() {
                values[read].readers += 1;
            }
            let scale_of = match node.work {
                Work::Layer(placed) => {
                    let flow = LayerFlow { input, output, shortcut, size: placed.input };
                    if placed.layer.makes_output() && placed.layer.kind != LayerKind::Linear {
                        ends.push((placed.index, flow, node.dst));
                        continue;
                    }
                    layers[placed.index] = Some(flow);
                    output
                }
                Work::MaxPool => values[input].scale_of,
                // Only networks with int8 layers have these.
                Work::Quantize(_) | Work::Dequantize(_) | Work::Rows { .. } | Work::Head { .. } => output,
                Work::Pool => output,
            };
            let value = &graph[node.dst];
            let output = graph.outputs.iter().find(|output| output.1 == node.dst);
            let name = output.map_or_else(|| format!("{}.output", value.name), |output| output.0.into());
            values.push(Value { name, channels: value.shape[0], scale_of, readers: 0 });
            ids.push(node.dst);
        }
        if !ends.is_empty() {
            let first = values.len();
            for (index, flow, output) in ends {
                let of_end = graph.outputs.iter().position(|known| known.1 == output);
                layers[index] = Some(LayerFlow { output: first + of_end.unwrap_or(0), ..flow });
            }
            let outputs = graph.outputs.iter().enumerate();
            values.extend(outputs.map(|(at, (name, _))| Value {
                name: (*name).into(),
                channels: 1,
                scale_of: first + at,
                readers: 0,
            }));
        }
        Flow { values, outputs: graph.outputs.len(), layers: layers.into_iter().flatten().collect() }
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
        assert_eq!(flow.values[of("layer1.0.conv2").shortcut.unwrap()].readers, 2);
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
