//! How sessions run.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mnx::{Isa, MAX_THREADS, SessionOptions};

use crate::arguments::{create, handle, release, text};
use crate::status::{Failure, guard, mnx_status};

/// How a session, a classifier or a detector runs: threads, instruction set. They take what they need of it when they are
/// made, so it can be changed and released at any time. Any number of threads may use one at once. NULL stands for the
/// defaults.
///
/// What is left open, the environment variables `MNX_ISA`, `MNX_TUNED_FOR`, `MNX_DOT_PRODUCTS` and `MNX_AMX` decide, and then the CPU. If
/// one of them has an unknown value, `mnx_session_new` and the like are `MNX_INVALID_INPUT`; if `MNX_ISA` names what this CPU
/// lacks, `MNX_UNSUPPORTED`.
pub struct mnx_options {
    inner: Mutex<SessionOptions>,
}

impl mnx_options {
    /// Waits for its turn: other threads only copy or set a member.
    fn enter(&self) -> MutexGuard<'_, SessionOptions> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
unsafe fn change(
    options: *mut mnx_options,
    change: impl FnOnce(&mut SessionOptions) -> Result<(), Failure>,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let options = unsafe { handle(options, "options") }?;
        change(&mut options.enter())
    })
}

/// The options that a handle stands for.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
pub(crate) unsafe fn options_or_default(options: *const mnx_options) -> Result<SessionOptions, Failure> {
    if options.is_null() {
        return Ok(SessionOptions::default());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { handle(options, "options") }?.enter().clone())
}

/// Makes options with the defaults: a thread for each physical core, and the rest left open.
///
/// # Safety
/// `options` is NULL or may be written. What it becomes belongs to the caller, who releases it with `mnx_options_free`. After a
/// failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_new(options: *mut *mut mnx_options) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { create(options, || Ok(mnx_options { inner: Mutex::new(SessionOptions::default()) })) }
}

/// Releases options. NULL is fine.
///
/// # Safety
/// `options` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_free(options: *mut mnx_options) {
    // SAFETY: the caller's promise.
    unsafe { release(options) }
}

/// Sets how many threads work on one inference, the calling one included: 1 to 1024. The result has the same bits for every
/// number. For many pictures at once, a session of one thread for each core is faster than many threads on each picture.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_set_threads(options: *mut mnx_options, threads: usize) -> mnx_status {
    let set = |options: &mut SessionOptions| {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Failure::argument("threads", format_args!("1 to {MAX_THREADS}"), threads));
        }
        options.threads = Some(threads);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}

/// Sets which kernels run: `scalar`, `avx2`, `avx512`, `neon` or `simd128`; NULL for those that the environment variable
/// `MNX_ISA` names, else the fastest. Whether this CPU has them, `mnx_session_new` and the like find out.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile; `isa` is NULL or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_set_isa(options: *mut mnx_options, isa: *const c_char) -> mnx_status {
    let set = |options: &mut SessionOptions| {
        if isa.is_null() {
            options.isa = None;
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let name = unsafe { text(isa, "isa") }?;
        let Some(isa) = Isa::ALL.iter().find(|isa| isa.name() == name) else {
            let names: Vec<_> = Isa::ALL.iter().map(|isa| isa.name()).collect();
            return Err(Failure::argument("isa", names.join(", "), format_args!("{name:?}")));
        };
        options.isa = Some(*isa);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}

/// Sets whether layers in int8 use the CPU's instructions for dot products of bytes, if it has them. The default: unless the
/// environment variable `MNX_DOT_PRODUCTS` is `off`. The result has the same bits with and without.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_set_dot_products(options: *mut mnx_options, dot_products: bool) -> mnx_status {
    let set = |options: &mut SessionOptions| {
        options.dot_products = Some(dot_products);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}

/// Sets whether layers in int8 use AMX, the matrix tiles of Intel's Xeons, if the CPU has it. The default: unless the environment
/// variable `MNX_AMX` is `off`. Linux is asked for permission when a session with such layers is made. The result has the same
/// bits with and without.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_options_set_amx(options: *mut mnx_options, amx: bool) -> mnx_status {
    let set = |options: &mut SessionOptions| {
        options.amx = Some(amx);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { change(options, set) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_wait_for_their_turn() {
        let options = mnx_options { inner: Mutex::new(SessionOptions::new().threads(3)) };
        let entered = options.enter();
        std::thread::scope(|scope| {
            // SAFETY: it lives longer than the thread.
            let other = scope.spawn(|| unsafe { options_or_default(&options) }.map(|options| options.threads));
            std::thread::sleep(Duration::from_millis(50));
            drop(entered);
            assert_eq!(other.join().unwrap().unwrap(), Some(3));
        });
    }

    #[test]
    fn null_is_the_default_and_odd_addresses_are_refused() {
        let options = mnx_options { inner: Mutex::default() };
        let odd = (&raw const options).cast::<u8>().wrapping_add(1).cast::<mnx_options>();
        // SAFETY: NULL, or misaligned: it is not read.
        unsafe {
            assert!(options_or_default(std::ptr::null()).is_ok());
            assert_eq!(options_or_default(odd).unwrap_err().status, mnx_status::MNX_INVALID_INPUT);
        }
    }
}
