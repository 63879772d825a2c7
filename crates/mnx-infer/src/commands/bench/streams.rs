//! Measures many inferences at once, as a service has them: how many pictures a second, and how long each takes.

use std::time::{Duration, Instant};

use mnx::{Pool, Session, Tensor, ThreadPool};
use serde::Serialize;

use super::measure::Subject;
use crate::args::Bench;
use crate::commands::timing::machine::{Machine, Peaks, settle};
use crate::commands::timing::macs::Macs;
use crate::commands::timing::statistics::{Latency, median};
use crate::commands::timing::{at_once, cpu, in_round, input, milliseconds};
use crate::context::{Context, Kernels};
use crate::error::{Error, printable};
use crate::progress;
use crate::source::{Source, arithmetic};
use crate::table::plain_table;

/// The peak is measured this often between the inferences.
const ROUNDS: usize = 10;

/// Callers, each on a thread of its own, that want one inference after the other of one model. There are no more sessions than
/// the cores can run: with more, the system would stop some of them half way for others.
#[derive(Serialize)]
pub(super) struct Streams {
    #[serde(flatten)]
    subject: Subject,
    sessions: usize,
    /// Sessions in the pool: so many inferences run, the others wait for their turn.
    at_once: usize,
    /// Of each session in the pool. Those beyond one are shared by all.
    threads: usize,
    batch: usize,
    #[serde(flatten)]
    kernels: Kernels,
    pub(super) cpu: String,
    arithmetic: &'static str,
    /// From the call to the outputs, the wait for a session included, of all callers together.
    latency_ms: Latency,
    /// Of all callers together, from the start of the first inference to the end of the last, the median of the rounds.
    pictures_per_second: f64,
    /// Multiply-adds of one picture.
    macs: u64,
    gflops: f64,
    #[serde(flatten)]
    peaks: Peaks,
    percent_of_peak: f64,
    /// Of all sessions in the pool.
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
    let at_once = sessions.min((mnx::default_threads() / threads).max(1));
    let pool =
        Pool::new(at_once, || Session::with(&model, context.options_of(Some(threads)))).map_err(Error::with_causes)?;
    // Where there is a session for each caller, nobody waits for a turn.
    let workers = (sessions > at_once).then(|| ThreadPool::new(at_once)).transpose().map_err(Error::failed)?;
    let callers = Callers { count: sessions, workers, pool: &pool, input: &input };
    // Every session's memory is there, and warm, before the clock runs.
    let mut borrowed = Vec::from_iter(std::iter::repeat_with(|| pool.get()).take(at_once));
    for session in &mut borrowed {
        session.run(input.view()).map_err(Error::failed)?;
    }
    let kernels = Kernels::of(&borrowed[0]);
    let peak_arena_bytes = borrowed.iter().map(|session| session.arena_bytes()).sum();
    drop(borrowed);
    callers.run(args.warmup.max(1))?;
    let macs = Macs::of(&model);
    let mut machine = Machine::new(at_once.saturating_mul(threads), macs.int8 > 0);
    let (mut samples_ms, mut rates) = (Vec::new(), Vec::new());
    let rounds = ROUNDS.min(args.iterations);
    let progress = progress::rounds(rounds, format!("sessions {sessions}, threads {threads}, batch {batch}"));
    for round in 0..rounds {
        progress.set_position(round as u64);
        machine.measure_peak()?;
        settle();
        let inferences = in_round(args.iterations, round, rounds);
        let (ms, samples) = callers.run(inferences)?;
        rates.push(1e3 * (samples.len() * batch) as f64 / ms);
        samples_ms.extend(samples);
    }
    progress.finish_and_clear();
    let peaks = machine.peaks();
    let pictures_per_second = median(&rates);
    let ms_per_picture = 1e3 / pictures_per_second;
    Ok(Streams {
        subject: Subject::new(source, &model),
        sessions,
        at_once,
        threads,
        batch,
        kernels,
        cpu: cpu::name(),
        arithmetic: arithmetic(&model),
        latency_ms: Latency::of(&samples_ms),
        pictures_per_second,
        macs: macs.total(),
        gflops: macs.gflops(1, ms_per_picture),
        percent_of_peak: macs.percent_of_peak(1, ms_per_picture, &peaks),
        peaks,
        peak_arena_bytes,
        samples_ms,
    })
}

/// Threads that want inferences.
struct Callers<'a> {
    count: usize,
    /// Who runs the sessions, if there are fewer than callers.
    workers: Option<ThreadPool>,
    pool: &'a Pool<Session>,
    input: &'a Tensor,
}

impl Callers<'_> {
    fn inference(&self) -> Result<(), mnx::GraphError> {
        std::hint::black_box(self.pool.get().run(self.input.view())?.data());
        Ok(())
    }

    /// All at once, each so many inferences. Milliseconds from the first start to the last end, and of every inference.
    fn run(&self, inferences: usize) -> Result<(f64, Vec<f64>), Error> {
        let one = || {
            let mut samples = Vec::with_capacity(inferences);
            let first = Instant::now();
            for _ in 0..inferences {
                let start = Instant::now();
                match &self.workers {
                    None => self.inference()?,
                    Some(workers) => workers.run(|| self.inference())?,
                }
                samples.push(milliseconds(start));
            }
            Ok::<_, mnx::GraphError>((first, Instant::now(), samples))
        };
        let ended = at_once(self.count, one);
        let ended = ended.map_err(|error| Error::failed(format_args!("--sessions: cannot start a thread: {error}")))?;
        let (mut from, mut to, mut all) = (None, None, Vec::new());
        for caller in ended {
            let (first, last, samples) = caller.map_err(Error::failed)?;
            from = Some(from.map_or(first, |from: Instant| from.min(first)));
            to = to.max(Some(last));
            all.extend(samples);
        }
        let time = from.zip(to).map_or(Duration::ZERO, |(from, to)| to - from);
        Ok((1e3 * time.as_secs_f64(), all))
    }
}

/// A row per number of sessions.
pub(super) fn text(network: &str, runs: &[Streams]) -> String {
    let mut text = String::new();
    if let Some(run) = runs.first() {
        let million = run.macs as f64 / 1e6;
        let (kernels, cpu) = (run.kernels.name(), printable(&run.cpu));
        text = format!("{network}, {million:.2} M multiply-adds a picture, {kernels} on {cpu}\n\n");
    }
    let header = [
        "sessions",
        "at once",
        "threads",
        "batch",
        "pictures/s",
        "median ms",
        "p90 ms",
        "p99 ms",
        "% of peak",
        "arena MB",
    ];
    let rows = runs.iter().map(|run| {
        let Latency { median, p90, p99, .. } = run.latency_ms;
        let mut row = [run.sessions, run.at_once, run.threads, run.batch].map(|n| n.to_string()).to_vec();
        row.push(format!("{:.1}", run.pictures_per_second));
        row.extend([median, p90, p99].map(|ms| format!("{ms:.3}")));
        row.push(format!("{:.1}", run.percent_of_peak));
        row.push(format!("{:.2}", run.peak_arena_bytes as f64 / 1e6));
        row
    });
    text += &plain_table(&"r".repeat(header.len()), &header, rows);
    let doubt = runs.iter().find_map(|run| run.peaks.doubt(run.percent_of_peak));
    text.extend(doubt.map(|doubt| format!("\n{doubt}\n")));
    text
}
