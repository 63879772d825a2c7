//! How another thread ends an inference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the inferences of a [`Session`](crate::Session) from another thread: when a client has gone, say, or a deadline is over.
///
/// A stopped inference ends with [`Error::Stopped`](crate::Error::Stopped) as soon as every thread is through with the part of a
/// layer that it computes; on one thread that can be a whole layer. All later inferences end at once, until
/// [`resume`](Stopper::resume): call that when the stopped one has ended, or it may not have seen the stop. Clones stop the same
/// session.
///
/// ```
/// # mod mnx { pub use mnx_graph::{Error as GraphError, *}; }
/// # fn main() -> Result<(), mnx_graph::Error> {
/// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
/// # spec.width = 0.1;
/// # let model = mnx_graph::Model::from_bytes(mnx_graph::init(&spec, 1)?)?;
/// # let input = mnx_tensor::Tensor::zeros([1, 3, 32, 32])?;
/// let mut session = mnx::Session::new(&model)?;
/// let stopper = session.stopper();
/// std::thread::spawn(move || stopper.stop()).join().unwrap();
/// assert!(matches!(session.run(input.view()), Err(mnx::GraphError::Stopped)));
///
/// session.stopper().resume();
/// assert!(session.run(input.view()).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Ends the inference that is going on, if there is one, and all later ones.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Lets later inferences run.
    pub fn resume(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// Whether inferences end at once.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
