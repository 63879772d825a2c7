//! `eval`: how many pictures in folders, one per class, the network gets right.

mod classes;
mod dataset;
mod report;
mod tally;

use std::time::Instant;

use super::{Context, Source};
use crate::args::Eval;
use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::progress;
use crate::stdout;
use classes::{ClassMap, Classes};
use dataset::Dataset;
use report::Report;
use tally::{TOP, Tally};

pub(crate) fn run(args: &Eval, context: &Context) -> Result<(), Error> {
    let model = Source::new(args.weights.weights.as_deref())?.open()?;
    let classes = Classes::new(model.spec());
    let map = args.class_map.as_deref().map(|path| ClassMap::open(path, &classes)).transpose()?;
    let dataset = Dataset::find(&args.folder, &classes, &map.unwrap_or_default())?;

    let pipeline = Pipeline::new(&model, context, dataset.candidates.len(), TOP)?;
    let progress = progress::pictures(dataset.candidates.len());
    let mut tally = Tally::default();
    for entry in &dataset.unvisited {
        tally.add_unreadable(&entry.path, entry.trouble.as_deref().unwrap_or_default());
    }
    let start = Instant::now();
    pipeline.run(&dataset.candidates, |candidate, answer| {
        progress.inc(1);
        match answer {
            Ok(answer) => tally.add(candidate.class, &answer.top),
            Err(e) => tally.add_unreadable(&candidate.entry.path, &e.to_string()),
        }
        Ok(())
    })?;
    let elapsed = start.elapsed();
    progress.finish_and_clear();

    let report = Report::new(&model, &dataset, &tally, elapsed);
    let told = if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text(&args.folder)) };
    match (told, failure(args, &dataset, &tally)) {
        (Ok(()) | Err(Error::Closed), Some(failure)) => Err(failure),
        (told, _) => told,
    }
}

/// Why the command fails although the answers are there.
fn failure(args: &Eval, dataset: &Dataset, tally: &Tally) -> Option<Error> {
    let (files, unreadable) = (dataset.files(), tally.unreadable.len());
    if tally.pictures() == 0 {
        let found = format!("none among {files}");
        Some(Error::expected(&args.folder, "files that can be read", found))
    } else if args.strict && unreadable > 0 {
        let found = format!("{unreadable} of {files} that cannot");
        Some(Error::expected(&args.folder, "only files that can be read (--strict)", found))
    } else {
        None
    }
}
