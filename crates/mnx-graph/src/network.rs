//! A [`Spec`](crate::Spec) spelled out: every block and layer with its channels. The size of the input is left open.

mod builder;

use builder::NetworkBuilder;

use mnx_conv::Packing;
use mnx_tensor::{Clamp, Operation};
use serde::{Deserialize, Serialize};

use crate::{Error, Limits, Spec};

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Dense 3x3 convolution of the picture: the MobileNets' stem.
    Dense3x3,
    /// Dense 7x7 convolution of the picture: ResNet's stem.
    Dense7x7,
    /// Dense 3x3 convolution of features.
    Conv3x3,
    /// Depthwise 3x3 convolution.
    Depthwise3x3,
    /// 1x1 convolution.
    Pointwise,
    /// The classifier: a matrix times the pooled features, plus a bias.
    Linear,
}

/// What is done to a layer's sums, or to the sum at the end of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Linear,
    /// Clamp to 0…6; NaN passes.
    #[default]
    Relu6,
    /// Clamp to 0…∞; NaN passes.
    Relu,
}

impl Activation {
    /// The activation as bounds.
    pub(crate) fn clamp(self) -> Clamp {
        match self {
            Activation::Linear => Clamp::NONE,
            Activation::Relu6 => Clamp::RELU6,
            Activation::Relu => Clamp::RELU,
        }
    }
}

/// One convolution (with its batch norm folded in) or the classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// Name of the convolution in a checkpoint, e.g. `features.1.conv.0`.
    pub name: String,
    /// Name of its batch norm, e.g. `features.1.conv.1`. `None`: it has a bias instead, as the classifier and the ends of a
    /// detector's heads do.
    pub norm: Option<String>,
    /// Whether a checkpoint has a bias for it: without a batch norm always; beside one only in some detectors' heads, where
    /// folding adds the two up.
    pub bias: bool,
    /// What it computes.
    pub kind: LayerKind,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// 1 or 2.
    pub stride: usize,
    /// What follows the bias.
    pub activation: Activation,
}

/// A row of layers, and the shortcut over them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// Name in a checkpoint, e.g. `features.3`.
    pub name: String,
    /// The row of layers, in order of execution.
    pub layers: Vec<Layer>,
    /// How many channels the shortcut covers, from the first one on. The block's input, or the projection of it, is added to
    /// these channels of the output. 0 means no shortcut.
    pub identity_channels: usize,
    /// The layer on the shortcut, if the block changes the size or the channels.
    pub projection: Option<Layer>,
    /// What follows the addition.
    pub activation: Activation,
    /// Whether a 3x3 max pool of stride 2 follows.
    pub max_pool: bool,
}

impl Block {
    /// A block without layers, shortcut and max pool.
    pub(crate) fn named(name: impl Into<String>) -> Block {
        Block {
            name: name.into(),
            layers: Vec::new(),
            identity_channels: 0,
            projection: None,
            activation: Activation::Linear,
            max_pool: false,
        }
    }

    /// Every layer in the order of the weight file: the row, then the projection.
    pub fn all_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().chain(&self.projection)
    }
}

/// A network: blocks in a row, and what makes its outputs of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// The stem, then the blocks of the stages, then the head if there is one; of a detector the extra blocks come last.
    pub blocks: Vec<Block>,
    /// What comes after the blocks.
    pub end: End,
}

/// What makes a network's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The global average pool, then this layer. The output is `logits`: `[N, classes, 1, 1]`.
    Classifier(Layer),
    /// A detector's heads on feature maps of several sizes. The outputs are `scores`, `[N, priors, classes, 1]`, and `boxes`,
    /// `[N, priors, 4, 1]`. Priors are in the order level, row, column, prior in the cell.
    Detector(Vec<Level>),
}

/// A detector's heads on one feature map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Level {
    /// Index in [`Network::blocks`] of the block that has the feature map.
    pub block: usize,
    /// Which of the block's layers makes the feature map. `None`: it is the block's output.
    pub layer: Option<usize>,
    /// Priors in each cell, i.e. pixel, of the feature map.
    pub priors: usize,
    /// The class head: a row of layers. Its output channel `prior * classes + class` is a row's number `class`.
    pub scores: Block,
    /// The box head, with 4 numbers a prior.
    pub boxes: Block,
}

impl Level {
    /// Both heads, the class head first.
    pub(crate) fn heads(&self) -> [&Block; 2] {
        [&self.scores, &self.boxes]
    }
}

impl Layer {
    /// Height and width of the output for an input of `h` x `w`: each divided by the stride and rounded up, for every
    /// [`Padding`](crate::Padding). The classifier's input is 1 x 1.
    pub fn output_size(&self, h: usize, w: usize) -> (usize, usize) {
        (h.div_ceil(self.stride), w.div_ceil(self.stride))
    }

