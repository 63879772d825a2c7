//! Which rows of the kernel table suit this CPU: every row that it can run, on every layer shape, in turn.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench tiles                  # everything
//! cargo bench -p mnx-benches --bench tiles -- pw            # kernels whose name begins so
//! cargo bench -p mnx-benches --bench tiles -- --width 0.35  # layers of this MobileNeXt; 1.0 where not said
//! cargo bench -p mnx-benches --bench tiles -- --shape pw:80-240@40 --shape pw:240-80@40    # layers of your own
//! ```
//!
//! The last line of each kernel says which row is fastest over all shapes together, and by how much in the rounds. Where it is
//! faster than today's and not level, the CPU deserves a row of its own, or another rule in `cpu.rs` (docs/adding-an-isa.md).
#![allow(missing_docs)]

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use mnx_benches::{
    Layers, Peaks, SIDE, Shape, Spread, WIDTHS, arguments, cpu_name, cpu_of, instructions, kernels, median, progress,
    refuse, shapes, time,
};
use mnx_tensor::dispatch;
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Cpu, Isa, TunedFor};

const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(5);

/// A row and the CPU that selects it.
type Candidate = (&'static Kernel, Cpu);

fn name((row, _): &Candidate) -> String {
    let (pixels, channels) = row.tile;
    format!("{} {pixels}x{channels}", instructions(row))
}

/// What all comparisons have in common.
struct Comparison {
    /// What is selected today.
    today: Cpu,
    rounds: usize,
    turn: Duration,
    peaks: Peaks,
    bar: ProgressBar,
}

impl Comparison {
    /// Seconds of each candidate on a shape, round by round, in turns with each other and the peak.
    fn measure(&mut self, shape: &Shape, candidates: &[Candidate]) -> Vec<Vec<f64>> {
        let weights = shape.weights();
        let mut runners: Vec<_> = candidates.iter().map(|&(_, cpu)| shape.runner(cpu, &weights)).collect();
        let (mut seconds, mut peaks) = (vec![Vec::new(); candidates.len()], Vec::new());
        for _ in 0..self.rounds {
            if shape.multiplies() {
                peaks.push(self.peaks.measure(shape.arithmetic, self.turn));
            }
            for (run, seconds) in runners.iter_mut().zip(&mut seconds) {
                run();
                seconds.push(time(self.turn, run));
            }
        }
        // AMX multiplies faster than the vectors whose peak it is.
        let of_vectors = candidates.iter().zip(&seconds).filter(|((row, _), _)| !row.amx);
        let best = of_vectors.map(|(_, seconds)| median(seconds.clone())).fold(f64::INFINITY, f64::min);
        let share = if peaks.is_empty() { 0.0 } else { shape.operations() as f64 / best / 1e9 / median(peaks.clone()) };
        self.peaks.judge(&peaks, share, shape.most_of_peak());
        seconds
    }

    /// Prints the table of one kernel.
    fn compare(&mut self, kernel: &str, shapes: &[Shape], candidates: &[Candidate]) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([kernel.to_owned()].into_iter().chain(candidates.iter().map(name)));
        let mut all = vec![vec![0.0; self.rounds]; candidates.len()];
        for shape in shapes {
            self.bar.set_message(format!("{kernel} {shape}"));
            let seconds = self.measure(shape, candidates);
            all.iter_mut().flatten().zip(seconds.iter().flatten()).for_each(|(all, seconds)| *all += seconds);
            let seconds: Vec<f64> = seconds.into_iter().map(median).collect();
            let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
            let cell = |&seconds: &f64| {
                let star = if candidates.len() > 1 && seconds == best { " *" } else { "" };
                format!("{:.1}{star}", shape.operations() as f64 / seconds / 1e9)
            };
            table.add_row([shape.to_string()].into_iter().chain(seconds.iter().map(cell)));
            self.bar.inc(1);
        }
        (1..=candidates.len()).for_each(|column| {
            table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
        });
        let verdict = self.verdict(candidates, &all);
        self.bar.suspend(|| println!("{table}\n{kernel}: {verdict}\n"));
    }

    /// The fastest beside what is selected today, or if that is the fastest, beside the next.
    fn verdict(&self, candidates: &[Candidate], seconds: &[Vec<f64>]) -> String {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| median(seconds[a].clone()).total_cmp(&median(seconds[b].clone())));
        let &[best, next, ..] = &order[..] else {
            return format!("only {} runs on this CPU, so there is no choice", name(&candidates[0]));
        };
        let row = candidates[best].0;
        let selected = dispatch::select(row.operation, row.arithmetic, row.weights, self.today).ok();
        let today = candidates.iter().position(|(row, _)| selected.is_some_and(|of| std::ptr::eq(*row, of)));
        let other = today.filter(|&today| today != best).unwrap_or(next);
        let Spread { median, least, most } = Spread::of_ratios(&seconds[best], &seconds[other]);
        let [fastest, other_name] = [best, other].map(|index| name(&candidates[index]));
        let (fastest, other_name) = match today {
            Some(today) if today == best => (format!("today's {fastest}"), format!("{other_name}, which is next")),
            Some(_) => (fastest, format!("today's {other_name}")),
            None => (fastest, format!("{other_name}, which is next (none of these is selected today)")),
        };
        let by = format!("{median:.3} x ({least:.3} to {most:.3} in the rounds without the extremes)");
        if least > 1.0 {
            format!("fastest over all shapes is {fastest}, {by} as fast as {other_name}")
        } else {
            format!("level over all shapes: {fastest} is {by} as fast as {other_name}")
        }
    }
}

