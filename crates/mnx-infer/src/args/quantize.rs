//! The flags of `quantize`.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::{Pictures, Weights, count};
use crate::values::plot;

/// `quantize`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer quantize --weights w.mnx --calibrate pictures/ --output w-int8.mnx
  mnx-infer quantize --weights w.mnx --calibrate pictures/ --report --plot layers.svg --output w-int8.mnx
  mnx-infer quantize --weights w.mnx --calibrate x.npy --method percentile --keep classifier,features.1 --output w-int8.mnx

Calibration runs the pictures through the f32 network and notes the range of every value. Take some hundred pictures of \
all classes, like those that the network will see; they need no labels. Of more than --samples, evenly spaced ones are \
taken in the order of their paths. Pictures that cannot be read are named and passed over.

The same weights, pictures and flags give the same bytes, whatever the number of threads.")]
pub(crate) struct Quantize {
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// Folder of pictures, or a .npy file of network inputs: f32, C order, N x 3 x H x W, already normalised
    #[arg(long, value_name = "DIR|X.npy")]
    pub(crate) calibrate: PathBuf,
    /// Weight file to make
    #[arg(long, value_name = "Q.mnx")]
    pub(crate) output: PathBuf,
    /// How many pictures to take at most
    #[arg(long, value_name = "N", default_value = "500", value_parser = count())]
    pub(crate) samples: usize,
    #[command(flatten)]
    pub(crate) pictures: Pictures,
    /// How the range of a value is chosen [default: mse]
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<MethodChoice>,
    /// Layers that stay f32: names of layers or blocks, or their first parts, e.g. classifier,features.1
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(crate) keep: Vec<String>,
    /// Take what rounding the weights adds to the mean of each channel off its bias [default: on]
    #[arg(long, value_name = "on|off", hide_possible_values = true)]
    pub(crate) bias_correction: Option<Switch>,
    /// Show what each layer loses: range, clipped share, and signal to noise against f32
    #[arg(long)]
    pub(crate) report: bool,
    /// Draw signal to noise per layer
    #[arg(long, value_name = "OUT.svg", value_parser = PathBufValueParser::new().try_map(plot))]
    pub(crate) plot: Option<PathBuf>,
}

/// `--method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodChoice {
    /// From the least to the largest number
    Minmax,
    /// Without the 0.01 % of numbers that lie farthest out, on each side
    Percentile,
    /// The range with the least mean square of errors
    Mse,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Do it
    On,
    /// Leave it
    Off,
}
