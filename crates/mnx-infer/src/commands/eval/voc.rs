//! `eval --voc`: average precision of a detector on a data set in VOC's form.

mod annotation;
mod classes;
mod dataset;
mod kind;
mod metric;
mod plot;
mod problem;
mod report;
mod tally;

use std::path::Path;
use std::time::Instant;

use mnx::{Detector, Model};

use self::annotation::Annotation;
use self::classes::Classes;
use self::dataset::{Candidate, Dataset};
use self::report::Report;
use self::tally::Tally;
use crate::args::Eval;
use crate::commands::detect::{Boxed, boxes_in, detectors};
use crate::context::Context;
use crate::error::Error;
use crate::output::{OutputFile, check_apart};
use crate::pipeline::in_order;
use crate::source::Source;
use crate::{progress, stdout};

/// What counts where `--score` is not given, whatever the network's own threshold is: average precision needs unsure boxes, too.
const SCORE: f32 = 0.01;
/// A box is found if its intersection over union with a detection is at least this.
const LIMIT: f64 = 0.5;

/// One picture: what should be found, and what was.
struct Seen<'a> {
    annotation: Annotation,
    /// Width and height in pixels.
    size: (usize, usize),
    boxes: Vec<Boxed<'a>>,
}

pub(super) fn run(args: &Eval, folder: &Path, context: &Context) -> Result<(), Error> {
    let source = Source::detector(args.weights.weights.as_deref(), args.weights.model)?;
    let model = source.read()?;
    source.expect_detector(&model)?;
    let dataset = Dataset::open(folder, args.split.as_deref())?;
    let plot = match &args.plot {
        Some(path) => {
            let pictures = dataset.candidates.iter().flat_map(|c| [&*c.entry.path, &*c.annotation]);
            check_apart(path, args.weights.weights.as_deref().into_iter().chain([&*dataset.list]).chain(pictures))?;
            Some(OutputFile::create(path)?)
        }
        None => None,
    };
    let score = args.thresholds.score.unwrap_or(SCORE);
    let detectors = detectors(&model, context, dataset.candidates.len(), args.thresholds.options().score(score))?;
    let start = Instant::now();
    let tally = judged(&model, &dataset, detectors, context)?;
    let report = Report::new(&tally, &dataset.split, score, start.elapsed());
    if let Some(mut output) = plot {
        output.write(plot::draw(&report, folder).as_bytes())?;
        output.finish()?;
    }
    let told = if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text(folder)) };
    match (told, report.failure(folder, args.strict)) {
        (Ok(()) | Err(Error::Closed), Some(failure)) => Err(failure),
        (told, _) => told,
    }
}

/// Looks for everything in all pictures, with a bar on standard error.
fn judged<'a>(
    model: &'a Model,
    dataset: &Dataset,
    detectors: Vec<Detector>,
    context: &Context,
) -> Result<Tally<'a>, Error> {
    let progress = progress::pictures(dataset.candidates.len());
    let mut tally = Tally::new(Classes::new(model.spec()));
    for line in &dataset.lines {
        tally.add_problem(&dataset.list, kind::Kind::List, line);
    }
    let work = |detector: &mut Detector, candidate: &Candidate| seen(model, detector, candidate, context);
    in_order(&dataset.candidates, detectors, work, |candidate, seen| {
        progress.inc(1);
        match seen {
            Ok(seen) => tally.add(&candidate.annotation, &seen.annotation, seen.size, &seen.boxes),
            Err(e) => {
                tally.add_unreadable(&candidate.entry.path, &e);
                Ok(())
            }
        }
    })?;
    progress.finish_and_clear();
    Ok(tally)
}

fn seen<'a>(
    model: &'a Model,
    detector: &mut Detector,
    candidate: &Candidate,
    context: &Context,
) -> Result<Seen<'a>, Error> {
    let annotation = Annotation::open(&candidate.annotation)?;
    let picture = candidate.entry.open(context.pictures())?;
    let boxes = boxes_in(model, detector, &candidate.entry.path, &picture)?;
    Ok(Seen { annotation, size: (picture.width(), picture.height()), boxes })
}
