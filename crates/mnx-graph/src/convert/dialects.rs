//! What other implementations call the layers of our networks, as a table. A new implementation is a new entry.

use super::modules::Modules;
use crate::{BlockKind, Layer, Network, Padding, Spec};

/// How an implementation names its tensors, and what else is typical of networks that were trained with it.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct Dialect {
    /// Whose names they are: `own` (those of [`Layer::name`]: the authors' of MobileNeXt, torchvision's of MobileNetV2 and
    /// ResNet), `tonylins`, `timm`, `Hugging Face`, `OpenMMLab` or `Keras`; of detectors `MobileNeXt's authors` or
    /// `TensorFlow's SSDLite`.
    pub name: &'static str,
    /// What its batch norms add to variances.
    pub bn_eps: f64,
    /// Where its padded convolutions put their zeros. `None`: where the spec says.
    pub padding: Option<Padding>,
    /// Mean and standard deviation of pixels in 0…1, the same for all channels. `None`: the spec's.
    pub mean_std: Option<(f32, f32)>,
    /// Outputs of its published networks. `None`: as many as the family has.
    pub classes: Option<usize>,
    /// Whether the first block of a MobileNetV2 has a shortcut if its channels allow one, as they do at narrow widths.
    pub first_shortcut: bool,
    /// It names networks that have only these kinds of block.
    kinds: &'static [BlockKind],
    rule: Rule,
}

