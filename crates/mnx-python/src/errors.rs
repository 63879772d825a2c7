//! The library's errors as exceptions of the package.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use mnx::{ErrorKind, GraphError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// What went wrong, before the interpreter is there to be told.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of the package's exceptions.
    Own(Class, String),
    /// The same with what the system said.
    System(Class, String, System),
    /// What Python code raised, Ctrl-C included.
    Raised(PyErr),
}

/// What programs look at of an `OSError`.
#[derive(Debug)]
pub(crate) struct System {
    errno: i32,
    path: Option<PathBuf>,
}

impl System {
    /// If a system's error is among the causes.
    fn of(error: &(dyn StdError + 'static), path: Option<&Path>) -> Option<System> {
        let errno = error.downcast_ref().and_then(io::Error::raw_os_error);
        match errno {
            Some(errno) => Some(System { errno, path: path.map(Path::to_owned) }),
            None => System::of(error.source()?, path),
        }
    }
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

    /// A file is damaged.
    pub(crate) fn bad_file(message: String) -> Failure {
        Failure::Own(Class::InvalidFile, message)
    }

    /// A file could not be written or read.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Failure {
        let system = System::of(error, Some(path));
        // Without the path of a temporary file.
        let plain = system.as_ref().map(|system| io::Error::from_raw_os_error(system.errno));
        let error = plain.as_ref().unwrap_or(error);
        Failure::new(error.into(), format!("{}: {error}", named(path)), system)
    }

    fn new(kind: ErrorKind, message: String, system: Option<System>) -> Failure {
        let class = match kind {
            ErrorKind::NotFound => Class::NotFound,
            ErrorKind::Io => Class::Io,
            ErrorKind::InvalidFile => Class::InvalidFile,
            ErrorKind::Unsupported => Class::Unsupported,
            ErrorKind::Limit => Class::Limit,
            ErrorKind::Memory => Class::Memory,
            // The library may grow kinds, and asks for new ones to be treated as this one.
            _ => Class::InvalidInput,
        };
        match system {
            Some(system) if matches!(class, Class::NotFound | Class::Io) => Failure::System(class, message, system),
            _ => Failure::Own(class, message),
        }
    }

    /// Puts a place in front of the message.
    pub(crate) fn at(self, place: &str) -> Failure {
        self.reworded(|message| format!("{place}: {message}"))
    }

    /// Puts a place in front of the message, in place of a general one.
    pub(crate) fn within(self, general: &str, place: &str) -> Failure {
        self.reworded(|message| format!("{place}: {}", message.strip_prefix(general).unwrap_or(&message)))
    }

    fn reworded(self, reword: impl FnOnce(String) -> String) -> Failure {
        match self {
            Failure::Own(class, message) => Failure::Own(class, reword(message)),
            Failure::System(class, message, system) => Failure::System(class, reword(message), system),
            raised @ Failure::Raised(_) => raised,
        }
    }
}

/// A path as messages call it.
pub(crate) fn named(path: &Path) -> String {
    if path.as_os_str().is_empty() { "\"\"".into() } else { in_one_line(&path.display().to_string()) }
}

/// A message that begins with the path of a file, of which one without a name shows nothing.
fn with_name(path: Option<&Path>, message: String) -> String {
    if path.is_some_and(|path| path.as_os_str().is_empty()) { format!("\"\"{message}") } else { message }
}

/// A message with the names of strangers in it.
fn in_one_line(message: &str) -> String {
    mnx::unstable::shown(message, usize::MAX)
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Raised(error)
    }
}

impl From<mnx::Error> for Failure {
    fn from(error: mnx::Error) -> Failure {
        let path = if let mnx::Error::ReadPicture { path, .. } = &error { Some(path.as_path()) } else { None };
        let message = match &error {
            mnx::Error::Graph(error) => lines_of(error),
            error => in_one_line(&error.to_string()),
        };
        Failure::new(error.kind(), with_name(path, message), System::of(&error, path))
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Failure {
        let path = if let GraphError::InFile(within) = &error { Some(within.path.as_path()) } else { None };
        Failure::new(error.kind(), with_name(path, lines_of(&error)), System::of(&error, path))
    }
}

/// One line, unless a checkpoint does not fit: then it is one more for each tensor.
fn lines_of(error: &GraphError) -> String {
    match error {
        GraphError::Checkpoint(_) => error.to_string(),
        _ => in_one_line(&error.to_string()),
    }
}

impl From<mnx::TensorError> for Failure {
    fn from(error: mnx::TensorError) -> Failure {
        Failure::new(error.kind(), error.to_string(), None)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        static CLASSES: [PyOnceLock<Py<PyType>>; NAMES.len()] = [const { PyOnceLock::new() }; NAMES.len()];
        let (class, message, system) = match failure {
            Failure::Own(class, message) => (class as usize, message, None),
            Failure::System(class, message, system) => (class as usize, message, Some(system)),
            Failure::Raised(error) => return error,
        };
        let made = |py: Python<'_>| {
            let class = CLASSES[class].import(py, "mobilenext._errors", NAMES[class])?;
            let error = PyErr::from_type(class.clone(), message);
            if let Some(System { errno, path }) = system {
                let value = error.value(py);
                value.setattr("errno", errno)?;
                value.setattr("strerror", py.import("os")?.call_method1("strerror", (errno,))?)?;
                value.setattr("filename", path.map(PathBuf::into_os_string))?;
            }
            Ok(error)
        };
        Python::attach(|py| made(py).unwrap_or_else(|error: PyErr| error))
    }
}
