//! Reports measurements to people: tables and a picture.

use mnx::Spec;
use mnx::plot::{Bar, Bound, Panel};

use super::measure::Measurement;
use super::profile::{Limit, Profiled, Row};
use crate::commands::timing::machine::Bandwidth;
use crate::commands::timing::statistics::Latency;
use crate::error::printable;
use crate::stdout::HEADER;
use crate::table::{plain_table, shape};
use crate::words::threads;

/// One in so many working sets is reported: each is eight times as large as the one before.
const REPORTED: usize = 3;

pub(super) fn text(spec: &Spec, runs: &[Measurement]) -> String {
    let mut text = String::new();
    if let Some(run) = runs.first() {
        let million = run.macs as f64 / 1e6;
        let (kernels, cpu) = (run.kernels.name(), printable(&run.cpu));
        text = format!("{}, {million:.2} M multiply-adds a picture, {kernels} on {cpu}\n\n", network(spec));
    }
    text += &latencies(runs);
    let doubt = runs.iter().find_map(|run| run.peaks.doubt(run.percent_of_peak));
    text.extend(doubt.map(|doubt| format!("\n{doubt}\n")));
    for run in runs {
        if let Some(profiled) = &run.profiled {
            text += &tables(run, profiled);
        }
    }
    text
}

/// Which network at which size.
pub(super) fn network(spec: &Spec) -> String {
    format!("{} {:?}, {side} x {side}", printable(&spec.family), spec.width, side = spec.resolution)
}

fn latencies(runs: &[Measurement]) -> String {
    let unit = runs.first().map_or(Unit::Gflops, Unit::of);
    let mut header = vec!["threads", "batch", "min ms", "median ms", "p90 ms", "p99 ms", "pictures/s", unit.rate()];
    header.extend(runs.first().into_iter().flat_map(peaks).map(|(name, _)| name));
    header.extend(["% of peak", "first ms", "arena MB"]);
    let rows = runs.iter().map(|run| {
        let Latency { min, median, p90, p99 } = run.latency_ms;
        let times = [min, median, p90, p99].map(|ms| format!("{ms:.3}"));
        let mut rates = vec![1e3 * run.batch as f64 / median, unit.scaled(run.gflops)];
        rates.extend(peaks(run).into_iter().map(|(_, peak)| peak));
        rates.push(run.percent_of_peak);
        let mut row = vec![run.threads.to_string(), run.batch.to_string()];
        row.extend(times);
        row.extend(rates.into_iter().map(|rate| format!("{rate:.1}")));
        row.push(format!("{:.3}", run.first_logits_ms));
        row.push(format!("{:.2}", run.peak_arena_bytes as f64 / 1e6));
        row
    });
    plain_table(&"r".repeat(header.len()), &header, rows)
}

/// In what rates are told: floating-point operations, or where there are int8 layers, multiply-adds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Gflops,
    Gmacs,
}

impl Unit {
    fn of(run: &Measurement) -> Unit {
        if run.macs_by_kind.int8 > 0 { Unit::Gmacs } else { Unit::Gflops }
    }

    fn rate(self) -> &'static str {
        match self {
            Unit::Gflops => "GFLOP/s",
            Unit::Gmacs => "GMAC/s",
        }
    }

    fn intensity(self) -> &'static str {
        match self {
            Unit::Gflops => "FLOP/byte",
            Unit::Gmacs => "MAC/byte",
        }
    }

    /// What is counted in floating-point operations.
    fn scaled(self, operations: f64) -> f64 {
        match self {
            Unit::Gflops => operations,
            Unit::Gmacs => operations / 2.0,
        }
    }
}

/// The peaks that the network's layers are judged by, in its unit.
fn peaks(run: &Measurement) -> Vec<(&'static str, f64)> {
    let fma = ("FMA peak", Unit::of(run).scaled(run.peaks.fma_peak_gflops));
    let int8 = run.peaks.dot_peak_gmacs.map(|peak| ("int8 peak", peak));
    // A network in int8 throughout has nothing to do with the peak in f32.
    let fma = (run.macs_by_kind.f32 > 0 || int8.is_none()).then_some(fma);
    fma.into_iter().chain(int8).collect()
}

