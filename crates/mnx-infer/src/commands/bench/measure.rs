//! Measures one batch size on one number of threads.

use std::time::Instant;

use mnx::{Model, Profile, Session, Spec, Tensor};
use serde::Serialize;

use super::profile::Profiled;
use crate::args::Bench;
use crate::commands::timing::machine::{Machine, Peaks};
use crate::commands::timing::macs::Macs;
use crate::commands::timing::statistics::Latency;
use crate::commands::timing::{cpu, in_round, input, milliseconds};
use crate::context::{Context, Kernels};
use crate::error::Error;
use crate::progress;
use crate::source::{Source, arithmetic};

/// The machine is measured this often between the inferences, so that drift in its speed hits both.
const ROUNDS: usize = 10;

/// What is measured, and by what.
#[derive(Serialize)]
pub(super) struct Subject {
    /// Of this program.
    version: &'static str,
    /// The weight file, or `embedded:NAME`.
    weights: String,
    family: String,
    width: f64,
    identity: f64,
    resolution: usize,
}

impl Subject {
    pub(super) fn new(source: &Source, model: &Model) -> Subject {
        let Spec { family, width, identity, resolution, .. } = model.spec();
        let (version, weights) = (env!("CARGO_PKG_VERSION"), source.name());
        let family = family.clone();
        Subject { version, weights, family, width: *width, identity: *identity, resolution: *resolution }
    }
}

/// One number of threads with one batch. Times are per batch.
#[derive(Serialize)]
pub(super) struct Measurement {
    #[serde(flatten)]
    subject: Subject,
    pub(super) threads: usize,
    pub(super) batch: usize,
    #[serde(flatten)]
    pub(super) kernels: Kernels,
    pub(super) cpu: String,
    /// `f32`, `int8`, or `mixed`: some layers in each.
    arithmetic: &'static str,
    pub(super) latency_ms: Latency,
    /// Multiply-adds of one picture.
    pub(super) macs: u64,
    /// The same by what they are computed with.
    #[serde(skip)]
    pub(super) macs_by_kind: Macs,
    /// By the median.
    pub(super) gflops: f64,
    #[serde(flatten)]
    pub(super) peaks: Peaks,
    /// Of int8 layers the int8 peak counts.
    pub(super) percent_of_peak: f64,
    /// From the file, which is used in place, to the logits of the first batch; the other times are of weights in memory.
    pub(super) first_logits_ms: f64,
    pub(super) peak_arena_bytes: usize,
    #[serde(flatten)]
    pub(super) profiled: Option<Profiled>,
    samples_ms: Vec<f64>,
}

pub(super) fn measure(
    source: &Source,
    threads: Option<usize>,
    batch: usize,
    args: &Bench,
    context: &Context,
) -> Result<Measurement, Error> {
    let input = input(&source.open()?, batch)?;
    let session_of = |model: &Model| Session::with(model, context.options_of(threads)).map_err(Error::with_causes);
    let first_logits_ms = {
        let start = Instant::now();
        let model = source.open()?;
        let mut session = session_of(&model)?;
        session.run(input.view()).map_err(Error::failed)?;
        milliseconds(start)
    };

    let model = source.read()?;
    let mut session = session_of(&model)?;
    for _ in 0..args.warmup {
        session.run(input.view()).map_err(Error::failed)?;
    }
    let macs = Macs::of(&model);
    let mut samples = Samples::new(session.threads(), macs.int8 > 0);
    samples.take(&mut session, &input, args)?;
    let latency_ms = Latency::of(&samples.plain_ms);
    let peaks = samples.machine.peaks();
    let profiled = samples.profile.map(|profile| Profiled::new(&profile, &samples.machine, latency_ms.median, args));
    Ok(Measurement {
        subject: Subject::new(source, &model),
        threads: session.threads(),
        batch,
        kernels: Kernels::of(&session),
        cpu: cpu::name(),
        arithmetic: arithmetic(&model),
        latency_ms,
        macs: macs.total(),
        macs_by_kind: macs,
        gflops: macs.gflops(batch, latency_ms.median),
        percent_of_peak: macs.percent_of_peak(batch, latency_ms.median, &peaks),
        peaks,
        first_logits_ms,
        peak_arena_bytes: session.arena_bytes(),
        profiled,
        samples_ms: samples.plain_ms,
    })
}

/// What was measured in turn.
struct Samples {
    machine: Machine,
    /// Milliseconds of each inference.
    plain_ms: Vec<f64>,
    /// As many inferences again, if a profile is wanted.
    profile: Option<Profile>,
}

impl Samples {
    fn new(threads: usize, with_int8: bool) -> Samples {
        Samples { machine: Machine::new(threads, with_int8), plain_ms: Vec::new(), profile: None }
    }

    fn take(&mut self, session: &mut Session, input: &Tensor, args: &Bench) -> Result<(), Error> {
        let rounds = ROUNDS.min(args.iterations);
        self.plain_ms.reserve_exact(args.iterations);
        let what = format!("threads {}, batch {}", session.threads(), input.shape()[0]);
        let progress = progress::rounds(rounds, what);
        for round in 0..rounds {
            progress.set_position(round as u64);
            self.machine.measure_peak()?;
            if args.wants_profile() {
                self.machine.measure_bandwidth()?;
            }
            // One that does not count: the caches are cold after that.
            session.run(input.view()).map_err(Error::failed)?;
            let inferences = in_round(args.iterations, round, rounds);
            for _ in 0..inferences {
                let start = Instant::now();
                let logits = session.run(input.view()).map_err(Error::failed)?;
                std::hint::black_box(logits.data());
                self.plain_ms.push(milliseconds(start));
            }
            if args.wants_profile() {
                self.add(session.profile(input.view(), inferences).map_err(Error::failed)?);
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn add(&mut self, round: Profile) {
        let Some(profile) = &mut self.profile else {
            self.profile = Some(round);
            return;
        };
        profile.whole.extend(round.whole);
        profile.gathering.extend(round.gathering);
        for (row, more) in profile.steps.iter_mut().zip(round.steps) {
            row.times.extend(more.times);
            row.waiting.extend(more.waiting);
        }
    }
}
