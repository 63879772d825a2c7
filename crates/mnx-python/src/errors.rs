//! The library's errors as exceptions of the package.

use std::path::Path;

use mnx::{ErrorKind, GraphError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// What went wrong, before the interpreter is there to be told.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of the package's exceptions.
    Own(Class, String),
    /// What Python code raised, Ctrl-C included.
    Raised(PyErr),
}

/// The package's exceptions, in the order of [`NAMES`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    InvalidInput,
    InvalidType,
    NotFound,
    Io,
    InvalidFile,
    Unsupported,
    Limit,
    Memory,
    Closed,
}

const NAMES: [&str; 9] = [
    "InvalidInputError",
    "InvalidTypeError",
    "NotFoundError",
    "IoError",
    "InvalidFileError",
    "UnsupportedError",
    "LimitError",
    "OutOfMemoryError",
    "ClosedError",
];

impl Failure {
    /// An argument has a value that it cannot have.
    pub(crate) fn input(message: impl Into<String>) -> Failure {
        Failure::Own(Class::InvalidInput, message.into())
    }

    /// An argument is of a type that it cannot be of.
    pub(crate) fn of_type(message: impl Into<String>) -> Failure {
        Failure::Own(Class::InvalidType, message.into())
    }

    /// Something is larger than the limits allow.
    pub(crate) fn limit(message: impl Into<String>) -> Failure {
        Failure::Own(Class::Limit, message.into())
    }

    /// Something was used after it was closed.
    pub(crate) fn closed(what: &str) -> Failure {
        Failure::Own(Class::Closed, format!("{what}: expected an open one, found it closed"))
    }

    /// A file could not be written or read.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Failure {
        Failure::new(error.into(), format!("{}: {error}", path.display()))
    }

    fn new(kind: ErrorKind, message: String) -> Failure {
        let class = match kind {
            ErrorKind::NotFound => Class::NotFound,
            ErrorKind::Io => Class::Io,
            ErrorKind::InvalidFile => Class::InvalidFile,
            ErrorKind::Unsupported => Class::Unsupported,
            ErrorKind::Limit => Class::Limit,
            ErrorKind::Memory => Class::Memory,
            // So the library wants a kind to be treated that is new.
            _ => Class::InvalidInput,
        };
        Failure::Own(class, message)
    }

    /// Puts a place in front of the message.
    pub(crate) fn at(self, place: &str) -> Failure {
        match self {
            Failure::Own(class, message) => Failure::Own(class, format!("{place}: {message}")),
            raised => raised,
        }
    }

    /// Looks for signals between pictures, so that Ctrl-C ends a long list. Only the main thread sees any.
    pub(crate) fn on_signal() -> Result<(), Failure> {
        Python::attach(|py| py.check_signals()).map_err(Failure::Raised)
    }
}

impl From<mnx::Error> for Failure {
    fn from(error: mnx::Error) -> Failure {
        Failure::new(error.kind(), error.to_string())
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Failure {
        Failure::new(error.kind(), error.to_string())
    }
}

impl From<mnx::TensorError> for Failure {
    fn from(error: mnx::TensorError) -> Failure {
        Failure::new(error.kind(), error.to_string())
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        static CLASSES: [PyOnceLock<Py<PyType>>; NAMES.len()] = [const { PyOnceLock::new() }; NAMES.len()];
        let (class, message) = match failure {
            Failure::Own(class, message) => (class as usize, message),
            Failure::Raised(error) => return error,
        };
        Python::attach(|py| match CLASSES[class].import(py, "mobilenext._errors", NAMES[class]) {
            Ok(class) => PyErr::from_type(class.clone(), message),
            Err(error) => error,
        })
    }
}
