//! Kernels beside what the machine could do at best, measured in turn with them: on one thread, for every ISA of this CPU.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench roofline -- dw3x3s2          # what has this in kernel/isa/Cin-Cout@size
//! cargo bench -p mnx-benches --bench roofline -- pw-int8/         # in int8; ISAs with dot products of bytes end in -dot
//! cargo bench -p mnx-benches --bench roofline -- --width 0.35     # layers of this MobileNeXt; 1.0 where not said
//! cargo bench -p mnx-benches --bench roofline -- --shape pw:80-240@40+relu6    # a layer of your own
//! ```
//!
//! A layer's bound is the roofline model's: its multiply-adds at the FMA peak (in int8: at that of exact dot products of bytes), or its bytes (input, weights and output each
//! once) at the rate of copies in a working set so large, whichever takes longer. Of the pools, which add or compare, only
//! the bandwidth counts. A depthwise layer of stride 2 reads strips that stay in the cache, as in the network, where the
//! pointwise layer before it has just written them.
#![allow(missing_docs)]

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{
    Layers, Peaks, Run, arguments, cpu_name, instructions, median, parts_of_names, progress, runs, time,
};
use mnx_tensor::peak::copy_bandwidth;

/// Layer, peak and bandwidth take turns so many times; medians count.
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(10);

/// Seconds that a layer takes, and those that bound it.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    layer: f64,
    peak: f64,
    memory: f64,
    bound: f64,
}

impl Times {
    fn of(&Run { shape, cpu, row }: &Run, peaks: &mut Peaks, rounds: usize, turn: Duration) -> Times {
        let (operations, bytes) = (shape.operations() as f64, shape.bytes());
        let weights = shape.weights();
        let mut run = shape.runner(cpu, &weights);
        run();
        let [mut layer, mut rates, mut memory] = [(); 3].map(|()| Vec::new());
        for _ in 0..rounds {
            if shape.multiplies() {
                rates.push(peaks.measure(shape.arithmetic, turn));
            }
            memory.push(bytes as f64 / copy_bandwidth(shape.working_set(), turn) / 1e9);
            layer.push(time(turn, &mut run));
        }
        let [layer, memory] = [layer, memory].map(median);
        let peak = if rates.is_empty() { 0.0 } else { operations / median(rates.clone()) / 1e9 };
        // AMX multiplies faster than the vectors whose peak it is.
        peaks.judge(&rates, peak / layer, if row.amx { f64::INFINITY } else { shape.most_of_peak() });
        Times { layer, peak, memory, bound: peak.max(memory) }
    }

    fn plus(self, other: Times) -> Times {
        Times {
            layer: self.layer + other.layer,
            peak: self.peak + other.peak,
            memory: self.memory + other.memory,
            bound: self.bound + other.bound,
        }
    }
}

fn figures(name: String, operations: u64, times: Times) -> Vec<String> {
    let share = |of: f64| if of > 0.0 { format!("{:.0}", 100.0 * of / times.layer) } else { "-".into() };
    let by = if times.memory > times.peak { "memory" } else { "peak" };
    let rate = operations as f64 / times.layer / 1e9;
    let columns = [format!("{:.1}", 1e6 * times.layer), format!("{rate:.1}"), share(times.peak), share(times.bound)];
    [vec![name], columns.to_vec(), vec![by.into()]].concat()
}

fn main() -> ExitCode {
    let layers: Layers = arguments("roofline", "Kernels beside the FMA peak and the bandwidth, in turn.");
    let all = runs(&layers.shapes());
    let parts = parts_of_names(&all);
    let runs = match layers.common.select(all, |name, filter| name.contains(filter), || parts) {
        Ok(runs) => runs,
        Err(code) => return code,
    };
    let (rounds, turn) = layers.common.turns(ROUNDS, TURN);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GFLOP/s, GMAC/s", "% of peak", "% of bound", "bound by"]);
    let (mut peaks, bar) = (Peaks::default(), progress(runs.len()));
    for of_row in runs.chunk_by(|a, b| std::ptr::eq(a.row, b.row)) {
        let mut all = (0, Times::default());
        for run in of_row {
            bar.set_message(run.to_string());
            let (operations, times) = (run.shape.operations(), Times::of(run, &mut peaks, rounds, turn));
            table.add_row(figures(run.to_string(), operations, times));
            all = (all.0 + operations, all.1.plus(times));
            bar.inc(1);
        }
        if of_row.len() > 1 {
            let name = format!("{}/{}, all", of_row[0].row.name, instructions(of_row[0].row));
            table.add_row(figures(name, all.0, all.1));
        }
    }
    bar.finish_and_clear();
    (1..5).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    println!("{}\n{peaks}", cpu_name());
    println!("Rates are GFLOP/s, of int8 GMAC/s; medians of {rounds} turns\n\n{table}");
    if let Some(warning) = peaks.warning() {
        println!("\n{warning}");
    }
    ExitCode::SUCCESS
}
