//! Makes rows per block and per layer of the times of steps, beside the roofline.
//!
//! A row's time is a mean over the fifth of the inferences whose length is nearest to the median. Means add up to the whole;
//! medians of rows do not on a busy machine. There most inferences are interrupted, but each row seldom is: medians came to
//! two thirds of the median of the whole.

use std::time::Duration;

use mnx::unstable::arithmetic_name;
use mnx::{LayerInfo, Profile, StepProfile};
use serde::Serialize;

use crate::args::Bench;
use crate::commands::timing::machine::{Bandwidth, Machine, Peaks};
use crate::commands::timing::macs::Macs;
use crate::commands::timing::statistics::median;
use crate::context::instructions;

/// Where the time goes. Times are per batch.
#[derive(Serialize)]
pub(super) struct Profiled {
    /// Neighbouring steps of one block are one row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blocks: Option<Vec<Row>>,
    /// A row per step: a layer, or several that are fused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<Vec<Row>>,
    pub(super) profile: Check,
    pub(super) bandwidth: Vec<Bandwidth>,
    /// The rows of `blocks`, wanted or not.
    #[serde(skip)]
    pub(super) bars: Vec<Row>,
}

/// Whether the rows add up, and what it costs to measure them.
#[derive(Serialize)]
pub(super) struct Check {
    /// Of all rows, and of `gathering_ms`.
    pub(super) sum_ms: f64,
    /// How long the calling thread waited for pictures that others computed whole: in no row.
    pub(super) gathering_ms: f64,
    /// Median of the profiled inferences.
    pub(super) whole_ms: f64,
    /// Median of the others, in turn with them.
    pub(super) plain_median_ms: f64,
    pub(super) overhead_percent: f64,
}

/// One block or step.
#[derive(Clone, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// The block that a step is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<String>,
    /// Of a step, its layers' kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<String>,
    /// What its multiply-adds are computed with: `f32`, `int8` or `mixed`; none without any.
    arithmetic: Option<&'static str>,
    /// `[C, H, W]` of the output.
    pub(super) shape: [usize; 3],
    /// Multiply-adds of one picture.
    pub(super) macs: u64,
    /// The mean of the middle fifth of the inferences.
    pub(super) microseconds: f64,
    /// The median of all inferences.
    pub(super) median_microseconds: f64,
    /// How much of `microseconds` the calling thread waited for others.
    pub(super) waiting_microseconds: f64,
    /// Of the whole inference.
    pub(super) percent_of_time: f64,
    pub(super) gflops: f64,
    pub(super) percent_of_peak: f64,
    /// What the batch needs moved at least: activations, and weights once.
    pub(super) bytes: u64,
    /// Operations per byte.
    pub(super) intensity: f64,
    /// Least time by the roofline: the multiply-adds at the peak, or the bytes at the bandwidth of a working set of
    /// their size, whichever takes longer.
    pub(super) roofline_microseconds: f64,
    pub(super) percent_of_roofline: f64,
    pub(super) bound: Limit,
}

/// Which of the two limits takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Limit {
    Compute,
    Memory,
}

impl Profiled {
    pub(super) fn new(profile: &Profile, machine: &Machine, plain_median_ms: f64, args: &Bench) -> Profiled {
        let whole_ms = 1e-3 * median(&microseconds(&profile.whole));
        let counted = middle_fifth(&profile.whole);
        let gathering_ms = 1e-3 * mean(counted.iter().map(|&i| profile.gathering[i]));
        let (peaks, bandwidths) = (machine.peaks(), machine.bandwidths());
        let rates = Rates { batch: profile.batch, counted, whole_ms, peaks, bandwidths };
        let layers: Vec<_> = profile.steps.iter().map(|step| rates.layer(step)).collect();
        let blocks: Vec<_> =
            profile.steps.chunk_by(|a, b| a.step.block == b.step.block).map(|steps| rates.block(steps)).collect();
        // The finest rows that are shown.
        let shown = if args.per_layer { &layers } else { &blocks };
        let check = Check {
            sum_ms: 1e-3 * shown.iter().map(|row| row.microseconds).sum::<f64>() + gathering_ms,
            gathering_ms,
            whole_ms,
            plain_median_ms,
            overhead_percent: 100.0 * (whole_ms / plain_median_ms - 1.0),
        };
        Profiled {
            blocks: args.per_block.then(|| blocks.clone()),
            layers: args.per_layer.then_some(layers),
            profile: check,
            bandwidth: rates.bandwidths,
            bars: blocks,
        }
    }
}

/// What times are compared with.
struct Rates {
    batch: usize,
    /// Which inferences count.
    counted: Vec<usize>,
    whole_ms: f64,
    peaks: Peaks,
    bandwidths: Vec<Bandwidth>,
}

