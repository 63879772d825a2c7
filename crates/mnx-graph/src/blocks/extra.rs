//! The blocks that SSDLite adds after the backbone. Each halves the feature map, and its output is a level of its own.
//!
//! ```text
//! depthwise first:    cin ─ dw3x3, stride 2 + ReLU6 ─ pw ─ hidden ─ pw + ReLU6 ─ cout
//! inverted residual:  cin ─ pw + ReLU6 ─ hidden ─ dw3x3, stride 2 + ReLU6 ─ pw ─ cout
//! depthwise between:  cin ─ pw + ReLU6 ─ hidden ─ dw3x3, stride 2 + ReLU6 ─ pw + ReLU6 ─ cout
//! ```

use super::{Site, conv};
use crate::LayerKind::{Depthwise3x3, Pointwise};
use crate::{Block, ExtraKind, Layer};

/// `site` has the ends and the activation; its stride, ratio and the like do not matter.
pub(crate) fn extra(site: &Site<'_>, kind: ExtraKind, hidden: usize) -> Block {
    let Site { name, cin, cout, activation, .. } = *site;
    // What a layer is, its channels, and whether it has an activation.
    let rows = match kind {
        ExtraKind::DepthwiseFirst => {
            [(Depthwise3x3, cin, cin, true), (Pointwise, cin, hidden, false), (Pointwise, hidden, cout, true)]
        }
        ExtraKind::InvertedResidual | ExtraKind::DepthwiseBetween => {
            let ends = kind == ExtraKind::DepthwiseBetween;
            [(Pointwise, cin, hidden, true), (Depthwise3x3, hidden, hidden, true), (Pointwise, hidden, cout, ends)]
        }
    };
    // An inverted residual's names are those of MobileNetV2's blocks. The others number a flat list of modules.
    let mut modules = 0;
    let mut names = |index: usize, activates: bool| {
        let at = match (kind, activates) {
            (ExtraKind::InvertedResidual, true) => [format!("{name}.conv.{index}.0"), format!("{name}.conv.{index}.1")],
            (ExtraKind::InvertedResidual, false) => {
                [format!("{name}.conv.{index}"), format!("{name}.conv.{}", index + 1)]
            }
            _ => [format!("{name}.{modules}"), format!("{name}.{}", modules + 1)],
        };
        modules += if activates { 3 } else { 2 };
        at
    };
    let layers = rows.into_iter().enumerate().map(|(index, (kind, cin, cout, activates))| {
        let [at, norm] = names(index, activates);
        let plain = conv(kind, at, norm, cin, cout);
        let stride = if kind == Depthwise3x3 { 2 } else { 1 };
        Layer { stride, activation: if activates { activation } else { plain.activation }, ..plain }
    });
    Block { layers: layers.collect(), ..Block::named(name) }
}
