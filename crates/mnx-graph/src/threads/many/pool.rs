//! The threads that help sessions whose caller brings no pool.

use std::sync::{Mutex, PoisonError};

use super::ThreadPool;
use crate::Error;

/// One for the process, as large as the largest session wanted it. Not rayon's global pool: what else the program gives
/// that one would keep inferences waiting, and it has a thread per core beside the one that calls.
static SHARED: Mutex<Option<ThreadPool>> = Mutex::new(None);

/// A pool of at least `helpers` threads, the same for everybody unless it was too small.
pub(crate) fn shared(helpers: usize) -> Result<ThreadPool, Error> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = shared.as_ref().filter(|pool| pool.threads() >= helpers) {
        return Ok(pool.clone());
    }
    let pool = ThreadPool::new(helpers)?;
    // Sessions that hold a smaller one keep it.
    *shared = Some(pool.clone());
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn sessions_share_a_pool_until_one_needs_more() {
        let first = shared(3).unwrap();
        let same = |a: &ThreadPool, b: &ThreadPool| Arc::ptr_eq(&a.0, &b.0);
        assert!(same(&first, &shared(1).unwrap()));
        let larger = shared(first.threads() + 1).unwrap();
        assert!(!same(&first, &larger) && larger.threads() > first.threads());
    }
}
