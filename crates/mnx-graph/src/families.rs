//! Networks that have a name, and stage tables that users write themselves.

use serde::Deserialize;

use crate::text::{NAME, SENTENCE, shown};
use crate::{
    Activation, BlockKind, DetectorSpec, Error, Fit, Interpolation, Padding, Preprocessing, Spec, Stage, Stem,
};

mod ssdlite;

/// A named network and its defaults.
struct Family {
    name: &'static str,
    stem: Stem,
    stages: &'static [Stage],
    activation: Activation,
    head: Option<usize>,
    classes: usize,
    resolution: usize,
    padding: Padding,
    normalisation: Normalisation,
    resize: Resize,
    fit: Fit,
    interpolation: Interpolation,
    /// What batch norms add to variances, if that does not follow from the names in a checkpoint.
    #[cfg_attr(not(feature = "convert"), expect(dead_code, reason = "only checkpoints have batch norms"))]
    bn_eps: Option<f64>,
    detector: Option<fn() -> DetectorSpec>,
}

/// Mean and standard deviation of pixels in 0…1; R, G, B.
struct Normalisation {
    mean: [f32; 3],
    std: [f32; 3],
}

/// The length to which a picture's short side is resized, given the resolution.
#[derive(Clone, Copy)]
enum Resize {
    /// ⌊resolution · 256 / 224⌋: the crop keeps the middle 7/8.
    Margin,
    /// The resolution itself: nothing is cropped off small pictures.
    Exact,
}

impl Resize {
    /// The length for this fit. Nothing is cropped off squashed pictures either.
    fn of(self, fit: Fit, resolution: usize) -> usize {
        match (self, fit) {
            (Resize::Margin, Fit::Crop) => usize::try_from(resolution as u128 * 256 / 224).unwrap_or(usize::MAX),
            (Resize::Exact, _) | (_, Fit::Squash) => resolution,
        }
    }
}

const IMAGENET: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/// (123, 117, 104) in 0…255.
const VOC: Normalisation =
    Normalisation { mean: [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0], std: [0.229, 0.224, 0.225] };
/// 0…1 becomes −1…1.
const HALF: Normalisation = Normalisation { mean: [0.5; 3], std: [0.5; 3] };
const CIFAR: Normalisation = Normalisation { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] };

/// The stem of MobileNeXt and MobileNetV2.
const fn mobile_stem(stride: usize) -> Stem {
    Stem::new(32, stride)
}

const fn sandglass(ratio: usize, channels: usize, repeats: usize, stride: usize) -> Stage {
    Stage::new(BlockKind::Sandglass, ratio, channels, repeats, stride)
}

/// The layer table of the authors' released model: ratio, channels, repeats, stride.
const fn mobilenext(first_stride: usize) -> [Stage; 8] {
    [
        sandglass(2, 96, 1, first_stride),
        sandglass(6, 144, 1, 1),
        sandglass(6, 192, 3, 2),
        sandglass(6, 288, 3, 2),
        sandglass(6, 384, 4, 1),
        sandglass(6, 576, 4, 2),
        sandglass(6, 960, 3, 1),
        sandglass(6, 1280, 1, 1),
    ]
}

const fn inverted_residual(ratio: usize, channels: usize, repeats: usize, stride: usize) -> Stage {
    Stage::new(BlockKind::InvertedResidual, ratio, channels, repeats, stride)
}

/// Table 2 of the paper, as torchvision has it.
///
/// `first_stride` is that of the second stage: 2, or 1 for small pictures. The stage begins without a shortcut either way,
/// also at widths where its channels would allow one: only the stride differs.
const fn mobilenetv2(first_stride: usize) -> [Stage; 7] {
    [
        inverted_residual(1, 16, 1, 1),
        Stage { first_shortcut: false, ..inverted_residual(6, 24, 2, first_stride) },
        inverted_residual(6, 32, 3, 2),
        inverted_residual(6, 64, 4, 2),
        inverted_residual(6, 96, 3, 1),
        inverted_residual(6, 160, 3, 2),
        inverted_residual(6, 320, 1, 1),
    ]
}

