//! What several Python threads use in turn, and what survives a fork.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::errors::Failure;

/// A session, or what has one. Calls of several threads come one after the other. In a fork it is made anew: a thread of the
/// original process may have had the lock, and nobody is left to give it back.
pub(crate) struct Shared<T> {
    /// For messages: `session`, `classifier`.
    what: &'static str,
    /// `None` when it is closed. Locked only for a moment, by threads that are attached to the interpreter. A thread that
    /// forks is attached, too, so a fork never finds this lock taken.
    current: Mutex<Option<Arc<Held<T>>>>,
}

struct Held<T> {
    process: u32,
    value: Mutex<T>,
}

impl<T> Held<T> {
    fn new(value: T) -> Arc<Held<T>> {
        Arc::new(Held { process: std::process::id(), value: Mutex::new(value) })
    }

    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    fn work<R>(&self, work: impl FnOnce(&mut T) -> Result<R, Failure>) -> Result<R, Failure> {
        // Whatever a panic left behind, the next run begins anew.
        work(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Send> Shared<T> {
    pub(crate) fn new(what: &'static str, value: T) -> Shared<T> {
        Shared { what, current: Mutex::new(Some(Held::new(value))) }
    }

    /// Calls `work` with the value, while the interpreter does something else. `make` makes another one in a fork.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        make: impl Fn() -> Result<T, Failure>,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send,
    ) -> PyResult<R> {
        self.begin(make)?.with(py, work)
    }

    /// For several pieces of work: what has begun ends as it would, although the value is closed meanwhile.
    pub(crate) fn begin<M: Fn() -> Result<T, Failure>>(&self, make: M) -> Result<Call<'_, T, M>, Failure> {
        let held = self.held(&make)?;
        Ok(Call { shared: self, make, held })
    }

    fn held(&self, make: impl Fn() -> Result<T, Failure>) -> Result<Arc<Held<T>>, Failure> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = current.as_ref() else { return Err(Failure::closed(self.what)) };
        if held.is_here() {
            return Ok(Arc::clone(held));
        }
        let made = Held::new(make()?);
        let old = current.replace(Arc::clone(&made));
        // A thread that is not in this process may have been at work on it.
        if old.as_ref().is_some_and(|old| Arc::strong_count(old) > 1) {
            std::mem::forget(old);
        }
        Ok(made)
    }

    /// Lets go of the value; runs that have begun end as they would.
    pub(crate) fn close(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// # Errors
    /// If it is closed.
    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        if self.is_closed() { Err(Failure::closed(self.what)) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// Work that has begun.
pub(crate) struct Call<'a, T, M> {
    shared: &'a Shared<T>,
    make: M,
    held: Arc<Held<T>>,
}

impl<T: Send, M: Fn() -> Result<T, Failure>> Call<'_, T, M> {
    /// As [`Shared::with`]. Then the main thread looks for signals, so that Ctrl-C ends a long list. Nothing is locked by then: what
    /// Python code does on a signal may use the value itself.
    pub(crate) fn with<R: Send>(
        &mut self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send,
    ) -> PyResult<R> {
        // That code may fork, too.
        if !self.held.is_here() {
            self.held = self.shared.held(&self.make)?;
        }
        let held = &self.held;
        let done = py.detach(|| held.work(work))?;
        py.check_signals()?;
        Ok(done)
    }
}
