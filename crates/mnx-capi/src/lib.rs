//! The C library of mnx: this crate's functions are those of `mnx.h`.
//!
//! A thin layer on the `mnx` crate. `docs/c.md` of the repository says how to build, install
//! and use it; `include/mnx.h` is made of these sources by cbindgen, and a test compares it.
//!
//! What holds for every function:
//!
//! - A failure is a [`mnx_status`] and a sentence, which [`mnx_last_error`] gives to the same thread.
//! - No panic leaves the library: it becomes [`mnx_status::MNX_INTERNAL`]. One in a part of a layer that several threads compute
//!   aborts the process: the others would wait for that part for ever.
//! - NULL, a wrong length, a misaligned pointer are statuses. Handles after their release, and pointers that point nowhere,
//!   are undefined behaviour, as in every C library.

// These names are C's.
#![allow(non_camel_case_types)]

mod arguments;
mod classifier;
mod detector;
mod model;
mod options;
mod picture;
mod session;
mod status;
mod stopper;
mod version;

pub use classifier::*;
pub use detector::*;
pub use model::*;
pub use options::*;
pub use picture::*;
pub use session::*;
pub use status::*;
pub use stopper::*;
pub use version::*;
