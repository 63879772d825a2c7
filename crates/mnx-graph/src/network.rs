//! A [`Spec`](crate::Spec) spelled out: every block and layer with its channels, independent of the input's size.

use crate::{BlockKind, Error, Limits, Spec, Stage};

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
        let mut builder = Builder { spec, limits, layers: 0, elements: 0, blocks: Vec::new() };
        let mut cin = builder.stem()?;
        for index in 0..spec.stages.len() {
            cin = builder.stage(index, cin)?;
        }
        let classifier = Layer {
            name: "classifier.1".into(),
            norm: None,
            kind: LayerKind::Linear,
            cin,
            cout: spec.classes,
            stride: 1,
            activation: Activation::Linear,
        };
        builder.admit(&classifier)?;
        Ok(Network { blocks: builder.blocks, classifier })
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

/// Nearest multiple (halves go up), never under 90 % of `value` nor under `multiple`.
fn round_channels(value: f64, multiple: usize) -> usize {
    let halfway_up = (value + multiple as f64 / 2.0) as usize;
    let nearest = (halfway_up / multiple * multiple).max(multiple);
    if (nearest as f64) < 0.9 * value { nearest.saturating_add(multiple) } else { nearest }
}

/// Which layers a SandGlass block has; it depends on the block's place.
struct Sandglass {
    hidden: usize,
    first_dw: bool,
    /// Stride of the second depthwise layer, if there is one.
    last_dw: Option<usize>,
    shortcut: bool,
}

impl Sandglass {
    /// `alone`: the only block of a stage at stride 1.
    fn new(cin: usize, cout: usize, stride: usize, ratio: usize, alone: bool) -> Sandglass {
        let narrow = cin / ratio;
        let sixth = cout.div_ceil(6);
        // Exact for `narrow < cout / 6`: an integer is below a fraction iff below its ceiling.
        let hidden = if narrow < sixth { round_channels(sixth as f64, 16) } else { narrow };
        let changes = cin != cout && !alone;
        let first_dw = ratio == 2 || !changes;
        // Where the channels stay, so does the size: a stage of equal channels loses its stride.
        let last_stride = if ratio == 2 || changes { stride } else { 1 };
        Sandglass {
            hidden,
            first_dw,
            last_dw: (first_dw || stride == 2).then_some(last_stride),
            shortcut: ratio != 2 && !changes && !alone,
        }
    }
}

/// Appends blocks, and refuses to grow past the limits.
struct Builder<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    layers: usize,
    /// Of all weights so far.
    elements: u64,
    blocks: Vec<Block>,
}

impl Builder<'_> {
    /// Channels are multiples of this.
    fn multiple(&self) -> usize {
        if self.spec.width == 0.1 { 4 } else { 8 }
    }

    /// `channels` times the width multiplier.
    fn scaled(&self, channels: usize, field: impl Fn() -> String) -> Result<usize, Error> {
        let scaled = round_channels(channels as f64 * self.spec.width, self.multiple());
        self.limit(scaled, || format!("`{}` times the width", field()))
    }

    fn limit(&self, channels: usize, what: impl FnOnce() -> String) -> Result<usize, Error> {
        let limit = self.limits.channels;
        if channels <= limit {
            return Ok(channels);
        }
        Err(Error::Limit { what: what(), limit: limit as u64, found: channels as u64 })
    }

    /// Counts a layer in, if the limits allow it.
    fn admit(&mut self, layer: &Layer) -> Result<(), Error> {
        self.limit(layer.cout, || format!("output channels of `{}`", layer.name))?;
        let elements = layer.weight_elements();
        if elements > self.limits.elements {
            let what = format!("elements of `{}.weight`", layer.name);
            return Err(Error::Limit { what, limit: self.limits.elements, found: elements });
        }
        self.elements = self.elements.saturating_add(elements);
        if self.elements > self.limits.weights {
            let what = format!("elements of all weights up to `{}`", layer.name);
            return Err(Error::Limit { what, limit: self.limits.weights, found: self.elements });
        }
        self.layers += 1;
        let tensors = self.layers.saturating_mul(2);
        if tensors > self.limits.tensors {
            let what = format!("tensors of the network up to `{}`", layer.name);
            let limit = self.limits.tensors as u64;
            return Err(Error::Limit { what, limit, found: tensors as u64 });
        }
        Ok(())
    }

    /// Adds the first layer; returns its output channels.
    fn stem(&mut self) -> Result<usize, Error> {
        let stem = &self.spec.stem;
        let cout = self.scaled(stem.channels, || "stem.channels".into())?;
        let layer = Layer {
            name: "features.0.0".into(),
            norm: Some("features.0.1".into()),
            kind: LayerKind::Dense3x3,
            cin: self.spec.channels,
            cout,
            stride: stem.stride,
            activation: Activation::Relu6,
        };
        self.admit(&layer)?;
        self.blocks.push(Block { name: "features.0".into(), layers: vec![layer], identity_channels: 0 });
        Ok(cout)
    }

    /// Adds a stage's blocks; returns their output channels.
    fn stage(&mut self, index: usize, mut cin: usize) -> Result<usize, Error> {
        let stage = &self.spec.stages[index];
        let field = || format!("stages[{index}].channels");
        // The features before the classifier do not shrink with the width.
        let cout = if index + 1 == self.spec.stages.len() && self.spec.width < 1.0 {
            self.limit(stage.channels, field)?
        } else {
            self.scaled(stage.channels, field)?
        };
        for repeat in 0..stage.repeats {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            let block = match stage.block {
                BlockKind::Sandglass => self.sandglass(stage, cin, cout, stride)?,
            };
            self.blocks.push(block);
            cin = cout;
        }
        Ok(cout)
    }

    fn sandglass(&mut self, stage: &Stage, cin: usize, cout: usize, stride: usize) -> Result<Block, Error> {
        let alone = stage.repeats == 1 && stride == 1;
        let shape = Sandglass::new(cin, cout, stride, stage.ratio, alone);
        let name = format!("features.{}", self.blocks.len());
        let mut flat = Flat { prefix: format!("{name}.conv"), modules: 0, layers: Vec::new() };
        if shape.first_dw {
            flat.push(LayerKind::Depthwise3x3, cin, cin, 1, Activation::Relu6);
        }
        flat.push(LayerKind::Pointwise, cin, shape.hidden, 1, Activation::Linear);
        flat.push(LayerKind::Pointwise, shape.hidden, cout, 1, Activation::Relu6);
        if let Some(stride) = shape.last_dw {
            flat.push(LayerKind::Depthwise3x3, cout, cout, stride, Activation::Linear);
        }
        for layer in &flat.layers {
            self.admit(layer)?;
        }
        let covered = (cin as f64 * self.spec.identity).round_ties_even() as usize;
        let identity_channels = if shape.shortcut { covered } else { 0 };
        Ok(Block { name, layers: flat.layers, identity_channels })
    }
}

/// Names layers as a flat list of convolution, batch norm and, where there is one, ReLU6.
struct Flat {
    prefix: String,
    modules: usize,
    layers: Vec<Layer>,
}

impl Flat {
    fn push(&mut self, kind: LayerKind, cin: usize, cout: usize, stride: usize, activation: Activation) {
        self.layers.push(Layer {
            name: format!("{}.{}", self.prefix, self.modules),
            norm: Some(format!("{}.{}", self.prefix, self.modules + 1)),
            kind,
            cin,
            cout,
            stride,
            activation,
        });
        self.modules += if activation == Activation::Relu6 { 3 } else { 2 };
    }
}

#[cfg(test)]
mod tests;
