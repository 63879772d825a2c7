//! The flags of `eval`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use super::{Pictures, Thresholds, Weights};
use crate::values::plot;

/// Where the classes of an evaluation's pictures come from, if not from names of folders.
#[derive(Args, Debug)]
pub(crate) struct Truth {
    /// File that says which class a folder is: LOC_synset_mapping.txt, imagenet_class_index.json, or lines of folder, tab
    /// and label or index
    ///
    /// The file's content tells its format: lines of folder, a tab, and a label or index of the model; lines of WordNet id
    /// and names, or of ids alone in the order of the classes; JSON of index to [id, name], id or name, or of folder to
    /// index or label. Names and numbers must agree with the model's labels. With --list, the list's labels are looked up
    /// in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) class_map: Option<PathBuf>,
    /// Take the sub-folders, sorted by name, as classes 0, 1, …, as torchvision's ImageFolder does
    #[arg(long, conflicts_with_all = ["class_map", "list"])]
    pub(crate) sorted_folders: bool,
    /// File that says which class each picture is: lines of a file below DIR, a space or tab, and a label or index
    /// (val.txt), or Kaggle's LOC_val_solution.csv
    ///
    /// Use a tab after names with spaces. Pictures that are not in the list are counted but not scored.
    #[arg(long, value_name = "FILE")]
    pub(crate) list: Option<PathBuf>,
}

impl Truth {
    /// The first of the flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--class-map", self.class_map.is_some()),
            ("--sorted-folders", self.sorted_folders),
            ("--list", self.list.is_some()),
        ];
        flags.into_iter().find(|&(_, given)| given).map(|(flag, _)| flag)
    }
}

/// `eval`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mnx-infer eval pictures/
  mnx-infer eval --weights w.mnx --sorted-folders imagenet/val
  mnx-infer eval --weights w.mnx --class-map LOC_synset_mapping.txt --strict --format json imagenet/val
  mnx-infer eval --weights w.mnx --list val.txt ILSVRC2012_img_val/
  mnx-infer eval --weights d.mnx --voc VOCdevkit/VOC2007 --split test --plot curves.svg

All pictures in folders that name a class are tried, except files whose names start with a dot. \
Pictures that cannot be read are listed at the end. Files that are not pictures, neither by name nor by content, are counted. \
Other folders are listed but not scored. Several pictures are classified at once, one per thread. \
In JSON, files whose names are not UTF-8 have the names' bytes as `file_bytes`.

With --voc, average precision is computed per class at an intersection over union of 0.5, by the rules of \
Pascal VOC's development kit. What is wrong with annotations is counted and listed.")]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// Folder with a sub-folder per class, named by the class's label (_ for a space) or else its index; with --list, any
    /// folder of pictures
    #[arg(value_name = "DIR", required_unless_present = "voc")]
    pub(crate) folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) pictures: Pictures,
    /// Judge a detector on a data set in VOC's form instead: a folder with Annotations, JPEGImages and ImageSets/Main
    ///
    /// Without --weights and --model it is the embedded detector bccd. Scores count above 0.01, unless --score says
    /// otherwise: average precision needs unsure boxes, too.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["folder", "class_map", "sorted_folders", "list"])]
    pub(crate) voc: Option<PathBuf>,
    /// Which pictures: those in ImageSets/Main/NAME.txt [default: test, else val, else the only one there is]
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    #[command(flatten)]
    pub(crate) thresholds: Thresholds,
    /// Draw precision against recall for each class
    #[arg(long, value_name = "OUT.svg", value_parser = PathBufValueParser::new().try_map(plot))]
    pub(crate) plot: Option<PathBuf>,
    /// Fail if a picture in a class's folder or in the list cannot be read, or with --voc, if anything is wrong with the
    /// data set (answers are still given)
    #[arg(long)]
    pub(crate) strict: bool,
}

impl Eval {
    /// The first of the flags that was given and that needs `--voc`.
    pub(crate) fn voc_flag(&self) -> Option<&'static str> {
        let split = self.split.as_ref().map(|_| "--split");
        split.or(self.plot.as_ref().map(|_| "--plot")).or(self.thresholds.given())
    }
}
