//! Several threads in one inference: the calling one and helpers of a rayon pool.

mod cores;
mod pool;
mod sync;
mod team;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mnx_tensor::TensorView;
use rayon::ThreadPoolBuilder;

use self::team::{Bell, Job, MOST_HELPERS, Phase, Team, work_through};
use super::Watch;
use crate::exec::{Exec, Hand};
use crate::layers::Layers;
use crate::plan::Plan;
use crate::run::{Prepared, Until};
use crate::{Error, MAX_THREADS, Stopper};

pub use self::cores::default_threads;

/// Most threads of a session.
pub(crate) const MOST: usize = MAX_THREADS;
const _: () = assert!(MOST - 1 <= MOST_HELPERS);

/// Threads that help sessions, for [`SessionOptions::pool`](crate::SessionOptions::pool). Clones are the same threads, which
/// end with the last clone and the last session that has one.
///
/// ```
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), mnx_graph::Error> {
/// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
/// # spec.width = 0.1;
/// # let model = mnx_graph::Model::from_bytes(mnx_graph::init(&spec, 1)?)?;
/// // One helper: the thread that calls `run` works too.
/// let pool = mnx::ThreadPool::new(1)?;
/// let options = mnx::SessionOptions::new().threads(2).pool(pool);
/// let session = mnx::Session::with(&model, options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ThreadPool {
    threads: Arc<rayon::ThreadPool>,
    /// The process that has them.
    process: u32,
}

impl ThreadPool {
    /// A pool of this many threads.
    ///
    /// # Errors
    /// [`Error::Threads`] for none or more than [`MAX_THREADS`]; [`Error::Pool`] when they cannot be started.
    pub fn new(threads: usize) -> Result<ThreadPool, Error> {
        ThreadPool::with_start_handler(threads, |_| ())
    }

    /// A pool whose threads call `start` with their number, from 0, before anything else: to pin them to CPUs, say. It is there
    /// when all of them have.
    ///
    /// # Errors
    /// As [`ThreadPool::new`]; [`Error::Pool`] when `start` panics.
    pub fn with_start_handler(
        threads: usize,
        start: impl Fn(usize) + Send + Sync + 'static,
    ) -> Result<ThreadPool, Error> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Error::Threads { most: MAX_THREADS, found: threads });
        }
        let failed = |source| Error::Pool { helpers: threads, source };
        let (started, starts) = channel();
        // A panic that reaches rayon here ends the process.
        let start = move |thread| {
            let start = catch_unwind(AssertUnwindSafe(|| start(thread)));
            // Nobody listens any more where another thread failed.
            let _ = started.send(start.map_err(|panic| start_panicked(thread, &*panic)));
        };
        let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("mnx-{index}"));
        let pool = builder.start_handler(start).build().map_err(|error| failed(error.into()))?;
        starts.iter().take(threads).collect::<Result<(), String>>().map_err(|panic| failed(panic.into()))?;
        Ok(thread_pool(Arc::new(pool)))
    }

    /// How many there are.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` on one of the threads and waits for it: who comes while all are at work waits for a turn, first come first
    /// served. A panic goes on in the caller. On one of the threads itself, and in a fork, `work` runs right here.
    ///
    /// The caller may hold a lock or what it borrowed of a pool: it takes up nothing else while it waits, not even if it is a
    /// thread of rayon's, in `par_iter` say. Two pools must not wait for each other: if all threads of each run work for the
    /// other, it never ends.
    ///
    /// A service has more callers than cores. If each ran its session itself, the system would stop some of them half way for
    /// others, and throughput and the slowest tenth would suffer.
    ///
    /// ```
    /// # mod mnx { pub use mnx_graph::{Error as GraphError, *}; }
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext-cifar").unwrap();
    /// # spec.width = 0.1;
    /// # let model = mnx_graph::Model::from_bytes(mnx_graph::init(&spec, 1)?)?;
    /// let pool = mnx::ThreadPool::new(2)?;
    /// let mut session = mnx::Session::with(&model, mnx::SessionOptions::new().threads(1))?;
    /// let picture = mnx::Tensor::from_vec([1, 3, 8, 8], vec![0.5; 192])?;
    /// let logits = pool.run(|| Ok::<_, mnx::GraphError>(session.run(picture.view())?.data().to_vec()))?;
    /// assert_eq!(logits.len(), 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if !self.is_here() || self.threads.current_thread_index().is_some() {
            work()
        } else if rayon::current_thread_index().is_some() {
            self.run_for_another_pool(work)
        } else {
            self.threads.install(work)
        }
    }

    /// A thread of another pool would take up that pool's work while it waits in `install`, and wait for ever if that work
    /// wants a lock which it holds itself. So a thread of no pool waits for it.
    fn run_for_another_pool<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let mut work = Some(work);
        let result = thread::scope(|scope| {
            let wait = || work.take().map(|work| self.threads.install(work));
            let waiting = thread::Builder::new().spawn_scoped(scope, wait).ok()?;
            waiting.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        // Where the system starts no thread, it runs here.
        result.or_else(|| work.map(|work| work())).expect("it ran there or here")
    }

    /// Whether this process has the threads. A fork of it has not: there is nobody to wake, and what they had locked at that
    /// moment stays locked.
    fn is_here(&self) -> bool {
        self.process == process()
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if !self.is_here() {
            // Nobody ends threads that are not there.
            std::mem::forget(Arc::clone(&self.threads));
        }
    }
}

