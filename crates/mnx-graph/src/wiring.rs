//! Which layer reads what: a network as indices of layers, without sizes.

use crate::{Activation, Network};

/// Something that a layer reads. A max pool between it and the layer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The network's input.
    Input,
    /// The output of the layer with this index in [`Network::layers`].
    Layer(usize),
    /// The average pool's output.
    Pool,
}

/// What a layer reads, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) src: Source,
    /// What is added to its output.
    pub(crate) shortcut: Option<Source>,
    /// What follows last: after the addition, if there is one.
    pub(crate) activation: Activation,
}

/// One entry per layer, in the order of [`Network::layers`].
pub(crate) fn wires(network: &Network) -> Vec<Wire> {
    let mut wires = Vec::new();
    let mut value = Source::Input;
    for block in &network.blocks {
        let (first, mut shortcut) = (wires.len(), value);
        for layer in &block.layers {
            wires.push(Wire { src: value, shortcut: None, activation: layer.activation });
            value = Source::Layer(wires.len() - 1);
        }
        let row = wires.len();
        if let Some(projection) = &block.projection {
            wires.push(Wire { src: shortcut, shortcut: None, activation: projection.activation });
            shortcut = Source::Layer(row);
        }
        // The last layer of the row adds the shortcut.
        if let Some(last) = wires[first..row].last_mut().filter(|_| block.identity_channels > 0) {
            (last.shortcut, last.activation) = (Some(shortcut), block.activation);
        }
    }
    wires.extend(network.classifier().map(|layer| Wire {
        src: Source::Pool,
        shortcut: None,
        activation: layer.activation,
    }));
    for level in network.levels() {
        let map = Source::Layer(made_by(network, level.block, level.layer));
        for head in [&level.scores, &level.boxes] {
            value = map;
            for layer in &head.layers {
                wires.push(Wire { src: value, shortcut: None, activation: layer.activation });
                value = Source::Layer(wires.len() - 1);
            }
        }
    }
    wires
}

/// The index in [`Network::layers`] of a layer in the row of block number `block`: its last one, unless `layer` says which.
pub(crate) fn made_by(network: &Network, block: usize, layer: Option<usize>) -> usize {
    let before: usize = network.blocks.iter().take(block).map(|block| block.all_layers().count()).sum();
    let row = network.blocks.get(block).map_or(0, |block| block.layers.len());
    before + layer.unwrap_or(row.saturating_sub(1))
}
