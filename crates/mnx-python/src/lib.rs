//! Python bindings of mnx: the module `mobilenext._native`, which the package `mobilenext` shows its users.
//!
//! Thin: what networks, pictures and files mean is the library's. Here are three things of Python's own:
//!
//! - Work runs while the interpreter does something else: arrays and pictures are looked at first, then the thread detaches,
//!   then it waits for the session ([`shared`]).
//! - Processes fork. Whatever has a lock notices that it is in another process, and is made anew.
//! - Errors become exceptions of the package, by their kind ([`errors`]).

mod arrays;
mod classifier;
mod convert;
mod detector;
mod errors;
mod files;
mod model;
mod pictures;
mod profile;
mod quantize;
mod session;
mod shared;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command line with these arguments, the program's name first; returns the exit code.
#[pyfunction]
fn command_line(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| mnx_infer::run_as_guest(args))
}

/// Names of the networks inside the wheel.
///
/// ``Model.embedded`` opens them.
#[pyfunction]
fn embedded_models() -> Vec<&'static str> {
    mnx_infer::embedded_models().collect()
}

/// Names of the network families that ``init`` and ``convert`` know.
#[pyfunction]
fn families() -> Vec<&'static str> {
    mnx::families().collect()
}

/// The compiled part of `mobilenext`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::classifier::Classifier;
    #[pymodule_export]
    use super::convert::convert;
    #[pymodule_export]
    use super::detector::Detector;
    #[pymodule_export]
    use super::files::init;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::profile::{draw_blocks, measure_peaks};
    #[pymodule_export]
    use super::quantize::quantize;
    #[pymodule_export]
    use super::session::Session;
    #[pymodule_export]
    use super::{command_line, embedded_models, families};

    #[pymodule_init]
    fn set_up(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // What is found out once is found out now: a process could fork while another thread is at it.
        mnx::Isa::detect();
        mnx::TunedFor::detect();
        mnx::unstable::silence_decoders();
        Ok(())
    }
}
