//! What a detector has instead of a classifier: SSDLite's taps, extra blocks, heads and priors.

use mnx_tensor::memory;
use serde::{Deserialize, Serialize};

use super::{expect_count, invalid};
use crate::{Error, Limits};

/// Most boxes that a file may ask for. Each candidate is compared with the boxes of its class that are kept.
const MOST_BOXES: usize = 4096;

/// SSDLite on top of a backbone (section 6.2 of the MobileNetV2 paper; Liu et al., "SSD: Single Shot MultiBox Detector", 2016).
///
/// Each level is a feature map with heads: the taps come first, then the extra blocks. A detector counts the background among
/// its classes, as class 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct DetectorSpec {
    /// Where in the backbone the first levels come from, in order of execution.
    pub taps: Vec<Tap>,
    /// The blocks after the backbone. The output of each is a level.
    pub extras: Vec<Extra>,
    /// The heads of the last level. Those of all other levels are [`HeadKind::Separable`].
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub last_head: HeadKind,
    /// Whether the depthwise layers of separable heads have a bias besides their batch norm. It is folded into the norm's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub depthwise_bias: bool,
    /// The priors of each level, one entry per level.
    pub priors: Vec<PriorBoxes>,
    /// Whether priors are clipped to the picture.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clip: bool,
    /// How numbers of the box heads become boxes.
    pub coder: BoxCoder,
    /// How numbers of the class heads become scores.
    pub scores: ScoreKind,
    /// Whether boxes are cut off at the picture's edges, unless the caller says otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clip_boxes: bool,
    /// Boxes count if their score is above this, unless the caller says otherwise; 0…1.
    pub score: f32,
    /// A box is dropped if its intersection over union with a better one of its class is above this, unless the caller says
    /// otherwise; 0…1.
    pub iou: f32,
    /// The number of boxes that are kept in a picture, unless the caller says otherwise; 1…4,096.
    pub top: usize,
}

/// A feature map inside the backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Tap {
    /// Index of the block; the stem is block 0.
    pub block: usize,
    /// Where in the block.
    #[serde(default)]
    pub at: TapPoint,
}

/// Where in a block a [`Tap`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TapPoint {
    /// The block's output.
    #[default]
    Output,
    /// The output of the pointwise layer that expands the channels, before the last depthwise layer.
    Expanded,
}

/// A block after the backbone. It halves the feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Extra {
    /// The order of its layers.
    pub block: ExtraKind,
    /// Channels between its pointwise layers. Widths do not scale them.
    pub hidden: usize,
    /// Output channels. Widths do not scale them.
    pub channels: usize,
}

/// The order of layers in an [`Extra`]. The depthwise layer is strided and has an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExtraKind {
    /// Depthwise, pointwise without an activation, pointwise with one: what MobileNeXt's authors use.
    DepthwiseFirst,
    /// An inverted residual: pointwise with an activation, depthwise, pointwise without one.
    InvertedResidual,
    /// Pointwise with an activation, depthwise, pointwise with one: what TensorFlow uses.
    DepthwiseBetween,
}

/// The layers of a head. Each level has one head for classes and one for boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeadKind {
    /// Depthwise 3x3 with batch norm and activation, then pointwise with bias.
    #[default]
    Separable,
    /// Pointwise with bias.
    Pointwise,
}

/// The priors of one level: the same boxes in each of its cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PriorBoxes {
    /// SSD's rule. A square of side `min`, a square of side √(`min` · `max`), and for each ratio r two boxes of `min` · √r by
    /// `min` / √r, lying and standing. Lengths are in pixels of an input of the spec's resolution.
    Sizes {
        /// Distance of the cells' centres. The first is half of it from the edge.
        stride: f64,
        /// Side of the small square.
        min: f64,
        /// Side of the square up to which the next level's do not reach.
        max: f64,
        /// Ratios of width to height.
        ratios: Vec<f64>,
    },
    /// TensorFlow's rule. A box for each pair of scale and ratio: scale · √ratio wide and scale / √ratio high, as fractions of
    /// the picture. Centres are those of the cells.
    Scales(Vec<[f64; 2]>),
}