fn start_panicked(thread: usize, panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    format!("the start handler of thread {thread} panicked: {}", message.unwrap_or("no message"))
}

/// The number of this process.
fn process() -> u32 {
    // Elsewhere processes do not fork, nor has each of them a number.
    if cfg!(unix) { std::process::id() } else { 0 }
}

/// A pool that the program shares with sessions. The type is that of the version of rayon that mnx was built with.
pub fn thread_pool(pool: Arc<rayon::ThreadPool>) -> ThreadPool {
    ThreadPool { threads: pool, process: process() }
}

/// How an inference is shared out.
pub(crate) struct Shares {
    /// Pictures that one thread computes whole.
    whole: usize,
    phases: Vec<Phase>,
}

impl Shares {
    /// For `batch` pictures on `threads` threads, of which each computes its share of `whole` pictures alone.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub(crate) fn new(plan: &Plan, batch: usize, whole: usize, threads: usize) -> Result<Shares, Error> {
        let count = Shares::phases(plan, batch, whole);
        let bytes = Shares::bytes(plan, batch, whole, threads);
        let no_memory = || Error::Memory { what: "what threads share out", bytes };
        let mut phases = Vec::new();
        phases.try_reserve_exact(count).map_err(|_| no_memory())?;
        for _ in 0..count {
            phases.push(Phase::new(threads).ok_or_else(no_memory)?);
        }
        Ok(Shares { whole, phases })
    }

    fn phases(plan: &Plan, batch: usize, whole: usize) -> usize {
        let of_pictures = (batch - whole).saturating_mul(plan.picture_steps);
        of_pictures.saturating_add(plan.steps.len() - plan.picture_steps + 1)
    }

    /// Bytes that they take.
    pub(crate) fn bytes(plan: &Plan, batch: usize, whole: usize, threads: usize) -> u64 {
        Phase::bytes(threads).saturating_mul(Shares::phases(plan, batch, whole) as u64)
    }

    /// Makes the phases of one inference ready: whole pictures first, each by whoever takes it; then the
    /// remaining ones step by step, all threads on each; then the steps of the batch, which read their weights once.
    fn reset(&mut self, plan: &Plan, until: Until) {
        let (of_picture, phases) = (plan.picture_steps, self.phases.len());
        let of_batch = plan.steps.len() - of_picture;
        for (index, phase) in self.phases.iter_mut().enumerate() {
            phase.reset(match index {
                0 => self.whole,
                _ if index + of_batch < phases => plan.steps[(index - 1) % of_picture].split.units(),
                _ if until == Until::Features => 0,
                _ => plan.steps[of_picture + index + of_batch - phases].split.units(),
            });
        }
    }
}

/// Who runs a session's inferences.
pub(crate) struct Crew {
    threads: usize,
    pool: Option<ThreadPool>,
    team: Arc<Team>,
}

impl Crew {
    /// # Errors
    /// [`Error::Pool`] when threads of its own cannot be started.
    pub(crate) fn new(threads: usize, pool: Option<ThreadPool>) -> Result<Crew, Error> {
        let pool = match pool {
            None if threads > 1 => Some(pool::shared(threads - 1)?),
            pool => pool,
        };
        Ok(Crew { threads, pool, team: Arc::new(Team::new(threads - 1)) })
    }

