//! Which class of a detector a name in an annotation means.

use std::collections::HashMap;

use mnx::Spec;

use crate::error::printable;

/// The classes of a detector, without the background.
#[derive(Debug)]
pub(super) struct Classes<'a> {
    labels: Option<&'a [String]>,
    /// Of each label the classes that have it.
    by_name: HashMap<&'a str, Vec<usize>>,
    count: usize,
}

impl<'a> Classes<'a> {
    pub(super) fn new(spec: &'a Spec) -> Classes<'a> {
        let labels = spec.labels.as_deref();
        let mut by_name = HashMap::new();
        for (index, label) in labels.unwrap_or_default().iter().enumerate().skip(1) {
            by_name.entry(label.as_str()).or_insert_with(Vec::new).push(index);
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
    ///
    /// # Errors
    /// If several classes have the label.
    pub(super) fn find(&self, name: &str) -> Result<Option<usize>, String> {
        let Some(_) = self.labels else {
            return Ok(name.parse().ok().filter(|index| self.indices().contains(index)));
        };
        match self.by_name.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([index]) => Ok(Some(*index)),
            Some(several) => {
                let name = printable(name);
                let count = several.len();
                Err(format!("expected the label of one class, found {name:?}, the label of {count} classes"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_several_classes_is_none() {
        let mut spec = Spec::family("ssdlite-mobilenext").unwrap();
        spec.classes = 4;
        spec.labels = Some(["background", "a", "b", "a"].map(str::to_owned).to_vec());
        let classes = Classes::new(&spec);
        assert_eq!(
            (classes.find("b"), classes.find("background"), classes.find("c")),
            (Ok(Some(2)), Ok(None), Ok(None))
        );
        let expected = "expected the label of one class, found \"a\", the label of 2 classes";
        assert_eq!(classes.find("a"), Err(expected.into()));
    }
}