/// How a dialect forms names.
#[derive(Debug, PartialEq)]
enum Rule {
    /// The names that [`Layer`] has itself.
    Own,
    /// A detector's own names, those of backbone and extra blocks behind the first prefix and those of heads behind the second.
    Behind(&'static str, &'static str),
    Table(&'static Names),
}

/// Names of a convolution and of its batch norm, empty where there is none. Names in blocks have placeholders for numbers:
///
/// | placeholder | number |
/// | --- | --- |
/// | `{n}` | the block's; the stem is 0 |
/// | `{n-1}`, `{n-2}` | one and two less |
/// | `{s}`, `{s+1}` | the stage's, from 0 and from 1 |
/// | `{b}` | the block's in its stage, from 0 |
/// | `{i}` | the extra block's or the level's, from 0 |
type Pair = (&'static str, &'static str);

#[derive(Debug, PartialEq)]
struct Names {
    /// The first layer. If there are several pairs, a file has one of them.
    stem: &'static [Pair],
    /// A block's names are those of the entry with as many layers.
    blocks: &'static [Block],
    /// The projection, as named in its block.
    projection: Option<Pair>,
    /// The pointwise layer after the stages. If there are several pairs, a file has one of them.
    head: &'static [Pair],
    /// `None`: it has no names for detectors. Otherwise it has names for nothing else.
    detector: Option<Detector>,
}

/// Names of what detectors add.
#[derive(Debug, PartialEq)]
struct Detector {
    extra: Block,
    scores: Block,
    boxes: Block,
}

/// How all names of a block begin, and how they go on, layer by layer.
#[derive(Debug, PartialEq)]
struct Block(&'static str, &'static [Pair]);

/// The names that [`Layer`] has itself. All other dialects are translated into these.
pub(super) const OWN: Dialect = Dialect {
    name: "own",
    bn_eps: 1e-5,
    padding: None,
    mean_std: None,
    classes: None,
    first_shortcut: true,
    kinds: BlockKind::ALL,
    rule: Rule::Own,
};

const MOBILENETV2: &[BlockKind] = &[BlockKind::InvertedResidual];
const RESNET: &[BlockKind] = &[BlockKind::Basic, BlockKind::Bottleneck];

/// All dialects. If several fit equally well, the first one is taken.
pub(super) const DIALECTS: &[&Dialect] = &[
    &OWN,
    // Numbers count a flat list of modules, activations included. The last layer is called `conv` in d-li14's MobileNetV2
    // and in the MobileNeXt authors'.
    &Dialect {
        name: "tonylins",
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[("features.0.0", "features.0.1")],
            blocks: &[
                Block("features.{n}.conv.", &[("0", "1"), ("3", "4")]),
                Block("features.{n}.conv.", &[("0", "1"), ("3", "4"), ("6", "7")]),
            ],
            projection: None,
            head: &[("features.{n}.0", "features.{n}.1"), ("conv.0", "conv.1")],
            detector: None,
        }),
        ..OWN
    },
    &Dialect {
        name: "timm",
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[("conv_stem", "bn1")],
            blocks: &[
                Block("blocks.{s}.{b}.", &[("conv_dw", "bn1"), ("conv_pw", "bn2")]),
                Block("blocks.{s}.{b}.", &[("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]),
            ],
            projection: None,
            head: &[("conv_head", "bn2")],
            detector: None,
        }),
        ..OWN
    },
    // TensorFlow trained these weights. There is one class more, the background, before ImageNet's.
    &Dialect {
        name: "Hugging Face",
        bn_eps: 1e-3,
        padding: Some(Padding::Tf),
        mean_std: Some((0.5, 0.5)),
        classes: Some(1001),
        first_shortcut: false,
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[(
                "mobilenet_v2.conv_stem.first_conv.convolution",
                "mobilenet_v2.conv_stem.first_conv.normalization",
            )],
            blocks: &[
                Block(
                    "mobilenet_v2.conv_stem.",
                    &[
                        ("conv_3x3.convolution", "conv_3x3.normalization"),
                        ("reduce_1x1.convolution", "reduce_1x1.normalization"),
                    ],
                ),
                Block(
                    "mobilenet_v2.layer.{n-2}.",
                    &[
                        ("expand_1x1.convolution", "expand_1x1.normalization"),
                        ("conv_3x3.convolution", "conv_3x3.normalization"),
                        ("reduce_1x1.convolution", "reduce_1x1.normalization"),
                    ],
                ),
            ],
            projection: None,
            head: &[("mobilenet_v2.conv_1x1.convolution", "mobilenet_v2.conv_1x1.normalization")],
            detector: None,
        }),
    },
    &Dialect {
        name: "Hugging Face",
        kinds: RESNET,
        rule: Rule::Table(&Names {
            stem: &[("resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization")],
            blocks: &[
                Block(
                    "resnet.encoder.stages.{s}.layers.{b}.",
                    &[
                        ("layer.0.convolution", "layer.0.normalization"),
                        ("layer.1.convolution", "layer.1.normalization"),
                    ],
                ),
                Block(
                    "resnet.encoder.stages.{s}.layers.{b}.",
                    &[
                        ("layer.0.convolution", "layer.0.normalization"),
                        ("layer.1.convolution", "layer.1.normalization"),
                        ("layer.2.convolution", "layer.2.normalization"),
                    ],
                ),
            ],
            projection: Some(("shortcut.convolution", "shortcut.normalization")),
            head: &[],
            detector: None,
        }),
        ..OWN
    },
    // Its ResNets have torchvision's names.
    &Dialect {
        name: "OpenMMLab",
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[("conv1.conv", "conv1.bn")],
            blocks: &[
                Block("layer{s+1}.{b}.conv.", &[("0.conv", "0.bn"), ("1.conv", "1.bn")]),
                Block("layer{s+1}.{b}.conv.", &[("0.conv", "0.bn"), ("1.conv", "1.bn"), ("2.conv", "2.bn")]),
            ],
            projection: None,
            head: &[("conv2.conv", "conv2.bn")],
            detector: None,
        }),
        ..OWN
    },
    // Keras's own layer names, as tools/keras_to_safetensors.py writes them.
    &Dialect {
        name: "Keras",
        bn_eps: 1e-3,
        padding: Some(Padding::Tf),
        mean_std: Some((0.5, 0.5)),
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[("Conv1", "bn_Conv1")],
            blocks: &[
                Block("expanded_conv_", &[("depthwise", "depthwise_BN"), ("project", "project_BN")]),
                Block(
                    "block_{n-1}_",
                    &[("expand", "expand_BN"), ("depthwise", "depthwise_BN"), ("project", "project_BN")],
                ),
            ],
            projection: None,
            head: &[("Conv_1", "Conv_1_bn")],
            detector: None,
        }),
        ..OWN
    },
    // The state dict of their detectors; those that tools/train makes have the same names.
    &Dialect {
        name: "MobileNeXt's authors",
        kinds: &[BlockKind::Sandglass, BlockKind::InvertedResidual],
        rule: Rule::Behind("backbone.", "box_head.predictor."),
        ..OWN
    },
    // TensorFlow's object detection API, as checkpoints that were taken out of its frozen graphs name its layers.
    &Dialect {
        name: "TensorFlow's SSDLite",
        bn_eps: 1e-3,
        padding: Some(Padding::Tf),
        mean_std: Some((0.5, 0.5)),
        kinds: MOBILENETV2,
        rule: Rule::Table(&Names {
            stem: &[("stem.conv", "stem.bn")],
            blocks: &[
                Block("blocks.{n-1}.", &[("depthwise.conv", "depthwise.bn"), ("project.conv", "project.bn")]),
                Block(
                    "blocks.{n-1}.",
                    &[("expand.conv", "expand.bn"), ("depthwise.conv", "depthwise.bn"), ("project.conv", "project.bn")],
                ),
            ],
            projection: None,
            head: &[("last.conv", "last.bn")],
            detector: Some(Detector {
                extra: Block(
                    "extras.{i}.",
                    &[("reduce.conv", "reduce.bn"), ("depthwise.conv", "depthwise.bn"), ("expand.conv", "expand.bn")],
                ),
                scores: Block("heads.{i}.class.", &[("depthwise.conv", "depthwise.bn"), ("pointwise.conv", "")]),
                boxes: Block("heads.{i}.box.", &[("depthwise.conv", "depthwise.bn"), ("pointwise.conv", "")]),
            }),
        }),
        ..OWN
    },
];

