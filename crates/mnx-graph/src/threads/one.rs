//! The calling thread alone.

use std::convert::Infallible;

use crate::Error;
use crate::plan::Plan;

/// Most threads of a session.
pub(crate) const MOST: usize = 1;

/// Threads that help sessions. Without the feature `rayon` there are none to be had.
#[derive(Clone, Debug)]
pub struct ThreadPool(Infallible);

impl ThreadPool {
    /// A pool of helpers.
    ///
    /// # Errors
    /// Always [`Error::Threads`].
    pub fn new(threads: usize) -> Result<ThreadPool, Error> {
        ThreadPool::with_start_handler(threads, |_| ())
    }

    /// A pool of helpers that call `start` first.
    ///
    /// # Errors
    /// Always [`Error::Threads`].
    pub fn with_start_handler(
        threads: usize,
        _start: impl Fn(usize) + Send + Sync + 'static,
    ) -> Result<ThreadPool, Error> {
        // With the thread that calls.
        Err(Error::Threads { most: MOST, found: threads.saturating_add(1) })
    }

    /// Runs `work` on one of them.
    pub fn run<R: Send>(&self, _work: impl FnOnce() -> R + Send) -> R {
        match self.0 {}
    }

    /// How many there are.
    pub fn threads(&self) -> usize {
        match self.0 {}
    }
}

/// Threads of a session that is not told how many.
pub fn default_threads() -> usize {
    MOST
}

/// How an inference is shared out: not at all.
pub(crate) struct Shares;

impl Shares {
    pub(crate) fn new(_: &Plan, _batch: usize, _whole: usize, _threads: usize) -> Result<Shares, Error> {
        Ok(Shares)
    }

    pub(crate) fn bytes(_: &Plan, _batch: usize, _whole: usize, _threads: usize) -> u64 {
        0
    }
}
