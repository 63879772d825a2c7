//! Prints how fast each int8 kernel computes the layers of MobileNeXt and ResNet-50, beside the f32 kernel that the same CPU takes.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench int8 -- avx2                  # what has this in kernel/isa/Cin-Cout@size
//! cargo bench -p mnx-benches --bench int8 -- --width 0.35          # layers of this MobileNeXt; 1.0 where not said
//! cargo bench -p mnx-benches --bench int8 -- --shape pw:80-240@40  # a layer of your own
//! ```
//!
//! Whole planes, one thread, in turns with the int8 peak; medians. `-dot` marks rows with instructions for dot products of bytes.
#![allow(missing_docs)]

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{
    Layers, Peaks, Run, Shape, Spread, arguments, cpu_name, median, parts_of_names, progress, runs, time,
};
use mnx_tensor::Isa;

const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(3);

/// A row of the table: int8, its peak, and f32 take turns.
fn figures(run: &Run, peaks: &mut Peaks, rounds: usize, turn: Duration) -> Vec<String> {
    let &Run { row, cpu, shape } = run;
    // A picture's bytes have no counterpart in f32.
    let other = shape.in_f32();
    let (weights, of_other) = (shape.weights(), other.unwrap_or(shape).weights());
    let mut int8 = shape.runner(cpu, &weights);
    let mut f32 = other.map(|other| other.runner(cpu, &of_other));
    int8();
    f32.iter_mut().for_each(|f32| f32());
    let [mut rates, mut of_int8, mut of_f32] = [(); 3].map(|()| Vec::new());
    for _ in 0..rounds {
        if shape.multiplies() {
            rates.push(peaks.measure(shape.arithmetic, turn));
        }
        of_int8.push(time(turn, &mut int8));
        of_f32.extend(f32.as_mut().map(|f32| time(turn, f32)));
    }
    let seconds = median(of_int8.clone());
    let (mut macs, mut share, mut beside) = ("-".to_owned(), "-".to_owned(), ["-".to_owned(), "-".to_owned()]);
    if shape.multiplies() {
        let rate = shape.operations() as f64 / seconds / 1e9;
        let of_peak = rate / median(rates.clone());
        // AMX multiplies faster than the vectors whose peak it is.
        peaks.judge(&rates, of_peak, if row.amx { f64::INFINITY } else { shape.most_of_peak() });
        (macs, share) = (format!("{rate:.1}"), format!("{:.0}", 100.0 * of_peak));
    }
    if other.is_some() {
        let ratio = Spread::of_ratios(&of_int8, &of_f32).median;
        beside = [format!("{:.1}", 1e6 * median(of_f32)), format!("{ratio:.2}")];
    }
    let [f32, ratio] = beside;
    vec![run.to_string(), format!("{:.1}", 1e6 * seconds), macs, share, f32, ratio]
}

fn main() -> ExitCode {
    let layers: Layers = arguments("int8", "Kernels in int8 beside those in f32, in turn.");
    let mut shapes = Vec::new();
    for shape in layers.shapes().iter().map(Shape::in_int8) {
        // Of two layers in f32, with a ReLU6 and without, the same becomes.
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    let mut all = runs(&shapes);
    all.retain(|run| run.row.isa != Isa::Scalar);
    let parts = parts_of_names(&all);
    let runs = match layers.common.select(all, |name, filter| name.contains(filter), || parts) {
        Ok(runs) => runs,
        Err(code) => return code,
    };
    let (rounds, turn) = layers.common.turns(ROUNDS, TURN);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GMAC/s", "% of int8 peak", "f32 µs", "x f32"]);
    let (mut peaks, bar) = (Peaks::default(), progress(runs.len()));
    for run in &runs {
        bar.set_message(run.to_string());
        table.add_row(figures(run, &mut peaks, rounds, turn));
        bar.inc(1);
    }
    bar.finish_and_clear();
    (1..6).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    println!("{}\n{peaks}\nMedians of {rounds} turns; x f32: how often as fast\n\n{table}", cpu_name());
    if let Some(warning) = peaks.warning() {
        println!("\n{warning}");
    }
    ExitCode::SUCCESS
}