/// How a box head's four numbers move and stretch a prior. With (x, y, w, h) the prior's centre and size, the box's centre is
/// (x + `centre` · dx · w, y + `centre` · dy · h), and its size (w · exp(`size` · dw), h · exp(`size` · dh)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct BoxCoder {
    /// Variance of the centre.
    pub centre: f32,
    /// Variance of the size.
    pub size: f32,
    /// The order of the four numbers.
    #[serde(default)]
    pub order: BoxOrder,
}

/// The order of a box head's four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BoxOrder {
    /// dx, dy, dw, dh.
    #[default]
    Xywh,
    /// dy, dx, dh, dw: TensorFlow's.
    Yxhw,
}

/// How numbers of the class heads become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ScoreKind {
    /// Softmax over a prior's classes, the background included.
    Softmax,
    /// The logistic function of each class for itself. The background's is not used.
    Sigmoid,
}

impl Tap {
    /// In this block, at this point.
    pub const fn new(block: usize, at: TapPoint) -> Tap {
        Tap { block, at }
    }
}

impl Extra {
    /// With so many hidden and output channels.
    pub const fn new(block: ExtraKind, hidden: usize, channels: usize) -> Extra {
        Extra { block, hidden, channels }
    }
}

impl BoxCoder {
    /// With these variances, for numbers in the order dx, dy, dw, dh.
    pub const fn new(centre: f32, size: f32) -> BoxCoder {
        BoxCoder { centre, size, order: BoxOrder::Xywh }
    }
}

impl PriorBoxes {
    /// Priors in a cell.
    pub fn per_cell(&self) -> usize {
        match self {
            PriorBoxes::Sizes { ratios, .. } => 2_usize.saturating_add(ratios.len().saturating_mul(2)),
            PriorBoxes::Scales(scales) => scales.len(),
        }
    }

    /// Widths and heights of a cell's priors, as fractions of a picture of `resolution`.
    fn sizes(&self, resolution: f64) -> Vec<(f64, f64)> {
        match self {
            PriorBoxes::Sizes { min, max, ratios, .. } => {
                let (small, between) = (min / resolution, (min * max).sqrt() / resolution);
                let squares = [(small, small), (between, between)];
                let pairs = ratios.iter().flat_map(|ratio| {
                    let root = ratio.sqrt();
                    [(small * root, small / root), (small / root, small * root)]
                });
                squares.into_iter().chain(pairs).collect()
            }
            PriorBoxes::Scales(scales) => {
                scales.iter().map(|[scale, ratio]| (scale * ratio.sqrt(), scale / ratio.sqrt())).collect()
            }
        }
    }

    fn check(&self, level: usize) -> Result<(), Error> {
        let positive = |name: &str, value: f64| {
            let field = format!("detector.priors[{level}].{name}");
            if value.is_finite() && value > 0.0 { Ok(()) } else { Err(invalid(field, "finite and above 0", value)) }
        };
        match self {
            PriorBoxes::Sizes { stride, min, max, ratios } => {
                positive("stride", *stride)?;
                positive("min", *min)?;
                positive("max", *max)?;
                ratios.iter().try_for_each(|&ratio| positive("ratios", ratio))
            }
            PriorBoxes::Scales(scales) => {
                expect_count(format!("detector.priors[{level}].scales"), scales.len())?;
                scales.iter().flatten().try_for_each(|&value| positive("scales", value))
            }
        }
    }
}

