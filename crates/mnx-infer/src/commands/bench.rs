//! `bench`: how long an inference takes, beside what the CPU could do.

mod cpu;
mod statistics;

use std::io::{IsTerminal, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use mnx::{Model, Session, Tensor};
use serde::Serialize;
use serde_json::json;

use super::{Context, Source, plain_table};
use crate::args::Bench;
use crate::error::{Error, printable};
use crate::stdout;
use statistics::{Latency, median};

/// The peak is measured this often between the inferences, so that drift in the machine's speed hits both.
const ROUNDS: usize = 10;
/// How long each of those measurements takes, per ISA that the CPU has.
const PEAK_TIME: Duration = Duration::from_millis(15);

/// One number of threads with one batch. Times are per batch.
#[derive(Serialize)]
struct Measurement {
    threads: usize,
    batch: usize,
    isa: &'static str,
    cpu: String,
    latency_ms: Latency,
    /// Multiply-adds of one picture.
    macs: u64,
    /// By the median.
    gflops: f64,
    /// Of all the threads together; the median of the rounds.
    fma_peak_gflops: f64,
    percent_of_peak: f64,
    /// From the file to the logits of the first batch.
    first_logits_ms: f64,
    peak_arena_bytes: usize,
    samples_ms: Vec<f64>,
}

pub(crate) fn run(args: &Bench, context: &Context) -> Result<(), Error> {
    let source = Source::new(args.weights.weights.as_deref())?;
    let threads: Vec<_> = match context.threads[..] {
        [] => vec![None],
        ref list => list.iter().copied().map(Some).collect(),
    };
    let mut runs = Vec::new();
    for &threads in &threads {
        for &batch in &args.batch {
            runs.push(measure(&source, threads, batch, args, context)?);
        }
    }
    if !context.is_json() {
        return stdout::print(&text(&source.open()?, &runs));
    }
    match &runs[..] {
        [one] => stdout::print_json(one),
        several => stdout::print_json(&json!({ "runs": several })),
    }
}

fn measure(
    source: &Source,
    threads: Option<usize>,
    batch: usize,
    args: &Bench,
    context: &Context,
) -> Result<Measurement, Error> {
    let input = input(&source.open()?, batch)?;
    let start = Instant::now();
    let model = source.open()?;
    let mut session = Session::with(&model, context.options_of(&model, threads)?).map_err(Error::failed)?;
    session.run(input.view()).map_err(Error::failed)?;
    let first_logits_ms = milliseconds(start);

    for _ in 0..args.warmup {
        session.run(input.view()).map_err(Error::failed)?;
    }
    let (samples_ms, peaks) = samples(&mut session, &input, args.iterations)?;
    let latency_ms = Latency::of(&samples_ms);
    let side = model.spec().resolution;
    let macs = model.network().macs(side, side);
    let gflops = 2.0 * macs as f64 * batch as f64 / (latency_ms.median * 1e6);
    let fma_peak_gflops = median(&peaks);
    Ok(Measurement {
        threads: session.threads(),
        batch,
        isa: session.isa().name(),
        cpu: cpu::name(),
        latency_ms,
        macs,
        gflops,
        fma_peak_gflops,
        percent_of_peak: 100.0 * gflops / fma_peak_gflops,
        first_logits_ms,
        peak_arena_bytes: session.arena_bytes(),
        samples_ms,
    })
}

/// Milliseconds of each inference, and the peak of each round.
fn samples(session: &mut Session, input: &Tensor, iterations: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let rounds = ROUNDS.min(iterations);
    let (mut samples, mut peaks) = (Vec::with_capacity(iterations), Vec::with_capacity(rounds));
    for round in 0..rounds {
        progress(session, input, round, rounds);
        peaks.push(peak(session.threads()));
        // One that does not count: the caches are cold after the peak.
        session.run(input.view()).map_err(Error::failed)?;
        for _ in iterations * round / rounds..iterations * (round + 1) / rounds {
            let start = Instant::now();
            let logits = session.run(input.view()).map_err(Error::failed)?;
            std::hint::black_box(logits.data());
            samples.push(milliseconds(start));
        }
    }
    progress(session, input, rounds, rounds);
    Ok((samples, peaks))
}

/// A line on the terminal that the next one overwrites; none where nobody looks on.
fn progress(session: &Session, input: &Tensor, done: usize, rounds: usize) {
    let mut err = std::io::stderr();
    if !err.is_terminal() {
        return;
    }
    let (threads, batch) = (session.threads(), input.shape()[0]);
    let line = format!("threads {threads}, batch {batch}: round {} of {rounds}", done + 1);
    // The program's result does not depend on it.
    let _ = if done < rounds { write!(err, "\r{line}\x1b[K") } else { write!(err, "\r\x1b[K") };
}

/// GFLOP/s of multiply-adds alone on this many threads at once, at most one per CPU: those that take turns on one
/// have no more.
fn peak(threads: usize) -> f64 {
    let threads = std::thread::available_parallelism().map_or(threads, |cpus| threads.min(cpus.get()));
    let start = Barrier::new(threads);
    let one = || {
        start.wait();
        mnx::fma_peak(PEAK_TIME).0
    };
    if threads == 1 {
        return one();
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or(0.0)).sum()
    })
}

