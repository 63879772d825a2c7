//! `compare`: measures the table that papers on mobile networks print.

mod judge;
mod measure;
mod plot;
mod report;
mod schedule;
mod subjects;

use crate::args::{Compare, Format};
use crate::context::Context;
use crate::error::Error;
use crate::output::{OutputFile, check_apart};
use crate::stdout;
use crate::values::Subject;
use judge::Jury;
use measure::Bout;
use report::Report;

pub(crate) fn run(args: &Compare, context: &Context) -> Result<(), Error> {
    let entries = subjects::open(args)?;
    if let Some(plot) = &args.plot {
        let read = [args.truth.class_map.as_deref(), args.truth.list.as_deref()];
        check_apart(plot, args.subjects.iter().filter_map(Subject::file).chain(read.into_iter().flatten()))?;
    }
    let plot = args.plot.as_deref().map(OutputFile::create).transpose()?;
    // What is wrong with any of them is said before minutes of measuring: so is all that is wrong with the pictures.
    let mut bout = Bout::new(&entries, args, context)?;
    let most = bout.threads().into_iter().max().unwrap_or(1);
    let mut judgements = Vec::new();
    if let Some(folder) = &args.eval {
        let jury = Jury::find(&entries, folder, &args.truth, args.plot.as_deref())?;
        judgements = jury.judge(&entries, &context.with_threads(most))?;
    }
    let rounds = bout.measure(args)?;
    let report = Report::new(&entries, &bout, judgements, args, rounds);
    if let Some(mut plot) = plot {
        plot.write(plot::draw(&report).as_bytes())?;
        plot.finish()?;
    }
    match context.format {
        Format::Json => stdout::print_json(&report),
        Format::Text => stdout::print(&report.text()),
        Format::Markdown => stdout::print(&report.markdown()),
    }
}
