//! Which class of a detector a name in an annotation means.

use std::collections::HashMap;

use mnx::Spec;

/// The classes of a detector, without the background.
#[derive(Debug)]
pub(super) struct Classes<'a> {
    labels: Option<&'a [String]>,
    by_name: HashMap<&'a str, usize>,
    count: usize,
}

impl<'a> Classes<'a> {
    pub(super) fn new(spec: &'a Spec) -> Classes<'a> {
        let labels = spec.labels.as_deref();
        let mut by_name = HashMap::new();
        for (index, label) in labels.unwrap_or_default().iter().enumerate().skip(1) {
            by_name.entry(label.as_str()).or_insert(index);
        }
        Classes { labels, by_name, count: spec.classes }
    }

    /// Indices of all classes, from 1 on.
    pub(super) fn indices(&self) -> std::ops::Range<usize> {
        1..self.count
    }

    pub(super) fn label(&self, index: usize) -> Option<&'a str> {
        self.labels?.get(index).map(String::as_str)
    }

    /// The class with this label; of a model without labels, the one with this index.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        match self.labels {
            Some(_) => self.by_name.get(name).copied(),
            None => name.parse().ok().filter(|index| self.indices().contains(index)),
        }
    }
}
