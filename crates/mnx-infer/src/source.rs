//! Where a command's weights come from.

use std::path::{Path, PathBuf};

use mnx::Model;
use mnx::unstable::arithmetic_name;

use crate::args::{NeededWeights, Weights};
use crate::embedded::{self, Embedded};
use crate::error::{Error, shown};
use crate::output::check_plain;

/// What is mapped or read more than once, which pipes are not good for.
const WEIGHT_FILE: &str = "a weight file";

/// A weight file, or a network inside this program.
pub(crate) enum Source {
    File(PathBuf),
    Embedded(&'static Embedded),
}

impl Source {
    /// What was named, else the default network.
    pub(crate) fn new(weights: &Weights) -> Result<Source, Error> {
        let default = || Embedded::find(embedded::DEFAULT);
        match (&weights.weights, weights.model.or_else(default)) {
            (Some(path), _) => Ok(Source::File(path.clone())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => {
                let name = embedded::DEFAULT;
                let message = format!("--weights W.mnx is needed: this program was built without the network {name}");
                Err(Error::Usage(message))
            }
        }
    }

    /// What was named, else the default detector.
    pub(crate) fn detector(weights: Option<&Path>, model: Option<&'static Embedded>) -> Result<Source, Error> {
        match (weights, model.or_else(|| Embedded::find(embedded::DEFAULT_DETECTOR))) {
            (Some(path), _) => Ok(Source::File(path.into())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => {
                let name = embedded::DEFAULT_DETECTOR;
                let message = format!("--weights D.mnx is needed: this program was built without the detector {name}");
                Err(Error::Usage(message))
            }
        }
    }

    /// What was named.
    pub(crate) fn needed(weights: &NeededWeights) -> Result<Source, Error> {
        match (&weights.weights, weights.model) {
            (Some(path), _) => Ok(Source::File(path.clone())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => Err(Error::Usage("--weights W.mnx or --model NAME is needed".into())),
        }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Embedded(_) => None,
        }
    }

    /// As it is named on the command line.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::File(path) => shown(path),
            Source::Embedded(embedded) => format!("embedded:{}", embedded.name),
        }
    }

    /// That something is wrong with it.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        match self {
            Source::File(path) => Error::file(path, message),
            Source::Embedded(embedded) => embedded.error(message),
        }
    }

    /// # Errors
    /// [`Error::File`] or [`Error::Failed`] for a detector.
    pub(crate) fn expect_classifier(&self, model: &Model) -> Result<(), Error> {
        match model.spec().detector {
            None => Ok(()),
            Some(_) => Err(self.error("expected a classifier, found a detector (use detect, or eval --voc)")),
        }
    }

    /// # Errors
    /// [`Error::File`] or [`Error::Failed`] for a classifier.
    pub(crate) fn expect_detector(&self, model: &Model) -> Result<(), Error> {
        match model.spec().detector {
            Some(_) => Ok(()),
            None => Err(self.error("expected a detector, found a classifier (use classify, or eval DIR)")),
        }
    }

    /// For a few inferences: starts at once.
    pub(crate) fn open(&self) -> Result<Model, Error> {
        self.by(open)
    }

    /// For many: takes longer to start, and less for each.
    pub(crate) fn read(&self) -> Result<Model, Error> {
        self.by(read)
    }

    fn by(&self, of_file: impl FnOnce(&Path) -> Result<Model, Error>) -> Result<Model, Error> {
        match self {
            Source::File(path) => of_file(path),
            Source::Embedded(embedded) => embedded.open(),
        }
    }
}

/// The weights in memory of the program's own.
pub(crate) fn read(path: &Path) -> Result<Model, Error> {
    check_plain(path, WEIGHT_FILE)?;
    Model::open(path).map_err(Error::with_causes)
}

/// The weights in place.
pub(crate) fn open(path: &Path) -> Result<Model, Error> {
    check_plain(path, WEIGHT_FILE)?;
    // SAFETY: the help of `--weights` tells the user that the file must not change while the program runs.
    let model = unsafe { Model::open_mmap(path) };
    // The message begins with the path.
    model.map_err(Error::with_causes)
}

/// What a network computes with: `f32`, `int8`, or `mixed`, some layers in each.
pub(crate) fn arithmetic(model: &Model) -> &'static str {
    arithmetic_name(model.arithmetic().iter().copied()).expect("a network has layers")
}
