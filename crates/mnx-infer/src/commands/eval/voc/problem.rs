//! What can be wrong with a data set.

use std::path::Path;

use serde::Serialize;

use super::kind::Kind;
use crate::error::{Error, line};
use crate::json_path::FileName;

/// Something about a data set that is not as it should be.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(flatten)]
    file: FileName,
    pub(super) kind: Kind,
    pub(super) error: String,
}

impl Problem {
    /// `message` is of the file at `path`.
    pub(super) fn new(path: &Path, kind: Kind, message: &str) -> Problem {
        Problem { file: path.into(), kind, error: line(&Error::file(path, message).to_string()) }
    }
}
