//! Prints how fast each int8 kernel computes the layers of MobileNeXt and ResNet-50, beside the f32 kernel that the same CPU takes.
//!
//! ```text
//! cargo bench -p mnx-benches --bench int8 -- [--width W] [FILTER]      e.g. avx2, or pw-int8/avx512-dot
//! ```
//!
//! Whole planes, one thread, in turns; medians. `-dot` marks rows with instructions for dot products of bytes.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{SIDE, Turns, cpu_of, instructions, peak, shapes};
use mnx_tensor::{Arithmetic, Isa, table};

const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(3);

/// Seconds of one call of each, the medians of turns.
fn seconds(runs: [&mut dyn FnMut(); 2], rounds: usize, turn: Duration) -> [f64; 2] {
    runs.map(|run| {
        run();
        let mut times: Vec<f64> = (0..rounds)
            .map(|_| {
                let (start, mut calls) = (Instant::now(), 0.0);
                while calls == 0.0 || start.elapsed() < turn {
                    run();
                    calls += 1.0;
                }
                start.elapsed().as_secs_f64() / calls
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn main() {
    let Turns { rounds, turn, width, filter } = Turns::from_args(ROUNDS, TURN);
    let (peak, isa) = peak(Arithmetic::Int8, Duration::from_millis(20));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GMAC/s", "% of int8 peak", "f32 µs", "x f32"]);
    let shapes = shapes(&[width], SIDE);
    for row in table::rows().filter(|row| row.arithmetic == Arithmetic::Int8 && row.isa != Isa::Scalar) {
        let Some(cpu) = cpu_of(row) else { continue };
        for shape in shapes.iter().filter(|shape| shape.kernel() == row.name) {
            let name = format!("{}/{}/{shape}", row.name, instructions(row));
            if !name.contains(&filter) {
                continue;
            }
            eprint!("\r\x1b[K{name}");
            // A picture's bytes have no counterpart in f32.
            let other = shape.in_f32();
            let (weights, of_other) = (shape.weights(), other.unwrap_or(*shape).weights());
            let mut run = shape.runner(cpu, &weights);
            let mut run_other = other.unwrap_or(*shape).runner(cpu, &of_other);
            let [int8, f32] = seconds([&mut run, &mut run_other], rounds, turn);
            let (mut macs, mut share) = ("-".into(), "-".into());
            if shape.multiplies() {
                let rate = shape.operations() as f64 / int8 / 1e9;
                (macs, share) = (format!("{rate:.1}"), format!("{:.0}", 100.0 * rate / peak));
            }
            let beside = |text: String| if other.is_some() { text } else { "-".into() };
            let (f32, ratio) = (beside(format!("{:.1}", 1e6 * f32)), beside(format!("{:.2}", f32 / int8)));
            table.add_row([name, format!("{:.1}", 1e6 * int8), macs, share, f32, ratio]);
        }
    }
    eprint!("\r\x1b[K");
    (1..6).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    println!("int8 peak of one thread {peak:.1} GMAC/s ({isa}); medians of {rounds} turns\n\n{table}");
}