impl Rates {
    fn layer(&self, step: &StepProfile) -> Row {
        let kernel = |layer: &LayerInfo| format!("{}{}", layer.kernel, instructions(layer.dot_products, layer.amx));
        let kernels: Vec<_> = step.step.layers.iter().map(kernel).collect();
        let row = self.row(step.step.name(), std::slice::from_ref(step));
        Row { block: Some(step.step.block.clone()), kernel: Some(kernels.join(" + ")), ..row }
    }

    fn block(&self, steps: &[StepProfile]) -> Row {
        let name = steps.first().map(|step| step.step.block.clone());
        self.row(name.unwrap_or_default(), steps)
    }

    fn row(&self, name: String, steps: &[StepProfile]) -> Row {
        let layers = || steps.iter().flat_map(|step| &step.step.layers);
        let macs = Macs::of_layers(layers());
        let bytes = steps.iter().map(|step| step.step.bytes(self.batch)).fold(0, u64::saturating_add);
        let sums = |i: usize| steps.iter().map(|step| step.times[i]).sum::<Duration>();
        let waiting = |i: usize| steps.iter().map(|step| step.waiting[i]).sum::<Duration>();
        let all: Vec<_> = (0..steps.first().map_or(0, |step| step.times.len())).map(sums).collect();
        let microseconds = mean(self.counted.iter().map(|&i| all[i]));
        let operations = 2.0 * macs.total() as f64 * self.batch as f64;
        let at_peak = 1e3 * macs.milliseconds_at(&self.peaks) * self.batch as f64;
        let at_bandwidth = per(bytes as f64, 1e3 * bandwidth(&self.bandwidths, bytes));
        let roofline_microseconds = at_peak.max(at_bandwidth);
        Row {
            name,
            block: None,
            kernel: None,
            arithmetic: arithmetic_name(layers().filter(|layer| layer.macs > 0).map(|layer| layer.arithmetic)),
            shape: steps.last().and_then(|step| step.step.layers.last()).map_or([0; 3], |layer| layer.output),
            macs: macs.total(),
            microseconds,
            median_microseconds: median(&self::microseconds(&all)),
            waiting_microseconds: mean(self.counted.iter().map(|&i| waiting(i))),
            percent_of_time: 100.0 * per(microseconds, 1e3 * self.whole_ms),
            gflops: per(operations, 1e3 * microseconds),
            percent_of_peak: 100.0 * per(at_peak, microseconds),
            bytes,
            intensity: per(operations, bytes as f64),
            roofline_microseconds,
            percent_of_roofline: 100.0 * per(roofline_microseconds, microseconds),
            bound: if at_peak >= at_bandwidth { Limit::Compute } else { Limit::Memory },
        }
    }
}

/// GB/s of the smallest measured working set that holds this many bytes, or else of the largest.
fn bandwidth(measured: &[Bandwidth], bytes: u64) -> f64 {
    let found = measured.iter().find(|b| b.bytes >= bytes).or(measured.last());
    found.map_or(0.0, |b| b.gb_per_second)
}

/// A quotient; 0 where there is nothing to divide by.
fn per(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// The inferences that are left when the shortest two fifths and the longest two fifths are not counted.
fn middle_fifth(whole: &[Duration]) -> Vec<usize> {
    let mut order: Vec<_> = (0..whole.len()).collect();
    order.sort_by_key(|&i| whole[i]);
    let cut = order.len() * 2 / 5;
    order[cut..order.len() - cut].to_vec()
}

/// In microseconds, of at least one time.
fn mean(times: impl ExactSizeIterator<Item = Duration>) -> f64 {
    let count = times.len();
    1e6 * times.sum::<Duration>().as_secs_f64() / count as f64
}

fn microseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| 1e6 * time.as_secs_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_larger_working_set_counts() {
        let measured =
            [(1 << 14, 200.0), (1 << 15, 100.0)].map(|(bytes, gb_per_second)| Bandwidth { bytes, gb_per_second });
        let found = [0, 1 << 14, (1 << 14) + 1, 1 << 15, 1 << 40].map(|bytes| bandwidth(&measured, bytes));
        assert_eq!(found, [200.0, 200.0, 100.0, 100.0, 100.0]);
        assert_eq!(bandwidth(&[], 1), 0.0);
    }

    #[test]
    fn outliers_do_not_count() {
        let times = [5, 1, 900, 4, 3, 0, 2, 800].map(Duration::from_micros);
        let counted = middle_fifth(&times);
        assert_eq!(counted.iter().map(|&i| times[i].as_micros()).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(mean(counted.iter().map(|&i| times[i])), 3.5);
        let left: Vec<_> = (1..=8).map(|n| middle_fifth(&times[..n]).len()).collect();
        assert_eq!(left, [1, 2, 1, 2, 1, 2, 3, 2]);
    }
}
