//! What the team's protocol is built of. `tools/model-check/` builds `team.rs` with loom's twins of these items instead.

pub(super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// [`std::cell::UnsafeCell`] with the functions of loom's.
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        UnsafeCell(value.into())
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Looks again and again, first without leaving the core, then letting others have it in between. Gives up after about a
/// millisecond: whether it became ready.
///
/// Steps take microseconds, and threads end them nearly together, so that this ends almost every wait; going to sleep and
/// being woken would cost as much as a step. It must end, though: where threads have real-time priorities, a thread that only
/// yields may keep the one that it waits for from ever running.
pub(super) fn spin_until(ready: impl Fn() -> bool) -> bool {
    const SPINS: u32 = 2_000;
    const PATIENCE: Duration = Duration::from_millis(1);
    for _ in 0..SPINS {
        if ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if ready() {
            return true;
        }
        std::thread::yield_now();
    }
    ready()
}
