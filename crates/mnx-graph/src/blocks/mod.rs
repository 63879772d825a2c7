//! The kinds of block that networks repeat, a file each, to be read side by side.

mod inverted_residual;
mod residual;
mod sandglass;

pub(crate) use inverted_residual::inverted_residual;
pub(crate) use residual::{basic, bottleneck};
pub(crate) use sandglass::sandglass;
#[cfg(feature = "onnx")]
pub(crate) use sandglass::sandglass_hidden;

use crate::{Activation, Layer, LayerKind};

/// A block of a stage at its site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// Its name in a checkpoint.
    pub(crate) name: &'a str,
    /// Input and output channels.
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    /// Of the first block of a stage the stage's, else 1.
    pub(crate) stride: usize,
    /// The stage's.
    pub(crate) ratio: usize,
    /// Whether it may have a shortcut, if it is an inverted residual.
    pub(crate) may_skip: bool,
    /// Whether the stage has no other block.
    pub(crate) only: bool,
    /// The network's.
    pub(crate) activation: Activation,
}

/// A convolution of stride 1 that no activation follows.
fn conv(kind: LayerKind, name: String, norm: String, cin: usize, cout: usize) -> Layer {
    Layer { name, norm: Some(norm), kind, cin, cout, stride: 1, activation: Activation::Linear }
}

/// Nearest multiple (halves go up), never under 90 % of `value` nor under `multiple`.
pub(crate) fn round_channels(value: f64, multiple: usize) -> usize {
    let halfway_up = (value + multiple as f64 / 2.0) as usize;
    let nearest = (halfway_up / multiple * multiple).max(multiple);
    if (nearest as f64) < 0.9 * value { nearest.saturating_add(multiple) } else { nearest }
}
