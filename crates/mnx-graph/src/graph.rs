//! A network as operations on named values, for the planner. Blocks are only labels here: which operations may be fused
//! follows from who reads a value.

use crate::network::{PlacedLayer, max_pool_size};
use crate::{Activation, Network};

/// Index of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(usize);

/// Something that operations read and write.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// `input`, or the name of what computes it: a layer's name, `maxpool` or `pool`.
    pub(crate) name: String,
    /// `[C, H, W]` of one picture.
    pub(crate) shape: [usize; 3],
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
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'n> {
    pub(crate) work: Work<'n>,
    pub(crate) src: ValueId,
    pub(crate) dst: ValueId,
    pub(crate) shortcut: Option<Addend>,
    /// Index of the block that it is part of: a label.
    pub(crate) block: usize,
}

/// What is added to an operation's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addend {
    pub(crate) value: ValueId,
    /// How many channels it covers.
    pub(crate) channels: usize,
    /// What follows the addition.
    pub(crate) activation: Activation,
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
    /// Spells out a network for an input of `height` x `width`.
    pub(crate) fn new(network: &'n Network, (height, width): (usize, usize)) -> Graph<'n> {
        let channels = network.blocks.first().and_then(|block| block.layers.first()).map_or(0, |layer| layer.cin);
        let input = Value { name: "input".into(), shape: [channels, height, width], readers: 0 };
        let mut graph = Graph { values: vec![input], nodes: Vec::new(), outputs: Vec::new(), blocks: Vec::new() };
        let mut placed = network.place(height, width).peekable();
        let mut value = ValueId(0);
        for (index, block) in network.blocks.iter().enumerate() {
            let block_input = value;
            let mut layers: Vec<_> = std::iter::from_fn(|| placed.next_if(|layer| layer.block == index)).collect();
            let projection = block.projection.is_some().then(|| layers.pop()).flatten();
            let last = layers.pop();
            for layer in layers {
                value = graph.layer(layer, value, None);
            }
            // A projection comes just before the layer to whose output it is added.
            let added = projection.map_or(block_input, |layer| graph.layer(layer, block_input, None));
            let shortcut = (block.identity_channels > 0).then_some(Addend {
                value: added,
                channels: block.identity_channels,
                activation: block.activation,
            });
            if let Some(layer) = last {
                value = graph.layer(layer, value, shortcut);
            }
            if block.max_pool {
                let [channels, height, width] = graph[value].shape;
                let (height, width) = max_pool_size((height, width));
                value = graph.push(Work::MaxPool, index, value, None, "maxpool".into(), [channels, height, width]);
            }
            graph.blocks.push(value);
        }
        let [channels, ..] = graph[value].shape;
        value = graph.push(Work::Pool, network.blocks.len(), value, None, "pool".into(), [channels, 1, 1]);
        for layer in placed {
            value = graph.layer(layer, value, None);
        }
        graph.outputs.push(("logits", value));
        graph
    }

    fn layer(&mut self, layer: PlacedLayer<'n>, src: ValueId, shortcut: Option<Addend>) -> ValueId {
        let shape = [layer.layer.cout, layer.output.0, layer.output.1];
        self.push(Work::Layer(layer), layer.block, src, shortcut, layer.layer.name.clone(), shape)
    }

    fn push(
        &mut self,
        work: Work<'n>,
        block: usize,
        src: ValueId,
        shortcut: Option<Addend>,
        name: String,
        shape: [usize; 3],
    ) -> ValueId {
        for read in [Some(src), shortcut.map(|addend| addend.value)].into_iter().flatten() {
            self.values[read.0].readers += 1;
        }
        let dst = ValueId(self.values.len());
        self.values.push(Value { name, shape, readers: 0 });
        self.nodes.push(Node { work, src, dst, shortcut, block });
        dst
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
            let graph = Graph::new(&network, (64, 48));
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
            let [(name, logits)] = graph.outputs[..] else { panic!("one output") };
            assert_eq!((name, graph[logits].shape), ("logits", [network.classifier.cout, 1, 1]));
        }
    }

    #[test]
    fn a_shortcut_is_a_reader() {
        let network = Network::new(&Spec::family("mobilenetv2").unwrap()).unwrap();
        let graph = Graph::new(&network, (224, 224));
        let added: Vec<_> = graph.nodes.iter().filter_map(|node| node.shortcut).collect();
        assert_eq!(added.len(), 10, "MobileNetV2 has ten shortcuts");
        assert!(added.iter().all(|addend| graph[addend.value].readers == 2));
    }
}
