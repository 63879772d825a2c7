//! A network as data: the stage table and everything else that a weight file's header says.

use serde::{Deserialize, Serialize};

use crate::{Error, Limits};

/// What kind of block a stage repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockKind {
    /// MobileNeXt's block (section 3.2 of the paper).
    #[default]
    Sandglass,
    /// MobileNetV2's block (section 3.3 of its paper).
    InvertedResidual,
}

/// One row of the stage table: `repeats` blocks, of which the first has `stride`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Kind of the stage's blocks; a SandGlass block where a stage table does not say.
    #[serde(default)]
    pub block: BlockKind,
    /// SandGlass block: hidden channels are input channels divided by this (rounded down), or where that is less
    /// than a sixth of the output channels, that sixth rounded to a multiple of 16. A
    /// stage of ratio 2 has both depthwise layers, the second one strided, and no shortcut.
    /// Inverted residual block: hidden channels are input channels times this; at 1 there is no layer that expands them.
    pub ratio: usize,
    /// Output channels before the width multiplier.
    pub channels: usize,
    /// How many blocks.
    pub repeats: usize,
    /// Stride of the first block, 1 or 2.
    pub stride: usize,
}

/// The first layer: dense 3x3 with ReLU6.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// Output channels before the width multiplier.
    pub channels: usize,
    /// 1 or 2.
    pub stride: usize,
}

/// Where the zeros of a padded convolution go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// One row or column on each side, as PyTorch's `padding=1`.
    #[default]
    Torch,
    /// TensorFlow's SAME: at stride 2 on an even size, none before and one after.
    Tf,
}

impl Padding {
    /// `(before, after)` of a 3-wide kernel along an axis of `size` at `stride` 1 or 2.
    pub fn of(self, size: usize, stride: usize) -> (usize, usize) {
        match self {
            Padding::Tf if stride == 2 && size.is_multiple_of(2) => (0, 1),
            _ => (1, 1),
        }
    }
}

/// What happens to a picture before the network sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The short side is resized to this before the crop to the resolution.
    pub resize: usize,
    /// Subtracted from pixels in 0…1, per channel R, G, B.
    pub mean: [f32; 3],
    /// Divides afterwards.
    pub std: [f32; 3],
}

/// The whole description of a network; the weight file's header holds one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the family, e.g. `mobilenext`, or one of the user's own.
    pub family: String,
    /// First layer.
    pub stem: Stem,
    /// Stage table, channels before the width multiplier.
    pub stages: Vec<Stage>,
    /// Output channels, before the width multiplier, of a pointwise layer with ReLU6 between the last stage and the
    /// pool; `None`: there is no such layer. They, or else the last stage's, grow with a width above 1, but do not
    /// shrink with one below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Width multiplier.
    pub width: f64,
    /// Identity tensor multiplier: the share of channels that a shortcut covers, 0…1.
    pub identity: f64,
    /// Side of the picture that the network was trained on.
    pub resolution: usize,
    /// Channels of the input: 3.
    pub channels: usize,
    /// Outputs of the classifier.
    pub classes: usize,
    /// Where padded convolutions put their zeros.
    pub padding: Padding,
    /// A name per class, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// What happens to a picture before the network sees it.
    pub preprocessing: Preprocessing,
}

/// Error of a field of the spec.
fn invalid(field: impl Into<String>, expected: &str, found: impl ToString) -> Error {
    Error::Spec { field: field.into(), expected: expected.into(), found: found.to_string() }
}

fn expect_count(field: impl Into<String>, value: usize) -> Result<(), Error> {
    if value == 0 { Err(invalid(field, "at least 1", value)) } else { Ok(()) }
}

fn expect_stride(field: impl Into<String>, value: usize) -> Result<(), Error> {
    if matches!(value, 1 | 2) { Ok(()) } else { Err(invalid(field, "1 or 2", value)) }
}

impl Stage {
    fn check(&self, index: usize) -> Result<(), Error> {
        let field = |name: &str| format!("stages[{index}].{name}");
        expect_count(field("ratio"), self.ratio)?;
        expect_count(field("channels"), self.channels)?;
        expect_count(field("repeats"), self.repeats)?;
        expect_stride(field("stride"), self.stride)
    }
}

impl Preprocessing {
    fn check(&self, resolution: usize) -> Result<(), Error> {
        if self.resize < resolution {
            let expected = format!("at least the resolution, {resolution}");
            return Err(invalid("preprocessing.resize", &expected, self.resize));
        }
        for (i, (&mean, &std)) in self.mean.iter().zip(&self.std).enumerate() {
            if !mean.is_finite() {
                return Err(invalid(format!("preprocessing.mean[{i}]"), "finite", mean));
            }
            if !(std.is_finite() && std > 0.0) {
                return Err(invalid(format!("preprocessing.std[{i}]"), "finite and above 0", std));
            }
        }
        Ok(())
    }
}

impl Spec {
    /// Checks every field by itself; what follows from them together is
    /// [`Network::new_with`](crate::Network::new_with)'s to check.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        expect_count("stem.channels", self.stem.channels)?;
        expect_stride("stem.stride", self.stem.stride)?;
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
        if self.channels != 3 {
            return Err(invalid("channels", "3", self.channels));
        }
        self.check_classes(limits)?;
        expect_count("resolution", self.resolution)?;
        self.preprocessing.check(self.resolution)?;
        self.check_picture(limits)
    }

    fn check_classes(&self, limits: &Limits) -> Result<(), Error> {
        expect_count("classes", self.classes)?;
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

    /// The resized square is the larger of the two pictures that the resolution asks for.
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
