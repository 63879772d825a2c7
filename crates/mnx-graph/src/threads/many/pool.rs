//! Pools of threads that help sessions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use rayon::ThreadPoolBuilder;

use crate::{Error, MAX_THREADS};

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
    pub(super) threads: Arc<rayon::ThreadPool>,
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

    /// Runs `work` on one of them when it has time.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        self.threads.spawn(work);
    }

    /// Whether this process has the threads. A fork of it has not: there is nobody to wake, and what they had locked at that
    /// moment stays locked.
    pub(crate) fn is_here(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

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
}
