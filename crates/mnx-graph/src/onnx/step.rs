//! The steps of a graph, of the kinds that networks have: convolutions with all that follows them, shortcuts, a max pool, and
//! the classifier.

use std::fmt;

use super::constant::Constant;
use crate::{Activation, Padding};

/// A step of the graph, with the channels and the size of what it makes.
#[derive(Debug)]
pub(crate) struct Step {
    /// Index of its operation in the file.
    pub(crate) at: usize,
    pub(crate) what: What,
    pub(crate) channels: usize,
    /// Height and width, where they are known.
    pub(crate) size: [Option<usize>; 2],
    /// Bounds of what it makes.
    pub(crate) bounds: Bounds,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The graph's input.
    Input,
    Convolution(Convolution),
    /// 3x3, stride 2, of the step's output.
    MaxPool(usize),
    Shortcut(Shortcut),
    /// The classifier, whose channels are classes.
    Classifier,
}

/// A convolution and the batch norms after it.
#[derive(Debug)]
pub(crate) struct Convolution {
    /// The step whose output it takes.
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) depthwise: bool,
    /// Input channels.
    pub(crate) cin: usize,
    /// Before and after, along height and width.
    pub(crate) pads: [Pads; 2],
    pub(crate) weight: Constant,
    pub(crate) bias: Option<Constant>,
    /// In order.
    pub(crate) norms: Vec<Norm>,
}

/// What is added to features: earlier ones.
#[derive(Debug)]
pub(crate) struct Shortcut {
    /// The step that it is added to.
    pub(crate) main: usize,
    /// The step where both ways part.
    pub(crate) fork: usize,
    /// The convolution on the shortcut.
    pub(crate) projection: Option<usize>,
    /// To so many first channels it is added.
    pub(crate) covered: usize,
}

/// A matrix times the pooled features.
#[derive(Debug)]
pub(crate) struct Classifier {
    /// Index of its operation in the file.
    pub(crate) at: usize,
    /// The step whose output is pooled.
    pub(crate) input: usize,
    pub(crate) matrix: Matrix,
    pub(crate) features: usize,
    pub(crate) classes: usize,
}

/// `alpha * weight`, and `beta * bias`.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) weight: Constant,
    /// Whether the weight's rows are features, not classes.
    pub(crate) features_first: bool,
    pub(crate) alpha: f64,
    pub(crate) bias: Option<Constant>,
    pub(crate) beta: f64,
}

/// What follows a convolution, channel by channel.
#[derive(Debug)]
pub(crate) enum Norm {
    Batch {
        gamma: Constant,
        beta: Constant,
        mean: Constant,
        var: Constant,
        eps: f64,
    },
    /// Multiplied by this, or divided.
    Scale {
        by: Constant,
        inverse: bool,
    },
    /// This added, or subtracted.
    Shift {
        by: Constant,
        negative: bool,
    },
}

/// Zeros along an axis of a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pads {
    /// So many before and after.
    Fixed(usize, usize),
    /// TensorFlow's SAME, of a size that is known when the graph runs.
    Same,
}

/// Which of a network's paddings a convolution may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paddings {
    pub(crate) torch: bool,
    pub(crate) tf: bool,
    /// Whether it is TensorFlow's on even sizes only.
    pub(crate) even: bool,
}

impl fmt::Display for Pads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pads::Fixed(before, after) => write!(f, "{before} and {after}"),
            Pads::Same => f.write_str("SAME"),
        }
    }
}

impl Convolution {
    /// Of an input of this size.
    pub(crate) fn paddings(&self, size: [Option<usize>; 2]) -> Paddings {
        let along = |pads: Pads, size: Option<usize>| {
            let fixed = |padding: Padding, size| {
                let (before, after) = padding.of(self.kernel, size, self.stride);
                pads == Pads::Fixed(before, after)
            };
            match size {
                _ if pads == Pads::Same => Paddings { torch: false, tf: true, even: false },
                Some(n) => Paddings { torch: fixed(Padding::Torch, n), tf: fixed(Padding::Tf, n), even: false },
                // What only even sizes have goes without saying where all sizes have it.
                None => {
                    let tf = fixed(Padding::Tf, 2);
                    Paddings { torch: fixed(Padding::Torch, 2), tf, even: tf && !fixed(Padding::Tf, 1) }
                }
            }
        };
        let [h, w] = [along(self.pads[0], size[0]), along(self.pads[1], size[1])];
        Paddings { torch: h.torch && w.torch, tf: h.tf && w.tf, even: h.even || w.even }
    }
}

/// What values are clamped to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Bounds {
    pub(crate) const NONE: Bounds = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Clamped to these, too.
    pub(crate) fn narrowed(self, by: Bounds) -> Bounds {
        // As large as f32 goes is no bound.
        let bound = |v: f64| if v.abs() >= f64::from(f32::MAX) { v.signum() * f64::INFINITY } else { v };
        Bounds { low: self.low.max(bound(by.low)), high: self.high.min(bound(by.high)) }
    }

    pub(crate) fn activation(self) -> Option<Activation> {
        [(Bounds::NONE, Activation::Linear), (Bounds { low: 0.0, high: 6.0 }, Activation::Relu6)]
            .into_iter()
            .chain([(Bounds { low: 0.0, high: f64::INFINITY }, Activation::Relu)])
            .find_map(|(bounds, activation)| (bounds == self).then_some(activation))
    }
}
