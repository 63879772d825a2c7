//! The flags of `detect`.

use std::path::PathBuf;

use clap::Args;

use super::weights::DetectorWeights;
use super::{Pictures, count};
use crate::values::share;

/// `detect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer detect --weights d.mnx street.jpg
  mnx-infer detect --weights d.mnx --score 0.5 --annotate found.png street.jpg
  mnx-infer detect --weights d.mnx --annotate found/ --format json photos/
  curl -s https://example.org/street.jpg | mnx-infer detect --weights d.mnx -

Coordinates are pixels of the picture from its upper left corner on. Boxes are sorted by score, the best first. \
Several pictures are looked at at once, one per thread; answers are in the order of the pictures. \
If a picture cannot be read, the others are still looked at, and the exit code is 1. \
In JSON, a picture whose name is not UTF-8 has the name's bytes as `file_bytes`.")]
pub(crate) struct Detect {
    #[command(flatten)]
    pub(crate) weights: DetectorWeights,
    /// Pictures: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM; a folder of them; - for standard input
    ///
    /// In a folder and its sub-folders, all files are taken that are pictures by their names or by their first bytes, in
    /// the order of their paths. Other files are counted on standard error, except those whose names start with a dot.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) thresholds: Thresholds,
    #[command(flatten)]
    pub(crate) pictures: Pictures,
    /// Also draw the boxes on a copy of the picture: OUT.png, or for several pictures a folder, which is made
    ///
    /// In a folder, copies have the names of the pictures, with the suffix .png. Where two pictures would have the same
    /// name, the second one's gets a number. No copy is an input, and none is made of a picture that cannot be read.
    #[arg(long, value_name = "OUT.png|DIR")]
    pub(crate) annotate: Option<PathBuf>,
}

/// Which boxes count.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Thresholds {
    /// Boxes count if their score is above this, 0 to 1 [default: the network's own]
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = share)]
    pub(crate) score: Option<f32>,
    /// A box is dropped if it overlaps with a better one of its class by more than this: intersection over union, 0 to 1
    /// [default: the network's own]
    #[arg(long, value_name = "I", allow_negative_numbers = true, value_parser = share)]
    pub(crate) iou: Option<f32>,
    /// How many boxes to keep in a picture, at most [default: the network's own]
    #[arg(long, value_name = "K", value_parser = count())]
    pub(crate) top: Option<usize>,
}

impl Thresholds {
    /// As the library takes them.
    pub(crate) fn options(self) -> mnx::DetectOptions {
        let options = mnx::DetectOptions::new();
        let options = self.score.map_or(options, |score| options.score(score));
        let options = self.iou.map_or(options, |iou| options.iou(iou));
        self.top.map_or(options, |top| options.top(top))
    }

    /// Makes them a network's own.
    pub(crate) fn apply(self, detector: &mut mnx::DetectorSpec) {
        detector.score = self.score.unwrap_or(detector.score);
        detector.iou = self.iou.unwrap_or(detector.iou);
        detector.top = self.top.unwrap_or(detector.top);
    }

    /// The first of the flags that was given.
    pub(crate) fn given(self) -> Option<&'static str> {
        let flags = [("--score", self.score.is_some()), ("--iou", self.iou.is_some()), ("--top", self.top.is_some())];
        flags.into_iter().find(|&(_, given)| given).map(|(flag, _)| flag)
    }
}
