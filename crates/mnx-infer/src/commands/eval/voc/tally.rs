//! Collects what should be found and what was, class by class.

use std::collections::BTreeMap;
use std::path::Path;

use super::annotation::Annotation;
use super::classes::Classes;
use super::kind::Kind;
use super::metric::{Found, Truth};
use super::problem::Problem;
use crate::commands::detect::Boxed;
use crate::error::Error;
use crate::json_path::Unreadable;

/// Boxes and detections of one class.
#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) truths: Vec<Truth>,
    pub(super) found: Vec<Found>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    pub(super) names: Classes<'a>,
    /// By index; those without a box and without a detection are left out.
    pub(super) classes: BTreeMap<usize, Class>,
    /// Pictures that were read.
    pub(super) pictures: usize,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) problems: Vec<Problem>,
    /// Names that are no class, and how many boxes have them.
    pub(super) unknown: BTreeMap<String, usize>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(names: Classes<'a>) -> Tally<'a> {
        let (classes, unknown) = (BTreeMap::new(), BTreeMap::new());
        Tally { names, classes, pictures: 0, unreadable: Vec::new(), problems: Vec::new(), unknown }
    }

    /// Counts a picture of this width and height. `path` is the annotation's.
    ///
    /// # Errors
    /// As [`Classes::find`].
    pub(super) fn add(
        &mut self,
        path: &Path,
        annotation: &Annotation,
        size: (usize, usize),
        boxes: &[Boxed],
    ) -> Result<(), Error> {
        let picture = self.pictures;
        self.pictures += 1;
        match annotation.size {
            None => self.add_problem(path, Kind::Size, "expected a size, found none"),
            Some(told) if told != size => {
                let shown = |(width, height)| format!("{width} x {height}");
                let (told, size) = (shown(told), shown(size));
                self.add_problem(path, Kind::Size, &format!("expected a size of {size}, the picture's, found {told}"));
            }
            Some(_) => (),
        }
        for message in &annotation.broken {
            self.add_problem(path, Kind::Object, message);
        }
        for object in &annotation.objects {
            if let Some((kind, message)) = object.oddity(size) {
                self.add_problem(path, kind, &message);
            }
            let class = self.names.find(&object.name).map_err(|message| Error::file(path, message))?;
            let Some(class) = class else {
                *self.unknown.entry(object.name.clone()).or_default() += 1;
                continue;
            };
            let truth = Truth { picture, edges: object.edges(), difficult: object.difficult };
            self.classes.entry(class).or_default().truths.push(truth);
        }
        for found in boxes {
            let edges = [found.xmin, found.ymin, found.xmax, found.ymax].map(f64::from);
            let class = self.classes.entry(found.index).or_default();
            class.found.push(Found { picture, edges, score: found.score });
        }
        Ok(())
    }

    /// Counts a picture that cannot be judged, because it or its annotation cannot be read. The error names the file.
    pub(super) fn add_unreadable(&mut self, picture: &Path, error: &Error) {
        let path = match error {
            Error::File { path, .. } => path,
            _ => picture,
        };
        self.unreadable.push(Unreadable::new(path, &error.to_string()));
    }

    pub(super) fn add_problem(&mut self, path: &Path, kind: Kind, message: &str) {
        self.problems.push(Problem::new(path, kind, message));
    }
}
