//! The command line as types. The range of every flag is checked here, before any file is touched.

mod detect;
mod eval;
mod global;
mod quantize;
mod weights;

use std::path::PathBuf;

use clap::builder::{
    NonEmptyStringValueParser, OsStringValueParser, PathBufValueParser, RangedU64ValueParser, TypedValueParser,
};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::detect::{Detect, Thresholds};
pub(crate) use self::eval::{Eval, Truth};
pub(crate) use self::global::{Amx, DotProducts, Format, Global};
pub(crate) use self::quantize::{MethodChoice, Quantize, Switch};
pub(crate) use self::weights::{NeededWeights, Weights};
use crate::embedded::Embedded;
use crate::values::{Arch, Channels, Subject, eps, identity, mean, plot, std_dev, width};

/// Classify pictures, detect objects, convert, quantize and benchmark MobileNeXt, MobileNetV2, ResNet and SSDLite.
#[derive(Debug, Parser)]
#[command(name = "mnx-infer", version = version(), long_version = long_version(), max_term_width = 100, after_help = examples())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The version, and the ISA that was detected.
fn version() -> String {
    format!("{} ({})", env!("CARGO_PKG_VERSION"), mnx::Isa::detect())
}

fn long_version() -> String {
    let available: Vec<_> = mnx::Isa::available().iter().map(ToString::to_string).collect();
    format!("{}\nISAs of this CPU: {}", version(), available.join(", "))
}

fn examples() -> String {
    let column = Embedded::all().iter().map(|embedded| embedded.name.len()).max().unwrap_or(0);
    let line = |embedded: &Embedded| format!("  {:column$}  {}\n", embedded.name, embedded.about);
    let networks: String = Embedded::all().iter().map(line).collect();
    let networks =
        if networks.is_empty() { networks } else { format!("Networks inside this program (--model):\n{networks}\n") };
    format!(
        "\
Examples:
  mnx-infer classify cat.png dog.jpg
  mnx-infer convert --arch mobilenext --width 0.35 --input w.safetensors --output w.mnx
  mnx-infer bench --weights w.mnx --threads 1,2

{networks}Exit codes: 0 fine, 1 failed (one line on standard error says why), 2 wrong usage."
    )
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is in pictures
    Classify(Classify),
    /// Find things in pictures and say where they are
    Detect(Detect),
    /// Run a tensor through the network: .npy in, .npy out
    Run(Run),
    /// Make a weight file (.mnx) from a checkpoint (.safetensors) or an ONNX model
    Convert(Convert),
    /// Make a weight file with random weights, for benchmarks
    Init(Init),
    /// Make an int8 weight file of an f32 one and pictures like those it will see
    Quantize(Quantize),
    /// Measure the network's speed beside the CPU's peak
    Bench(Bench),
    /// Measure networks in turn and print a table that compares them
    Compare(Compare),
    /// Count right answers on folders of pictures, one folder per class, or judge a detector on a data set in VOC's form
    Eval(Eval),
    /// Show a network's layers and memory, the networks inside this program, or its kernels
    Inspect(Inspect),
    /// Print a script with which a shell completes commands and flags
    Completions(Completions),
}

impl Command {
    /// `--max-pixels`, of commands that read pictures.
    pub(crate) fn max_pixels(&self) -> Option<u64> {
        match self {
            Command::Classify(args) => args.pictures.max_pixels,
            Command::Detect(args) => args.pictures.max_pixels,
            Command::Quantize(args) => args.pictures.max_pixels,
            Command::Compare(args) => args.pictures.max_pixels,
            Command::Eval(args) => args.pictures.max_pixels,
            _ => None,
        }
    }
}

/// How pictures are read.
#[derive(Args, Debug)]
pub(crate) struct Pictures {
    /// Largest picture in pixels; it then gets the memory it needs [default: as many as decode within 256 MiB on all
    /// threads together, 89 million of a usual PNG or JPEG]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 40))]
    pub(crate) max_pixels: Option<u64>,
}

/// `classify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer classify cat.png
  mnx-infer classify --model imagenet photo.jpg
  mnx-infer classify --weights w.mnx --top 3 --format json *.jpg
  mnx-infer classify holidays/ --format json
  curl -s https://example.org/cat.jpg | mnx-infer classify -

Several pictures are classified at once, one per thread; answers are in the order of the pictures. \
If a picture cannot be read, the others are still classified, and the exit code is 1. \
In JSON, a picture whose name is not UTF-8 has the name's bytes as `file_bytes`.")]
pub(crate) struct Classify {
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// Pictures: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM; a folder of them; - for standard input
    ///
    /// In a folder and its sub-folders, all files are taken that are pictures by their names or by their first bytes, in
    /// the order of their paths. Other files are counted on standard error, except those whose names start with a dot.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// How many classes to list, at most all [default: 5]
    #[arg(long, value_name = "K", value_parser = count())]
    pub(crate) top: Option<usize>,
    #[command(flatten)]
    pub(crate) pictures: Pictures,
    /// Also write the network's input: f32, N x 3 x H x W, for the pictures that could be read
    #[arg(long, value_name = "X.npy")]
    pub(crate) dump_input: Option<PathBuf>,
}

