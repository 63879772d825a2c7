//! Measures all networks in turn, on each number of threads.

use std::collections::HashSet;
use std::time::Instant;

use mnx::{Session, Tensor};
use serde::Serialize;

use super::schedule::{Turn, rounds};
use super::subjects::Entry;
use crate::args::Compare;
use crate::commands::timing::machine::{Machine, Peaks, settle};
use crate::commands::timing::macs::Macs;
use crate::commands::timing::statistics::{Latency, median, quartiles};
use crate::commands::timing::{input, milliseconds};
use crate::context::{Context, Kernels};
use crate::error::Error;
use crate::progress;

/// One network on one number of threads. Times are per batch.
#[derive(Serialize)]
pub(super) struct Run {
    pub(super) threads: usize,
    pub(super) latency_ms: Latency,
    /// The latency as a multiple of the first network's, in the same round: the median of the rounds, which drift of the
    /// machine's speed does not touch.
    ratio: f64,
    /// The first and the third quartile of the same.
    ratio_quartiles: [f64; 2],
    /// By the median.
    pub(super) gflops: f64,
    /// Of all the threads together.
    #[serde(flatten)]
    pub(super) peaks: Peaks,
    /// Of int8 layers the int8 peak counts.
    pub(super) percent_of_peak: f64,
    pub(super) peak_arena_bytes: usize,
    samples_ms: Vec<f64>,
}

impl Run {
    /// The ratio as a table shows it.
    pub(super) fn ratio(&self) -> String {
        let [low, high] = self.ratio_quartiles.map(|quartile| format!("{quartile:.2}"));
        // Level with itself, the first network has nothing to doubt.
        if low == high { low } else { format!("{:.2} ({low}–{high})", self.ratio) }
    }
}

/// Sessions of all networks, laid out before the first of them runs.
pub(super) struct Bout {
    /// Per network.
    inputs: Vec<Tensor>,
    sections: Vec<Section>,
}

/// All networks on one number of threads.
struct Section {
    threads: usize,
    machine: Machine,
    /// Per network.
    streams: Vec<Stream>,
}

/// One network on one number of threads.
struct Stream {
    session: Session,
    samples_ms: Vec<f64>,
    /// The median of each round.
    rounds_ms: Vec<f64>,
}

impl Bout {
    /// Opens a session per network and number of threads.
    ///
    /// # Errors
    /// [`Error::Failed`] for a batch or a number of threads that a network or the machine cannot serve.
    pub(super) fn new(entries: &[Entry], args: &Compare, context: &Context) -> Result<Bout, Error> {
        let inputs = entries.iter().map(|entry| input(&entry.model, args.batch));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let sections = threads(context).into_iter().map(|threads| Section::new(entries, &inputs, threads, context));
        Ok(Bout { sections: sections.collect::<Result<_, _>>()?, inputs })
    }

    /// The numbers of threads, in order.
    pub(super) fn threads(&self) -> Vec<usize> {
        self.sections.iter().map(|section| section.threads).collect()
    }

    /// Which kernels run. The numbers of threads share them.
    pub(super) fn kernels(&self) -> Kernels {
        Kernels::of(&self.sections[0].streams[0].session)
    }

    /// Measures everything; returns in how many rounds.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(super) fn measure(&mut self, args: &Compare) -> Result<usize, Error> {
        for section in &mut self.sections {
            for (stream, input) in section.streams.iter_mut().zip(&self.inputs) {
                for _ in 0..args.warmup {
                    stream.session.run(input.view()).map_err(Error::failed)?;
                }
            }
        }
        let rounds = rounds(self.inputs.len(), args.iterations);
        let progress = progress::rounds(rounds.len(), format!("{} networks in turn", self.inputs.len()));
        for (done, round) in (0..).zip(&rounds) {
            progress.set_position(done);
            for section in &mut self.sections {
                settle();
                section.machine.measure_peak()?;
                for &turn in round {
                    section.streams[turn.network].take(turn, &self.inputs[turn.network])?;
                }
            }
        }
        progress.finish_and_clear();
        Ok(rounds.len())
    }

    /// What was measured of one network. `macs` is its multiply-adds per picture.
    pub(super) fn runs(&self, network: usize, macs: Macs, batch: usize) -> Vec<Run> {
        let run = |section: &Section| {
            let stream = &section.streams[network];
            let latency_ms = Latency::of(&stream.samples_ms);
            let pairs = stream.rounds_ms.iter().zip(&section.streams[0].rounds_ms);
            let ratios: Vec<_> = pairs.map(|(own, first)| own / first).collect();
            let peaks = section.machine.peaks();
            Run {
                threads: section.threads,
                latency_ms,
                ratio: median(&ratios),
                ratio_quartiles: quartiles(&ratios),
                gflops: macs.gflops(batch, latency_ms.median),
                percent_of_peak: macs.percent_of_peak(batch, latency_ms.median, &peaks),
                peaks,
                peak_arena_bytes: stream.session.arena_bytes(),
                samples_ms: stream.samples_ms.clone(),
            }
        };
        self.sections.iter().map(run).collect()
    }
}

impl Section {
    fn new(entries: &[Entry], inputs: &[Tensor], threads: usize, context: &Context) -> Result<Section, Error> {
        let stream = |(entry, input): (&Entry, &Tensor)| {
            let options = context.options_of(Some(threads));
            let mut session = Session::with(&entry.model, options).map_err(Error::with_causes)?;
            session.prepare(input.shape()).map_err(Error::failed)?;
            Ok(Stream { session, samples_ms: Vec::new(), rounds_ms: Vec::new() })
        };
        let streams = entries.iter().zip(inputs).map(stream).collect::<Result<_, Error>>()?;
        let with_int8 = entries.iter().any(|entry| Macs::of(&entry.model).int8 > 0);
        Ok(Section { threads, machine: Machine::new(threads, with_int8), streams })
    }
}

impl Stream {
    fn take(&mut self, turn: Turn, input: &Tensor) -> Result<(), Error> {
        // One that does not count: the caches hold another network.
        self.session.run(input.view()).map_err(Error::failed)?;
        for _ in 0..turn.inferences {
            let start = Instant::now();
            let logits = self.session.run(input.view()).map_err(Error::failed)?;
            std::hint::black_box(logits.data());
            self.samples_ms.push(milliseconds(start));
        }
        let round = self.samples_ms.len() - turn.inferences..;
        self.rounds_ms.push(median(&self.samples_ms[round]));
        Ok(())
    }
}

/// Those that were given, else 1 and the number of physical cores.
fn threads(context: &Context) -> Vec<usize> {
    let mut threads = context.threads.clone();
    if threads.is_empty() {
        threads.extend([1, context.threads()]);
    }
    // Twice the same would tell nothing new.
    let mut seen = HashSet::new();
    threads.retain(|n| seen.insert(*n));
    threads
}