    /// Runs on as many threads as it has, or alone. `prepared` was made for `layers` and the input's shape.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it was stopped before its end.
    pub(crate) fn run<W: Watch + Send>(
        &mut self,
        prepared: &mut Prepared,
        layers: &Layers,
        input: TensorView<'_>,
        until: Until,
        stopper: &Stopper,
        watch: &mut W,
    ) -> Result<(), Error> {
        // One thread can do everything that is laid out for several.
        let Some(pool) = self.pool.as_ref().filter(|pool| self.threads > 1 && pool.is_here()) else {
            return prepared.run_alone(layers, input, until, stopper, watch);
        };
        let Prepared { shape, plan, memory, regions, shares, .. } = prepared;
        shares.reset(plan, until);
        // SAFETY: plan and regions were made for these layers and the input's shape.
        let run = unsafe { Exec::new(layers, plan, input, memory, regions, stopper) };
        let (exec, pictures, whole) = (&run, shape[0], shares.whole);
        let (phases, bell) = (&shares.phases, self.team.bell());
        let watch = Mutex::new(watch);
        // Only worker 0 asks for it: the lock is there to be shared, never waited for.
        let job = |worker: usize| {
            if worker == 0 {
                let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
                Worker { exec, hand: Hand::new(worker), pictures, whole, watch: &mut **watch }.work(phases, bell);
            } else {
                Worker { exec, hand: Hand::new(worker), pictures, whole, watch: &mut () }.work(phases, bell);
            }
        };
        // SAFETY: `&mut self`: one run of this team at a time.
        unsafe { Team::run(&self.team, |helper| pool.threads.spawn(|| helper.run()), &job) }
        run.finished()
    }
}

/// One thread's part in an inference on several.
struct Worker<'a, W> {
    exec: &'a Exec<'a>,
    /// Number 0 is the one that called.
    hand: Hand,
    /// Pictures of the batch, and how many of them one thread computes whole.
    pictures: usize,
    whole: usize,
    watch: &'a mut W,
}

/// What a phase computes.
enum Stage {
    /// A unit is a picture, all its steps.
    WholePictures,
    /// A unit of a step of a picture.
    Step { step: usize, picture: usize },
}

impl<W: Watch> Worker<'_, W> {
    fn work(mut self, phases: &[Phase], bell: &Bell) {
        work_through(phases, bell, self.hand.worker, &mut self);
    }

    fn stage(&self, phase: usize) -> Stage {
        let (of_picture, rest) = (self.exec.picture_steps(), self.pictures - self.whole);
        match phase.checked_sub(1) {
            None => Stage::WholePictures,
            Some(n) if n < rest * of_picture => {
                Stage::Step { step: n % of_picture, picture: self.whole + n / of_picture }
            }
            // A step of the batch, which has no picture.
            Some(n) => Stage::Step { step: of_picture + n - rest * of_picture, picture: 0 },
        }
    }
}