/// `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer run --weights w.mnx --input x.npy --output y.npy --dump-blocks blocks/
  make-tensor | mnx-infer run --weights w.mnx --input - --output - | use-logits")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) weights: NeededWeights,
    /// Input: f32, C order, N x 3 x H x W with any N, H and W from 1 on; already normalised. - is standard input
    #[arg(long, value_name = "X.npy")]
    pub(crate) input: PathBuf,
    /// Where the outputs go: f32. Of a classifier N x classes; of a detector N x priors x (classes + 4), raw scores and boxes side
    /// by side. DIR/ gets a file for each: logits.npy, or scores.npy and boxes.npy. - is standard output, which then has
    /// nothing else
    #[arg(long, value_name = "Y.npy|DIR")]
    pub(crate) output: PathBuf,
    /// Also write each block's output, N x C x H x W, to DIR/NN.npy; 00 is the stem. Runs on one thread
    #[arg(long, value_name = "DIR")]
    pub(crate) dump_blocks: Option<PathBuf>,
}

/// Which network. What is not given is the architecture's default.
#[derive(Args, Debug)]
pub(crate) struct Network {
    /// Name of a network (mobilenext, mobilenext-cifar, mobilenetv2, mobilenetv2-cifar, resnet18, resnet34, resnet50) or of a
    /// detector (ssdlite-mobilenext, ssdlite-mobilenetv2, ssdlite300-mobilenetv2-tf), or a stage table of your own (FILE.json); `convert` also takes auto, its default
    #[arg(long, value_name = "ARCH", default_value = "auto", hide_default_value = true, value_parser = Arch::parse)]
    pub(crate) arch: Arch,
    /// Width multiplier; ResNets have none [default: 1, or the stage table's]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = width)]
    pub(crate) width: Option<f64>,
    /// Side of the network's pictures in pixels [default: 224, 32 for CIFAR networks; 320 and TensorFlow's 300 for detectors]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) resolution: Option<usize>,
    /// Outputs of the classifier, or a detector's classes with the background [default: 1000, 10 for CIFAR networks; 21 and
    /// TensorFlow's 2 for detectors]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) classes: Option<usize>,
    /// Identity tensor multiplier, 0 to 1: the share of channels that shortcuts cover [default: 1]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = identity)]
    pub(crate) identity: Option<f64>,
    /// How the classifier's weights are stored: 16 bits are read in half the time and rounded to 8 (bf16) or 11 (f16)
    /// significant bits; not for detectors
    #[arg(long, value_name = "f32|bf16|f16", default_value = "f32", hide_possible_values = true)]
    pub(crate) classifier_dtype: DtypeChoice,
    /// What `detect` takes where it is not told otherwise; of detectors only.
    #[command(flatten, next_help_heading = "Detectors: which boxes count by default")]
    pub(crate) thresholds: Thresholds,
}

/// `--classifier-dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeChoice {
    /// As all other weights
    F32,
    /// The upper half of an f32: its range, 8 significant bits
    Bf16,
    /// Half precision: up to 65504, 11 significant bits
    F16,
}

/// `convert`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer convert --input model.onnx --output w.mnx
  mnx-infer convert --arch auto --input w.safetensors --output w.mnx
  mnx-infer convert --arch mobilenext-cifar --width 0.35 --labels labels.txt --input w.safetensors --output w.mnx

`--arch auto` detects family, number of classes and the nearest common width (mobilenext 0.1, 0.35, 0.5, 0.75, 1, \
1.4; mobilenetv2 also 1.3) from the checkpoint's names and shapes. These do not show strides, padding, epsilon and \
identity multiplier, so it says what it assumes. Names may be the MobileNeXt authors', torchvision's, timm's, tonylins's, \
Keras's, OpenMMLab's or those of Hugging Face's transformers, behind any prefix. \
tools/pth_to_safetensors.py makes a .safetensors file from a PyTorch checkpoint (.pth), tools/keras_to_safetensors.py from a \
Keras model.

ONNX models may be MobileNetV2, MobileNeXt or ResNet, written by PyTorch's exporters or tf2onnx. Their graph tells all of \
this, whatever the names are; only mean and std are assumed. A flag that contradicts the graph is an error.

