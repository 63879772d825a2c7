//! What a detector has after its backbone.

use super::NetworkBuilder;
use crate::blocks::{self, Site};
use crate::network::{Block, End, LayerKind, Level, Network};
use crate::spec::invalid;
use crate::{DetectorSpec, Error, HeadKind, Tap, TapPoint};

/// Numbers that a box head has for a prior.
const BOX: usize = 4;

impl NetworkBuilder<'_> {
    /// Adds extra blocks and heads to the backbone, whose last block has `cin` channels.
    pub(super) fn detector(mut self, detector: &DetectorSpec, mut cin: usize) -> Result<Network, Error> {
        let mut maps = Vec::new();
        let mut before = None;
        for (index, tap) in detector.taps.iter().enumerate() {
            let map = self.tap(index, tap)?;
            if before.is_some_and(|before| before >= map.place()) {
                let expected = "after the tap before it, in order of execution";
                return Err(invalid(format!("detector.taps[{index}]"), expected, format!("block {}", tap.block)));
            }
            before = Some(map.place());
            maps.push(map);
        }
        for (index, extra) in detector.extras.iter().enumerate() {
            let name = format!("extras.{index}");
            let block = blocks::extra(&self.site(&name, cin, extra.channels), extra.block, extra.hidden);
            self.push(block)?;
            cin = extra.channels;
            maps.push(Map { block: self.blocks.len() - 1, layer: None, channels: cin });
        }
        let classes = self.spec.classes;
        let mut levels = Vec::new();
        for (index, (map, priors)) in maps.iter().zip(&detector.priors).enumerate() {
            let last = index + 1 == maps.len();
            let kind = if last { detector.last_head } else { HeadKind::Separable };
            let mut head = |name: &str, numbers: usize| -> Result<Block, Error> {
                let cout = priors.per_cell().saturating_mul(numbers);
                let name = format!("{name}.{index}");
                let head = blocks::head(&self.site(&name, map.channels, cout), kind, detector.depthwise_bias);
                head.layers.iter().try_for_each(|layer| self.admit(layer))?;
                Ok(head)
            };
            let scores = head("cls_headers", classes)?;
            let boxes = head("reg_headers", BOX)?;
            levels.push(Level { block: map.block, layer: map.layer, priors: priors.per_cell(), scores, boxes });
        }
        let network = Network { blocks: self.blocks, end: End::Detector(levels) };
        let side = self.spec.resolution;
        let numbers = (classes + BOX) as u64;
        let found = network.priors(side, side).saturating_mul(numbers);
        if found > self.limits.elements {
            let what = format!("elements of the heads of a picture of {side} x {side}");
            return Err(Error::Limit { what, limit: self.limits.elements, found });
        }
        Ok(network)
    }

    fn site<'s>(&self, name: &'s str, cin: usize, cout: usize) -> Site<'s> {
        Site {
            name,
            cin,
            cout,
            stride: 1,
            ratio: 1,
            may_have_shortcut: false,
            only: false,
            activation: self.spec.activation,
        }
    }

    /// The feature map that a tap means.
    fn tap(&self, index: usize, tap: &Tap) -> Result<Map, Error> {
        let field = |name: &str| format!("detector.taps[{index}].{name}");
        let Some(block) = self.blocks.get(tap.block) else {
            let expected = format!("a block of the backbone, 0 to {}", self.blocks.len().saturating_sub(1));
            return Err(invalid(field("block"), &expected, tap.block));
        };
        let layer = match tap.at {
            TapPoint::Output => None,
            TapPoint::Expanded => Some(expansion(block).ok_or_else(|| {
                let expected = format!("output in `{}`, in which no depthwise layer follows an expansion", block.name);
                invalid(field("at"), &expected, "expanded")
            })?),
        };
        let layers = &block.layers;
        let made_by = layer.map_or(layers.last(), |layer| layers.get(layer));
        Ok(Map { block: tap.block, layer, channels: made_by.map_or(0, |layer| layer.cout) })
    }
}

/// A level's feature map.
struct Map {
    block: usize,
    /// The layer that makes it. `None`: it is the block's output.
    layer: Option<usize>,
    channels: usize,
}

impl Map {
    /// Its place in the order of execution.
    fn place(&self) -> (usize, usize) {
        (self.block, self.layer.unwrap_or(usize::MAX))
    }
}

/// The pointwise layer just before the block's last depthwise layer, if there is one.
fn expansion(block: &Block) -> Option<usize> {
    let depthwise = block.layers.iter().rposition(|layer| layer.kind == LayerKind::Depthwise3x3)?;
    let before = depthwise.checked_sub(1)?;
    (block.layers[before].kind == LayerKind::Pointwise).then_some(before)
}
