//! One job on several threads of a rayon pool, entered once per inference.
//!
//! The calling thread could do the whole job alone: helpers claim units of the current phase, and nobody waits
//! for a helper that has not started. A helper that comes late finds the gate closed and touches nothing.
//!
//! All that threads say to each other is in this file, and it is built of [`sync`](super::sync) alone: so `tools/model-check/` can run
//! it in every order that threads and memory allow.

use super::sync::{
    Arc, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, PoisonError, UnsafeCell, spin_until,
};

/// A part of a job whose units can run in any order; the next phase starts when all have finished.
///
/// Each worker has its share of neighbouring units, the same in every run, and others help when they are through with
/// theirs. So what a worker reads is mostly what it wrote in the phase before, and still in its cache.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Phase {
    shares: Vec<Share>,
    units: usize,
    /// How many have finished, and perhaps [`AWAITED`].
    done: AtomicU64,
}

/// What is left of one worker's share. Alone in its cache lines: claiming one's own moves nothing between cores.
#[derive(Debug)]
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

impl Phase {
    /// For `workers` workers, without units. `None` when there is no memory for it.
    pub(crate) fn new(workers: usize) -> Option<Self> {
        let mut shares = Vec::new();
        shares.try_reserve_exact(workers).ok()?;
        shares.extend(std::iter::repeat_with(|| Share { next: AtomicUsize::new(0), end: 0 }).take(workers));
        Some(Phase { shares, units: 0, done: AtomicU64::new(0) })
    }

    /// Bytes that one takes.
    pub(crate) fn bytes(workers: usize) -> u64 {
        (size_of::<Phase>() + workers * size_of::<Share>()) as u64
    }