/// Table 1 of the paper: four stages of these `repeats`. Hidden channels are the output channels divided by `ratio`.
const fn resnet(block: BlockKind, ratio: usize, repeats: [usize; 4]) -> [Stage; 4] {
    const fn stage(block: BlockKind, ratio: usize, hidden: usize, repeats: usize, stride: usize) -> Stage {
        Stage::new(block, ratio, hidden * ratio, repeats, stride)
    }
    [
        stage(block, ratio, 64, repeats[0], 1),
        stage(block, ratio, 128, repeats[1], 2),
        stage(block, ratio, 256, repeats[2], 2),
        stage(block, ratio, 512, repeats[3], 2),
    ]
}

const MOBILENEXT: Family = Family {
    name: "mobilenext",
    stem: mobile_stem(2),
    stages: &mobilenext(2),
    activation: Activation::Relu6,
    head: None,
    classes: 1000,
    resolution: 224,
    padding: Padding::Torch,
    normalisation: IMAGENET,
    resize: Resize::Margin,
    fit: Fit::Crop,
    interpolation: Interpolation::BilinearAntialiased,
    bn_eps: None,
    detector: None,
};

const MOBILENETV2: Family = Family { name: "mobilenetv2", stages: &mobilenetv2(2), head: Some(1280), ..MOBILENEXT };

/// A network for pictures of 32 x 32.
const fn cifar(name: &'static str, stages: &'static [Stage], head: Option<usize>) -> Family {
    Family {
        name,
        stem: mobile_stem(1),
        stages,
        head,
        classes: 10,
        resolution: 32,
        normalisation: CIFAR,
        resize: Resize::Exact,
        ..MOBILENEXT
    }
}

const fn resnet_family(name: &'static str, stages: &'static [Stage]) -> Family {
    let stem = Stem { channels: 64, stride: 2, kernel: 7, max_pool: true };
    Family { name, stem, stages, activation: Activation::Relu, ..MOBILENEXT }
}

/// The detector of MobileNeXt's authors.
const SSDLITE_MOBILENEXT: Family = Family {
    name: "ssdlite-mobilenext",
    classes: 21,
    resolution: 320,
    normalisation: VOC,
    resize: Resize::Exact,
    fit: Fit::Squash,
    interpolation: Interpolation::Bilinear,
    detector: Some(ssdlite::mobilenext),
    ..MOBILENEXT
};

/// All families; a new one is a new entry.
const FAMILIES: &[Family] = &[
    MOBILENEXT,
    cifar("mobilenext-cifar", &mobilenext(1), None),
    MOBILENETV2,
    cifar("mobilenetv2-cifar", &mobilenetv2(1), Some(1280)),
    resnet_family("resnet18", &resnet(BlockKind::Basic, 1, [2, 2, 2, 2])),
    resnet_family("resnet34", &resnet(BlockKind::Basic, 1, [3, 4, 6, 3])),
    resnet_family("resnet50", &resnet(BlockKind::Bottleneck, 4, [3, 4, 6, 3])),
    SSDLITE_MOBILENEXT,
    Family {
        name: "ssdlite-mobilenetv2",
        stages: &mobilenetv2(2),
        head: Some(1280),
        detector: Some(ssdlite::mobilenetv2),
        ..SSDLITE_MOBILENEXT
    },
    // TensorFlow's, as its object detection API trains it: person or no person.
    Family {
        name: "ssdlite300-mobilenetv2-tf",
        classes: 2,
        resolution: 300,
        padding: Padding::Tf,
        normalisation: HALF,
        resize: Resize::Exact,
        fit: Fit::Squash,
        bn_eps: Some(1e-3),
        detector: Some(ssdlite::tensorflow),
        ..MOBILENETV2
    },
];

/// Names that [`Spec::family`] knows.
///
/// ```
/// # use mnx_graph as mnx;
/// assert!(mnx::families().any(|name| name == "mobilenext"));
/// ```
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// The family whose defaults a network of this name has. Users' own take those of the first family of their kind.
fn defaults(name: &str, is_detector: bool) -> &'static Family {
    let own = if is_detector { &SSDLITE_MOBILENEXT } else { &MOBILENEXT };
    find(name).unwrap_or(own)
}

/// What the batch norms of this family add to variances, if that does not follow from the names in a checkpoint.
#[cfg(feature = "convert")]
pub(crate) fn bn_eps(name: &str) -> Option<f64> {
    find(name).and_then(|family| family.bn_eps)
}

