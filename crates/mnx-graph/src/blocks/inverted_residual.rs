//! MobileNetV2's inverted residual block ("MobileNetV2: Inverted Residuals and Linear Bottlenecks", section 3.3): narrow ends
//! and a wide middle. The depthwise layer is in the middle; the shortcut joins the narrow ends.
//!
//! ```text
//! cin ─ pw + ReLU6 ─ hidden ─ dw3x3, stride + ReLU6 ─ pw ─ cout ─ (+ input)
//! ```
//!
//! Layers are named as in torchvision.

use super::{Site, conv};
use crate::LayerKind::{Depthwise3x3, Pointwise};
use crate::{Block, Layer};

pub(crate) fn inverted_residual(site: &Site<'_>) -> Block {
    let Site { name, cin, cout, stride, ratio, activation, may_have_shortcut, .. } = *site;
    let hidden = cin.saturating_mul(ratio);
    // Convolution, batch norm and activation make a submodule, with a number of their own in front: `conv.0.0`, `conv.0.1`.
    // The last convolution and its norm are numbered directly: `conv.2`, `conv.3`.
    let mut layers = Vec::with_capacity(3);
    let mut module = |kind, cin, cout, stride| {
        let at = format!("{name}.conv.{}", layers.len());
        let plain = conv(kind, format!("{at}.0"), format!("{at}.1"), cin, cout);
        layers.push(Layer { stride, activation, ..plain });
    };
    if ratio > 1 {
        module(Pointwise, cin, hidden, 1);
    }
    module(Depthwise3x3, hidden, hidden, stride);
    let last = layers.len();
    layers.push(conv(Pointwise, format!("{name}.conv.{last}"), format!("{name}.conv.{}", last + 1), hidden, cout));
    let shortcut = may_have_shortcut && stride == 1 && cin == cout;
    Block { layers, identity_channels: if shortcut { cout } else { 0 }, ..Block::named(name) }
}
