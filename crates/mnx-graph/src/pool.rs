//! The threads that help sessions whose caller brings no pool.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Error;

/// One for the process, as large as the largest session wanted it. Not rayon's global pool: what else the program gives
/// that one would keep inferences waiting, and it has a thread per core beside the one that calls.
static SHARED: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

/// A pool of at least `helpers` threads, the same for everybody unless it was too small.
pub(crate) fn shared(helpers: usize) -> Result<Arc<ThreadPool>, Error> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = shared.as_ref().filter(|pool| pool.current_num_threads() >= helpers) {
        return Ok(Arc::clone(pool));
    }
    let builder = ThreadPoolBuilder::new().num_threads(helpers).thread_name(|index| format!("mnx-{index}"));
    let pool = Arc::new(builder.build().map_err(|error| Error::Pool { helpers, source: error.into() })?);
    // Sessions that hold a smaller one keep it.
    *shared = Some(Arc::clone(&pool));
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_a_pool_until_one_needs_more() {
        let first = shared(3).unwrap();
        assert!(Arc::ptr_eq(&first, &shared(1).unwrap()));
        let larger = shared(first.current_num_threads() + 1).unwrap();
        assert!(!Arc::ptr_eq(&first, &larger) && larger.current_num_threads() > first.current_num_threads());
    }
}
