//! A network as operations on named values, for the planner. Blocks are only labels here: which operations may be fused
//! follows from who reads a value.

use std::collections::HashMap;

use mnx_tensor::Arithmetic;

use crate::int8::Numbers;
use crate::placed::{PlacedLayer, max_pool_size};
use crate::wiring::{Addend, Source, Wire, Wiring};
use crate::{Network, Quantization};

/// Index of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(usize);

/// Something that operations read and write.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// `input`, or the name of what computes it: a layer's name, `maxpool` or `pool`; `scores` or `boxes`. The same value in
    /// another form has a suffix.
    pub(crate) name: String,
    /// `[C, H, W]` of one picture. Of a detector's outputs: priors, numbers of each, 1.
    pub(crate) shape: [usize; 3],
    /// What its u8 numbers stand for. `None`: it is f32.
    pub(crate) quantization: Option<Quantization>,
    /// The same value in f32, if it is u8 and an f32 operation has read it.
    real: Option<ValueId>,
    /// How many times operations read it, shortcuts included.
    readers: usize,
}

/// What an operation computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'n> {
    /// A convolution or the classifier.
    Layer(PlacedLayer<'n>),
    /// A 3x3 max pool of stride 2.
    MaxPool,
    /// The global average pool.
    Pool,
    /// A head's planes as rows of an output, which several of these write: row `first` is the first cell's first prior.
    Rows { first: usize },
    /// The last layer of a head in int8, which writes rows of an output itself, from row `first` on.
    Head { layer: PlacedLayer<'n>, first: usize },
    /// f32 to u8: of the network's input, or between an f32 operation and an int8 one.
    Quantize(Quantization),
    /// u8 to f32.
    Dequantize(Quantization),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'n> {
    pub(crate) work: Work<'n>,
    pub(crate) src: ValueId,
    pub(crate) dst: ValueId,
    pub(crate) shortcut: Option<Addend<ValueId>>,
    /// Index of the block that it is part of: a label.
    pub(crate) block: usize,
}

/// A network for inputs of one size.
#[derive(Clone, Debug)]
pub(crate) struct Graph<'n> {
    values: Vec<Value>,
    /// In an order in which they can be computed: writers before readers.
    pub(crate) nodes: Vec<Node<'n>>,
    /// The network's outputs by name.
    pub(crate) outputs: Vec<(&'static str, ValueId)>,
    /// The output of each block.
    pub(crate) blocks: Vec<ValueId>,
}

impl<'n> Graph<'n> {
    /// Spells out a network for an input of `height` x `width`. A value that `numbers` quantise is u8 for all its readers;
    /// f32 operations read what it stands for.
    pub(crate) fn new(network: &'n Network, numbers: &Numbers, (height, width): (usize, usize)) -> Graph<'n> {
        let mut graph = Graph { values: Vec::new(), nodes: Vec::new(), outputs: Vec::new(), blocks: Vec::new() };
        let mut input = graph.value("input".into(), [network.channels(), height, width], None);
        if let Some(quantization) = numbers.values.input {
            input = graph.quantized(input, 0, quantization);
        }
        let wiring = Wiring::new(network);
        let heads = graph.heads(network, (height, width));
        let mut placed: Vec<_> = network.place(height, width).collect();
        // A projection comes just before the layer to whose output it is added.
        for index in 1..placed.len() {
            if placed[index].projection {
                placed.swap(index - 1, index);
            }
        }
        let mut made = HashMap::from([(Source::Input, input)]);
        for layer in placed {
            let PlacedLayer { index, block, .. } = layer;
            let Wire { src, shortcut, .. } = wiring.layers[index];
            if src == Source::Pool {
                let pool = graph.pool(made[&wiring.pooled()], block, numbers.values.pool);
                made.insert(src, pool);
            }
            let src = made[&src];
            // The last layer of a head writes rows of an output. In f32 it makes planes first.
            let head = block.checked_sub(network.blocks.len()).and_then(|head| heads.get(head));
            if let Some(&(output, first)) = head.filter(|_| layer.layer.makes_output()) {
                let (work, src) = if numbers.arithmetic[index] == Arithmetic::Int8 {
                    (Work::Head { layer, first }, src)
                } else {
                    (Work::Rows { first }, graph.layer(layer, numbers, src, None))
                };
                graph.push(work, block, src, None, output);
                continue;
            }
            let shortcut = shortcut.map(|Addend { value, channels, activation }| {
                let value = made[&value];
                Addend { value, channels, activation }
            });
            let output = graph.layer(layer, numbers, src, shortcut);
            made.insert(Source::Layer(index), output);
            if let Some(max_pool) = wiring.max_pool(index) {
                made.insert(max_pool, graph.max_pool(output, block));
            }
        }
        graph.blocks = wiring.blocks.iter().map(|source| made[source]).collect();
        if network.classifier().is_some() {
            graph.outputs.push(("logits", made[&Source::Layer(wiring.layers.len() - 1)]));
        }
        graph
    }

    /// A detector's outputs. Returns for each of its heads the output that it writes, and its first row there.
    fn heads(&mut self, network: &Network, (height, width): (usize, usize)) -> Vec<(ValueId, usize)> {
        let Some(level) = network.levels().first() else { return Vec::new() };
        let rows = usize::try_from(network.priors(height, width)).unwrap_or(usize::MAX);
        for (name, head) in ["scores", "boxes"].into_iter().zip(level.heads()) {
            let numbers = head.layers.last().map_or(0, |layer| layer.cout / level.priors.max(1));
            let output = self.value(name.into(), [rows, numbers, 1], None);
            self.outputs.push((name, output));
        }
        let (mut heads, mut first) = (Vec::new(), 0_usize);
        for (level, (height, width)) in network.levels().iter().zip(network.grids(height, width)) {
            heads.extend(self.outputs.iter().map(|&(_, output)| (output, first)));
            first = first.saturating_add(height.saturating_mul(width).saturating_mul(level.priors));
        }
        heads
    }

    fn layer(
        &mut self,
        layer: PlacedLayer<'n>,
        numbers: &Numbers,
        src: ValueId,
        shortcut: Option<Addend<ValueId>>,
    ) -> ValueId {
        let PlacedLayer { index, block, layer: of, output: (height, width), .. } = layer;
        let quantization = numbers.values.outputs[index];
        let int8 = numbers.arithmetic[index] == Arithmetic::Int8;
        let (src, shortcut) = if int8 {
            (src, shortcut)
        } else {
            let real = |addend: Addend<ValueId>| Addend { value: self.real(addend.value, block), ..addend };
            let shortcut = shortcut.map(real);
            (self.real(src, block), shortcut)
        };
        let made = self.value(of.name.clone(), [of.cout, height, width], quantization.filter(|_| int8));
        self.push(Work::Layer(layer), block, src, shortcut, made);
        match quantization.filter(|_| !int8) {
            Some(quantization) => self.quantized(made, block, quantization),
            None => made,
        }
    }

    fn max_pool(&mut self, src: ValueId, block: usize) -> ValueId {
        let Value { shape: [channels, height, width], quantization, .. } = self[src];
        let (height, width) = max_pool_size((height, width));
        let made = self.value("maxpool".into(), [channels, height, width], quantization);
        self.push(Work::MaxPool, block, src, None, made)
    }

    /// The average pool: in int8 where both what it reads and what it makes are u8.
    fn pool(&mut self, src: ValueId, block: usize, output: Option<Quantization>) -> ValueId {
        let [channels, ..] = self[src].shape;
        let int8 = self[src].quantization.is_some() && output.is_some();
        let src = if int8 { src } else { self.real(src, block) };
        let made = self.value("pool".into(), [channels, 1, 1], output.filter(|_| int8));
        self.push(Work::Pool, block, src, None, made);
        match output.filter(|_| !int8) {
            Some(quantization) => self.quantized(made, block, quantization),
            None => made,
        }
    }

    /// A value in f32: the value itself if it is f32.
    fn real(&mut self, value: ValueId, block: usize) -> ValueId {
        let Value { shape, quantization, real, ref name, .. } = self[value];
        let (Some(quantization), None) = (quantization, real) else { return real.unwrap_or(value) };
        let name = format!("{name}.dequantized");
        let dst = self.value(name, shape, None);
        self.values[value.0].real = Some(dst);
        self.push(Work::Dequantize(quantization), block, value, None, dst)
    }

    /// An f32 value as u8.
    fn quantized(&mut self, value: ValueId, block: usize, quantization: Quantization) -> ValueId {
        let Value { shape, ref name, .. } = self[value];
        let name = format!("{name}.quantized");
        let dst = self.value(name, shape, Some(quantization));
        self.push(Work::Quantize(quantization), block, value, None, dst)
    }

    fn value(&mut self, name: String, shape: [usize; 3], quantization: Option<Quantization>) -> ValueId {
        self.values.push(Value { name, shape, quantization, real: None, readers: 0 });
        ValueId(self.values.len() - 1)
    }

    /// Appends an operation and returns what it writes.
    fn push(
        &mut self,
        work: Work<'n>,
        block: usize,
        src: ValueId,
        shortcut: Option<Addend<ValueId>>,
        dst: ValueId,
    ) -> ValueId {
        for read in [Some(src), shortcut.map(|addend| addend.value)].into_iter().flatten() {
            self.values[read.0].readers += 1;
        }
        self.nodes.push(Node { work, src, dst, shortcut, block });
        dst
    }

    /// A value's name in weight files: `input`, or its maker's name and `.output`. `None` for the network's outputs, for a
    /// head's planes, and for the f32 twin of a quantised value.
    pub(crate) fn file_name(&self, value: ValueId) -> Option<String> {
        let is_head = |node: &Node<'_>| matches!(node.work, Work::Rows { .. }) && node.src == value;
        if self.outputs.iter().any(|output| output.1 == value) || self.nodes.iter().any(is_head) {
            return None;
        }
        let node = self.nodes.iter().find(|node| node.dst == value)?;
        let of = match node.work {
            Work::Dequantize(_) => return None,
            Work::Quantize(_) => node.src,
            _ => value,
        };
        let is_quantized = |other: &Node| matches!(other.work, Work::Quantize(_)) && other.src == value;
        let name = &self[of].name;
        let is_input = self.nodes.iter().all(|node| node.dst != of);
        if self.nodes.iter().any(is_quantized) {
            return None;
        }
        Some(if is_input { name.clone() } else { format!("{name}.output") })
    }

    /// Whether the output of `node` is read by the next operation alone, as its input. Such a value need not exist whole.
    pub(crate) fn is_between(&self, node: usize, keep: &[ValueId]) -> bool {
        let Some([before, next]) = self.nodes.get(node..node + 2) else { return false };
        let dst = before.dst;
        next.src == dst
            && self[dst].readers == 1
            && !keep.contains(&dst)
            && self.outputs.iter().all(|output| output.1 != dst)
    }
}

impl std::ops::Index<ValueId> for Graph<'_> {
    type Output = Value;

    fn index(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn every_value_is_written_before_it_is_read_and_names_are_unique() {
        for family in crate::families() {
            let network = Network::new(&Spec::family(family).unwrap()).unwrap();
            let graph = Graph::new(&network, &Numbers::f32(&network), (64, 48));
            let mut written = vec![ValueId(0)];
            for node in &graph.nodes {
                assert!(written.contains(&node.src));
                assert!(node.shortcut.is_none_or(|addend| written.contains(&addend.value)));
                written.push(node.dst);
            }
            let mut names: Vec<_> = graph.values.iter().map(|value| &*value.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), graph.values.len(), "{family}");
            assert_eq!(graph.blocks.len(), network.blocks.len());
            let outputs: Vec<_> = graph.outputs.iter().map(|&(name, value)| (name, graph[value].shape)).collect();
            match network.classifier() {
                Some(classifier) => assert_eq!(outputs, [("logits", [classifier.cout, 1, 1])]),
                None => {
                    let priors = network.priors(64, 48) as usize;
                    let classes = Spec::family(family).unwrap().classes;
                    assert_eq!(outputs, [("scores", [priors, classes, 1]), ("boxes", [priors, 4, 1])]);
                }
            }
        }
    }

    #[test]
    fn a_shortcut_is_a_reader() {
        let network = Network::new(&Spec::family("mobilenetv2").unwrap()).unwrap();
        let graph = Graph::new(&network, &Numbers::f32(&network), (224, 224));
        let added: Vec<_> = graph.nodes.iter().filter_map(|node| node.shortcut).collect();
        assert_eq!(added.len(), 10, "MobileNetV2 has ten shortcuts");
        assert!(added.iter().all(|addend| graph[addend.value].readers == 2));
    }
}
