//! SSDLite's heads ("MobileNetV2: Inverted Residuals and Linear Bottlenecks", section 6.2): they turn each pixel of a feature map
//! into numbers for the priors of that cell.
//!
//! ```text
//! separable:  cin ─ dw3x3 + ReLU6 ─ pw ─ priors · numbers
//! pointwise:  cin ─ pw ─ priors · numbers
//! ```
//!
//! The pointwise layer has a bias and no batch norm. In the reference the depthwise layer has both.

use super::{Site, conv};
use crate::LayerKind::{Depthwise3x3, Pointwise};
use crate::{Block, HeadKind, Layer};

/// `site` has name, channels and activation; its stride, ratio and the like do not matter.
pub(crate) fn head(site: &Site<'_>, kind: HeadKind, depthwise_bias: bool) -> Block {
    let Site { name, cin, cout, activation, .. } = *site;
    let last = |name: String| Layer { norm: None, bias: true, ..conv(Pointwise, name, String::new(), cin, cout) };
    let layers = match kind {
        HeadKind::Separable => {
            let plain = conv(Depthwise3x3, format!("{name}.conv.0"), format!("{name}.conv.1"), cin, cin);
            vec![Layer { bias: depthwise_bias, activation, ..plain }, last(format!("{name}.conv.3"))]
        }
        HeadKind::Pointwise => vec![last(name.into())],
    };
    Block { layers, ..Block::named(name) }
}
