//! One job on several threads of a rayon pool, entered once per inference.
//!
//! The calling thread could do the whole job alone: helpers claim units of the current phase, and nobody waits
//! for a helper that has not started. A helper that comes late finds the gate closed and touches nothing.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A part of a job whose units can run in any order; the next phase starts when all have finished.
///
/// Each worker has its share of neighbouring units, the same in every run, and others help when they are through with
/// theirs. So what a worker reads is mostly what it wrote in the phase before, and still in its cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Phase {
    shares: Box<[Share]>,
    units: usize,
    done: AtomicUsize,
}

/// What is left of one worker's share. Alone in its cache lines: claiming one's own moves nothing between cores.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

impl Phase {
    /// For `workers` workers, without units.
    pub(crate) fn new(workers: usize) -> Self {
        let shares = std::iter::repeat_with(Share::default).take(workers).collect();
        Phase { shares, units: 0, done: AtomicUsize::new(0) }
    }

    /// Bytes that one takes.
    pub(crate) fn bytes(workers: usize) -> u64 {
        (size_of::<Phase>() + workers * size_of::<Share>()) as u64
    }

    /// Makes it ready for another run.
    pub(crate) fn reset(&mut self, units: usize) {
        let workers = self.shares.len();
        for (worker, share) in self.shares.iter_mut().enumerate() {
            *share = Share { next: (units * worker / workers).into(), end: units * (worker + 1) / workers };
        }
        (self.units, self.done) = (units, AtomicUsize::new(0));
    }

    /// The next unit for `worker`: of its own share, then of what others have not begun.
    fn claim(&self, worker: usize) -> Option<usize> {
        let (before, from) = self.shares.split_at(worker);
        from.iter().chain(before).find_map(|share| {
            // Looking first leaves the line of an exhausted share where it is.
            let left = share.next.load(Ordering::Relaxed) < share.end;
            left.then(|| share.next.fetch_add(1, Ordering::Relaxed)).filter(|&unit| unit < share.end)
        })
    }
}

/// What one thread does of a job.
pub(crate) trait Job {
    /// Unit `unit` of phase `phase`.
    fn unit(&mut self, phase: usize, unit: usize);
    /// No unit of the current phase is left to claim.
    fn waiting(&mut self) {}
    /// All units of the phase have finished.
    fn complete(&mut self, _phase: usize) {}
}

/// Works through `phases` as number `worker`, together with everybody else who calls this.
pub(crate) fn work_through(phases: &[Phase], worker: usize, job: &mut impl Job) {
    for (index, phase) in phases.iter().enumerate() {
        let mut finished = 0;
        while let Some(unit) = phase.claim(worker) {
            let unfinished = AbortOnUnwind;
            job.unit(index, unit);
            std::mem::forget(unfinished);
            finished += 1;
        }
        if finished > 0 {
            // What these units wrote is seen by whoever sees the count.
            phase.done.fetch_add(finished, Ordering::Release);
        }
        job.waiting();
        wait_until(|| phase.done.load(Ordering::Acquire) >= phase.units);
        job.complete(index);
    }
}