/// What people call the classifier, in any dialect.
pub(super) const CLASSIFIERS: &[&str] = &[
    "classifier.1",
    "classifier",
    "classifier.0",
    "classifier.fc",
    "fc",
    "fc.0",
    "fc.1",
    "head",
    "head.fc",
    "last_linear",
    "predictions",
];

/// Last parts of names of tensors that training and its tools leave behind. No network uses them.
pub(super) const COUNTERS: &[&str] = &["num_batches_tracked", "n_averaged", "total_ops", "total_params"];

/// The possible names of a layer's tensors.
pub(super) type Alternatives = Vec<Modules>;

impl Dialect {
    /// Changes the spec to what networks with such names usually have: padding, mean and standard deviation, and whether there
    /// is a first shortcut. The number of classes is left alone.
    pub fn apply(&self, spec: &mut Spec) {
        spec.padding = self.padding.unwrap_or(spec.padding);
        if let Some((mean, std)) = self.mean_std {
            (spec.preprocessing.mean, spec.preprocessing.std) = ([mean; 3], [std; 3]);
        }
        if let Some(first) = spec.stages.first_mut().filter(|_| !self.first_shortcut) {
            first.first_shortcut = false;
        }
    }

    /// What this dialect calls the network's layers, in their order, without the classifier. `None` if it has no such network.
    pub(super) fn layers(&self, spec: &Spec, network: &Network) -> Option<Vec<Alternatives>> {
        if !spec.stages.iter().all(|stage| self.kinds.contains(&stage.block)) {
            return None;
        }
        let is_detector = network.classifier().is_none();
        let names = match self.rule {
            Rule::Own => return Some(prefixed(network, "", "")),
            Rule::Behind(blocks, heads) => return is_detector.then(|| prefixed(network, blocks, heads)),
            Rule::Table(names) => names,
        };
        if names.detector.is_some() != is_detector {
            return None;
        }
        let mut layers = names.backbone(spec, network)?;
        if let Some(detector) = &names.detector {
            layers.extend(detector.layers(spec, network)?);
        }
        layers.iter().all(|alternatives: &Alternatives| !alternatives.is_empty()).then_some(layers)
    }
}

