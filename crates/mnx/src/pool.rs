//! A few sessions for many threads.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A fixed number of sessions, classifiers or detectors that any number of threads borrow: what a service needs. Clones are
/// the same pool.
///
/// Whoever finds none free [waits](Pool::get), waits [for a while](Pool::get_within), or is [refused](Pool::try_get) and says so to
/// its client. Throughput is highest with as many as there are cores, of one thread each.
///
/// What was [stopped](crate::Stopper) stays so when it goes back: who stops a run resumes it before the next one borrows it.
///
/// ```
/// use mnx::{Classifier, Frame, Model, Pool, SessionOptions, Spec};
///
/// # fn main() -> Result<(), mnx::Error> {
/// // Random weights; a real program opens a file.
/// let mut spec = Spec::family("mobilenext-cifar").expect("a known family");
/// spec.width = 0.1;
/// let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
///
/// let pool = Pool::new(2, || Classifier::with(&model, SessionOptions::new().threads(1)))?;
/// std::thread::scope(|scope| {
///     for grey in [10, 20, 30, 40] {
///         let pool = &pool;
///         scope.spawn(move || {
///             let picture = [grey; 8 * 8 * 3];
///             let found = pool.get().classify(Frame::rgb8(&picture, 8, 8, 24)?, 1)?;
///             assert_eq!(found.len(), 1);
///             Ok::<(), mnx::Error>(())
///         });
///     }
/// });
/// assert_eq!((pool.size(), pool.free()), (2, 2));
/// # Ok(())
/// # }
/// ```
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    size: usize,
    state: Mutex<State<T>>,
    returned: Condvar,
}

struct State<T> {
    free: Vec<T>,
    /// Tickets of those who wait: who came first is served first.
    waiting: VecDeque<u64>,
    next: u64,
}

impl<T> Pool<T> {
    /// A pool of `size` things, all made here. A pool of none refuses everybody, and waiting for it never ends.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn new<E>(size: usize, mut make: impl FnMut() -> Result<T, E>) -> Result<Pool<T>, E> {
        // Not reserved: `size` may be larger than what `make` can make.
        let mut free = Vec::new();
        for _ in 0..size {
            free.push(make()?);
        }
        let state = Mutex::new(State { free, waiting: VecDeque::new(), next: 0 });
        Ok(Pool { shared: Arc::new(Shared { size, state, returned: Condvar::new() }) })
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// How many nobody has borrowed at this moment.
    pub fn free(&self) -> usize {
        self.shared.state().free.len()
    }

    /// How many threads wait at this moment. A service that has a bound on it refuses above it.
    pub fn waiting(&self) -> usize {
        self.shared.state().waiting.len()
    }

    /// Borrows one; waits until there is one free. Who came first gets the first.
    pub fn get(&self) -> Borrowed<T> {
        let item = self.shared.take(None).expect("without a deadline the wait ends with one");
        self.borrowed(item)
    }

    /// Borrows one; waits no longer than this. `None` if there was none free by then. Where there is no clock
    /// (`wasm32-unknown-unknown`) it panics: there are no threads to wait for either.
    pub fn get_within(&self, time: Duration) -> Option<Borrowed<T>> {
        // A time that cannot be counted never comes.
        let deadline = Instant::now().checked_add(time);
        self.shared.take(deadline).map(|item| self.borrowed(item))
    }

    /// Borrows one if there is one free for which nobody waits.
    pub fn try_get(&self) -> Option<Borrowed<T>> {
        let mut state = self.shared.state();
        let item = if state.waiting.is_empty() { state.free.pop() } else { None };
        drop(state);
        item.map(|item| self.borrowed(item))
    }

    fn borrowed(&self, item: T) -> Borrowed<T> {
        Borrowed { item: Some(item), pool: self.clone() }
    }
}

impl<T> Shared<T> {
    /// A thread that panicked while it had the lock changed nothing by halves.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that is free when all who came before have theirs.
    fn take(&self, deadline: Option<Instant>) -> Option<T> {
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        loop {
            if state.waiting.front() == Some(&ticket)
                && let Some(item) = state.free.pop()
            {
                state.waiting.pop_front();
                drop(state);
                // The next one may find another.
                self.returned.notify_all();
                return Some(item);
            }
            let Some(deadline) = deadline else {
                state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting.retain(|&other| other != ticket);
                drop(state);
                self.returned.notify_all();
                return None;
            }
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Pool { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size()).field("free", &self.free()).finish_non_exhaustive()
    }
}

/// One thing of a [`Pool`]. It goes back when this is dropped, also by a panic: sessions work on after one.
pub struct Borrowed<T> {
    item: Option<T>,
    pool: Pool<T>,
}

impl<T> Deref for Borrowed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("it is here until the drop")
    }
}

impl<T> DerefMut for Borrowed<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("it is here until the drop")
    }
}

impl<T> Drop for Borrowed<T> {
    fn drop(&mut self) {
        self.pool.shared.state().free.extend(self.item.take());
        self.pool.shared.returned.notify_all();
    }
}

impl<T: fmt::Debug> fmt::Debug for Borrowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn pool(size: usize) -> Pool<usize> {
        let mut number = 0;
        let make = || {
            number += 1;
            Ok::<usize, Infallible>(number)
        };
        let Ok(pool) = Pool::new(size, make);
        pool
    }

    fn until(holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(60), "it never comes");
            thread::yield_now();
        }
    }

    #[test]
    fn nobody_gets_what_another_has() {
        let pool = pool(2);
        let (a, b) = (pool.get(), pool.try_get().unwrap());
        assert_ne!(*a, *b);
        assert!(pool.try_get().is_none() && pool.free() == 0);
        assert!(pool.get_within(Duration::from_millis(1)).is_none());
        assert_eq!(pool.waiting(), 0);
        let number = *a;
        drop(a);
        for time in [Duration::ZERO, Duration::from_secs(9), Duration::MAX] {
            assert_eq!(*pool.get_within(time).unwrap(), number);
        }
    }

    #[test]
    fn an_error_of_the_maker_is_the_pools() {
        let mut left = 2;
        let make = || {
            left -= 1;
            if left == 0 { Err("no more") } else { Ok(left) }
        };
        assert_eq!(Pool::new(3, make).map(|pool| pool.size()), Err("no more"));
        assert!(self::pool(0).try_get().is_none());
    }

    #[test]
    fn a_panic_gives_it_back() {
        let pool = pool(1);
        let other = pool.clone();
        let result = std::panic::catch_unwind(move || {
            let _borrowed = other.get();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(result.is_err() && pool.free() == 1);
    }

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn who_came_first_gets_the_first() {
        let pool = pool(1);
        let held = pool.get();
        let (send, order) = channel();
        let wait = |number: usize| {
            let (waiting, send) = (pool.waiting(), send.clone());
            let thread = thread::spawn({
                let pool = pool.clone();
                move || {
                    let _borrowed = pool.get();
                    send.send(number).unwrap();
                }
            });
            until(|| pool.waiting() > waiting);
            thread
        };
        let first = wait(1);
        // Giving up lets the others through.
        assert!(pool.get_within(Duration::from_millis(1)).is_none());
        let others = [wait(2), wait(3)];
        assert!(pool.get_within(Duration::from_millis(1)).is_none());
        assert_eq!(pool.waiting(), 3);
        drop(held);
        first.join().unwrap();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        drop(send);
        assert_eq!(order.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((pool.free(), pool.waiting()), (1, 0));
    }
}