/// A unit that unwinds would never count as done, and the others would wait for it forever. Kernels do not panic.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Waits for threads that are running: briefly by spinning, then leaving the core to others.
fn wait_until(ready: impl Fn() -> bool) {
    const SPINS: u32 = 2_000;
    let mut spins = 0;
    while !ready() {
        if spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// What each thread calls with its number.
type Entry = dyn Fn(usize) + Sync;

/// The meeting point of a session's threads.
#[derive(Default)]
pub(crate) struct Team {
    /// Run number in the upper bits, [`OPEN`], and how many helpers are inside.
    gate: AtomicU64,
    /// The job of the current run, while the gate is open or somebody is inside.
    job: UnsafeCell<Option<*const Entry>>,
}

/// Under the run number; below it there is room for 2,047 helpers. A number comes again after 2⁵² runs, when no
/// helper of the first can be left.
const OPEN: u64 = 1 << 11;
const NUMBER_SHIFT: u32 = 12;
const _: () = assert!(crate::MAX_THREADS < OPEN as usize);

// SAFETY: `job` is written only by `run`, when the gate is closed and nobody is inside; there is one `run` at
// a time. Helpers read it inside an open gate only. The job itself is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer is not used outside `run`.
unsafe impl Send for Team {}

impl Team {
    /// Runs `job(0)` here and `job(1)`… on those of `helpers` pool threads that start before it ends.
    /// `spawn` hands a helper to the pool.
    ///
    /// # Safety
    /// No other `run` of this team is going on.
    pub(crate) unsafe fn run(self: &Arc<Self>, helpers: usize, spawn: impl Fn(Helper), job: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. The pointer is used by helpers inside the gate, and this
        // function does not return or unwind before the gate is closed and they have left (`Closing`).
        let job_pointer: *const Entry = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Entry>(job) };
        // SAFETY: the gate is closed and nobody is inside: the previous run saw to it.
        unsafe { *self.job.get() = Some(job_pointer) };
        let number = ((self.gate.load(Ordering::Relaxed) >> NUMBER_SHIFT) + 1) & (u64::MAX >> NUMBER_SHIFT);
        self.gate.store(number << NUMBER_SHIFT | OPEN, Ordering::Release);
        let closing = Closing(self);
        for worker in 1..=helpers {
            spawn(Helper { team: Arc::clone(self), number, worker });
        }
        job(0);
        drop(closing);
    }

    /// A helper of run `number`, if that is still going on.
    fn help(&self, number: u64, worker: usize) {
        let enter = |gate: u64| (gate >> NUMBER_SHIFT == number && gate & OPEN != 0).then_some(gate + 1);
        if self.gate.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
            return;
        }
        let _leaving = Leaving(self);
        // SAFETY: inside the open gate the job is set and stays until everybody has left.
        if let Some(job) = unsafe { *self.job.get() } {
            // SAFETY: as above: the closure lives as long as somebody is inside.
            unsafe { (*job)(worker) };
        }
    }
}

/// A place in the team for one run, to be taken up on another thread, or not at all.
pub(crate) struct Helper {
    team: Arc<Team>,
    number: u64,
    worker: usize,
}

impl Helper {
    /// Works with the others until the run ends; returns at once if it has.
    pub(crate) fn run(self) {
        self.team.help(self.number, self.worker);
    }
}

/// Shuts the gate and waits until it is empty.
struct Closing<'a>(&'a Team);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_and(!OPEN, Ordering::Relaxed);
        wait_until(|| self.0.gate.load(Ordering::Acquire) & (OPEN - 1) == 0);
    }
}

struct Leaving<'a>(&'a Team);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    impl<F: FnMut(usize, usize)> Job for F {
        fn unit(&mut self, phase: usize, unit: usize) {
            self(phase, unit);
        }
    }

    fn phases(workers: usize, units: &[usize]) -> Vec<Phase> {
        let ready = |&units: &usize| {
            let mut phase = Phase::new(workers);
            phase.reset(units);
            phase
        };
        units.iter().map(ready).collect()
    }

    #[test]
    fn every_unit_runs_once_and_phases_keep_their_order() {
        let team = Arc::new(Team::default());
        for run in 0..200 {
            let helpers = run % 4;
            let phases = phases(helpers + 1, &[3, 1, 0, 8, 2]);
            let seen = Mutex::new(Vec::new());
            let spawn = |helper: Helper| drop(std::thread::spawn(|| helper.run()));
            let job = |worker| work_through(&phases, worker, &mut |p, u| seen.lock().unwrap().push((p, u)));
            // SAFETY: one run at a time.
            unsafe { team.run(helpers, spawn, &job) };
            let mut seen = seen.into_inner().unwrap();
            assert!(seen.is_sorted_by_key(|s| s.0));
            seen.sort_unstable();
            let all = [3, 1, 0, 8, 2].iter().enumerate().flat_map(|(p, &n)| (0..n).map(move |u| (p, u)));
            assert_eq!(seen, all.collect::<Vec<_>>());
        }
    }

    /// A pool whose threads are all busy: nothing is waited for.
    #[test]
    fn helpers_that_never_start_are_not_missed() {
        let team = Arc::new(Team::default());
        let late = Mutex::new(Vec::new());
        let phases = phases(4, &[4, 4]);
        let job = |worker| work_through(&phases, worker, &mut |_, _| assert_eq!(worker, 0));
        // SAFETY: one run at a time.
        unsafe { team.run(3, |f| late.lock().unwrap().push(f), &job) };
        drop(phases);
        // They come when the job is gone, and during a later run that is not theirs.
        let late = late.into_inner().unwrap();
        assert_eq!(late.len(), 3);
        // SAFETY: one run at a time.
        unsafe { team.run(0, |_| (), &|worker| assert_eq!(worker, 0, "a helper of an earlier run came in")) };
        late.into_iter().for_each(Helper::run);
    }
}
