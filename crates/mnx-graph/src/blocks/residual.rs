//! ResNet's blocks ("Deep Residual Learning for Image Recognition", section 3.3 and figure 5). The basic block has two dense
//! 3x3 layers. The bottleneck has one between two pointwise layers; its ends are wide, and the shortcut joins them. The last
//! activation follows the addition. If a block changes size or channels, so does a pointwise layer on its shortcut.
//!
//! ```text
//! basic:       cin ─ conv3x3, stride + ReLU ─ conv3x3 ─ cout ─ + shortcut ─ ReLU
//! bottleneck:  cin ─ pw + ReLU ─ hidden ─ conv3x3, stride + ReLU ─ pw ─ cout ─ + shortcut ─ ReLU
//! ```
//!
//! Layers are named as in torchvision, and the bottleneck's stride is where torchvision has it.

use super::{Site, conv};
use crate::LayerKind::{Conv3x3, Pointwise};
use crate::{Block, Layer, LayerKind};

pub(crate) fn basic(site: &Site<'_>) -> Block {
    let Site { cin, cout, stride, .. } = *site;
    residual(site, &[(Conv3x3, cin, cout, stride), (Conv3x3, cout, cout, 1)])
}

pub(crate) fn bottleneck(site: &Site<'_>) -> Block {
    let Site { cin, cout, stride, ratio, .. } = *site;
    let hidden = (cout / ratio).max(1);
    let layers = [(Pointwise, cin, hidden, 1), (Conv3x3, hidden, hidden, stride), (Pointwise, hidden, cout, 1)];
    residual(site, &layers)
}

/// A block of these layers, with the shortcut over them. A layer is `(kind, input channels, output channels, stride)`.
fn residual(site: &Site<'_>, layers: &[(LayerKind, usize, usize, usize)]) -> Block {
    let Site { name, cin, cout, stride, activation, .. } = *site;
    let named = layers.iter().enumerate().map(|(i, &(kind, cin, cout, stride))| {
        let plain = conv(kind, format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1), cin, cout);
        let last = i + 1 == layers.len();
        Layer { stride, activation: if last { plain.activation } else { activation }, ..plain }
    });
    let projection = || {
        let plain = conv(Pointwise, format!("{name}.downsample.0"), format!("{name}.downsample.1"), cin, cout);
        Layer { stride, ..plain }
    };
    Block {
        layers: named.collect(),
        identity_channels: cout,
        projection: (stride != 1 || cin != cout).then(projection),
        activation,
        ..Block::named(name)
    }
}
