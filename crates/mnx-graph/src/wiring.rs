//! Which layer reads what, as indices of layers and without sizes. Whatever follows values through a network goes along this.

use std::ops::{Index, IndexMut};

use crate::network::{Activation, Layer, Network};

/// Something that a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The network's input.
    Input,
    /// The output of the layer with this index in [`Network::layers`].
    Layer(usize),
    /// What the max pool makes of that output.
    MaxPool(usize),
    /// The average pool's output.
    Pool,
}

/// What is added to an output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addend<T> {
    pub(crate) value: T,
    /// How many channels it covers.
    pub(crate) channels: usize,
    /// What follows the addition.
    pub(crate) activation: Activation,
}

/// A layer, and what it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire<'n> {
    pub(crate) layer: &'n Layer,
    /// Index of its block, as [`PlacedLayer::block`](crate::PlacedLayer::block) counts them.
    pub(crate) block: usize,
    /// Whether it is the layer on the block's shortcut.
    pub(crate) projection: bool,
    pub(crate) src: Source,
    pub(crate) shortcut: Option<Addend<Source>>,
}

impl Wire<'_> {
    /// What it reads.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> + use<> {
        [Some(self.src), self.shortcut.map(|addend| addend.value)].into_iter().flatten()
    }

    /// What follows last: after the addition, if there is one.
    pub(crate) fn activation(&self) -> Activation {
        self.shortcut.map_or(self.layer.activation, |addend| addend.activation)
    }
}

/// A network as layers that read each other's outputs.
#[derive(Debug)]
pub(crate) struct Wiring<'n> {
    /// In the order of [`Network::layers`]. All but shortcuts come from layers before.
    pub(crate) layers: Vec<Wire<'n>>,
    /// The output of each block.
    pub(crate) blocks: Vec<Source>,
}

impl<'n> Wiring<'n> {
    pub(crate) fn new(network: &'n Network) -> Wiring<'n> {
        let mut wiring = Wiring { layers: Vec::new(), blocks: Vec::new() };
        let mut value = Source::Input;
        for (index, block) in network.blocks.iter().enumerate() {
            let (input, first) = (value, wiring.layers.len());
            value = wiring.row(index, &block.layers, input);
            let (row, mut added) = (wiring.layers.len(), input);
            if let Some(layer) = &block.projection {
                wiring.layers.push(Wire { layer, block: index, projection: true, src: input, shortcut: None });
                added = Source::Layer(row);
            }
            // The last layer of the row adds the shortcut.
            if let Some(last) = wiring.layers[first..row].last_mut().filter(|_| block.identity_channels > 0) {
                let (channels, activation) = (block.identity_channels, block.activation);
                last.shortcut = Some(Addend { value: added, channels, activation });
            }
            if let Source::Layer(layer) = value
                && block.max_pool
            {
                value = Source::MaxPool(layer);
            }
            wiring.blocks.push(value);
        }
        let end = network.blocks.len();
        if let Some(layer) = network.classifier() {
            wiring.layers.push(Wire { layer, block: end, projection: false, src: Source::Pool, shortcut: None });
        }
        for (number, level) in network.levels().iter().enumerate() {
            let first = wiring.layers.iter().position(|wire| wire.block == level.block).unwrap_or(0);
            let map = level.layer.map_or(wiring.blocks[level.block], |layer| Source::Layer(first + layer));
            for (head, block) in level.heads().into_iter().enumerate() {
                wiring.row(end + 2 * number + head, &block.layers, map);
            }
        }
        wiring
    }

    /// Appends layers of which each reads the one before, and returns the last one's output.
    fn row(&mut self, block: usize, layers: &'n [Layer], mut src: Source) -> Source {
        for layer in layers {
            self.layers.push(Wire { layer, block, projection: false, src, shortcut: None });
            src = Source::Layer(self.layers.len() - 1);
        }
        src
    }

    /// What the average pool reads.
    pub(crate) fn pooled(&self) -> Source {
        self.blocks.last().copied().unwrap_or(Source::Input)
    }

    /// The max pool's output, if one follows the layer with this index.
    pub(crate) fn max_pool(&self, layer: usize) -> Option<Source> {
        Some(Source::MaxPool(layer)).filter(|output| self.blocks.contains(output))
    }
}

/// Something about every value that can be quantised. A max pool keeps scale and zero point, so that its output is its input
/// here.
#[derive(Clone, Debug)]
pub(crate) struct Values<T> {
    pub(crate) input: T,
    /// One per layer: its output.
    pub(crate) outputs: Vec<T>,
    /// The average pool's output.
    pub(crate) pool: T,
}

impl<T: Clone> Values<T> {
    /// The same about every value of a network of so many layers.
    pub(crate) fn of_all(layers: usize, value: T) -> Values<T> {
        Values { input: value.clone(), outputs: vec![value.clone(); layers], pool: value }
    }
}

impl<T> Index<Source> for Values<T> {
    type Output = T;

    fn index(&self, source: Source) -> &T {
        match source {
            Source::Input => &self.input,
            Source::Layer(index) | Source::MaxPool(index) => &self.outputs[index],
            Source::Pool => &self.pool,
        }
    }
}

impl<T> IndexMut<Source> for Values<T> {
    fn index_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::Input => &mut self.input,
            Source::Layer(index) | Source::MaxPool(index) => &mut self.outputs[index],
            Source::Pool => &mut self.pool,
        }
    }
}