    /// Dimensions of the weight as in a checkpoint: `[output channels, input channels per group, kernel height, kernel
    /// width]`. The classifier's are `[outputs, inputs]`.
    pub fn weight_dims(&self) -> Vec<usize> {
        match self.kind {
            LayerKind::Dense3x3 | LayerKind::Conv3x3 => vec![self.cout, self.cin, 3, 3],
            LayerKind::Dense7x7 => vec![self.cout, self.cin, 7, 7],
            LayerKind::Depthwise3x3 => vec![self.cout, 1, 3, 3],
            LayerKind::Pointwise => vec![self.cout, self.cin, 1, 1],
            LayerKind::Linear => vec![self.cout, self.cin],
        }
    }

    /// What its kernel computes. A pointwise layer has no stride here: a strided one runs on a copy of just the pixels that
    /// it reads.
    pub fn operation(&self) -> Operation {
        let stride = self.stride;
        match self.kind {
            LayerKind::Dense3x3 => Operation::Dense { kernel: 3, stride },
            LayerKind::Dense7x7 => Operation::Dense { kernel: 7, stride },
            LayerKind::Conv3x3 => Operation::Conv { kernel: 3, stride },
            LayerKind::Depthwise3x3 => Operation::Depthwise { kernel: 3, stride },
            LayerKind::Pointwise => Operation::Pointwise,
            LayerKind::Linear => Operation::Linear,
        }
    }

    /// How a weight file stores the weight.
    pub fn packing(&self) -> Packing {
        match self.kind {
            LayerKind::Dense3x3 | LayerKind::Dense7x7 | LayerKind::Conv3x3 => Packing::Dense16,
            LayerKind::Depthwise3x3 => Packing::Depthwise8,
            LayerKind::Pointwise => Packing::Pointwise16,
            LayerKind::Linear => Packing::Linear16,
        }
    }

    /// Elements of the weight, at most `u64::MAX`.
    pub fn weight_elements(&self) -> u64 {
        self.weight_dims().iter().fold(1, |n: u64, &dim| n.saturating_mul(dim as u64))
    }

    /// Trained parameters before folding: the weight, the batch norm's scale and shift if it has one, and the bias if it has
    /// one.
    pub fn parameters(&self) -> u64 {
        let per_channel = if self.norm.is_some() { 2 } else { 0 } + u64::from(self.bias);
        self.weight_elements().saturating_add((self.cout as u64).saturating_mul(per_channel))
    }

    /// Whether its output is one of the network's. Only the classifier and the ends of a detector's heads have no batch norm.
    pub(crate) fn makes_output(&self) -> bool {
        self.norm.is_none()
    }

    /// Multiply-adds for an output of `h_out` x `w_out`. Those with the padding's zeros are counted.
    pub fn macs(&self, h_out: usize, w_out: usize) -> u64 {
        self.weight_elements().saturating_mul(h_out as u64).saturating_mul(w_out as u64)
    }
}

impl Network {
    /// Spells out `spec` within the default [`Limits`].
    ///
    /// # Errors
    /// As [`Network::new_with`].
    pub fn new(spec: &Spec) -> Result<Network, Error> {
        Network::new_with(spec, &Limits::default())
    }

    /// Spells out `spec` within `limits`: which layers each block has, their names and their channels.
    ///
    /// # Errors
    /// - [`Error::Spec`] names the first field whose value no network can have.
    /// - [`Error::Limit`] says which layer or field exceeds `limits`.
    pub fn new_with(spec: &Spec, limits: &Limits) -> Result<Network, Error> {
        spec.check(limits)?;
        NetworkBuilder::new(spec, limits).build()
    }

    /// Every layer in the order of the weight file: block by block, and the classifier or the heads last. In a block the
    /// projection comes after the row of layers. Heads come level by level, each class head before its box head.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.all_blocks().flat_map(Block::all_layers).chain(self.classifier())
    }

    /// The classifier, if the network ends with one.
    pub fn classifier(&self) -> Option<&Layer> {
        match &self.end {
            End::Classifier(layer) => Some(layer),
            End::Detector(_) => None,
        }
    }

    /// The levels of a detector; a classifier has none.
    pub fn levels(&self) -> &[Level] {
        match &self.end {
            End::Classifier(_) => &[],
            End::Detector(levels) => levels,
        }
    }

    /// The blocks, then a detector's heads, as [`PlacedLayer::block`](crate::PlacedLayer::block) counts them.
    pub(crate) fn all_blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().chain(self.levels().iter().flat_map(Level::heads))
    }

    /// Channels of the input.
    pub(crate) fn channels(&self) -> usize {
        self.blocks.first().and_then(|block| block.layers.first()).map_or(0, |layer| layer.cin)
    }

    /// Trained parameters before batch norms are folded.
    pub fn parameters(&self) -> u64 {
        self.layers().map(Layer::parameters).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
