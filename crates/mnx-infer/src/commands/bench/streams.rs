//! Measures several sessions at once: how many pictures a second, and how long each waits.

use std::panic::resume_unwind;
use std::sync::RwLock;
use std::thread::{Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use mnx::{Session, Tensor};
use serde::Serialize;

use crate::args::Bench;
use crate::commands::timing::machine::{Machine, Peaks, settle};
use crate::commands::timing::macs::Macs;
use crate::commands::timing::statistics::{Latency, median};
use crate::commands::timing::{cpu, input, milliseconds};
use crate::commands::{Context, Source, arithmetic, plain_table};
use crate::error::{Error, printable};
use crate::progress;

/// The peak is measured this often between the inferences.
const ROUNDS: usize = 10;

/// So many sessions on one model, each on a thread of its own that runs one inference after the other.
#[derive(Serialize)]
pub(super) struct Streams {
    sessions: usize,
    /// Of each session. Those beyond one come from a pool that all share.
    threads: usize,
    batch: usize,
    isa: &'static str,
    dot_products: bool,
    amx: bool,
    pub(super) cpu: String,
    arithmetic: &'static str,
    /// Of an inference, of all sessions together.
    latency_ms: Latency,
    /// Of all sessions together, from the start of the first inference to the end of the last, the median of the rounds.
    pictures_per_second: f64,
    /// Multiply-adds of one picture.
    macs: u64,
    gflops: f64,
    #[serde(flatten)]
    peaks: Peaks,
    percent_of_peak: f64,
    /// Of all sessions.
    peak_arena_bytes: usize,
    samples_ms: Vec<f64>,
}

pub(super) fn measure(
    source: &Source,
    [sessions, threads, batch]: [usize; 3],
    args: &Bench,
    context: &Context,
) -> Result<Streams, Error> {
    let model = source.read()?;
    let input = input(&model, batch)?;
    let session = |_| Session::with(&model, context.options_of(Some(threads)));
    let mut streams = (0..sessions).map(session).collect::<Result<Vec<_>, _>>().map_err(Error::failed)?;
    // Every session's memory is there, and warm, before the clock runs.
    run_all(&mut streams, &input, args.warmup.max(1))?;
    let macs = Macs::of(&model);
    let mut machine = Machine::new(sessions.saturating_mul(threads), macs.int8 > 0);
    let (mut samples_ms, mut rates) = (Vec::new(), Vec::new());
    let rounds = ROUNDS.min(args.iterations);
    let progress = progress::rounds(rounds, format!("sessions {sessions}, threads {threads}, batch {batch}"));
    for round in 0..rounds {
        progress.set_position(round as u64);
        machine.measure_peak();
        settle();
        let inferences = args.iterations * (round + 1) / rounds - args.iterations * round / rounds;
        let (ms, samples) = run_all(&mut streams, &input, inferences)?;
        rates.push(1e3 * (samples.len() * batch) as f64 / ms);
        samples_ms.extend(samples);
    }
    progress.finish_and_clear();
    let peaks = machine.peaks();
    let pictures_per_second = median(&rates);
    let ms_per_picture = 1e3 / pictures_per_second;
    let first = &streams[0];
    Ok(Streams {
        sessions,
        threads,
        batch,
        isa: first.isa().name(),
        dot_products: first.dot_products(),
        amx: first.amx(),
        cpu: cpu::name(),
        arithmetic: arithmetic(&model),
        latency_ms: Latency::of(&samples_ms),
        pictures_per_second,
        macs: macs.total(),
        gflops: macs.gflops(1, ms_per_picture),
        percent_of_peak: macs.percent_of_peak(1, ms_per_picture, &peaks),
        peaks,
        peak_arena_bytes: streams.iter().map(Session::arena_bytes).sum(),
        samples_ms,
    })
}

/// Runs all sessions at once, each so many times. Milliseconds from the first start to the last end, and of every inference.
fn run_all(streams: &mut [Session], input: &Tensor, inferences: usize) -> Result<(f64, Vec<f64>), Error> {
    // Locked until all are there, or one could not be started.
    let ready = RwLock::new(());
    let one = |session: &mut Session| {
        let mut samples = Vec::with_capacity(inferences);
        drop(ready.read());
        let first = Instant::now();
        for _ in 0..inferences {
            let start = Instant::now();
            let outputs = session.run(input.view())?;
            std::hint::black_box(outputs.data());
            samples.push(milliseconds(start));
        }
        Ok((first, Instant::now(), samples))
    };
    let ended: Vec<Result<_, mnx::GraphError>> = std::thread::scope(|scope| {
        let wait = ready.write();
        let start = |session| Builder::new().spawn_scoped(scope, || one(session));
        let streams = streams.iter_mut().map(start).collect::<Result<Vec<_>, _>>();
        drop(wait);
        let streams =
            streams.map_err(|error| Error::failed(format_args!("--sessions: cannot start a thread: {error}")))?;
        let join = |stream: ScopedJoinHandle<'_, _>| stream.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok::<_, Error>(streams.into_iter().map(join).collect())
    })?;
    let (mut from, mut to, mut all) = (None, None, Vec::new());
    for stream in ended {
        let (first, last, samples) = stream.map_err(Error::failed)?;
        from = Some(from.map_or(first, |from: Instant| from.min(first)));
        to = to.max(Some(last));
        all.extend(samples);
    }
    let time = from.zip(to).map_or(Duration::ZERO, |(from, to)| to - from);
    Ok((1e3 * time.as_secs_f64(), all))
}

/// A row per number of sessions.
pub(super) fn text(network: &str, runs: &[Streams]) -> String {
    let mut text = String::new();
    if let Some(run) = runs.first() {
        let million = run.macs as f64 / 1e6;
        text = format!("{network}, {million:.2} M multiply-adds a picture, {} on {}\n\n", run.isa, printable(&run.cpu));
    }
    let header =
        ["sessions", "threads", "batch", "pictures/s", "median ms", "p90 ms", "p99 ms", "% of peak", "arena MB"];
    let rows = runs.iter().map(|run| {
        let Latency { median, p90, p99, .. } = run.latency_ms;
        let mut row = [run.sessions, run.threads, run.batch].map(|n| n.to_string()).to_vec();
        row.push(format!("{:.1}", run.pictures_per_second));
        row.extend([median, p90, p99].map(|ms| format!("{ms:.3}")));
        row.push(format!("{:.1}", run.percent_of_peak));
        row.push(format!("{:.2}", run.peak_arena_bytes as f64 / 1e6));
        row
    });
    text + &plain_table(&"r".repeat(header.len()), &header, rows)
}
