//! Twins of what `crates/mnx-graph/src/threads/many/sync.rs` has.

pub(super) use std::sync::PoisonError;

pub(super) use loom::cell::UnsafeCell;
pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Looks once: so every wait is also tried asleep.
pub(super) fn spin_until(ready: impl Fn() -> bool) -> bool {
    ready()
}
