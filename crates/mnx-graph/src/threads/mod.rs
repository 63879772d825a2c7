//! The threads that a session may have: many with the feature `rayon`, else the calling one alone. Both twins have the same
//! items. Nothing but [`crew`](crate::crew) asks which of them is there.

#[cfg(feature = "rayon")]
mod many;
#[cfg(not(feature = "rayon"))]
mod one;

#[cfg(feature = "rayon")]
use many as twin;
#[cfg(not(feature = "rayon"))]
use one as twin;

#[cfg(feature = "rayon")]
pub use many::thread_pool;
#[cfg(feature = "rayon")]
pub(crate) use many::{shared, team};
pub(crate) use twin::{MOST, Shares};
pub use twin::{ThreadPool, default_threads};
