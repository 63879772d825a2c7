//! The library's errors as exceptions of the package.

use std::path::Path;

use mnx::{ErrorKind, GraphError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// What went wrong, before the interpreter is there to be told.
#[derive(Debug)]
pub(crate) struct Failure {
    class: Class,
    message: String,
}

/// The package's exceptions, in the order of [`NAMES`].
#[derive(Clone, Copy, Debug)]
enum Class {
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
        Failure { class: Class::InvalidInput, message: message.into() }
    }

    /// An argument is of a type that it cannot be of.
    pub(crate) fn of_type(message: impl Into<String>) -> Failure {
        Failure { class: Class::InvalidType, message: message.into() }
    }

    /// Something is larger than the limits allow.
    pub(crate) fn limit(message: impl Into<String>) -> Failure {
        Failure { class: Class::Limit, message: message.into() }
    }

    /// Something was used after it was closed.
    pub(crate) fn closed(what: &str) -> Failure {
        Failure { class: Class::Closed, message: format!("{what}: expected an open one, found it closed") }
    }

    /// A file could not be written or read.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Failure {
        let of_kind = Failure::new(error.into(), String::new());
        Failure { message: format!("{}: {error}", path.display()), ..of_kind }
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
        Failure { class, message }
    }

    /// Puts a place in front of the message.
    pub(crate) fn at(self, place: &str) -> Failure {
        Failure { message: format!("{place}: {}", self.message), ..self }
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
        let index = failure.class as usize;
        Python::attach(|py| match CLASSES[index].import(py, "mobilenext._errors", NAMES[index]) {
            Ok(class) => PyErr::from_type(class.clone(), failure.message),
            Err(error) => error,
        })
    }
}
