//! A [`Spec`](crate::Spec) spelled out: every block and layer with its channels, independent of the input's size.

mod builder;

use builder::Builder;

use crate::{Error, Limits, Spec};

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Dense 3x3 convolution.
    Dense3x3,
    /// Depthwise 3x3 convolution.
    Depthwise3x3,
    /// 1x1 convolution.
    Pointwise,
    /// The classifier: a matrix times the pooled features, with bias.
    Linear,
}

/// What follows the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Linear,
    /// Clamp to 0…6; NaN passes.
    Relu6,
}

/// One convolution (with its batch norm folded in) or the classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the convolution in a checkpoint, e.g. `features.1.conv.0`.
    pub name: String,
    /// Name of its batch norm, e.g. `features.1.conv.1`; `None` for the classifier.
    pub norm: Option<String>,
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

/// Layers in a row, and the shortcut over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Name in a checkpoint, e.g. `features.3`.
    pub name: String,
    /// In order of execution.
    pub layers: Vec<Layer>,
    /// The block's input is added to this many first channels of its output; 0: no shortcut.
    pub identity_channels: usize,
}

/// Blocks in a row, then global average pool, then the classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `features.N`, the stem first.
    pub blocks: Vec<Block>,
    /// The classifier, `classifier.1`.
    pub classifier: Layer,
}

impl Layer {
    /// Height and width of the output for an input of `h` x `w`: each divided by the stride,
    /// rounded up, wherever the padding puts its zeros. The classifier's input is 1 x 1.
    pub fn output_size(&self, h: usize, w: usize) -> (usize, usize) {
        (h.div_ceil(self.stride), w.div_ceil(self.stride))
    }

    /// Dimensions of the weight as a checkpoint has it: output channels, input channels per group,
    /// kernel height and width; of the classifier outputs and inputs only.
    pub fn weight_dims(&self) -> Vec<usize> {
        match self.kind {
            LayerKind::Dense3x3 => vec![self.cout, self.cin, 3, 3],
            LayerKind::Depthwise3x3 => vec![self.cout, 1, 3, 3],
            LayerKind::Pointwise => vec![self.cout, self.cin, 1, 1],
            LayerKind::Linear => vec![self.cout, self.cin],
        }
    }

    /// Elements of the weight, `u64::MAX` where they are even more.
    pub fn weight_elements(&self) -> u64 {
        self.weight_dims().iter().fold(1, |n: u64, &dim| n.saturating_mul(dim as u64))
    }

    /// Trained parameters before folding: the weight, and scale and shift of the batch norm or
    /// else the bias.
    pub fn parameters(&self) -> u64 {
        let per_channel = if self.norm.is_some() { 2 } else { 1 };
        self.weight_elements().saturating_add((self.cout as u64).saturating_mul(per_channel))
    }

    /// Multiply-adds for an output of `h_out` x `w_out`, zeros of the padding included.
    pub fn macs(&self, h_out: usize, w_out: usize) -> u64 {
        self.weight_elements().saturating_mul(h_out as u64).saturating_mul(w_out as u64)
    }
}

/// A layer at its place in a network whose input has a certain size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlacedLayer<'a> {
    /// Index in [`Network::blocks`]; of the classifier, their number.
    pub block: usize,
    /// The layer.
    pub layer: &'a Layer,
    /// Height and width of its input.
    pub input: (usize, usize),
    /// Height and width of its output.
    pub output: (usize, usize),
}

impl PlacedLayer<'_> {
    /// Multiply-adds of the layer here.
    pub fn macs(&self) -> u64 {
        self.layer.macs(self.output.0, self.output.1)
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

    /// Spells out `spec`: which layers each block has, under which names, with how many channels.
    ///
    /// # Errors
    /// [`Error::Spec`] names the first field whose value no network can have; [`Error::Limit`]
    /// says which layer or field goes over `limits`.
    pub fn new_with(spec: &Spec, limits: &Limits) -> Result<Network, Error> {
        spec.check(limits)?;
        Builder::new(spec, limits).build()
    }

    /// Every layer in order of execution, the classifier last.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.blocks.iter().flat_map(|block| &block.layers).chain([&self.classifier])
    }

    /// Every layer in order of execution, with its sizes for an input of `h` x `w`. The classifier,
    /// last, sees the 1 x 1 that the pool leaves.
    pub fn place(&self, h: usize, w: usize) -> impl Iterator<Item = PlacedLayer<'_>> {
        let in_blocks = self.blocks.iter().enumerate();
        let in_blocks = in_blocks.flat_map(|(i, block)| block.layers.iter().map(move |l| (i, l)));
        let placed = in_blocks.scan((h, w), |size, (block, layer)| {
            let input = *size;
            *size = layer.output_size(input.0, input.1);
            Some(PlacedLayer { block, layer, input, output: *size })
        });
        placed.chain([PlacedLayer { block: self.blocks.len(), layer: &self.classifier, input: (1, 1), output: (1, 1) }])
    }

    /// Trained parameters before batch norms are folded.
    pub fn parameters(&self) -> u64 {
        self.layers().map(Layer::parameters).fold(0, u64::saturating_add)
    }

    /// Multiply-adds of convolutions and classifier for one picture of `h` x `w`.
    pub fn macs(&self, h: usize, w: usize) -> u64 {
        self.place(h, w).map(|placed| placed.macs()).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
