//! What the standard library wants of a C library's threads where there are none: Debian's wasi-libc lacks these.
//! Linked into every program by `test.sh`.
#![no_std]

use core::ffi::{c_int, c_void};

/// WASI's "not supported".
const ENOTSUP: c_int = 58;

#[unsafe(no_mangle)]
extern "C" fn pthread_create(_: *mut c_void, _: *const c_void, _: *const c_void, _: *mut c_void) -> c_int {
    ENOTSUP
}

#[unsafe(no_mangle)]
extern "C" fn pthread_join(_: *mut c_void, _: *mut *mut c_void) -> c_int {
    ENOTSUP
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_: *mut c_void) -> c_int {
    ENOTSUP
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_init(_: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_setstacksize(_: *mut c_void, _: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_: *mut c_void) -> c_int {
    0
}
