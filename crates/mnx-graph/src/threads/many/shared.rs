//! The threads that help sessions whose caller brings no pool.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::pool::ThreadPool;
use crate::Error;

/// One for the process, as large as the largest session wanted it. Not rayon's global pool: what else the program gives
/// that one would keep inferences waiting, and it has a thread per core beside the one that calls.
static SHARED: Mutex<Option<ThreadPool>> = Mutex::new(None);

/// A pool of at least `helpers` threads, the same for everybody unless it was too small.
pub(crate) fn shared(helpers: usize) -> Result<ThreadPool, Error> {
    let Some(mut shared) = lock() else { return ThreadPool::new(helpers) };
    if let Some(pool) = shared.as_ref().filter(|pool| pool.threads() >= helpers && pool.is_here()) {
        return Ok(pool.clone());
    }
    let pool = ThreadPool::new(helpers)?;
    // Sessions that hold a smaller one keep it.
    *shared = Some(pool.clone());
    Ok(pool)
}

/// The shared pool; not if it stays locked for longer than threads take to start. In a fork it does if a thread of the original
/// process was starting them at that moment: nobody is left to unlock it.
fn lock() -> Option<MutexGuard<'static, Option<ThreadPool>>> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let since = Instant::now();
    loop {
        match SHARED.try_lock() {
            Ok(shared) => return Some(shared),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn sessions_share_a_pool_until_one_needs_more() {
        let first = shared(3).unwrap();
        let same = |a: &ThreadPool, b: &ThreadPool| Arc::ptr_eq(&a.threads, &b.threads);
        assert!(same(&first, &shared(1).unwrap()));
        let larger = shared(first.threads() + 1).unwrap();
        assert!(!same(&first, &larger) && larger.threads() > first.threads());
    }
}
