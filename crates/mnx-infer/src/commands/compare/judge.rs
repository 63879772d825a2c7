//! What networks say of pictures whose classes are known, and where they agree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mnx::Spec;
use serde::Serialize;

use super::subjects::Entry;
use crate::args::Truth;
use crate::commands::eval::{Accuracy, Evaluation, Score};
use crate::context::Context;
use crate::error::Error;
use crate::output::check_apart;

/// One network on all pictures.
pub(super) struct Judgement {
    pub(super) accuracy: Accuracy,
    /// None for a network that is the first one with its classes.
    pub(super) agreement: Option<Agreement>,
}

/// How often two networks have the same most probable class.
#[derive(Serialize)]
pub(super) struct Agreement {
    /// Index of the other network.
    with: usize,
    /// Those that both have classified.
    pictures: u64,
    same: u64,
    /// Share of the pictures; none, and null in JSON, where there are no pictures.
    rate: Option<f64>,
}

impl Agreement {
    /// `answers`: pictures and their most probable classes.
    fn new(with: usize, reference: &[(PathBuf, usize)], answers: &[(PathBuf, usize)]) -> Agreement {
        let known: HashMap<&Path, usize> = reference.iter().map(|(path, class)| (&**path, *class)).collect();
        let both: Vec<_> = answers.iter().filter_map(|(path, class)| Some(known.get(&**path)? == class)).collect();
        let (pictures, same) = (both.len() as u64, both.iter().filter(|&&same| same).count() as u64);
        Agreement { with, pictures, same, rate: Score::new(same, pictures).rate }
    }

    pub(super) fn percent(&self) -> String {
        Score::new(self.same, self.pictures).percent()
    }
}

/// The pictures of a folder for each network.
pub(super) struct Jury<'a> {
    folder: &'a Path,
    evaluations: Vec<Evaluation>,
}

impl<'a> Jury<'a> {
    /// Finds the pictures, of which `output` must not be one.
    ///
    /// # Errors
    /// As [`Evaluation::find`]; [`Error::Usage`] if the output is a picture.
    pub(super) fn find(
        entries: &[Entry],
        folder: &'a Path,
        truth: &Truth,
        output: Option<&Path>,
    ) -> Result<Jury<'a>, Error> {
        let find = |entry: &Entry| {
            let source = entry.origin.source();
            source.iter().try_for_each(|source| source.expect_classifier(&entry.model))?;
            Evaluation::find(&entry.model, folder, truth).map_err(|error| match (error, &source) {
                (Error::File { path, message }, Some(source)) => {
                    Error::File { path, message: format!("{message} (for {})", source.name()) }
                }
                (error, _) => error,
            })
        };
        let evaluations = entries.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if let (Some(output), Some(evaluation)) = (output, evaluations.first()) {
            check_apart(output, evaluation.pictures())?;
        }
        Ok(Jury { folder, evaluations })
    }

    /// Classifies them with each network.
    ///
    /// # Errors
    /// As [`Evaluation::accuracy`].
    pub(super) fn judge(self, entries: &[Entry], context: &Context) -> Result<Vec<Judgement>, Error> {
        let mut judgements = Vec::new();
        // Answers of the networks that others are compared with.
        let mut references: Vec<(usize, Vec<(PathBuf, usize)>)> = Vec::new();
        for (i, (entry, evaluation)) in entries.iter().zip(self.evaluations).enumerate() {
            let (accuracy, answers) = evaluation.accuracy(&entry.model, self.folder, context)?;
            let same = |&&(other, _): &&(usize, _)| same_classes(entries[other].model.spec(), entry.model.spec());
            let agreement = references.iter().find(same).map(|(with, known)| Agreement::new(*with, known, &answers));
            if agreement.is_none() {
                references.push((i, answers));
            }
            judgements.push(Judgement { accuracy, agreement });
        }
        Ok(judgements)
    }
}

/// Whether a class's index means the same for both.
fn same_classes(a: &Spec, b: &Spec) -> bool {
    let same_labels = match (&a.labels, &b.labels) {
        (Some(a), Some(b)) => a == b,
        // Without labels there is nothing that contradicts.
        _ => true,
    };
    a.classes == b.classes && same_labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_both_have_classified_count() {
        let answers = |of: &[(&str, usize)]| of.iter().map(|&(path, class)| (path.into(), class)).collect::<Vec<_>>();
        let reference = answers(&[("a", 1), ("b", 2), ("c", 3)]);
        let agreement = Agreement::new(4, &reference, &answers(&[("b", 2), ("c", 1), ("d", 4)]));
        assert_eq!((agreement.with, agreement.pictures, agreement.same, agreement.rate), (4, 2, 1, Some(0.5)));
        let none = Agreement::new(0, &reference, &[]);
        assert_eq!((none.pictures, none.rate, none.percent().as_str()), (0, None, "-"));
    }

    #[test]
    fn labels_and_their_number_tell_classes() {
        let spec = |classes, labels: Option<&[&str]>| {
            let mut spec = Spec::family("mobilenext-cifar").unwrap();
            spec.classes = classes;
            spec.labels = labels.map(|labels| labels.iter().map(|&label| label.into()).collect());
            spec
        };
        let cats = spec(2, Some(&["cat", "dog"]));
        assert!(same_classes(&cats, &cats) && same_classes(&cats, &spec(2, None)));
        assert!(!same_classes(&cats, &spec(2, Some(&["dog", "cat"]))) && !same_classes(&cats, &spec(3, None)));
    }
}
