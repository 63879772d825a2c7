//! Tensors beside the network: layers that may stand between its features and its classes, and what training leaves behind.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;

/// Words in the names of what training keeps beside a network, and an inference does not compute with: losses, measures, the
/// optimiser's state, averaged and older copies.
const OF_TRAINING: &[&str] = &[
    "acc",
    "accuracy",
    "auroc",
    "averaged",
    "avg",
    "confmat",
    "criterion",
    "ema",
    "f1",
    "loss",
    "losses",
    "metric",
    "metrics",
    "momentum",
    "optim",
    "optimizer",
    "optimizers",
    "precision",
    "queue",
    "recall",
    "scaler",
    "scheduler",
    "swa",
    "teacher",
];
/// Parts of a name behind which a copy of the network is looked for.
const DEEPEST: usize = 8;

/// Whether a name has a word of training's, between dots or underscores.
pub(super) fn is_of_training(name: &str) -> bool {
    name.split(['.', '_']).any(|word| OF_TRAINING.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

impl Problem {
    /// Whether all that is wrong are tensors that cannot be layers of the network: second copies of its tensors, what lies
    /// beside these copies, and by its name what training keeps, e.g. a loss's weights.
    ///
    /// To leave them out is right, by [`ConvertOptions::strip_prefix`](super::ConvertOptions::strip_prefix). A tensor of another
    /// name may be a layer that mnx does not know: without it, a network gives wrong answers.
    pub fn are_beside(problems: &[Problem]) -> bool {
        let copy = |problem: &Problem| match problem {
            Problem::Twice { prefixes: [_, other], .. } if !other.is_empty() => Some(other.clone()),
            _ => None,
        };
        let copies: BTreeSet<String> = problems.iter().filter_map(copy).collect();
        problems.iter().all(|problem| match problem {
            Problem::Twice { .. } => true,
            Problem::Unexpected { name, .. } => {
                is_of_training(name) || copies.iter().any(|copy| name.starts_with(copy.as_str()))
            }
            _ => false,
        })
    }
}

/// A classifier that may have other layers beside it.
pub(super) struct Head<'a> {
    /// Of the network's tensors.
    pub(super) prefix: &'a str,
    /// The classifier's name.
    pub(super) classifier: &'a str,
    /// Values that the network's last layer before the classifier makes.
    pub(super) features: Option<usize>,
    pub(super) classes: Option<usize>,
}

impl Head<'_> {
    /// Those of `others` that may be layers before or after the classifier: each stands in one module with it, or, where the
    /// classifier stands outside of the prefix, stands there as well and fits the features or the classes. `used` are the
    /// network's own.
    pub(super) fn beside<'n>(
        &self,
        others: &BTreeMap<&'n str, &[usize]>,
        used: &BTreeSet<String>,
    ) -> BTreeSet<&'n str> {
        let end = |name: &str| name.rfind('.').map_or(0, |dot| dot + 1);
        let holder = &self.classifier[..end(self.classifier)];
        let within = !holder.is_empty() && !self.prefix.starts_with(holder);
        let outside = |name: &str| !name.starts_with(self.prefix);
        // The classifier may stand in a module with that which holds the other layers: a copy has both.
        let copies = if outside(self.classifier) {
            let parents = self.prefix.match_indices('.').map(|(at, _)| &self.prefix[..=at]);
            std::iter::once("").chain(parents).flat_map(|base| copies(base, others, used)).collect()
        } else {
            BTreeSet::new()
        };
        let fits = |name: &str, shape: &[usize]| {
            let [features, classes] = [self.features, self.classes].map(|count| move |n| Some(n) == count);
            match *shape {
                [n] => features(n) || (classes(n) && matches!(&name[end(name)..], "bias" | "running_mean")),
                [rows, columns, ..] => features(rows) || features(columns) || classes(columns),
                [] => false,
            }
        };
        let is_copy = |name: &str| copies.iter().any(|copy| name.starts_with(copy));
        let is_beside = |name: &str, shape: &[usize]| {
            let fits = outside(self.classifier) && outside(name) && fits(name, shape) && !is_copy(name);
            (within && name.starts_with(holder)) || (fits && !is_of_training(name))
        };
        others.iter().filter(|(name, shape)| is_beside(name, shape)).map(|(name, _)| *name).collect()
    }
}

/// Prefixes of `others` behind which at least half of the network's tensors stand that stand behind `base`.
fn copies<'n>(base: &str, others: &BTreeMap<&'n str, &[usize]>, used: &BTreeSet<String>) -> BTreeSet<&'n str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in others.keys() {
        for (at, _) in name.match_indices('.').take(DEEPEST) {
            let (prefix, rest) = name.split_at(at + 1);
            if used.contains(&format!("{base}{rest}")) {
                *counts.entry(prefix).or_default() += 1;
            }
        }
    }
    let all = used.iter().filter(|name| name.starts_with(base)).count();
    counts.into_iter().filter(|(_, count)| count * 2 >= all).map(|(prefix, _)| prefix).collect()
}

#[cfg(test)]
mod tests;
