//! Kernels beside what the machine could do at best, measured in turn with them: on one thread, for every ISA of this CPU.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench roofline -- dw3x3s2          # what has this in kernel/isa/Cin-Cout@size
//! cargo bench -p mnx-benches --bench roofline -- pw-int8/         # in int8; ISAs with dot products of bytes end in -dot
//! cargo bench -p mnx-benches --bench roofline -- --width 0.35     # layers of this MobileNeXt; 1.0 where not said
//! ```
//!
//! A layer's bound is the roofline model's: its multiply-adds at the FMA peak (in int8: at that of exact dot products of bytes), or its bytes (input, weights and output each
//! once) at the rate of copies in a working set so large, whichever takes longer. Of the pools, which add or compare, only
//! the bandwidth counts. A depthwise layer of stride 2 reads strips that stay in the cache, as in the network, where the
//! pointwise layer before it has just written them.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{SIDE, Shape, Turns, cpu_of, instructions, median, peak, shapes};
use mnx_tensor::peak::copy_bandwidth;
use mnx_tensor::table::{self, Kernel};
use mnx_tensor::{Arithmetic, Cpu, Isa};

/// Layer, peak and bandwidth take turns so many times; medians count.
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
        let weights = shape.weights();
        let mut run = shape.runner(cpu, &weights);
        run();
        let [mut layer, mut at_peak, mut memory] = [(); 3].map(|()| Vec::new());
        for _ in 0..rounds {
            let multiplies = shape.multiplies();
            at_peak.push(if multiplies { operations / peak(shape.arithmetic, turn).0 / 1e9 } else { 0.0 });
            memory.push(bytes as f64 / copy_bandwidth(shape.working_set(), turn) / 1e9);
            let (start, mut runs) = (Instant::now(), 0);
            while runs == 0 || start.elapsed() < turn {
                run();
                runs += 1;
            }
            layer.push(start.elapsed().as_secs_f64() / f64::from(runs));
        }
        let [layer, peak, memory] = [layer, at_peak, memory].map(median);
        Times { layer, peak, memory }
    }

    fn bound(self) -> f64 {
        self.peak.max(self.memory)
    }
}

fn figures(name: String, operations: u64, times: Times, bound: f64) -> Vec<String> {
    let share = |of: f64| if of > 0.0 { format!("{:.0}", 100.0 * of / times.layer) } else { "-".into() };
    let by = if times.memory > times.peak { "memory" } else { "peak" };
    let rate = operations as f64 / times.layer / 1e9;
    let columns = [format!("{:.1}", 1e6 * times.layer), format!("{rate:.1}"), share(times.peak), share(bound)];
    [vec![name], columns.to_vec(), vec![by.into()]].concat()
}

/// In the order of the table.
fn kernels_of_scalar() -> impl Iterator<Item = &'static str> {
    table::rows().filter(|row| row.isa == Isa::Scalar).map(|row| row.name)
}

fn main() {
    let Turns { rounds, turn, width, filter } = Turns::from_args(ROUNDS, TURN);
    // Every row that this CPU can run, those of a name together.
    let mut kernels: Vec<(&Kernel, Cpu)> = table::rows().filter_map(|row| Some((row, cpu_of(row)?))).collect();
    kernels.sort_by_key(|(row, _)| kernels_of_scalar().position(|name| name == row.name));
    let shapes = shapes(&[width], SIDE);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel/isa/layer", "µs", "GFLOP/s, GMAC/s", "% of peak", "% of bound", "bound by"]);
    for (row, cpu) in kernels {
        let kernel = format!("{}/{}", row.name, instructions(row));
        let mut all = (0, Times::default(), 0.0, 0);
        for shape in shapes.iter().filter(|shape| shape.kernel() == row.name) {
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
    let [(fma, isa), (dot, of_dot)] = [Arithmetic::F32, Arithmetic::Int8].map(|arithmetic| peak(arithmetic, turn));
    println!("Peaks of one thread: FMA {fma:.1} GFLOP/s ({isa}), int8 dot products {dot:.1} GMAC/s ({of_dot})");
    println!("Rates are GFLOP/s, of int8 GMAC/s; medians of {rounds} turns\n\n{table}");
}
