//! The kinds of block that networks repeat, and those that detectors add, one file each. They are written alike, to be read side
//! by side.

mod extra;
mod head;
mod inverted_residual;
mod residual;
mod sandglass;

pub(crate) use extra::extra;
pub(crate) use head::head;
pub(crate) use inverted_residual::inverted_residual;
pub(crate) use residual::{basic, bottleneck};
pub(crate) use sandglass::sandglass;
#[cfg(feature = "onnx")]
pub(crate) use sandglass::sandglass_hidden;

use crate::{Activation, Layer, LayerKind};

/// Where a block stands: everything about its stage and the network that its layers depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// The block's name in a checkpoint.
    pub(crate) name: &'a str,
    /// Input and output channels.
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    /// The stage's stride for the stage's first block, else 1.
    pub(crate) stride: usize,
    /// The stage's ratio.
    pub(crate) ratio: usize,
    /// Whether an inverted residual block may have a shortcut here.
    pub(crate) may_have_shortcut: bool,
    /// Whether this is the stage's only block.
    pub(crate) only: bool,
    /// The network's activation.
    pub(crate) activation: Activation,
}

/// A convolution of stride 1 without an activation.
fn conv(kind: LayerKind, name: String, norm: String, cin: usize, cout: usize) -> Layer {
    Layer { name, norm: Some(norm), bias: false, kind, cin, cout, stride: 1, activation: Activation::Linear }
}

/// The nearest multiple of `multiple`; halves go up. The result is never under 90 % of `value`, nor under `multiple`.
pub(crate) fn round_channels(value: f64, multiple: usize) -> usize {
    let halfway_up = (value + multiple as f64 / 2.0) as usize;
    let nearest = (halfway_up / multiple * multiple).max(multiple);
    if (nearest as f64) < 0.9 * value { nearest.saturating_add(multiple) } else { nearest }
}
