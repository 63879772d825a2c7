//! A network as data: the stage table, and everything else that a weight file's header says about the network.

mod detector;
mod preprocessing;

pub use detector::{
    BoxCoder, BoxOrder, DetectorSpec, Extra, ExtraKind, HeadKind, PriorBoxes, ScoreKind, Tap, TapPoint,
};
pub use preprocessing::{Fit, Interpolation, Preprocessing};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{NAME, shown};
use crate::{Activation, Error, Limits};

/// The kind of block that a stage repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockKind {
    /// MobileNeXt's block (section 3.2 of the paper).
    #[default]
    Sandglass,
    /// MobileNetV2's block (section 3.3 of its paper).
    InvertedResidual,
    /// ResNet's basic block: two dense 3x3 layers.
    Basic,
    /// ResNet's bottleneck: a dense 3x3 layer between two pointwise ones.
    Bottleneck,
}

impl BlockKind {
    /// All kinds.
    pub const ALL: &'static [BlockKind] =
        &[BlockKind::Sandglass, BlockKind::InvertedResidual, BlockKind::Basic, BlockKind::Bottleneck];
}

/// One row of the stage table: `repeats` blocks. The first has `stride`, the others have stride 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Stage {
    /// Kind of the stage's blocks. If a stage table does not say, it is a SandGlass block.
    #[serde(default)]
    pub block: BlockKind,
    /// How many hidden channels a block has:
    /// - SandGlass: input channels divided by the ratio, rounded down. If that is less than a sixth of the output channels, it
    ///   is that sixth rounded to a multiple of 16. With ratio 2 both depthwise layers are there, the second one strided, and
    ///   there is no shortcut.
    /// - Inverted residual: input channels times the ratio. With ratio 1 there is no layer that expands them.
    /// - Bottleneck: output channels divided by the ratio, rounded down, at least 1.
    /// - Basic: none; the ratio is 1.
    pub ratio: usize,
    /// Output channels before the width multiplier.
    pub channels: usize,
    /// Number of blocks.
    pub repeats: usize,
    /// Stride of the first block, 1 or 2.
    pub stride: usize,
    /// Whether the stage's first block, if an inverted residual, has a shortcut when its stride and channels allow one. Default:
    /// yes.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub first_shortcut: bool,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_true(value: &bool) -> bool {
    *value
}

/// The first layer: a dense convolution with an activation, and possibly a max pool after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Stem {
    /// Output channels before the width multiplier.
    pub channels: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Rows and columns of the convolution: 3, or with stride 2 also 7.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    pub kernel: usize,
    /// Whether a 3x3 max pool of stride 2 follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub max_pool: bool,
}

fn three() -> usize {
    3
}

fn is_three(kernel: &usize) -> bool {
    *kernel == 3
}

/// The rule that says where the zeros of a padded convolution go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding {
    /// The same number on each side, like PyTorch's `padding=1` for a 3x3 layer.
    #[default]
    Torch,
    /// TensorFlow's SAME. With stride 2 and an even size there is one row or column less before the picture than after it: 0
    /// and 1 for a 3x3 layer.
    Tf,
}

impl Padding {
    /// Both rules.
    pub const ALL: &'static [Padding] = &[Padding::Torch, Padding::Tf];