impl DetectorSpec {
    /// With separable heads, and without biases of depthwise layers or clipping. Boxes count if their score is above 0.01; a box
    /// is dropped if its intersection over union with a better one is above 0.45; 100 are kept.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// use mnx::{BoxCoder, DetectorSpec, Extra, ExtraKind, Model, PriorBoxes, ScoreKind, Spec, Tap, TapPoint};
    ///
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// let mut spec = Spec::family("mobilenetv2").expect("a known family");
    /// spec.family = "cells".into();
    /// spec.classes = 4; // the background and three kinds
    /// // A level of squares, and one of squares and of boxes twice as wide as high.
    /// let priors = [&[[0.1, 1.0]][..], &[[0.3, 1.0], [0.3, 2.0]]].map(|boxes| PriorBoxes::Scales(boxes.into()));
    /// spec.detector = Some(DetectorSpec::new(
    ///     vec![Tap::new(13, TapPoint::Output)],
    ///     vec![Extra::new(ExtraKind::InvertedResidual, 64, 128)],
    ///     priors.into(),
    ///     BoxCoder::new(0.1, 0.2),
    ///     ScoreKind::Softmax,
    /// ));
    /// let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// assert_eq!(model.network().levels().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        taps: Vec<Tap>,
        extras: Vec<Extra>,
        priors: Vec<PriorBoxes>,
        coder: BoxCoder,
        scores: ScoreKind,
    ) -> DetectorSpec {
        DetectorSpec {
            taps,
            extras,
            last_head: HeadKind::Separable,
            depthwise_bias: false,
            priors,
            clip: false,
            coder,
            scores,
            clip_boxes: false,
            score: 0.01,
            iou: 0.45,
            top: 100,
        }
    }

    /// All priors, in the order of the heads' rows: level, row, column, prior in the cell. Each is the centre's x and y, the
    /// width and the height, as fractions of the picture.
    ///
    /// `grids` has the height and width of each level's feature map, `resolution` the side of the input in pixels. Computed in
    /// f64 and rounded once.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is no memory for them.
    pub fn priors(&self, grids: &[(usize, usize)], resolution: usize) -> Result<Vec<[f32; 4]>, Error> {
        let of_level = |(boxes, grid): (&PriorBoxes, &(usize, usize))| {
            grid.0.saturating_mul(grid.1).saturating_mul(boxes.per_cell())
        };
        let count = self.priors.iter().zip(grids).map(of_level).fold(0, usize::saturating_add);
        let mut priors = memory::room(count)?;
        let side = resolution as f64;
        for (boxes, &(height, width)) in self.priors.iter().zip(grids) {
            let sizes = boxes.sizes(side);
            let cells = |grid: usize| match boxes {
                PriorBoxes::Sizes { stride, .. } => side / stride,
                PriorBoxes::Scales(_) => grid as f64,
            };
            let (rows, columns) = (cells(height), cells(width));
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                let (x, y) = ((column as f64 + 0.5) / columns, (row as f64 + 0.5) / rows);
                priors.extend(sizes.iter().map(|&(w, h)| {
                    let clip = |value: f64| if self.clip { value.clamp(0.0, 1.0) } else { value };
                    [x, y, w, h].map(|value| clip(value) as f32)
                }));
            }
        }
        Ok(priors)
    }

    /// Checks every field by itself; the builder of the network checks taps.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Error> {
        expect_count("detector.taps", self.taps.len())?;
        for (index, extra) in self.extras.iter().enumerate() {
            expect_count(format!("detector.extras[{index}].hidden"), extra.hidden)?;
            expect_count(format!("detector.extras[{index}].channels"), extra.channels)?;
        }
        let levels = self.taps.len() + self.extras.len();
        if self.priors.len() != levels {
            let expected = format!("{levels}, one for each tap and extra block");
            return Err(invalid("detector.priors", &expected, self.priors.len()));
        }
        for (level, boxes) in self.priors.iter().enumerate() {
            if boxes.per_cell() > limits.channels {
                let what = format!("priors in a cell of level {level}");
                let (limit, found) = (limits.channels as u64, boxes.per_cell() as u64);
                return Err(Error::Limit { what, limit, found });
            }
            boxes.check(level)?;
        }
        for (name, value) in [("centre", self.coder.centre), ("size", self.coder.size)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(invalid(format!("detector.coder.{name}"), "finite and above 0", value));
            }
        }
        for (name, value) in [("score", self.score), ("iou", self.iou)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(invalid(format!("detector.{name}"), "between 0 and 1", value));
            }
        }
        if self.top > MOST_BOXES {
            let (limit, found) = (MOST_BOXES as u64, self.top as u64);
            return Err(Error::Limit { what: "detector.top".into(), limit, found });
        }
        expect_count("detector.top", self.top)
    }

    /// Scales lengths in pixels from one resolution to another. No length is in proportion to 0.
    pub(crate) fn rescale(&mut self, from: usize, to: usize) {
        if from == 0 || to == 0 {
            return;
        }
        let factor = to as f64 / from as f64;
        for boxes in &mut self.priors {
            if let PriorBoxes::Sizes { stride, min, max, .. } = boxes {
                for length in [stride, min, max] {
                    *length *= factor;
                }
            }
        }
    }
}
