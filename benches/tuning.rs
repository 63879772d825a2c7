//! Which sizes suit this CPU's caches: MobileNeXt with its work cut in several ways, in turn, beside how it is cut today.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench tuning                   # one thread and one per physical core, a minute
//! cargo bench -p mnx-benches --bench tuning -- rows_bytes     # sizes whose name begins so
//! cargo bench -p mnx-benches --bench tuning -- --width 1.4    # this MobileNeXt; 1.0 where not said
//! ```
//!
//! A ratio is the median of the rounds' ratios, above 1 where the change is faster. A change that gains on one thread and loses on
//! none belongs in the CPU's `Tuning` (`crates/mnx-tensor/src/tuning.rs`).
#![allow(missing_docs)]

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use mnx_benches::{Common, Spread, arguments, cpu_name, median, model, pictures, progress, refuse, time};
use mnx_graph::{Model, Session, SessionOptions, default_threads, unstable};
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

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
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

/// How everything is measured.
struct Setup {
    model: Model,
    input: Tensor,
    today: Tuning,
    rounds: usize,
    turn: Duration,
    bar: ProgressBar,
}

impl Setup {
    /// A session that is warm.
    fn session(&self, threads: usize, tuning: Tuning) -> Session {
        let options = unstable::tuned(SessionOptions::new().threads(threads), tuning);
        let mut session = Session::with(&self.model, options).expect("a session of the default kernels");
        session.run(self.input.view()).expect("a picture of the network's size");
        session
    }

    /// Seconds of an inference, in a turn of some.
    fn time(&self, session: &mut Session) -> f64 {
        time(self.turn, || {
            session.run(self.input.view()).expect("as the first");
        })
    }

    /// A column of the table: milliseconds today, and of each change the median of its inferences in ms, and its ratio.
    fn column(&self, threads: usize, changes: &[Change]) -> (f64, Vec<[String; 2]>) {
        let mut base = self.session(threads, self.today.clone());
        let mut bases = Vec::new();
        let rows = changes.iter().map(|change| {
            self.bar.set_message(format!("{threads} threads: {change}"));
            let mut tuning = self.today.clone();
            (change.apply)(&mut tuning);
            let mut changed = self.session(threads, tuning);
            let [mut of_base, mut of_changed] = [Vec::new(), Vec::new()];
            for round in 0..self.rounds {
                // Each is the first as often as the other.
                if round % 2 == 0 {
                    of_base.push(self.time(&mut base));
                    of_changed.push(self.time(&mut changed));
                } else {
                    of_changed.push(self.time(&mut changed));
                    of_base.push(self.time(&mut base));
                }
            }
            let ratio = Spread::of_ratios(&of_changed, &of_base).median;
            bases.extend(of_base);
            self.bar.inc(1);
            [format!("{:.3}", median(of_changed) * 1e3), format!("{ratio:.3}")]
        });
        let rows = rows.collect();
        (median(bases) * 1e3, rows)
    }
}

fn main() -> ExitCode {
    let common: Common = arguments("tuning", "MobileNeXt with its work cut in other ways, in turn.");
    let cpu = Cpu::choose(None, None).unwrap_or_else(|error| refuse(error));
    let all = changes();
    let there_are = format!("expected the beginning of a change, such as {:?}; --list prints all", all[0].name);
    let mut changes = match common.select(all, |name, filter| name.starts_with(filter), || there_are) {
        Ok(changes) => changes,
        Err(code) => return code,
    };
    if common.is_test() {
        changes.truncate(2);
    }
    let mut threads = vec![1, default_threads()];
    threads.dedup();
    let (rounds, turn) = common.turns(ROUNDS, TURN);
    let bar = progress(threads.len() * changes.len());
    let (peak, isa) = fma_peak(turn);
    println!(
        "{}: FMA peak of one thread {peak:.1} GFLOP/s ({isa}); kernels for {}, tuned for {}",
        cpu_name(),
        cpu.isa(),
        cpu.tuned_for()
    );
    println!("Today: {:?}\n", cpu.tuning());
    let setup =
        Setup { model: model(common.width()), input: pictures(1), today: cpu.tuning().clone(), rounds, turn, bar };
    let columns: Vec<_> = threads.iter().map(|&threads| setup.column(threads, &changes)).collect();
    setup.bar.finish_and_clear();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
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
    ExitCode::SUCCESS
}
