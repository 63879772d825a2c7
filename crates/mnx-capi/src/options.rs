//! How sessions run.

use std::ffi::c_char;
use std::sync::Mutex;

use mnx::{Isa, MAX_THREADS, SessionOptions};

use crate::arguments::{create, enter, handle, release, text};
use crate::status::{Failure, guard, mnx_status};

/// How a session, a classifier or a detector runs: threads, instruction set. They take what they need of it when they are
/// made, so it can be changed and released at any time. NULL stands for the defaults.
pub struct mnx_options {
    inner: Mutex<SessionOptions>,
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
        change(&mut *enter(&options.inner, "options")?)
    })
}

/// The options that a handle stands for.
///
/// # Safety
/// `options` is NULL or a handle that is not released meanwhile.
pub(crate) unsafe fn options_or_default(options: *const mnx_options) -> Result<SessionOptions, Failure> {
    // SAFETY: the caller's promise.
    match unsafe { options.as_ref() } {
        None => Ok(SessionOptions::default()),
        Some(options) => Ok(enter(&options.inner, "options")?.clone()),
    }
}

/// Makes options with the defaults: a thread for each physical core, the fastest instruction set.
///
/// # Safety
/// `options` may be written. What it becomes belongs to the caller, who releases it with `mnx_options_free`.
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

/// Sets which kernels run: `scalar`, `avx2`, `avx512`, `neon` or `simd128`; NULL for the fastest. Whether this CPU has them,
/// `mnx_session_new` and the like find out.
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

/// Sets whether layers in int8 use the CPU's instructions for dot products of bytes, if it has them (the default). The result
/// has the same bits with and without.
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
