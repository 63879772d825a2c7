//! A network as operations on named values, for the planner. Blocks are only labels here: which operations may be fused
//! follows from who reads a value.

use mnx_tensor::Arithmetic;

use crate::int8::Numbers;
use crate::network::{PlacedLayer, max_pool_size};
use crate::wiring::made_by;
use crate::{Activation, Block, Level, Network, Quantization};

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
    /// Spells out a network for an input of `height` x `width`. A value that `numbers` quantise is u8 for all its readers;
    /// f32 operations read what it stands for.
    pub(crate) fn new(network: &'n Network, numbers: &Numbers, (height, width): (usize, usize)) -> Graph<'n> {
        let mut graph = Graph { values: Vec::new(), nodes: Vec::new(), outputs: Vec::new(), blocks: Vec::new() };
        let mut placed = network.place(height, width).collect::<Vec<_>>().into_iter().peekable();
        let mut value = graph.value("input".into(), [network.channels(), height, width], None);
        if let Some(quantization) = numbers.values.input {
            value = graph.quantized(value, 0, quantization);
        }
        // What each layer of the blocks makes.
        let mut made = vec![value; placed.len()];
        for (index, block) in network.blocks.iter().enumerate() {
            let block_input = value;
            let mut layers = of_block(&mut placed, index);
            let projection = block.projection.is_some().then(|| layers.pop()).flatten();
            let last = layers.pop();
            for layer in layers {
                value = graph.layer(layer, numbers, value, None);
                made[layer.index] = value;
            }
            // A projection comes just before the layer to whose output it is added.
            let added = projection.map_or(block_input, |layer| graph.layer(layer, numbers, block_input, None));
            let shortcut = (block.identity_channels > 0).then_some(Addend {
                value: added,
                channels: block.identity_channels,
                activation: block.activation,
            });
            if let Some(layer) = last {
                value = graph.layer(layer, numbers, value, shortcut);
                made[layer.index] = value;
            }
            if block.max_pool {
                let Value { shape: [channels, height, width], quantization, .. } = graph[value];
                let (height, width) = max_pool_size((height, width));
                let output = graph.value("maxpool".into(), [channels, height, width], quantization);
                value = graph.push(Work::MaxPool, index, value, None, output);
            }
            graph.blocks.push(value);
        }
        if network.classifier().is_some() {
            value = graph.pool(value, network.blocks.len(), numbers.values.pool);
            for layer in placed {
                value = graph.layer(layer, numbers, value, None);
            }
            graph.outputs.push(("logits", value));
        } else {
            let map = |level: &Level| match level.layer {
                Some(layer) => made[made_by(network, level.block, Some(layer))],
                None => graph.blocks[level.block],
            };
            let maps = network.levels().iter().map(map).collect::<Vec<_>>();
            graph.heads(network, numbers, &maps, &mut placed);
        }
        graph
    }

    /// Heads on feature maps, one per level, and the outputs that they make together.
    fn heads(&mut self, network: &'n Network, numbers: &Numbers, maps: &[ValueId], placed: &mut Placed<'n>) {
        let levels = network.levels();
        let cells = maps.iter().map(|&map| self[map].shape[1].saturating_mul(self[map].shape[2]));
        let rows: Vec<usize> = cells.zip(levels).map(|(cells, level)| cells.saturating_mul(level.priors)).collect();
        let all = rows.iter().fold(0, |sum: usize, &rows| sum.saturating_add(rows));
        let of_prior = |head: fn(&Level) -> &Block| {
            let last = levels.first().and_then(|level| Some((head(level).layers.last()?.cout, level.priors)));
            last.map_or(0, |(channels, priors)| channels / priors.max(1))
        };
        let outputs = [("scores", of_prior(|level| &level.scores)), ("boxes", of_prior(|level| &level.boxes))]
            .map(|(name, numbers)| (name, self.value(name.into(), [all, numbers, 1], None)));
        let mut first = 0;
        for (level, (&map, rows)) in maps.iter().zip(rows).enumerate() {
            for (head, (_, output)) in outputs.into_iter().enumerate() {
                let block = network.blocks.len() + 2 * level + head;
                let (mut value, mut layers) = (map, of_block(placed, block));
                let is_int8 = |layer: &mut PlacedLayer<'_>| numbers.arithmetic[layer.index] == Arithmetic::Int8;
                let int8 = layers.pop_if(is_int8);
                for layer in layers {
                    value = self.layer(layer, numbers, value, None);
                }
                let work = int8.map_or(Work::Rows { first }, |layer| Work::Head { layer, first });
                self.push(work, block, value, None, output);
            }
            first = first.saturating_add(rows);
        }
        self.outputs.extend(outputs);
    }

    fn layer(&mut self, layer: PlacedLayer<'n>, numbers: &Numbers, src: ValueId, shortcut: Option<Addend>) -> ValueId {
        let PlacedLayer { index, block, layer: of, output: (height, width), .. } = layer;
        let quantization = numbers.values.outputs[index];
        let int8 = numbers.arithmetic[index] == Arithmetic::Int8;
        let (src, shortcut) = if int8 {
            (src, shortcut)
        } else {
            let real = |addend: Addend| Addend { value: self.real(addend.value, block), ..addend };
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
    fn push(&mut self, work: Work<'n>, block: usize, src: ValueId, shortcut: Option<Addend>, dst: ValueId) -> ValueId {
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

/// Layers that have not been taken yet.
type Placed<'n> = std::iter::Peekable<std::vec::IntoIter<PlacedLayer<'n>>>;

/// Takes the layers of a block.
fn of_block<'n>(placed: &mut Placed<'n>, block: usize) -> Vec<PlacedLayer<'n>> {
    std::iter::from_fn(|| placed.next_if(|layer| layer.block == block)).collect()
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
