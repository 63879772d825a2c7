//! The calling thread and helpers of a rayon pool.

mod cores;
mod pool;
mod shared;
mod shares;
mod sync;
pub(crate) mod team;

pub use cores::default_threads;
pub use pool::{ThreadPool, thread_pool};
pub(crate) use shared::shared;
pub(crate) use shares::Shares;

/// Most threads of a session.
pub(crate) const MOST: usize = crate::MAX_THREADS;
const _: () = assert!(MOST - 1 <= team::MOST_HELPERS);
