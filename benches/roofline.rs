//! Kernels beside what the machine could do at best, measured in turn with them: on one thread, for every ISA of this CPU.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench roofline -- dw3x3s2          # what has this in kernel/isa/Cin-Cout@size
//! cargo bench -p mnx-benches --bench roofline -- --width 0.35     # layers of this MobileNeXt; 1.0 where not said
//! ```
//!
//! A layer's bound is the roofline model's: its multiply-adds at the FMA peak, or its bytes (input, weights and output each
//! once) at the rate of copies in a working set so large, whichever takes longer. Of the pools, which add or compare, only
//! the bandwidth counts. A depthwise layer of stride 2 reads strips that stay in the cache, as in the network, where the
//! pointwise layer before it has just written them.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{Shape, Turns, shapes};
use mnx_tensor::peak::{copy_bandwidth, fma_peak};
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Arithmetic, Cpu, Isa, TunedFor};

/// Layer, FMA peak and bandwidth take turns so many times; medians count.
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_millis(10);

/// Seconds that a layer takes, and the two that bound it.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    layer: f64,
    peak: f64,
    memory: f64,
}

impl Times {
    fn of(shape: &Shape, cpu: Cpu, rounds: usize, turn: Duration) -> Times {
        let (operations, bytes) = (shape.operations() as f64, shape.bytes());
        let mut run = shape.runner(cpu);
        run();
        let [mut layer, mut peak, mut memory] = [(); 3].map(|()| Vec::new());
        for _ in 0..rounds {
            peak.push(if shape.multiplies() { operations / fma_peak(turn).0 / 1e9 } else { 0.0 });
            memory.push(bytes as f64 / copy_bandwidth(shape.working_set(), turn) / 1e9);
            let (start, mut runs) = (Instant::now(), 0);
            while runs == 0 || start.elapsed() < turn {
                run();
                runs += 1;
            }
            layer.push(start.elapsed().as_secs_f64() / f64::from(runs));
        }
        let [layer, peak, memory] = [layer, peak, memory].map(median);
        Times { layer, peak, memory }
    }

    fn bound(self) -> f64 {
        self.peak.max(self.memory)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn figures(name: String, operations: u64, times: Times, bound: f64) -> Vec<String> {
    let share = |of: f64| if of > 0.0 { format!("{:.0}", 100.0 * of / times.layer) } else { "-".into() };
    let by = if times.memory > times.peak { "memory" } else { "peak" };
    let gflops = operations as f64 / times.layer / 1e9;
    let columns = [format!("{:.1}", 1e6 * times.layer), format!("{gflops:.1}"), share(times.peak), share(bound)];
    [vec![name], columns.to_vec(), vec![by.into()]].concat()
}

/// In the order of the table.
fn kernels_of_scalar() -> impl Iterator<Item = &'static str> {
    table::rows().filter(|row| (row.isa, row.arithmetic) == (Isa::Scalar, Arithmetic::F32)).map(|row| row.name)
}

fn main() {
    let Turns { rounds, turn, width, filter } = Turns::from_args(ROUNDS, TURN);
    // Every row that this CPU can run, those of a name together.
    let mut kernels: Vec<&Kernel> =
        table::rows().filter(|row| row.isa.is_available() && row.arithmetic == Arithmetic::F32).collect();
    let first = |row: &Kernel| kernels_of_scalar().position(|name| name == row.name);
    kernels.sort_by_key(|row| first(row));
    let shapes = shapes(&[width]);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GFLOP/s", "% of peak", "% of bound", "bound by"]);
    for row in kernels {
        let cpu = Cpu::choose(Some(row.isa), Some(row.tuned_for)).expect("a row that this CPU can run");
        let of_core = if row.tuned_for == TunedFor::Any { String::new() } else { format!("-{}", row.tuned_for) };
        let kernel = format!("{}/{}{of_core}", row.name, row.isa);
        let mut all = (0, Times::default(), 0.0, 0);
        for shape in shapes.iter().filter(|shape| shape.kernel(cpu).name == row.name) {
            let name = format!("{kernel}/{shape}");
            if !name.contains(&filter) {
                continue;
            }
            eprint!("\r\x1b[K{name}");
            let times = Times::of(shape, cpu, rounds, turn);
            table.add_row(figures(name, shape.operations(), times, times.bound()));
            all.0 += shape.operations();
            all.1.layer += times.layer;
            all.1.peak += times.peak;
            all.1.memory += times.memory;
            all.2 += times.bound();
            all.3 += 1;
        }
        if all.3 > 1 {
            table.add_row(figures(format!("{kernel}, all"), all.0, all.1, all.2));
        }
    }
    eprint!("\r\x1b[K");
    (1..5).for_each(|column| {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    });
    let (peak, isa) = fma_peak(turn);
    println!("FMA peak of one thread {peak:.1} GFLOP/s ({isa}); medians of {rounds} turns\n\n{table}");
}