/// How many blocks come after the backbone.
fn extras(spec: &Spec) -> usize {
    spec.detector.as_ref().map_or(0, |detector| detector.extras.len())
}

/// Own names: those in blocks behind one prefix, those of heads behind another.
fn prefixed(network: &Network, blocks: &str, heads: &str) -> Vec<Alternatives> {
    let prefixes = (0..).map(|block| if block < network.blocks.len() { blocks } else { heads });
    let of_block = |(block, prefix): (&crate::Block, &str)| {
        let of_layer = |layer| vec![Modules::of(layer, &layer.name, layer.norm.as_deref().unwrap_or_default(), prefix)];
        block.all_layers().map(of_layer).collect::<Vec<_>>()
    };
    network.all_blocks().zip(prefixes).flat_map(of_block).collect()
}

impl Names {
    /// The stem, the blocks of the stages, and the head if there is one.
    fn backbone(&self, spec: &Spec, network: &Network) -> Option<Vec<Alternatives>> {
        let backbone = network.blocks.len() - extras(spec);
        let mut places = spec.stages.iter().enumerate().flat_map(|(s, stage)| (0..stage.repeats).map(move |b| (s, b)));
        let mut layers = Vec::new();
        for (n, block) in network.blocks.iter().enumerate().take(backbone) {
            let place = if n == 0 { None } else { places.next() };
            let (s, b) = place.unwrap_or_default();
            let numbers = [
                ("{n}", n),
                ("{n-1}", n.saturating_sub(1)),
                ("{n-2}", n.saturating_sub(2)),
                ("{s}", s),
                ("{s+1}", s + 1),
                ("{b}", b),
            ];
            let mut of_layers = block.layers.iter();
            let mut several = |pairs: &[Pair]| {
                let layer = of_layers.next()?;
                Some(pairs.iter().map(|&pair| modules(layer, "", pair, &numbers)).collect())
            };
            match place {
                None if n == 0 => layers.push(several(self.stem)?),
                None => layers.push(several(self.head)?),
                Some(_) => {
                    let row @ Block(start, _) = self.blocks.iter().find(|row| row.1.len() == block.layers.len())?;
                    layers.extend(row.layers(&block.layers, &numbers)?);
                    if let Some(layer) = &block.projection {
                        layers.push(vec![modules(layer, start, self.projection?, &numbers)]);
                    }
                }
            }
        }
        Some(layers)
    }
}

impl Detector {
    /// The extra blocks and the heads.
    fn layers(&self, spec: &Spec, network: &Network) -> Option<Vec<Alternatives>> {
        let backbone = network.blocks.len() - extras(spec);
        let mut layers = Vec::new();
        for (i, block) in network.blocks[backbone..].iter().enumerate() {
            layers.extend(self.extra.layers(&block.layers, &[("{i}", i)])?);
        }
        for (i, level) in network.levels().iter().enumerate() {
            for (names, head) in [(&self.scores, &level.scores), (&self.boxes, &level.boxes)] {
                layers.extend(names.layers(&head.layers, &[("{i}", i)])?);
            }
        }
        Some(layers)
    }
}

impl Block {
    /// Names of a row of layers. `None` if there are not as many.
    fn layers(&self, layers: &[Layer], numbers: &[(&str, usize)]) -> Option<Vec<Alternatives>> {
        let Block(start, pairs) = self;
        let names = layers.iter().zip(*pairs).map(|(layer, &pair)| vec![modules(layer, start, pair, numbers)]);
        (layers.len() == pairs.len()).then(|| names.collect())
    }
}

/// Names of a layer, with numbers for placeholders.
fn modules(layer: &Layer, start: &str, (conv, norm): Pair, numbers: &[(&str, usize)]) -> Modules {
    let filled = |name: &str| {
        numbers
            .iter()
            .fold(name.to_owned(), |name, (placeholder, number)| name.replace(placeholder, &number.to_string()))
    };
    Modules::of(layer, &filled(conv), &filled(norm), &filled(start))
}