    /// Its name in stage tables and on the command line: `torch` or `tf`.
    pub fn name(self) -> &'static str {
        match self {
            Padding::Torch => "torch",
            Padding::Tf => "tf",
        }
    }

    /// Zeros `(before, after)` the picture along one axis: `kernel` is the filter's size, an odd number; `size` is the
    /// picture's; `stride` is 1 or 2.
    pub fn of(self, kernel: usize, size: usize, stride: usize) -> (usize, usize) {
        let half = kernel / 2;
        match self {
            Padding::Tf if stride == 2 && kernel > 1 && size.is_multiple_of(2) => (half - 1, half),
            _ => (half, half),
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Padding {
    type Err = Error;

    /// The rule of this [name](Padding::name).
    fn from_str(text: &str) -> Result<Padding, Error> {
        named("padding", Padding::ALL, "torch or tf", text)
    }
}

/// The whole description of a network; the weight file's header holds one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Spec {
    /// Name of the family, e.g. `mobilenext`, or one of the user's own.
    pub family: String,
    /// First layer.
    pub stem: Stem,
    /// Stage table, channels before the width multiplier.
    pub stages: Vec<Stage>,
    /// The activation of the layers that have one: ReLU6 or ReLU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// Output channels, before the width multiplier, of the pointwise layer between the last stage and the average pool.
    /// `None` if there is no such layer.
    ///
    /// The channels before the classifier, which are these or else the last stage's, grow with a width above 1 but do not
    /// shrink with one below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Width multiplier.
    pub width: f64,
    /// Identity tensor multiplier: the share of channels that a shortcut covers, 0…1.
    pub identity: f64,
    /// Side in pixels of the pictures that the network was trained on.
    pub resolution: usize,
    /// Channels of the input: 3.
    pub channels: usize,
    /// Outputs of the classifier. Of a detector: classes, the background included.
    pub classes: usize,
    /// Where padded convolutions put their zeros.
    pub padding: Padding,
    /// A name per class, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// What happens to a picture before the network sees it.
    pub preprocessing: Preprocessing,
    /// What a detector has instead of a classifier. `None`: the network is a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<DetectorSpec>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The error for a field of the spec.
pub(crate) fn invalid(field: impl Into<String>, expected: &str, found: impl ToString) -> Error {
    Error::Spec { field: field.into(), expected: expected.into(), found: found.to_string() }
}

/// The one of `all` that is written so.
pub(crate) fn named<T: Copy + fmt::Display>(field: &str, all: &[T], expected: &str, text: &str) -> Result<T, Error> {
    let found = all.iter().copied().find(|one| one.to_string() == text);
    found.ok_or_else(|| invalid(field, expected, shown(text, NAME)))
}

fn expect_count(field: impl Into<String>, value: usize) -> Result<(), Error> {
    if value == 0 { Err(invalid(field, "at least 1", value)) } else { Ok(()) }
}

fn expect_stride(field: impl Into<String>, value: usize) -> Result<(), Error> {
    if matches!(value, 1 | 2) { Ok(()) } else { Err(invalid(field, "1 or 2", value)) }
}

impl Stage {
    /// So many blocks of this kind, whose first has this stride. An inverted residual that is first has its shortcut.
    pub const fn new(block: BlockKind, ratio: usize, channels: usize, repeats: usize, stride: usize) -> Stage {
        Stage { block, ratio, channels, repeats, stride, first_shortcut: true }
    }

    fn check(&self, index: usize) -> Result<(), Error> {
        let field = |name: &str| format!("stages[{index}].{name}");
        expect_count(field("ratio"), self.ratio)?;
        if self.block == BlockKind::Basic && self.ratio != 1 {
            return Err(invalid(field("ratio"), "1 for a basic block", self.ratio));
        }
        expect_count(field("channels"), self.channels)?;
        expect_count(field("repeats"), self.repeats)?;
        expect_stride(field("stride"), self.stride)
    }
}

impl Stem {
    /// A 3x3 convolution without a max pool.
    pub const fn new(channels: usize, stride: usize) -> Stem {
        Stem { channels, stride, kernel: 3, max_pool: false }
    }

    fn check(&self) -> Result<(), Error> {
        expect_count("stem.channels", self.channels)?;
        expect_stride("stem.stride", self.stride)?;
        match (self.kernel, self.stride) {
            (3, _) | (7, 2) => Ok(()),
            (7, _) => Err(invalid("stem.stride", "2 for a kernel of 7", self.stride)),
            (kernel, _) => Err(invalid("stem.kernel", "3 or 7", kernel)),
        }
    }
}

impl Spec {
    /// Checks every field by itself. What follows from them together is checked by
    /// [`Network::new_with`](crate::Network::new_with).
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        self.stem.check()?;
        if self.stages.is_empty() {
            return Err(invalid("stages", "at least one stage", "none"));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check(i)?;
        }
        self.head.map_or(Ok(()), |channels| expect_count("head", channels))?;
        if !(self.width.is_finite() && self.width > 0.0) {
            return Err(invalid("width", "finite and above 0", self.width));
        }
        if !(0.0..=1.0).contains(&self.identity) {
            return Err(invalid("identity", "between 0 and 1", self.identity));
        }
        self.check_family()?;
        if self.channels != 3 {
            return Err(invalid("channels", "3", self.channels));
        }
        self.check_classes(limits)?;
        expect_count("resolution", self.resolution)?;
        self.preprocessing.check(self.resolution)?;
        self.detector.as_ref().map_or(Ok(()), |detector| detector.check(limits))?;
        self.check_picture(limits)
    }

    /// Checks the fields that only some kinds of block have.
    fn check_family(&self) -> Result<(), Error> {
        let has = |kinds: &[BlockKind]| self.stages.iter().any(|stage| kinds.contains(&stage.block));
        if self.activation == Activation::Linear {
            return Err(invalid("activation", "relu6 or relu", "linear"));
        }
        if self.width != 1.0 && has(&[BlockKind::Basic, BlockKind::Bottleneck]) {
            return Err(invalid("width", "1 for residual blocks, which have no width multiplier", self.width));
        }
        if self.identity != 1.0 && !has(&[BlockKind::Sandglass]) {
            let expected = "1 without SandGlass blocks, which alone have an identity tensor multiplier";
            return Err(invalid("identity", expected, self.identity));
        }
        if self.padding == Padding::Tf && self.stem.max_pool {
            return Err(invalid("padding", "torch for a stem with a max pool", "tf"));
        }
        Ok(())
    }

    fn check_classes(&self, limits: &Limits) -> Result<(), Error> {
        expect_count("classes", self.classes)?;
        if self.detector.is_some() && self.classes < 2 {
            return Err(invalid("classes", "at least 2, the background among them", self.classes));
        }
        if self.classes > limits.channels {
            return Err(Error::Limit {
                what: "classes of the spec".into(),
                limit: limits.channels as u64,
                found: self.classes as u64,
            });
        }
        match &self.labels {
            Some(labels) if labels.len() != self.classes => {
                let expected = format!("one label per class, {}", self.classes);
                Err(invalid("labels", &expected, labels.len()))
            }
            _ => Ok(()),
        }
    }

    /// Checks the resized picture, which is at least as large as the cropped one.
    fn check_picture(&self, limits: &Limits) -> Result<(), Error> {
        let side = self.preprocessing.resize as u64;
        let elements = side.saturating_mul(side).saturating_mul(self.channels as u64);
        if elements > limits.elements {
            return Err(Error::Limit {
                what: format!("elements of a picture of side {side} (preprocessing.resize)"),
                limit: limits.elements,
                found: elements,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