The same checkpoint and flags give the same bytes.")]
pub(crate) struct Convert {
    /// Checkpoint with the names of a well-known implementation, or an ONNX model; batch norms are folded into the weights
    #[arg(long, value_name = "W.safetensors|MODEL.onnx")]
    pub(crate) input: PathBuf,
    /// Weight file to make
    #[arg(long, value_name = "W.mnx")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Prefix of the names of the network's tensors, e.g. model. or ema.module. [default: the prefix that most have]
    ///
    /// Tensors without the prefix are left out. Without this flag every tensor except the classifier must have it.
    #[arg(long, value_name = "P", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) strip_prefix: Option<String>,
    /// Where padded convolutions put their zeros: as PyTorch does, or as TensorFlow's SAME [default: torch; tf if the
    /// names are Hugging Face's of MobileNetV2 or Keras's]
    #[arg(long, value_name = "torch|tf")]
    pub(crate) padding: Option<PaddingChoice>,
    /// What batch norms add to variances: 1e-3 if TensorFlow trained them; ONNX models say it themselves [default: 1e-5;
    /// 1e-3 if the names are Hugging Face's of MobileNetV2 or Keras's]
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = eps)]
    pub(crate) bn_eps: Option<f64>,
    /// Text file with the classes' names, one per line; a detector's begin with the background [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Mean of the pixels in 0…1 [default: ImageNet's, or CIFAR's for its networks]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true, requires = "std", value_parser = mean)]
    pub(crate) mean: Option<Channels>,
    /// Standard deviation of the pixels in 0…1 [default: ImageNet's, or CIFAR's for its networks]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true, requires = "mean", value_parser = std_dev)]
    pub(crate) std: Option<Channels>,
    /// Short side of pictures before the crop to the resolution, or both sides of squashed ones [default: resolution * 256 / 224;
    /// the resolution for CIFAR networks and squashed pictures]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) resize: Option<usize>,
    /// How pictures are made square [default: crop]
    #[arg(long, value_name = "crop|squash")]
    pub(crate) fit: Option<FitChoice>,
    /// How pictures are resized, as Pillow and torchvision do it [default: bilinear]
    #[arg(long, value_name = "bilinear|bilinear-antialiased|bicubic")]
    pub(crate) interpolation: Option<InterpolationChoice>,
}

/// `--fit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FitChoice {
    /// The short side is resized, and the middle is kept
    Crop,
    /// Both sides are resized to the same length
    Squash,
}

/// `--interpolation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterpolationChoice {
    /// A weighted mean of neighbours: of a detector the four nearest, of a classifier as `bilinear-antialiased`
    Bilinear,
    /// A weighted mean of all the pixels that a pixel of a smaller picture covers
    BilinearAntialiased,
    /// Sharper, over all covered pixels as well: what timm uses
    Bicubic,
}

/// `--padding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PaddingChoice {
    /// One row or column on each side
    Torch,
    /// None before and one after, if the stride is 2 and the size even
    Tf,
}

/// `init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  mnx-infer init --arch mobilenext --seed 1 --output random.mnx

The same seed and flags give the same bytes.")]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) network: Network,
    /// Seed of the random weights
    #[arg(long, value_name = "N")]
    pub(crate) seed: u64,
    /// Weight file to make
    #[arg(long, value_name = "W.mnx")]
    pub(crate) output: PathBuf,
}

/// `bench`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer bench
  mnx-infer bench --weights w.mnx --threads 1,2 --batch 1,8 --format json
  mnx-infer bench --weights w.mnx --threads 1 --per-block --plot blocks.svg
  mnx-infer bench --weights w.mnx --sessions 1,2,4

Times are per batch. The peak is what the same threads reach with multiply-adds alone, of int8 layers \
with exact dot products of bytes alone. The bandwidth is that of copies in working sets of 16 KiB to \
64 MiB. Both are measured in the same process, in turn with the network. A block's bound is the \
roofline model's: its multiply-adds at the peak, or its bytes (each activation and weight once) at the \
bandwidth of a working set of that size, whichever takes longer. A block's time is the mean over the \
fifth of the inferences whose length is nearest to the median.")]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// Pictures per inference; several numbers are measured one after the other
    #[arg(long, value_name = "N[,N]", default_value = "1", value_delimiter = ',', value_parser = count())]
    pub(crate) batch: Vec<usize>,
    /// Inferences before the measured ones
    #[arg(long, value_name = "N", default_value = "10", value_parser = count_from(0, 1_000_000))]
    pub(crate) warmup: usize,
    /// Measured inferences
    #[arg(long, value_name = "N", default_value = "100", value_parser = count_from(1, 1_000_000))]
    pub(crate) iterations: usize,
    /// Also show where the time goes, per block; this profiles as many inferences again, in turn with the others
    #[arg(long)]
    pub(crate) per_block: bool,
    /// The same per layer; fused layers are one row
    #[arg(long)]
    pub(crate) per_layer: bool,
    /// Draw the latency per block beside the roofline
    #[arg(long, value_name = "OUT.svg", value_parser = PathBufValueParser::new().try_map(plot))]
    pub(crate) plot: Option<PathBuf>,
    /// Ask for so many inferences at once, as a service does, and show pictures a second and how long each takes; several numbers
    /// are measured one after the other. As many sessions as the cores can run take turns, each with one thread unless --threads
    /// says otherwise; each caller does all the inferences
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', value_parser = count_from(1, 1024),
          conflicts_with_all = ["per_block", "per_layer", "plot"])]
    pub(crate) sessions: Vec<usize>,
}