    /// Makes it ready for another run.
    pub(crate) fn reset(&mut self, units: usize) {
        let workers = self.shares.len();
        for (worker, share) in self.shares.iter_mut().enumerate() {
            // Products of 2²⁴ units and 1,023 workers do not fit 32 bits.
            let start = |worker: usize| (units as u64 * worker as u64 / workers as u64) as usize;
            *share = Share { next: AtomicUsize::new(start(worker)), end: start(worker + 1) };
        }
        (self.units, self.done) = (units, AtomicU64::new(0));
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

    /// Counts units as finished. What they wrote is seen by whoever sees the count.
    fn finish(&self, units: usize, bell: &Bell) {
        let before = self.done.fetch_add(units as u64, Ordering::Release);
        if before & AWAITED != 0 && (before & !AWAITED) + units as u64 == self.units as u64 {
            bell.ring();
        }
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

/// Works through `phases` as number `worker`, together with everybody else who calls this with the same bell.
pub(crate) fn work_through(phases: &[Phase], bell: &Bell, worker: usize, job: &mut impl Job) {
    for (index, phase) in phases.iter().enumerate() {
        let mut finished = 0;
        while let Some(unit) = phase.claim(worker) {
            let unfinished = AbortOnUnwind;
            job.unit(index, unit);
            std::mem::forget(unfinished);
            finished += 1;
        }
        if finished > 0 {
            phase.finish(finished, bell);
        }
        job.waiting();
        bell.wait_until(&phase.done, |done| done >= phase.units as u64);
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

/// In a word that threads wait for: somebody sleeps until it changes.
const AWAITED: u64 = 1 << 63;

/// Wakes those who have waited so long that they sleep.
pub(crate) struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    fn new() -> Self {
        Bell { lock: Mutex::new(()), rung: Condvar::new() }
    }

    /// Waits until `word` is as it should be, spinning for a while. Who makes it so must [`ring`](Bell::ring) if it was
    /// [`AWAITED`] before.
    fn wait_until(&self, word: &AtomicU64, ready: impl Fn(u64) -> bool) {
        if spin_until(|| ready(word.load(Ordering::Acquire) & !AWAITED)) {
            return;
        }
        let mut guard = self.locked();
        // Who changes the word from here on sees the mark. It rings with the lock, so not before this thread sleeps.
        while !ready(word.fetch_or(AWAITED, Ordering::Acquire) & !AWAITED) {
            guard = self.rung.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ring(&self) {
        let guard = self.locked();
        self.rung.notify_all();
        drop(guard);
    }

    fn locked(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each thread calls with its number.
type Entry = dyn Fn(usize) + Sync;

/// The meeting point of a session's threads.
pub(crate) struct Team {
    /// Most helpers of a run.
    helpers: u64,
    /// Counts of helpers in units of [`INSIDE`], [`TAKEN`] and [`QUEUED`]; [`OPEN`]; and perhaps [`AWAITED`].
    ///
    /// One word for all of it: a helper leaves the queue and enters a run, or finds that there is none, in one step.
    gate: AtomicU64,
    /// The job of the current run, while the gate is open or somebody is inside.
    job: UnsafeCell<Option<*const Entry>>,
    bell: Bell,
}

/// Most helpers that a team can count.
pub(crate) const MOST_HELPERS: usize = FIELD as usize;
/// The largest count of the gate.
const FIELD: u64 = (1 << 11) - 1;
/// A helper that works now.
const INSIDE: u64 = 1;
/// A helper that came into the current run; it may have left.
const TAKEN: u64 = 1 << 11;
/// A helper that the pool was given and has not started.
const QUEUED: u64 = 1 << 22;
/// A run goes on.
const OPEN: u64 = 1 << 33;

/// How many of `what` the gate counts.
fn count(gate: u64, what: u64) -> u64 {
    (gate / what) & FIELD
}

// SAFETY: `job` is written only by `run`, when the gate is closed and nobody is inside; there is one `run` at
// a time. Helpers read it inside an open gate only. The job itself is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer is not used outside `run`.
unsafe impl Send for Team {}

impl Team {
    /// For runs with at most `helpers` helpers, which are no more than [`MOST_HELPERS`].
    pub(crate) fn new(helpers: usize) -> Self {
        let helpers = helpers.min(MOST_HELPERS) as u64;
        Team { helpers, gate: AtomicU64::new(0), job: UnsafeCell::new(None), bell: Bell::new() }
    }

    /// What the workers of a run wait at.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Runs `job(0)` here and `job(1)`… on those helpers that start before it ends, each with a number of its own. `spawn` hands
    /// a helper to the pool.
    ///
    /// Helpers of earlier runs that the pool has not started yet do as well as new ones, so no more than the team's helpers are
    /// ever queued, however busy the pool is.
    ///
    /// # Safety
    /// No other `run` of this team is going on.
    pub(crate) unsafe fn run(team: &Arc<Team>, spawn: impl Fn(Helper), job: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. The pointer is used by helpers inside the gate, and this
        // function does not return or unwind before the gate is closed and they have left (`Closing`).
        let pointer: *const Entry = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Entry>(job) };
        // SAFETY: the gate is closed and nobody is inside: the previous run saw to it.
        team.job.with_mut(|shared| unsafe { *shared = Some(pointer) });
        let open = |gate: u64| Some(OPEN + count(gate, QUEUED) * QUEUED);
        let (Ok(before) | Err(before)) = team.gate.fetch_update(Ordering::Release, Ordering::Relaxed, open);
        let closing = Closing(team);
        for _ in count(before, QUEUED)..team.helpers {
            team.gate.fetch_add(QUEUED, Ordering::Relaxed);
            spawn(Helper(Arc::clone(team)));
        }
        job(0);
        drop(closing);
    }

    /// A helper that the pool has started. It works in the current run, if there is one that lacks a helper.
    fn help(&self) {
        let lacks_one = |gate: u64| gate & OPEN != 0 && count(gate, TAKEN) < self.helpers;
        let start = |gate: u64| Some(gate - QUEUED + if lacks_one(gate) { TAKEN + INSIDE } else { 0 });
        let (Ok(before) | Err(before)) = self.gate.fetch_update(Ordering::Acquire, Ordering::Relaxed, start);
        if !lacks_one(before) {
            return;
        }
        let _leaving = Leaving(self);
        // SAFETY: inside the open gate the job is set and stays until everybody has left.
        if let Some(job) = self.job.with(|job| unsafe { *job }) {
            // SAFETY: as above: the closure lives as long as somebody is inside.
            unsafe { (*job)(count(before, TAKEN) as usize + 1) };
        }
    }
}

/// A place in the team's queue. It owns what it touches: the session may be gone when the pool starts it.
pub(crate) struct Helper(Arc<Team>);

impl Helper {
    /// Works with the others until the run ends; returns at once if there is none.
    pub(crate) fn run(self) {
        self.0.help();
    }
}

/// Shuts the gate and waits until nobody is inside.
struct Closing<'a>(&'a Team);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_and(!OPEN, Ordering::Relaxed);
        self.0.bell.wait_until(&self.0.gate, |gate| count(gate, INSIDE) == 0);
    }
}

struct Leaving<'a>(&'a Team);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let before = self.0.gate.fetch_sub(INSIDE, Ordering::Release);
        if before & AWAITED != 0 && count(before, INSIDE) == 1 {
            self.0.bell.ring();
        }
    }
}

// With its path, because `tools/model-check/` has this file as a module of another name's folder.
#[cfg(test)]
#[path = "team/tests.rs"]
mod tests;
