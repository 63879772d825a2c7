//! The end of an inference, from another thread.

use mnx::Stopper;

use crate::arguments::{handle, release};
use crate::status::{guard, mnx_status};

/// Ends the inferences of a session, a classifier or a detector from another thread: when a client has gone, say, or a deadline
/// is over. Any number of threads may use one at once. It may outlive what it stops.
pub struct mnx_stopper {
    stopper: Stopper,
}

impl mnx_stopper {
    pub(crate) fn of(stopper: &Stopper) -> mnx_stopper {
        mnx_stopper { stopper: stopper.clone() }
    }
}

/// Ends the inference that is going on as soon as each of its threads is through with the part of a layer that it computes, and
/// all later ones at once: they are `MNX_STOPPED`. One that was complete before gives its result. Only inferences end: a picture
/// is still decoded and resized.
///
/// # Safety
/// `stopper` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_stopper_stop(stopper: *const mnx_stopper) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { handle(stopper, "stopper") }?.stopper.stop();
        Ok(())
    })
}

/// Lets later inferences run again.
///
/// # Safety
/// `stopper` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_stopper_resume(stopper: *const mnx_stopper) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { handle(stopper, "stopper") }?.stopper.resume();
        Ok(())
    })
}

/// Releases a stopper. NULL is fine. It changes nothing for what it stops.
///
/// # Safety
/// `stopper` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_stopper_free(stopper: *mut mnx_stopper) {
    // SAFETY: the caller's promise.
    unsafe { release(stopper) }
}