impl<W: Watch> Job for Worker<'_, W> {
    fn unit(&mut self, phase: usize, unit: usize) {
        // SAFETY: each unit of a phase is claimed once, and a phase starts when the one before is complete. A worker that
        // computes a whole picture uses its own workspace. Pictures that workers share use workspace 0, which no whole
        // picture needs any more.
        unsafe {
            match self.stage(phase) {
                Stage::Step { step, picture } => self.exec.step(step, unit, picture, 0, &mut self.hand),
                Stage::WholePictures => {
                    for step in 0..self.exec.picture_steps() {
                        for part in 0..self.exec.units(step) {
                            let workspace = self.hand.worker;
                            self.exec.step(step, part, unit, workspace, &mut self.hand);
                        }
                        self.watch.step(self.exec, step, unit);
                    }
                }
            }
        }
    }

    fn waiting(&mut self) {
        self.watch.waiting();
    }

    fn complete(&mut self, phase: usize) {
        match self.stage(phase) {
            Stage::WholePictures => self.watch.gathered(),
            Stage::Step { step, picture } => self.watch.step(self.exec, step, picture),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::{Model, Session, SessionOptions, Spec};

    #[test]
    fn callers_of_a_pool_take_turns() {
        let pool = ThreadPool::new(2).unwrap();
        let (inside, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // On one of the threads it runs at once: waiting for another turn would never end.
            let name = pool.run(|| std::thread::current().name().map(str::to_owned));
            inside.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
            name
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert!(pool.run(work).unwrap().starts_with("mnx-"));
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
        assert_eq!(done.into_inner(), 400);
        let panics = || pool.run(|| std::panic::resume_unwind(Box::new("on purpose")));
        let panic = catch_unwind(AssertUnwindSafe(panics));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert_eq!(pool.run(|| 7), 7);
    }

    #[test]
    fn a_thread_of_another_pool_takes_up_nothing_else_while_it_waits() {
        let other = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let shared = Arc::new((ThreadPool::new(1).unwrap(), Mutex::new(())));
        let (send, done) = channel();
        for _ in 0..20 {
            let (shared, send) = (Arc::clone(&shared), send.clone());
            other.spawn(move || {
                let (pool, lock) = &*shared;
                let _held = lock.lock().unwrap();
                pool.run(|| thread::sleep(Duration::from_millis(1)));
                send.send(()).unwrap();
            });
        }
        for _ in 0..20 {
            done.recv_timeout(Duration::from_secs(60)).expect("it waits for itself");
        }
    }

    #[test]
    fn a_pool_runs_work_inside_another() {
        let (outer, inner) = (ThreadPool::new(1).unwrap(), ThreadPool::new(1).unwrap());
        let index = || (outer.threads.current_thread_index(), inner.threads.current_thread_index());
        assert_eq!(outer.run(|| (index(), inner.run(index))), ((Some(0), None), (None, Some(0))));
        let panics = || outer.run(|| inner.run(|| resume_unwind(Box::new("on purpose"))));
        let panic = catch_unwind(AssertUnwindSafe(panics));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"on purpose"));
    }

    #[test]
    fn a_start_handler_that_panics_is_an_error_of_the_pool() {
        let cpus = [4];
        let pool = ThreadPool::with_start_handler(2, move |thread| assert!(cpus[thread] == 4));
        let error = pool.unwrap_err().to_string();
        assert!(error.ends_with("thread 1 panicked: index out of bounds: the len is 1 but the index is 1"), "{error}");
        let started = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&started);
        let start = move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        };
        ThreadPool::with_start_handler(3, start).unwrap();
        assert_eq!(started.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn why_threads_do_not_start_is_said() {
        let error = Error::Pool { helpers: 7, source: "no more threads".into() };
        assert_eq!(error.to_string(), "threads: expected the system to start 7 helpers, found: no more threads");
    }

    /// Every picture that is not computed whole by one thread has phases of its own, with a share for each thread.
    #[test]
    #[cfg_attr(feature = "guarded", ignore = "the pages between regions count, and are too many")]
    fn what_threads_share_out_counts_against_the_limit() {
        let mut spec = Spec::family("mobilenext").unwrap();
        spec.width = 0.1;
        let model = Model::from_bytes(crate::init(&spec, 1).unwrap()).unwrap();
        let options = SessionOptions::new().threads(MAX_THREADS).pool(pool::shared(1).unwrap());
        let mut session = Session::with(&model, options).unwrap();
        let error = session.prepare([MAX_THREADS - 1, 3, 1, 1]).unwrap_err();
        assert!(matches!(error, Error::Limit { ref what, .. } if what.contains("for 1023 x 3 x 1 x 1")), "{error}");
        session.prepare([1, 3, 1, 1]).unwrap();
        // Together with the arena.
        let held = |arena_bytes: u64| {
            let mut options = crate::OpenOptions::new();
            options.limits.arena_bytes = arena_bytes;
            let model = Model::from_bytes_with(crate::init(&spec, 1).unwrap(), &options).unwrap();
            let options = SessionOptions::new().threads(64).pool(pool::shared(1).unwrap());
            let mut session = Session::with(&model, options).unwrap();
            session.prepare([63, 3, 1, 1]).map(|()| session.prepared().unwrap().held)
        };
        let all = held(u64::MAX).unwrap();
        assert_eq!(held(all).unwrap(), all);
        assert_eq!(held(all - 1).unwrap_err().kind(), crate::ErrorKind::Limit);
    }
}
