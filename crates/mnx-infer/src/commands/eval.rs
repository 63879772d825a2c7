//! `eval`: counts how many pictures in folders, one folder per class, the network gets right.

mod class_map;
mod classes;
mod dataset;
mod list;
mod numbering;
mod report;
mod tally;
mod voc;

use std::path::{Path, PathBuf};
use std::time::Instant;

use mnx::Model;
use serde::Serialize;

use crate::args::{Eval, Truth};
use crate::context::Context;
use crate::error::Error;
use crate::json_path::Unreadable;
use crate::pipeline::Pipeline;
use crate::progress;
use crate::source::Source;
use crate::stdout;
use class_map::ClassMap;
use classes::Classes;
use dataset::Dataset;
use list::List;
use report::Report;
pub(super) use report::{Score, UnknownFolders};
use tally::{TOP, Tally};

pub(crate) fn run(args: &Eval, context: &Context) -> Result<(), Error> {
    match (&args.voc, &args.folder) {
        (Some(folder), _) => voc::run(args, folder, context),
        (None, Some(folder)) => run_folders(args, folder, context),
        (None, None) => Err(Error::Usage("DIR or --voc DIR is needed".into())),
    }
}

fn run_folders(args: &Eval, folder: &Path, context: &Context) -> Result<(), Error> {
    if let Some(flag) = args.voc_flag() {
        return Err(Error::Usage(format!("{flag}: expected --voc DIR beside it, found a folder of pictures")));
    }
    let source = Source::new(&args.weights)?;
    let model = source.read()?;
    source.expect_classifier(&model)?;
    let evaluation = Evaluation::find(&model, folder, &args.truth)?;
    let dataset = &evaluation.dataset;
    let pipeline = Pipeline::new(&model, context, dataset.candidates.len(), TOP)?;
    let start = Instant::now();
    let tally = evaluation.run(pipeline, |_, _| ())?;
    let report = Report::new(&model, dataset, &tally, start.elapsed());
    let told = if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text(folder)) };
    match (told, failure(folder, args.strict, dataset, &tally)) {
        (Ok(()) | Err(Error::Closed), Some(failure)) => Err(failure),
        (told, _) => told,
    }
}

/// A folder of pictures whose classes are those of a model.
pub(super) struct Evaluation {
    dataset: Dataset,
}

impl Evaluation {
    /// What there is in `folder` for `model`. How numbers of classes were understood is noted on standard error where
    /// there was a choice.
    ///
    /// # Errors
    /// As [`ClassMap::open`], [`ClassMap::of_sorted`], [`List::open`], [`Dataset::find`] and [`Dataset::listed`].
    pub(super) fn find(model: &Model, folder: &Path, truth: &Truth) -> Result<Evaluation, Error> {
        let classes = Classes::new(model.spec());
        let map = match &truth.class_map {
            Some(path) => ClassMap::open(path, &classes)?,
            // What is wrong with a folder that is none is told when it is visited.
            None if truth.sorted_folders && folder.is_dir() => {
                ClassMap::of_sorted(dataset::sub_folders(folder), &classes).map_err(|e| Error::file(folder, e))?
            }
            None => ClassMap::default(),
        };
        map.note().into_iter().for_each(stdout::note);
        let dataset = match &truth.list {
            Some(path) => {
                let list = List::open(path, folder, &classes, &map)?;
                list.note.iter().for_each(stdout::note);
                Dataset::listed(folder, list)?
            }
            None => Dataset::find(folder, &classes, &map)?,
        };
        Ok(Evaluation { dataset })
    }

    /// The files that are read.
    pub(super) fn pictures(&self) -> impl Iterator<Item = &Path> {
        self.dataset.candidates.iter().map(|candidate| &*candidate.entry.path)
    }

    /// Classifies all pictures, with a bar on standard error. A file that cannot be read is counted. `answered` gets each
    /// other one with its most probable class.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    fn run(&self, pipeline: Pipeline, mut answered: impl FnMut(&Path, usize)) -> Result<Tally, Error> {
        let progress = progress::pictures(self.dataset.candidates.len());
        let mut tally = Tally::default();
        for entry in &self.dataset.unvisited {
            tally.add_unreadable(&entry.path, entry.trouble.as_deref().unwrap_or_default());
        }
        pipeline.run(&self.dataset.candidates, |candidate, answer| {
            progress.inc(1);
            match answer {
                Ok(answer) => {
                    tally.add(candidate.class, &answer.top);
                    answer.top.first().into_iter().for_each(|&(class, _)| answered(&candidate.entry.path, class));
                }
                Err(e) => tally.add_unreadable(&candidate.entry.path, &e.to_string()),
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        Ok(tally)
    }

    /// Classifies all pictures of `folder`, in which they were found, and counts the right answers. Also returns the pictures
    /// that could be read, each with its most probable class.
    ///
    /// # Errors
    /// As [`Pipeline::new`] and [`Pipeline::run`], and [`Error::File`] where no picture could be read.
    pub(super) fn accuracy(self, model: &Model, folder: &Path, context: &Context) -> Result<Judged, Error> {
        let pipeline = Pipeline::new(model, context, self.dataset.candidates.len(), TOP)?;
        let mut answers = Vec::new();
        let tally = self.run(pipeline, |path, class| answers.push((path.into(), class)))?;
        let pictures = tally.pictures();
        if pictures == 0 {
            return Err(nothing(folder, &self.dataset));
        }
        let accuracy = Accuracy {
            pictures,
            top1: Score::new(tally.top1(), pictures),
            top5: Score::new(tally.top5(), pictures),
            unreadable: tally.unreadable,
            unknown_folders: UnknownFolders::new(&self.dataset),
            passed_over: self.dataset.passed_over.files(),
            unlisted_pictures: self.dataset.unlisted_pictures,
        };
        Ok((accuracy, answers))
    }
}

/// How many are right, and the most probable class of each picture.
pub(super) type Judged = (Accuracy, Vec<(PathBuf, usize)>);

/// How many pictures a network gets right; the fields are those of the command's JSON.
#[derive(Serialize)]
pub(super) struct Accuracy {
    /// Those that were read and classified, at least one.
    pub(super) pictures: u64,
    pub(super) top1: Score,
    pub(super) top5: Score,
    pub(super) unreadable: Vec<Unreadable>,
    #[serde(flatten)]
    pub(super) unknown_folders: UnknownFolders,
    pub(super) passed_over: usize,
    pub(super) unlisted_pictures: usize,
}

/// That no file of the folder could be read.
fn nothing(folder: &Path, dataset: &Dataset) -> Error {
    Error::expected(folder, "files that can be read", format_args!("none among {}", dataset.files()))
}

/// Why the command fails although the answers are there.
fn failure(folder: &Path, strict: bool, dataset: &Dataset, tally: &Tally) -> Option<Error> {
    let (files, unreadable) = (dataset.files(), tally.unreadable.len());
    if tally.pictures() == 0 {
        Some(nothing(folder, dataset))
    } else if strict && unreadable > 0 {
        let found = format!("{unreadable} of {files} that cannot");
        Some(Error::expected(folder, "only files that can be read (--strict)", found))
    } else {
        None
    }
}