/// A stage table as a user writes it. Absent fields have defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Table {
    family: Option<String>,
    stem: Stem,
    stages: Vec<Stage>,
    activation: Option<Activation>,
    head: Option<usize>,
    width: Option<f64>,
    identity: Option<f64>,
    resolution: Option<usize>,
    channels: Option<usize>,
    classes: Option<usize>,
    padding: Option<Padding>,
    labels: Option<Vec<String>>,
    #[serde(default)]
    preprocessing: TablePreprocessing,
    detector: Option<DetectorSpec>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct TablePreprocessing {
    resize: Option<usize>,
    fit: Option<Fit>,
    interpolation: Option<Interpolation>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

impl Table {
    fn new(stem: Stem, stages: Vec<Stage>) -> Table {
        Table {
            family: None,
            stem,
            stages,
            activation: None,
            head: None,
            width: None,
            identity: None,
            resolution: None,
            channels: None,
            classes: None,
            padding: None,
            labels: None,
            preprocessing: TablePreprocessing::default(),
            detector: None,
        }
    }
}

impl From<Table> for Spec {
    fn from(table: Table) -> Spec {
        let name = table.family.unwrap_or_else(|| "custom".into());
        let defaults = defaults(&name, table.detector.is_some());
        let resolution = table.resolution.unwrap_or(defaults.resolution);
        let fit = table.preprocessing.fit.unwrap_or(defaults.fit);
        let labelled = table.labels.as_ref().map(Vec::len);
        Spec {
            family: name,
            stem: table.stem,
            stages: table.stages,
            activation: table.activation.unwrap_or(defaults.activation),
            head: table.head,
            width: table.width.unwrap_or(1.0),
            identity: table.identity.unwrap_or(1.0),
            resolution,
            channels: table.channels.unwrap_or(3),
            classes: table.classes.or(labelled).unwrap_or(defaults.classes),
            padding: table.padding.unwrap_or(defaults.padding),
            labels: table.labels,
            preprocessing: Preprocessing {
                resize: table.preprocessing.resize.unwrap_or(defaults.resize.of(fit, resolution)),
                fit,
                interpolation: table.preprocessing.interpolation.unwrap_or(defaults.interpolation),
                mean: table.preprocessing.mean.unwrap_or(defaults.normalisation.mean),
                std: table.preprocessing.std.unwrap_or(defaults.normalisation.std),
            },
            detector: table.detector,
        }
    }
}

impl Spec {
    /// The named family with its defaults (width 1, identity 1). `None` if the name is not one of [`families`].
    ///
    /// ```
    /// # use mnx_graph::{Network, Spec};
    /// let mut spec = Spec::family("mobilenext").unwrap();
    /// spec.width = 0.35;
    /// spec.set_resolution(160);
    /// assert_eq!(spec.preprocessing.resize, 182);
    /// assert_eq!(Network::new(&spec)?.parameters(), 1_913_976);
    /// # Ok::<(), mnx_graph::Error>(())
    /// ```
    pub fn family(name: &str) -> Option<Spec> {
        find(name).map(|family| Spec {
            family: family.name.into(),
            stem: family.stem.clone(),
            stages: family.stages.to_vec(),
            activation: family.activation,
            head: family.head,
            width: 1.0,
            identity: 1.0,
            resolution: family.resolution,
            channels: 3,
            classes: family.classes,
            padding: family.padding,
            labels: None,
            preprocessing: Preprocessing {
                resize: family.resize.of(family.fit, family.resolution),
                fit: family.fit,
                interpolation: family.interpolation,
                mean: family.normalisation.mean,
                std: family.normalisation.std,
            },
            detector: family.detector.map(|detector| detector()),
        })
    }

    /// The length in pixels to which this family resizes a picture's short side for `resolution`: ⌊resolution · 256 / 224⌋. For
    /// the CIFAR families, for detectors and for squashed pictures it is the resolution itself.
    pub fn default_resize(&self, resolution: usize) -> usize {
        defaults(&self.family, self.detector.is_some()).resize.of(self.preprocessing.fit, resolution)
    }

    /// Sets the resolution, and `preprocessing.resize` to the default for it. Strides and sizes of a detector's priors change in
    /// proportion; to and from 0, which no network has, they stay as they are.
    pub fn set_resolution(&mut self, resolution: usize) {
        if let Some(detector) = &mut self.detector {
            detector.rescale(self.resolution, resolution);
        }
        self.resolution = resolution;
        self.preprocessing.resize = self.default_resize(resolution);
    }

    /// A network of your own: a classifier of 1000 classes, with the defaults of [`from_json`](Spec::from_json).
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// use mnx::{BlockKind, Network, Spec, Stage, Stem};
    ///
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// let stages = vec![
    ///     Stage::new(BlockKind::Sandglass, 2, 96, 1, 2),
    ///     Stage::new(BlockKind::Sandglass, 6, 192, 2, 2),
    /// ];
    /// let mut spec = Spec::new(Stem::new(32, 2), stages);
    /// spec.family = "mine".into();
    /// spec.classes = 2;
    /// spec.set_resolution(96);
    /// assert_eq!(Network::new(&spec)?.blocks.len(), 4);
    /// let file: Vec<u8> = mnx::init(&spec, 1)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(stem: Stem, stages: Vec<Stage>) -> Spec {
        Table::new(stem, stages).into()
    }

    /// Reads a stage table of your own: a JSON object with the fields of a [`Spec`]. Channels are those before the width
    /// multiplier. Only `stem` and `stages` are required. The other fields have these defaults:
    ///
    /// | field | default |
    /// | --- | --- |
    /// | `family` (the network's name) | `custom` |
    /// | `classes` | the number of labels, or else 1000; 21 with a `detector` |
    /// | `width`, `identity` | 1 |
    /// | `channels`, `resolution` | 3, 224; 320 with a `detector` |
    /// | `padding` | `torch` |
    /// | `activation` | `relu6` |
    /// | `head`, `labels` | none |
    /// | `detector` (a [`DetectorSpec`]) | none: the network is a classifier |
    /// | `preprocessing.mean`, `.std` | ImageNet's; those of `ssdlite-mobilenext` with a `detector` |
    /// | `preprocessing.fit`, `.interpolation` | `crop`, `bilinear-antialiased`; `squash`, `bilinear` with a `detector` |
    /// | `preprocessing.resize` | [`default_resize`](Spec::default_resize) |
    /// | a stage's `block` | `sandglass` |
    ///
    /// If `family` is one of [`families`], classes, resolution, activation, padding and preprocessing have that family's
    /// defaults.
    ///
    /// ```
    /// # use mnx_graph::{Network, Spec};
    /// let spec = Spec::from_json(r#"{
    ///     "family": "mine",
    ///     "stem": {"channels": 32, "stride": 2},
    ///     "stages": [
    ///         {"block": "sandglass", "ratio": 2, "channels": 96, "repeats": 1, "stride": 2},
    ///         {"ratio": 6, "channels": 192, "repeats": 2, "stride": 2}
    ///     ],
    ///     "width": 0.5,
    ///     "identity": 1.0,
    ///     "resolution": 96,
    ///     "padding": "torch",
    ///     "labels": ["cat", "dog"],
    ///     "preprocessing": {"resize": 110, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    /// }"#)?;
    /// assert_eq!(spec.classes, 2);
    /// assert_eq!(Network::new(&spec)?.blocks.len(), 4);
    /// # Ok::<(), mnx_graph::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::StageTable`] if `text` is not JSON, lacks a field, or has a field that is unknown, doubled or of the wrong type.
    /// Whether the values make a network is checked by [`Network::new`](crate::Network::new).
    pub fn from_json(text: &str) -> Result<Spec, Error> {
        match serde_json::from_str::<Table>(text) {
            Ok(table) => Ok(table.into()),
            Err(e) => {
                let field = unnamed_field(text, &e).map(|key| shown(&key, NAME));
                Err(Error::StageTable { field, message: shown(&e.to_string(), SENTENCE) })
            }
        }
    }
}

/// The key just before the place where reading stopped, for errors whose text names no field. (serde names unknown, missing
/// and doubled fields, but not fields of the wrong type.)
fn unnamed_field(text: &str, error: &serde_json::Error) -> Option<String> {
    if !error.is_data() || error.to_string().contains(" field `") {
        return None;
    }
    let line_start: usize = text.split_inclusive('\n').take(error.line().checked_sub(1)?).map(str::len).sum();
    let read = text.as_bytes().get(..line_start + error.column())?;
    let colon = read.iter().rposition(|&b| b == b':')?;
    let close = read[..colon].iter().rposition(|&b| b == b'"')?;
    let open = read[..close].iter().rposition(|&b| b == b'"')?;
    std::str::from_utf8(&read[open + 1..close]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