fn main() -> ExitCode {
    let layers: Layers = arguments("tiles", "Every row of the kernel table that this CPU can run, in turn.");
    let today = Cpu::choose(None, None).unwrap_or_else(|error| refuse(error));
    let measured = layers.shapes();
    let of = |kernel| measured.iter().copied().filter(|shape| shape.kernel() == kernel).collect::<Vec<_>>();
    // Of one's own layers only theirs; of the networks' all, with a word on those that no layer uses.
    let all: Vec<&str> = kernels().filter(|&kernel| !layers.has_own() || !of(kernel).is_empty()).collect();
    let there_are = format!("expected the beginning of a kernel's name: {}", all.join(" "));
    let names = match layers.common.select(all, |name, filter| name.starts_with(filter), || there_are) {
        Ok(names) => names,
        Err(code) => return code,
    };
    let (rounds, turn) = layers.common.turns(ROUNDS, TURN);
    let total = names.iter().map(|kernel| of(kernel).len()).sum();
    let mut comparison = Comparison { today, rounds, turn, peaks: Peaks::default(), bar: progress(total) };
    println!("{}, tuned for: {}", cpu_name(), TunedFor::detect());
    println!("GFLOP/s of each row, of int8 GMAC/s, medians of {rounds} turns; * is the fastest\n");
    for kernel in names {
        let shapes = of(kernel);
        let candidates: Vec<Candidate> = table::rows()
            .filter(|row| row.name == kernel && row.isa != Isa::Scalar)
            .filter_map(|row| Some((row, cpu_of(row)?)))
            .collect();
        if shapes.is_empty() {
            comparison.bar.suspend(|| println!("{kernel}: no layer {}\n", elsewhere(kernel)));
        } else if candidates.is_empty() {
            comparison.bar.suspend(|| println!("{kernel}: this CPU has only the portable row\n"));
        } else {
            comparison.compare(kernel, &shapes, &candidates);
        }
    }
    let Comparison { peaks, bar, .. } = comparison;
    bar.finish_and_clear();
    if bar.position() == 0 {
        return ExitCode::FAILURE;
    }
    println!("{peaks}");
    if let Some(warning) = peaks.warning() {
        println!("{warning}");
    }
    ExitCode::SUCCESS
}

/// Where there are layers for a kernel that has none here.
fn elsewhere(kernel: &str) -> String {
    let has = |width: &&f64| shapes(&[**width], SIDE).iter().any(|shape| shape.kernel() == kernel);
    match WIDTHS.iter().find(has) {
        Some(width) => format!("of this width; try --width {width}"),
        None => format!("of the networks; try --shape {kernel}:CIN-COUT@SIZE"),
    }
}