impl Bench {
    /// Whether a flag asks for something that needs a profile.
    pub(crate) fn wants_profile(&self) -> bool {
        self.per_block || self.per_layer || self.plot.is_some()
    }
}

/// `compare`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer compare mobilenext:1.0 mobilenext:0.5 --plot compare.svg
  mnx-infer compare embedded:cifar embedded:cifar-mobilenetv2 --eval cifar10/test
  mnx-infer compare w.mnx w-int8.mnx embedded:imagenet --eval imagenet/val --sorted-folders
  mnx-infer compare a.mnx b.mnx --eval imagenet/val --sorted-folders --threads 1,2 --format markdown
  mnx-infer compare mobilenext --identity 1,0.5,0.25

Each number of threads is measured: by default 1, and the number of physical cores. All networks take \
turns, and each round begins with another one, so that drift in the machine's speed hits all of them. \
The peak is what the same threads reach with multiply-adds alone, of int8 layers with exact dot products of \
bytes alone, measured in every round. Times are medians, per batch; x is the ratio to \
the first network's, the median of the rounds, with their quartiles.")]
pub(crate) struct Compare {
    /// Weight files; networks inside this program, as embedded:NAME; or names of networks or stage tables, possibly with a
    /// width multiplier, which get random weights
    ///
    /// Write ./NAME for a weight file whose name has neither a dot nor a slash.
    #[arg(required = true, value_name = "W.mnx|embedded:NAME|ARCH[:WIDTH]|FILE.json[:WIDTH]", value_parser = OsStringValueParser::new().try_map(Subject::parse))]
    pub(crate) subjects: Vec<Subject>,
    /// Also count right answers on this folder, as `eval` does, and answers that are those of the first network with the same
    /// classes (trained networks only)
    #[arg(long, value_name = "DIR")]
    pub(crate) eval: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) pictures: Pictures,
    /// Draw accuracy (with --eval) or else multiply-adds against latency, with a line per family; before it, of several numbers of
    /// threads, latency against threads
    #[arg(long, value_name = "OUT.svg", value_parser = PathBufValueParser::new().try_map(plot))]
    pub(crate) plot: Option<PathBuf>,
    /// Pictures per inference
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    pub(crate) batch: usize,
    /// Inferences before the measured ones, per network
    #[arg(long, value_name = "N", default_value = "10", value_parser = count_from(0, 1_000_000))]
    pub(crate) warmup: usize,
    /// Measured inferences, per network
    #[arg(long, value_name = "N", default_value = "100", value_parser = count_from(1, 1_000_000))]
    pub(crate) iterations: usize,
    /// Side in pixels of each ARCH's pictures [default: its own]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) resolution: Option<usize>,
    /// Identity tensor multipliers: each ARCH that has one gets a row for each of these
    #[arg(long, value_name = "F[,F]", value_delimiter = ',', allow_negative_numbers = true, value_parser = identity)]
    pub(crate) identity: Vec<f64>,
    /// Seed of the random weights
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
}

/// `inspect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer inspect --weights w.mnx
  mnx-infer inspect --weights w.mnx --threads 2 --batch 8 --format json
  mnx-infer inspect --models
  mnx-infer inspect --kernels")]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// Show the kernels instead, with their tile on each ISA
    #[arg(long, conflicts_with_all = ["network", "batch"])]
    pub(crate) kernels: bool,
    /// List the networks inside this program instead
    #[arg(long, conflicts_with_all = ["network", "batch", "kernels"])]
    pub(crate) models: bool,
    /// Pictures per inference that the memory is laid out for
    #[arg(long, value_name = "N", default_value = "1", value_parser = count())]
    pub(crate) batch: usize,
}

/// `completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer completions bash > ~/.local/share/bash-completion/completions/mnx-infer
  mnx-infer completions zsh > ~/.zfunc/_mnx-infer
  mnx-infer completions fish > ~/.config/fish/completions/mnx-infer.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

fn count_from(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

fn count_to(most: u64) -> RangedU64ValueParser<usize> {
    count_from(1, most)
}

/// From 1 on. More than 4 billion of anything is beyond every limit.
fn count() -> RangedU64ValueParser<usize> {
    count_to(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