/// The tables of one run that were asked for.
fn tables(run: &Measurement, profiled: &Profiled) -> String {
    if profiled.blocks.is_none() && profiled.layers.is_none() {
        return String::new();
    }
    let mut text = format!("\n{HEADER}{}{HEADER:#}\n", counts(run));
    let unit = Unit::of(run);
    let peaks: Vec<_> =
        peaks(run).into_iter().map(|(name, peak)| format!("{name} {peak:.1} {}", unit.rate())).collect();
    text += &format!("{}; GB/s by working set: {}\n", peaks.join(", "), bandwidths(&profiled.bandwidth));
    for rows in [&profiled.blocks, &profiled.layers].into_iter().flatten() {
        text += "\n";
        text += &table(rows, unit, run.threads > 1);
    }
    let check = &profiled.profile;
    // Only where threads compute whole pictures there is more than a reading of the clock.
    let gathering = match check.gathering_ms {
        ms if ms < 0.001 => String::new(),
        ms => format!(" with {ms:.3} ms of waiting for the other threads' pictures"),
    };
    text += &format!(
        "\nsum of the rows {:.3} ms{gathering}: {:.1} % of {:.3} ms, the median of the profiled inferences\n\
         median of those not profiled {:.3} ms: the profiler's cost is {:+.1} %\n",
        check.sum_ms,
        100.0 * check.sum_ms / check.whole_ms,
        check.whole_ms,
        check.plain_median_ms,
        check.overhead_percent,
    );
    text
}

fn counts(run: &Measurement) -> String {
    format!("{}, batch {}", threads(run.threads), run.batch)
}

fn bandwidths(measured: &[Bandwidth]) -> String {
    let told = measured.iter().step_by(REPORTED).map(|b| {
        let (size, unit) = if b.bytes < 1 << 20 { (b.bytes >> 10, "KiB") } else { (b.bytes >> 20, "MiB") };
        format!("{:.0} ({size} {unit})", b.gb_per_second)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// `waiting`: whether there are others to wait for.
fn table(rows: &[Row], unit: Unit, waiting: bool) -> String {
    let of_layers = rows.iter().any(|row| row.kernel.is_some());
    let mut header = if of_layers { vec!["layer", "kernel"] } else { vec!["block"] };
    let mut columns = "l".repeat(header.len());
    header.extend(["output", "M MACs", "µs", "%"]);
    if waiting {
        header.push("waiting µs");
    }
    let [rate, intensity] = [unit.rate(), unit.intensity()];
    header.extend([rate, "% of peak", "MB moved", intensity, "bound µs", "% of bound", "bound by"]);
    columns += &"r".repeat(header.len() - columns.len() - 1);
    columns.push('l');
    plain_table(&columns, &header, rows.iter().map(|row| cells(row, unit, waiting)))
}

fn cells(row: &Row, unit: Unit, waiting: bool) -> Vec<String> {
    let mut cells = vec![printable(&row.name)];
    cells.extend(row.kernel.clone());
    cells.push(shape(row.shape));
    cells.push(format!("{:.2}", row.macs as f64 / 1e6));
    cells.push(format!("{:.1}", row.microseconds));
    cells.push(format!("{:.1}", row.percent_of_time));
    if waiting {
        cells.push(format!("{:.1}", row.waiting_microseconds));
    }
    // The pool has no multiply-adds to be judged by.
    let judged = |text: String| if row.macs == 0 { "-".into() } else { text };
    cells.push(judged(format!("{:.1}", unit.scaled(row.gflops))));
    cells.push(judged(format!("{:.1}", row.percent_of_peak)));
    cells.push(format!("{:.3}", row.bytes as f64 / 1e6));
    cells.push(judged(format!("{:.1}", unit.scaled(row.intensity))));
    cells.push(format!("{:.1}", row.roofline_microseconds));
    cells.push(format!("{:.1}", row.percent_of_roofline));
    cells.push(if row.bound == Limit::Compute { "peak".into() } else { "memory".into() });
    cells
}

/// The blocks of every run as a picture.
pub(super) fn plot(spec: &Spec, runs: &[Measurement]) -> String {
    let panels: Vec<_> = runs.iter().filter_map(|run| Some(panel(spec, run, run.profiled.as_ref()?))).collect();
    mnx::plot::blocks(&panels)
}

fn panel(spec: &Spec, run: &Measurement, profiled: &Profiled) -> Panel {
    let bar = |row: &Row| Bar {
        name: row.name.clone(),
        microseconds: row.microseconds,
        bound_microseconds: row.roofline_microseconds,
        bound: if row.bound == Limit::Compute { Bound::Compute } else { Bound::Memory },
    };
    let (ms, percent) = (run.latency_ms.median, run.percent_of_peak);
    let peaks = peaks(run).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" and ");
    Panel {
        title: format!("{}: {ms:.2} ms, {percent:.0} % of the {peaks}", network(spec)),
        subtitle: format!("{}, {} kernels, {}", run.cpu, run.kernels.name(), counts(run)),
        bars: profiled.bars.iter().map(bar).collect(),
    }
}
