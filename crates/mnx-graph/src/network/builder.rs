//! Spells out a spec block by block and layer by layer, within limits.

use crate::blocks::{self, Site, round_channels};
use crate::network::{Activation, Block, End, Layer, LayerKind, Network};
use crate::{BlockKind, Error, Limits, Spec, Stem};

mod detector;

/// Appends blocks and refuses to exceed the limits.
pub(super) struct NetworkBuilder<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    layers: usize,
    /// Elements of all weights so far.
    elements: u64,
    blocks: Vec<Block>,
}

impl<'a> NetworkBuilder<'a> {
    pub(super) fn new(spec: &'a Spec, limits: &'a Limits) -> Self {
        NetworkBuilder { spec, limits, layers: 0, elements: 0, blocks: Vec::new() }
    }

    /// Builds the whole network.
    pub(super) fn build(mut self) -> Result<Network, Error> {
        let mut cin = self.stem()?;
        for index in 0..self.spec.stages.len() {
            cin = self.stage(index, cin)?;
        }
        if let Some(channels) = self.spec.head {
            cin = self.head(channels, cin)?;
        }
        if let Some(detector) = &self.spec.detector {
            return self.detector(detector, cin);
        }
        let classifier = Layer {
            name: if self.is_resnet() { "fc" } else { "classifier.1" }.into(),
            norm: None,
            bias: true,
            kind: LayerKind::Linear,
            cin,
            cout: self.spec.classes,
            stride: 1,
            activation: Activation::Linear,
        };
        self.admit(&classifier)?;
        Ok(Network { blocks: self.blocks, end: End::Classifier(classifier) })
    }

    /// Whether layers are named as in torchvision's ResNet. The others are named as in its MobileNetV2, as MobileNeXt's are.
    fn is_resnet(&self) -> bool {
        self.spec.stages.first().is_some_and(|stage| matches!(stage.block, BlockKind::Basic | BlockKind::Bottleneck))
    }

    /// What channels are rounded to multiples of: 8, except in MobileNeXt of width 0.1, where the authors use 4.
    fn multiple(&self) -> usize {
        let sandglass = self.spec.stages.first().is_some_and(|stage| stage.block == BlockKind::Sandglass);
        if sandglass && self.spec.width == 0.1 { 4 } else { 8 }
    }

    /// `channels` times the width multiplier, rounded. `field` names them in errors.
    fn scaled(&self, channels: usize, field: impl Fn() -> String) -> Result<usize, Error> {
        let scaled = round_channels(channels as f64 * self.spec.width, self.multiple());
        self.limit(scaled, || format!("`{}` times the width", field()))
    }

    /// The last channels of the backbone: they grow with a width above 1, but do not shrink with one below.
    fn features(&self, channels: usize, field: impl Fn() -> String) -> Result<usize, Error> {
        if self.spec.width < 1.0 { self.limit(channels, field) } else { self.scaled(channels, field) }
    }

    fn limit(&self, channels: usize, what: impl FnOnce() -> String) -> Result<usize, Error> {
        let limit = self.limits.channels;
        if channels <= limit {
            return Ok(channels);
        }
        Err(Error::Limit { what: what(), limit: limit as u64, found: channels as u64 })
    }

    /// Adds a block if the limits allow its layers.
    fn push(&mut self, block: Block) -> Result<(), Error> {
        block.all_layers().try_for_each(|layer| self.admit(layer))?;
        self.blocks.push(block);
        Ok(())
    }

    /// Counts a layer, or fails if it exceeds a limit.
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

    /// Adds the first layer and returns its output channels.
    fn stem(&mut self) -> Result<usize, Error> {
        let cout = self.scaled(self.spec.stem.channels, || "stem.channels".into())?;
        let Stem { kernel, stride, max_pool, .. } = self.spec.stem;
        let kind = if kernel == 7 { LayerKind::Dense7x7 } else { LayerKind::Dense3x3 };
        let block = self.single(kind, self.spec.channels, cout, stride);
        self.push(Block { max_pool, ..block })?;
        Ok(cout)
    }

    /// Adds the pointwise layer after the stages and returns its output channels.
    fn head(&mut self, channels: usize, cin: usize) -> Result<usize, Error> {
        let cout = self.features(channels, || "head".into())?;
        self.push(self.single(LayerKind::Pointwise, cin, cout, 1))?;
        Ok(cout)
    }

    /// The next block, made of one layer with an activation.
    fn single(&self, kind: LayerKind, cin: usize, cout: usize, stride: usize) -> Block {
        let block = format!("features.{}", self.blocks.len());
        let (block, name, norm) = if self.is_resnet() && self.blocks.is_empty() {
            ("conv1".into(), "conv1".into(), "bn1".into())
        } else {
            let (name, norm) = (format!("{block}.0"), format!("{block}.1"));
            (block, name, norm)
        };
        let layer =
            Layer { name, norm: Some(norm), bias: false, kind, cin, cout, stride, activation: self.spec.activation };
        Block { layers: vec![layer], ..Block::named(block) }
    }

    /// Adds a stage's blocks and returns their output channels.
    fn stage(&mut self, index: usize, mut cin: usize) -> Result<usize, Error> {
        let stage = &self.spec.stages[index];
        let field = || format!("stages[{index}].channels");
        let last = index + 1 == self.spec.stages.len() && self.spec.head.is_none();
        let cout = if last { self.features(stage.channels, field)? } else { self.scaled(stage.channels, field)? };
        for repeat in 0..stage.repeats {
            let name = if self.is_resnet() {
                format!("layer{}.{repeat}", index + 1)
            } else {
                format!("features.{}", self.blocks.len())
            };
            let site = Site {
                name: &name,
                cin,
                cout,
                stride: if repeat == 0 { stage.stride } else { 1 },
                ratio: stage.ratio,
                may_have_shortcut: repeat > 0 || stage.first_shortcut,
                only: stage.repeats == 1,
                activation: self.spec.activation,
            };
            self.push(match stage.block {
                BlockKind::Sandglass => blocks::sandglass(&site, self.spec.identity),
                BlockKind::InvertedResidual => blocks::inverted_residual(&site),
                BlockKind::Basic => blocks::basic(&site),
                BlockKind::Bottleneck => blocks::bottleneck(&site),
            })?;
            cin = cout;
        }
        Ok(cout)
    }
}