/// Values as a normalised picture has them, by a fixed seed: about normal, none of them special.
fn input(model: &Model, batch: usize) -> Result<Tensor, Error> {
    let spec = model.spec();
    let shape = [batch, spec.channels, spec.resolution, spec.resolution];
    let bytes = shape.iter().try_fold(4, |n: u64, &d| n.checked_mul(d as u64)).unwrap_or(u64::MAX);
    let limit = model.limits().arena_bytes;
    if bytes > limit {
        let what = format!("--batch {batch}: the input: expected at most {limit} bytes, found {bytes}");
        return Err(Error::failed(what));
    }
    let mut tensor = Tensor::zeros(shape).map_err(Error::failed)?;
    let mut state = 0_u64;
    for value in tensor.data_mut() {
        // A linear congruential generator (Knuth's constants); the sum of four uniform values is near normal.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        // A uniform value has variance 1/12.
        *value = (next() + next() + next() + next() - 2.0) * 3_f32.sqrt();
    }
    Ok(tensor)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn text(model: &Model, runs: &[Measurement]) -> String {
    let spec = model.spec();
    let mut text = String::new();
    if let Some(run) = runs.first() {
        text = format!(
            "{} {}, {side} x {side}, {:.2} M multiply-adds a picture, {} on {}\n\n",
            printable(&spec.family),
            spec.width,
            run.macs as f64 / 1e6,
            run.isa,
            printable(&run.cpu),
            side = spec.resolution,
        );
    }
    let header = [
        "threads",
        "batch",
        "min ms",
        "median ms",
        "p90 ms",
        "p99 ms",
        "pictures/s",
        "GFLOP/s",
        "FMA peak",
        "% of peak",
        "first ms",
        "arena MB",
    ];
    let rows = runs.iter().map(|run| {
        let Latency { min, median, p90, p99 } = run.latency_ms;
        let times = [min, median, p90, p99].map(|ms| format!("{ms:.3}"));
        let rates = [1e3 * run.batch as f64 / median, run.gflops, run.fma_peak_gflops, run.percent_of_peak];
        let mut row = vec![run.threads.to_string(), run.batch.to_string()];
        row.extend(times);
        row.extend(rates.map(|rate| format!("{rate:.1}")));
        row.push(format!("{:.3}", run.first_logits_ms));
        row.push(format!("{:.2}", run.peak_arena_bytes as f64 / 1e6));
        row
    });
    text + &plain_table("rrrrrrrrrrrr", &header, rows)
}
