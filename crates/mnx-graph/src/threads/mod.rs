//! The threads of a session: many with the feature `rayon`, else the calling one alone. Both twins have the same items, and
//! nothing outside this module asks which of them is there.

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
pub(crate) use twin::{Crew, MOST, Shares};
pub use twin::{ThreadPool, default_threads};

use crate::exec::Exec;

/// Somebody who looks on from the thread that called. The default looks at nothing and costs nothing.
#[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "alone nobody waits"))]
pub(crate) trait Watch {
    /// This step of this picture is complete; a step of the batch comes with picture 0.
    fn step(&mut self, _exec: &Exec, _step: usize, _picture: usize) {}
    /// Nothing is left to do here of the current step, or of the whole pictures; others may be at it still.
    fn waiting(&mut self) {}
    /// All whole pictures are complete.
    fn gathered(&mut self) {}
}

impl Watch for () {}
