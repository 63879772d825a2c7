//! Reads pictures on several threads within one limit of memory.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::PictureLimits;

/// Reads pictures for any number of threads within one limit of memory.
///
/// All pictures that a reader is decoding and those it has decoded and that still exist take at most
/// [`PictureLimits::decoded_bytes`] together, without the files. A thread whose picture does not fit yet waits for its turn,
/// first come, first served. A picture that would not fit alone is refused.
///
/// A picture counts until it is dropped or [`into_pixels`](crate::Picture::into_pixels) takes it apart; clones do not
/// count. So a thread that keeps one picture and asks the same reader for another one may wait for ever.
///
/// ```no_run
/// # fn main() -> Result<(), mnx::Error> {
/// let reader = &mnx::PictureReader::new(mnx::PictureLimits::default());
/// std::thread::scope(|scope| {
///     for name in ["a.jpg", "b.jpg", "c.jpg"] {
///         scope.spawn(move || reader.open(name).map(|picture| println!("{picture:?}")));
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PictureReader {
    limits: PictureLimits,
    budget: Arc<Budget>,
}

impl PictureReader {
    /// A reader with these limits. Clones share the memory that the limits allow.
    pub fn new(limits: PictureLimits) -> Self {
        let queue = Queue { free: limits.decoded_bytes, tickets: 0, serving: 0 };
        PictureReader { limits, budget: Arc::new(Budget { queue: Mutex::new(queue), changed: Condvar::new() }) }
    }

    /// The limits.
    pub fn limits(&self) -> &PictureLimits {
        &self.limits
    }

    /// Waits for a share of the memory. It must not be more than the limit.
    pub(super) fn share(&self, bytes: u64) -> Share {
        self.budget.take(bytes);
        Share { budget: Arc::clone(&self.budget), bytes }
    }
}

/// Memory that threads share.
#[derive(Debug)]
struct Budget {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    free: u64,
    /// How many threads have asked so far.
    tickets: u64,
    /// Whose turn it is.
    serving: u64,
}

impl Budget {
    fn take(&self, bytes: u64) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.tickets;
        queue.tickets += 1;
        while queue.serving != ticket || queue.free < bytes {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.free -= bytes;
        queue.serving += 1;
        self.changed.notify_all();
    }

    fn give_back(&self, bytes: u64) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).free += bytes;
        self.changed.notify_all();
    }
}

/// A part of a reader's memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    /// Gives back all but so many bytes.
    pub(super) fn keep(&mut self, bytes: u64) {
        let rest = self.bytes.saturating_sub(bytes);
        self.bytes -= rest;
        self.budget.give_back(rest);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// A picture's share, if a reader made it. Clones and comparisons do not concern it.
#[derive(Default)]
pub(super) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] pub(super) Option<Share>);

impl Clone for Held {
    fn clone(&self) -> Self {
        Held(None)
    }
}

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn reader(bytes: u64) -> PictureReader {
        PictureReader::new(PictureLimits { decoded_bytes: bytes, ..PictureLimits::default() })
    }

    #[test]
    fn shares_never_exceed_the_limit() {
        let reader = reader(100);
        let (taken, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (reader, taken, most) = (&reader, &taken, &most);
                scope.spawn(move || {
                    for turn in 0..50 {
                        let bytes = 1 + (thread * 37 + turn * 11) % 100;
                        let mut share = reader.share(bytes);
                        most.fetch_max(taken.fetch_add(bytes, SeqCst) + bytes, SeqCst);
                        thread::yield_now();
                        taken.fetch_sub(bytes, SeqCst);
                        share.keep(bytes / 2);
                    }
                });
            }
        });
        assert_eq!(reader.budget.queue.lock().unwrap().free, 100);
        assert!(most.into_inner() <= 100);
    }

    /// A large one is not overtaken for ever by small ones.
    #[test]
    fn first_come_first_served() {
        let reader = reader(10);
        let first = reader.share(4);
        thread::scope(|scope| {
            let large = scope.spawn(|| drop(reader.share(10)));
            while reader.budget.queue.lock().unwrap().tickets < 2 {
                thread::yield_now();
            }
            let small = scope.spawn(|| drop(reader.share(1)));
            thread::sleep(Duration::from_millis(20));
            assert!(!small.is_finished() && !large.is_finished());
            drop(first);
        });
    }
}
