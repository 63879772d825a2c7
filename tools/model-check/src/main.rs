//! Model check of how the threads of a session work together.
//!
//! `team.rs` of mnx-graph runs here in every order of its threads' steps, and with every value that the memory model lets them
//! read, within the bound on preemptions that loom is given. loom finds data races, deadlocks and panics.
//!
//! `cargo run --release --manifest-path tools/model-check/Cargo.toml` takes some seconds. `-- --preemptions 3` looks further.

mod sync;
#[allow(dead_code, reason = "what only sessions ask for")]
#[path = "../../../crates/mnx-graph/src/threads/many/team.rs"]
mod team;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

use team::{Helper, Job, Phase, Team, work_through};

/// What the units of a job write. loom fails when two of them touch one at the same time, or when one is read before its writer
/// is known to be through.
struct Numbers(Vec<UnsafeCell<usize>>);

// SAFETY: what is checked here. loom panics before a second thread gets in.
unsafe impl Sync for Numbers {}

impl Numbers {
    fn new(count: usize) -> Self {
        Numbers((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn add(&self, index: usize) {
        // SAFETY: loom panics if anybody else is there.
        self.0[index].with_mut(|number| unsafe { *number += 1 });
    }

    fn sum(&self) -> usize {
        // SAFETY: loom panics if anybody writes.
        self.0.iter().map(|number| number.with(|number| unsafe { *number })).sum()
    }
}

/// Units of both phases, and what each worker does.
struct Units<'a> {
    /// A number for each unit of the first phase.
    first: &'a Numbers,
    /// A number for each unit of the second one, which reads all of the first.
    second: &'a Numbers,
    /// Scratch of this worker.
    own: (&'a Numbers, usize),
}

impl Job for Units<'_> {
    fn unit(&mut self, phase: usize, unit: usize) {
        self.own.0.add(self.own.1);
        if phase == 0 {
            self.first.add(unit);
        } else {
            assert_eq!(self.first.sum(), self.first.0.len(), "a phase began before the one before was complete");
            self.second.add(unit);
        }
    }
}

/// Runs of one team with threads that start whenever they like, and a check of each run's result.
fn runs(helpers: usize, runs: usize, units: [usize; 2]) {
    let team = Arc::new(Team::new(helpers));
    let started: RefCell<Vec<JoinHandle<()>>> = RefCell::default();
    let queued = std::sync::Arc::new(AtomicUsize::new(0));
    for _ in 0..runs {
        let mut phases = [Phase::new(helpers + 1).unwrap(), Phase::new(helpers + 1).unwrap()];
        phases.iter_mut().zip(units).for_each(|(phase, units)| phase.reset(units));
        let (first, second, own) = (Numbers::new(units[0]), Numbers::new(units[1]), Numbers::new(helpers + 1));
        let job = |worker: usize| {
            let mut units = Units { first: &first, second: &second, own: (&own, worker) };
            work_through(&phases, team.bell(), worker, &mut units);
        };
        let spawn = |helper: Helper| {
            let before = queued.fetch_add(1, Ordering::Relaxed);
            assert!(before < helpers, "{before} helpers wait already");
            let queued = std::sync::Arc::clone(&queued);
            started.borrow_mut().push(thread::spawn(move || {
                queued.fetch_sub(1, Ordering::Relaxed);
                helper.run();
            }));
        };
        // SAFETY: one run at a time.
        unsafe { Team::run(&team, spawn, &job) };
        // Everybody has left: what they did is seen here, and nobody touches the phases any more.
        assert_eq!((first.sum(), second.sum()), (units[0], units[1]));
        assert_eq!(own.sum(), units[0] + units[1]);
        phases.iter_mut().for_each(|phase| phase.reset(0));
    }
    drop(team);
    started.into_inner().into_iter().for_each(|thread| thread.join().unwrap());
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let preemptions: Option<usize> = match &*arguments {
        [] => Some(2),
        [flag, count] if flag == "--preemptions" => count.parse().ok(),
        _ => None,
    };
    let Some(preemptions) = preemptions else {
        eprintln!("expected --preemptions and how many times a thread may be interrupted, found {arguments:?}");
        return ExitCode::from(2);
    };
    for (helpers, count, units) in [(1, 1, [2, 1]), (1, 2, [1, 2]), (2, 1, [2, 2]), (1, 3, [1, 1])] {
        let (orders, since) = (std::sync::Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut model = loom::model::Builder::new();
        // Orders of three threads are many more.
        model.preemption_bound = Some(if helpers > 1 { preemptions.saturating_sub(1) } else { preemptions });
        model.max_branches = 20_000;
        let tried = std::sync::Arc::clone(&orders);
        model.check(move || {
            tried.fetch_add(1, Ordering::Relaxed);
            runs(helpers, count, units);
        });
        let (orders, seconds) = (orders.load(Ordering::Relaxed), since.elapsed().as_secs_f64());
        println!("{helpers} helpers, {count} runs, {units:?} units: {orders} orders in {seconds:.1} s");
    }
    ExitCode::SUCCESS
}
