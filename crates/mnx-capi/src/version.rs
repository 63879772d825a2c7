//! Which library this is.

use std::ffi::{CStr, c_char};

/// Number of the binary interface that this header describes. `mnx_abi_version` gives the library's: a program runs with a
/// library of the same number.
pub const MNX_ABI_VERSION: u32 = 1;

/// Version of the project, e.g. `0.1.0`. A string that lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn mnx_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL"),
    };
    VERSION.as_ptr()
}

/// The library's `MNX_ABI_VERSION`, to be compared with the header's.
#[unsafe(no_mangle)]
pub extern "C" fn mnx_abi_version() -> u32 {
    MNX_ABI_VERSION
}
