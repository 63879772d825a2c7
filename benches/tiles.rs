//! Which rows of the kernel table suit this CPU: every row that it can run, on every layer shape, in turn.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench tiles                  # everything
//! cargo bench -p mnx-benches --bench tiles -- pw            # kernels whose name begins so
//! cargo bench -p mnx-benches --bench tiles -- --width 0.35  # layers of this MobileNeXt; 1.0 where not said
//! ```
//!
//! The last line of each kernel names the row that is fastest over all shapes together, and what is selected today. Where the two
//! differ by more than noise, the CPU deserves a row of its own, or another rule in `cpu.rs` (docs/adding-an-isa.md).
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{SIDE, Shape, Turns, cpu_of, instructions, median, peak, shapes};
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Arithmetic, Cpu, Isa, TunedFor};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_millis(5);

/// A row and the CPU that selects it.
type Candidate = (&'static Kernel, Cpu);

fn name((row, _): &Candidate) -> String {
    let (pixels, channels) = row.tile;
    format!("{} {pixels}x{channels}", instructions(row))
}

/// Median seconds of each candidate on a shape, in turns.
fn measure(shape: &Shape, candidates: &[Candidate], rounds: usize, turn: Duration) -> Vec<f64> {
    let weights = shape.weights();
    let mut runners: Vec<_> = candidates.iter().map(|&(_, cpu)| shape.runner(cpu, &weights)).collect();
    let mut seconds = vec![Vec::new(); candidates.len()];
    for _ in 0..rounds {
        for (run, seconds) in runners.iter_mut().zip(&mut seconds) {
            run();
            let (start, mut runs) = (Instant::now(), 0);
            while runs == 0 || start.elapsed() < turn {
                run();
                runs += 1;
            }
            seconds.push(start.elapsed().as_secs_f64() / f64::from(runs));
        }
    }
    seconds.into_iter().map(median).collect()
}

fn main() {
    let Turns { rounds, turn, width, filter } = Turns::from_args(ROUNDS, TURN);
    let of = |arithmetic| peak(arithmetic, Duration::from_millis(20));
    let [(fma, isa), (dot, of_dot)] = [Arithmetic::F32, Arithmetic::Int8].map(of);
    println!("Peaks of one thread: FMA {fma:.1} GFLOP/s ({isa}), int8 dot products {dot:.1} GMAC/s ({of_dot})");
    println!("This CPU is tuned for: {}", TunedFor::detect());
    println!("GFLOP/s of each row, of int8 GMAC/s, medians of {rounds} turns; * is the fastest\n");
    let shapes = shapes(&[width], SIDE);
    let names = table::rows().filter(|row| row.isa == Isa::Scalar).map(|row| row.name);
    for kernel in names.filter(|name| name.starts_with(&filter)) {
        let candidates: Vec<Candidate> = table::rows()
            .filter(|row| row.name == kernel && row.isa != Isa::Scalar)
            .filter_map(|row| Some((row, cpu_of(row)?)))
            .collect();
        compare(kernel, &shapes, &candidates, rounds, turn);
    }
}

/// Prints the table of one kernel.
fn compare(kernel: &str, shapes: &[Shape], candidates: &[Candidate], rounds: usize, turn: Duration) {
    if candidates.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([kernel.to_owned()].into_iter().chain(candidates.iter().map(name)));
    let mut all = vec![0.0; candidates.len()];
    for shape in shapes.iter().filter(|shape| shape.kernel() == kernel) {
        let seconds = measure(shape, candidates, rounds, turn);
        all.iter_mut().zip(&seconds).for_each(|(all, seconds)| *all += seconds);
        let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let cell = |&seconds: &f64| {
            let star = if candidates.len() > 1 && seconds == best { " *" } else { "" };
            format!("{:.1}{star}", shape.operations() as f64 / seconds / 1e9)
        };
        table.add_row([shape.to_string()].into_iter().chain(seconds.iter().map(cell)));
    }
    (1..=candidates.len()).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    let fastest = all.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(index, _)| index);
    let today = Cpu::choose(None, None).ok().and_then(|cpu| {
        let row = candidates[fastest].0;
        let selected = table::select(row.operation, row.arithmetic, row.weights, cpu).ok()?;
        candidates.iter().find(|(row, _)| std::ptr::eq(*row, selected))
    });
    let today = today.map_or("none".into(), name);
    println!("{table}\n{kernel}: fastest over all shapes is {}; selected today: {today}\n", name(&candidates[fastest]));
}
