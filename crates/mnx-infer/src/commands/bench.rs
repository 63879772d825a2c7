//! `bench`: measures an inference, beside what the CPU could do.

mod measure;
mod profile;
mod report;
mod streams;

use mnx::{Model, Session};
use serde::Serialize;
use serde_json::json;

use super::timing;
use crate::args::Bench;
use crate::context::Context;
use crate::error::Error;
use crate::output::{OutputFile, check_apart};
use crate::source::Source;
use crate::stdout;

pub(crate) fn run(args: &Bench, context: &Context) -> Result<(), Error> {
    let source = Source::new(&args.weights)?;
    if let Some(plot) = &args.plot {
        check_apart(plot, source.file())?;
    }
    // What cannot be done is said before minutes of measuring.
    let model = source.open()?;
    check_batches(&model, args, context)?;
    if !args.sessions.is_empty() {
        return streams(&source, &model, args, context);
    }
    let plot = args.plot.as_deref().map(OutputFile::create).transpose()?;
    let threads: Vec<_> = match context.threads[..] {
        [] => vec![None],
        ref list => list.iter().copied().map(Some).collect(),
    };
    let mut runs = Vec::new();
    for &threads in &threads {
        for &batch in &args.batch {
            runs.push(measure::measure(&source, threads, batch, args, context)?);
        }
    }
    if let Some(mut plot) = plot {
        plot.write(report::plot(model.spec(), &runs).as_bytes())?;
        plot.finish()?;
    }
    if !context.is_json() {
        return stdout::print(&report::text(model.spec(), &runs));
    }
    print_json(&runs)
}

/// # Errors
/// [`Error::Failed`] for a batch that does not fit the model's limits or the memory.
fn check_batches(model: &Model, args: &Bench, context: &Context) -> Result<(), Error> {
    let mut session = Session::with(model, context.lone_options()).map_err(Error::with_causes)?;
    for &batch in &args.batch {
        let shape = timing::shape(model, batch)?;
        session.prepare(shape).map_err(|e| Error::failed(format_args!("--batch {batch}: {e}")))?;
    }
    Ok(())
}

/// One run as it is, several under `runs`.
fn print_json(runs: &[impl Serialize]) -> Result<(), Error> {
    match runs {
        [one] => stdout::print_json(one),
        several => stdout::print_json(&json!({ "runs": several })),
    }
}

/// With `--sessions`.
fn streams(source: &Source, model: &Model, args: &Bench, context: &Context) -> Result<(), Error> {
    let threads = if context.threads.is_empty() { &[1][..] } else { &context.threads };
    let mut runs = Vec::new();
    for &sessions in &args.sessions {
        for (&threads, &batch) in
            threads.iter().flat_map(|threads| args.batch.iter().map(move |batch| (threads, batch)))
        {
            runs.push(streams::measure(source, [sessions, threads, batch], args, context)?);
        }
    }
    if !context.is_json() {
        return stdout::print(&streams::text(&report::network(model.spec()), &runs));
    }
    print_json(&runs)
}
