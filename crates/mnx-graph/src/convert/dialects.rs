//! What other implementations call the layers of our networks, as a table. A new implementation is a new entry.

use crate::{BlockKind, Layer, Network, Padding, Spec};

/// How an implementation names its tensors, and what else is typical of networks that were trained with it.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct Dialect {
    /// Whose names they are: `own` (those of [`Layer::name`]: the authors' of MobileNeXt, torchvision's of MobileNetV2 and
    /// ResNet), `tonylins`, `timm`, `Hugging Face`, `OpenMMLab` or `Keras`.
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
    /// `None`: the names that [`Layer`] has itself.
    names: Option<&'static Names>,
}

/// Names of a convolution and of its batch norm. Names in blocks have placeholders for numbers:
///
/// | placeholder | number |
/// | --- | --- |
/// | `{n}` | the block's; the stem is 0 |
/// | `{n-1}`, `{n-2}` | one and two less |
/// | `{s}`, `{s+1}` | the stage's, from 0 and from 1 |
/// | `{b}` | the block's in its stage, from 0 |
type Pair = (&'static str, &'static str);

#[derive(Debug, PartialEq)]
struct Names {
    /// The first layer. If there are several pairs, a file has one of them.
    stem: &'static [Pair],
    /// A block's names are those of the entry with as many layers.
    blocks: &'static [Block],
    /// The projection, as named in its block.
    projection: Option<Pair>,
    /// The pointwise layer before the average pool. If there are several pairs, a file has one of them.
    head: &'static [Pair],
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
    kinds: &[BlockKind::Sandglass, BlockKind::InvertedResidual, BlockKind::Basic, BlockKind::Bottleneck],
    names: None,
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
        names: Some(&Names {
            stem: &[("features.0.0", "features.0.1")],
            blocks: &[
                Block("features.{n}.conv.", &[("0", "1"), ("3", "4")]),
                Block("features.{n}.conv.", &[("0", "1"), ("3", "4"), ("6", "7")]),
            ],
            projection: None,
            head: &[("features.{n}.0", "features.{n}.1"), ("conv.0", "conv.1")],
        }),
        ..OWN
    },
    &Dialect {
        name: "timm",
        kinds: MOBILENETV2,
        names: Some(&Names {
            stem: &[("conv_stem", "bn1")],
            blocks: &[
                Block("blocks.{s}.{b}.", &[("conv_dw", "bn1"), ("conv_pw", "bn2")]),
                Block("blocks.{s}.{b}.", &[("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]),
            ],
            projection: None,
            head: &[("conv_head", "bn2")],
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
        names: Some(&Names {
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
        }),
    },
    &Dialect {
        name: "Hugging Face",
        kinds: RESNET,
        names: Some(&Names {
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
        }),
        ..OWN
    },
    // Its ResNets have torchvision's names.
    &Dialect {
        name: "OpenMMLab",
        kinds: MOBILENETV2,
        names: Some(&Names {
            stem: &[("conv1.conv", "conv1.bn")],
            blocks: &[
                Block("layer{s+1}.{b}.conv.", &[("0.conv", "0.bn"), ("1.conv", "1.bn")]),
                Block("layer{s+1}.{b}.conv.", &[("0.conv", "0.bn"), ("1.conv", "1.bn"), ("2.conv", "2.bn")]),
            ],
            projection: None,
            head: &[("conv2.conv", "conv2.bn")],
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
        names: Some(&Names {
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

/// The possible names of a layer with a batch norm: its convolution's and its norm's.
pub(super) type Alternatives = Vec<(String, String)>;

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
        let Some(names) = self.names else {
            let own = network.blocks.iter().flat_map(|block| block.all_layers().map(own)).collect();
            return Some(own);
        };
        let mut places = spec.stages.iter().enumerate().flat_map(|(s, stage)| (0..stage.repeats).map(move |b| (s, b)));
        let mut layers = Vec::new();
        for (n, block) in network.blocks.iter().enumerate() {
            let place = if n == 0 { None } else { places.next() };
            let fill = |name: &str| filled(name, n, place.unwrap_or_default());
            let several = |pairs: &[Pair]| pairs.iter().map(|(conv, norm)| (fill(conv), fill(norm))).collect();
            match place {
                None if n == 0 => layers.push(several(names.stem)),
                None => layers.push(several(names.head)),
                Some(_) => {
                    let Block(start, pairs) = names.blocks.iter().find(|row| row.1.len() == block.layers.len())?;
                    let projection = block.projection.as_ref().map(|_| names.projection);
                    for pair in pairs.iter().copied().map(Some).chain(projection) {
                        let (conv, norm) = pair?;
                        layers.push(vec![(fill(&format!("{start}{conv}")), fill(&format!("{start}{norm}")))]);
                    }
                }
            }
        }
        layers.iter().all(|alternatives: &Alternatives| !alternatives.is_empty()).then_some(layers)
    }
}

fn own(layer: &Layer) -> Alternatives {
    vec![(layer.name.clone(), layer.norm.clone().unwrap_or_default())]
}

/// The name with numbers for its placeholders. The block is number `n`, in stage `s` number `b`.
fn filled(name: &str, n: usize, (s, b): (usize, usize)) -> String {
    let numbers = [
        ("{n}", n),
        ("{n-1}", n.saturating_sub(1)),
        ("{n-2}", n.saturating_sub(2)),
        ("{s}", s),
        ("{s+1}", s + 1),
        ("{b}", b),
    ];
    numbers.iter().fold(name.to_owned(), |name, (placeholder, number)| name.replace(placeholder, &number.to_string()))
}
