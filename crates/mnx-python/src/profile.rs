//! What `mobilenext.profile` is made of: times of steps, what the machine could do, and the picture.

use std::time::Duration;

use mnx::plot::{Bar, Bound as Limit, Panel, blocks};
use mnx::unstable::arithmetic_name;
use pyo3::prelude::*;
use serde::Serialize;

use crate::errors::Failure;

/// Times of a number of inferences, in microseconds.
#[derive(Serialize)]
pub(crate) struct Taken {
    batch: usize,
    threads: usize,
    isa: &'static str,
    whole: Vec<f64>,
    gathering: Vec<f64>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    name: String,
    block: String,
    kernel: String,
    /// `f32`, `int8`, or `mixed`; none without multiply-adds.
    arithmetic: Option<&'static str>,
    shape: [usize; 3],
    macs: u64,
    bytes: u64,
    times: Vec<f64>,
    waiting: Vec<f64>,
}

impl Taken {
    pub(crate) fn new(profile: &mnx::Profile) -> Taken {
        let step = |row: &mnx::StepProfile| {
            let layers = &row.step.layers;
            Step {
                name: row.step.name(),
                block: row.step.block.clone(),
                kernel: layers.iter().map(|layer| layer.kernel).collect::<Vec<_>>().join(" + "),
                arithmetic: arithmetic_name(layers.iter().filter(|l| l.macs > 0).map(|l| l.arithmetic)),
                shape: layers.last().map_or([0; 3], |layer| layer.output),
                macs: row.step.macs(),
                bytes: row.step.bytes(profile.batch),
                times: microseconds(&row.times),
                waiting: microseconds(&row.waiting),
            }
        };
        Taken {
            batch: profile.batch,
            threads: profile.threads,
            isa: profile.isa.name(),
            whole: microseconds(&profile.whole),
            gathering: microseconds(&profile.gathering),
            steps: profile.steps.iter().map(step).collect(),
        }
    }
}

fn microseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| 1e6 * time.as_secs_f64()).collect()
}

/// What one thread of this machine could do: 10⁹ multiply-adds a second in f32 and in int8, and GB/s for each size of what is
/// moved, as a list of (bytes, GB/s). The best of some rounds, as other programs take turns on the CPU. Takes about 0.2 s.
#[pyfunction]
pub(crate) fn measure_peaks(py: Python<'_>) -> (f64, f64, Vec<(usize, f64)>) {
    const ROUNDS: usize = 5;
    const EACH: Duration = Duration::from_millis(5);
    const COPY: Duration = Duration::from_millis(1);
    py.detach(|| {
        let (mut fma, mut dot) = (0.0, 0.0);
        let mut copies: Vec<(usize, f64)> = (14..=26).map(|log| (1 << log, 0.0)).collect();
        for _ in 0..ROUNDS {
            // A multiply-add is two operations.
            fma = f64::max(fma, mnx::fma_peak(EACH).0 / 2.0);
            dot = f64::max(dot, mnx::dot_peak(EACH).0);
            for (bytes, rate) in &mut copies {
                *rate = rate.max(mnx::copy_bandwidth(*bytes, COPY));
            }
        }
        (fma, dot, copies)
    })
}

/// The library's picture of blocks beside the roofline, as SVG. A block is (name, µs, µs at least, whether multiply-adds are the
/// limit).
#[pyfunction]
pub(crate) fn draw_blocks(title: String, subtitle: String, bars: Vec<(String, f64, f64, bool)>) -> PyResult<String> {
    if bars.iter().any(|bar| !bar.1.is_finite() || !bar.2.is_finite()) {
        return Err(Failure::input("bars: expected finite times").into());
    }
    let bar = |(name, microseconds, bound_microseconds, compute)| Bar {
        name,
        microseconds,
        bound_microseconds,
        bound: if compute { Limit::Compute } else { Limit::Memory },
    };
    Ok(blocks(&[Panel { title, subtitle, bars: bars.into_iter().map(bar).collect() }]))
}
