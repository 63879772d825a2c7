//! Which sizes suit this CPU's caches: MobileNeXt with its work cut in several ways, in turn, beside how it is cut today.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench tuning                   # one thread and all, a minute
//! cargo bench -p mnx-benches --bench tuning -- rows_bytes     # sizes whose name begins so
//! cargo bench -p mnx-benches --bench tuning -- --width 1.4    # this MobileNeXt; 1.0 where not said
//! ```
//!
//! A ratio is the median of the rounds' ratios, above 1 where the change is faster. A change that gains on one thread and loses on
//! none belongs in the CPU's `Tuning` (`crates/mnx-tensor/src/tuning.rs`).
#![allow(missing_docs)]

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use mnx_benches::{Turns, median, model, pictures};
use mnx_graph::{Model, Session, SessionOptions, unstable};
use mnx_tensor::peak::fma_peak;
use mnx_tensor::{Cpu, Tensor, Tuning};

const ROUNDS: usize = 15;
const TURN: Duration = Duration::from_millis(20);
const KIB: usize = 1 << 10;

/// A name and what it changes.
struct Change {
    name: String,
    apply: Box<dyn Fn(&mut Tuning)>,
}

/// Every size by itself, and those that only gain together.
fn changes() -> Vec<Change> {
    let mut all = Vec::new();
    let mut change = |name: String, apply: Box<dyn Fn(&mut Tuning)>| all.push(Change { name, apply });
    macro_rules! bytes {
        ($($size:ident: $($kib:literal)*;)*) => {$($(
            let name = format!("{}: {} KiB", stringify!($size), $kib);
            change(name, Box::new(|tuning| tuning.$size = $kib * KIB));
        )*)*};
    }
    bytes! {
        pointwise_chunk_bytes: 24 96 384;
        channels_bytes: 16 96;
        window_bytes: 8 16 32 64 128;
        rows_bytes: 48 96 192 384 768;
        depthwise_rows_bytes: 24 48 96 192 384;
        chain_bytes: 250 1000;
        copy_bytes: 128 512;
    }
    for (panels, rows, window) in
        [(2, 192, 16), (2, 768, 32), (3, 384, 384), (3, 768, 32), (3, 1024, 64), (3, 1536, 128)]
    {
        let name = format!("min_panels: {panels}, rows_bytes: {rows} KiB, window_bytes: {window} KiB");
        let apply = move |tuning: &mut Tuning| {
            (tuning.min_panels, tuning.rows_bytes, tuning.window_bytes) = (panels, rows * KIB, window * KIB);
        };
        change(name, Box::new(apply));
    }
    all
}

/// A session that is warm.
fn session(model: &Model, threads: usize, tuning: Tuning, input: &Tensor) -> Session {
    let options = unstable::tuned(SessionOptions::new().threads(threads), tuning);
    let mut session = Session::with(model, options).expect("a session of the default kernels");
    session.run(input.view()).expect("a picture of the network's size");
    session
}

/// Seconds of an inference, in a turn of some.
fn turn(session: &mut Session, input: &Tensor, turn: Duration) -> f64 {
    let (start, mut runs) = (Instant::now(), 0);
    while runs == 0 || start.elapsed() < turn {
        session.run(input.view()).expect("as the first");
        runs += 1;
    }
    start.elapsed().as_secs_f64() / f64::from(runs)
}

/// A column of the table: of each change the median of its inferences in ms, and its ratio.
fn column(model: &Model, threads: usize, changes: &[Change], turns: &Turns) -> (f64, Vec<[String; 2]>) {
    let (input, today) = (pictures(1), Cpu::choose(None, None).expect("a CPU").tuning());
    let mut base = session(model, threads, today.clone(), &input);
    let mut bases = Vec::new();
    let rows = changes.iter().map(|change| {
        let mut tuning = today.clone();
        (change.apply)(&mut tuning);
        let mut changed = session(model, threads, tuning, &input);
        let (mut seconds, mut ratios) = (Vec::new(), Vec::new());
        for round in 0..turns.rounds {
            // Each is the first as often as the other.
            let mut pair = [0.0; 2];
            for index in [round % 2, 1 - round % 2] {
                pair[index] = turn(if index == 0 { &mut base } else { &mut changed }, &input, turns.turn);
            }
            bases.push(pair[0]);
            seconds.push(pair[1]);
            ratios.push(pair[0] / pair[1]);
        }
        [format!("{:.3}", median(seconds) * 1e3), format!("{:.3}", median(ratios))]
    });
    let rows = rows.collect();
    (median(bases) * 1e3, rows)
}

fn main() {
    let turns = Turns::from_args(ROUNDS, TURN);
    let cpu = Cpu::choose(None, None).expect("a CPU");
    let (peak, isa) = fma_peak(Duration::from_millis(20));
    let cores = available_parallelism().map_or(1, usize::from);
    println!(
        "FMA peak of one thread {peak:.1} GFLOP/s ({isa}); kernels for {}, tuned for {}",
        cpu.isa(),
        cpu.tuned_for()
    );
    println!("Today: {:?}\n", cpu.tuning());
    let mut changes: Vec<_> = changes().into_iter().filter(|change| change.name.starts_with(&turns.filter)).collect();
    if turns.rounds == 1 {
        changes.truncate(2);
    }
    if changes.is_empty() {
        return println!("No change begins with {:?}.", turns.filter);
    }
    let model = model(turns.width);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let threads = if cores == 1 { vec![1] } else { vec![1, cores] };
    let columns: Vec<_> = threads.iter().map(|&threads| column(&model, threads, &changes, &turns)).collect();
    let titles = threads
        .iter()
        .flat_map(|threads| [format!("{threads} thread{}, ms", if *threads == 1 { "" } else { "s" }), "ratio".into()]);
    table.set_header(["what is changed".to_owned()].into_iter().chain(titles));
    let today = columns.iter().flat_map(|(ms, _)| [format!("{ms:.3}"), "1".into()]);
    table.add_row(["nothing".to_owned()].into_iter().chain(today));
    for (index, change) in changes.iter().enumerate() {
        let cells = columns.iter().flat_map(|(_, rows)| rows[index].clone());
        table.add_row([change.name.clone()].into_iter().chain(cells));
    }
    for column in 1..=2 * threads.len() {
        table.column_mut(column).expect("a column of the header").set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
