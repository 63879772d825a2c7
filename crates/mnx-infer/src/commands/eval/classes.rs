//! Finds the classes of a model by the names that people use for them.

use std::collections::HashMap;

use mnx::Spec;

/// What TensorFlow's networks of ImageNet call class 0; the classes that everybody else numbers from 0 come after it.
const BACKGROUND: &str = "background";

/// The classes of a model by their names.
pub(super) struct Classes<'a> {
    count: usize,
    labels: &'a [String],
    /// Classes by whole labels, and by the WordNet ids that begin labels. Several classes may have the same label.
    by_label: HashMap<&'a str, Vec<usize>>,
    /// Classes by labels, by their ids, and by their parts between commas. `_` is read as a space.
    by_synonym: HashMap<String, Vec<usize>>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(spec: &'a Spec) -> Classes<'a> {
        let labels = spec.labels.as_deref().unwrap_or_default();
        let mut classes = Classes { count: spec.classes, labels, by_label: HashMap::new(), by_synonym: HashMap::new() };
        for (class, label) in labels.iter().enumerate() {
            let (id, names) = split_id(label);
            classes.by_label.entry(label).or_default().push(class);
            if let Some(id) = id.filter(|id| *id != label) {
                classes.by_label.entry(id).or_default().push(class);
            }
            for name in [label.as_str()].into_iter().chain(id).chain(synonyms(names)) {
                let of_name = classes.by_synonym.entry(spaced(name)).or_default();
                if of_name.last() != Some(&class) {
                    of_name.push(class);
                }
            }
        }
        classes
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn are_labelled(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Whether class 0 is none of the data's.
    pub(super) fn begin_with_background(&self) -> bool {
        self.labels.first().is_some_and(|label| label.eq_ignore_ascii_case(BACKGROUND))
    }

    /// What helps where there is one class more than was found, and nothing tells which.
    pub(super) fn hint(&self, found: usize) -> &'static str {
        if self.labels.is_empty() && found + 1 == self.count {
            "; labels would say whether the model's class 0 is a background"
        } else {
            ""
        }
    }

    /// A class as it stands in a message.
    pub(super) fn shown(&self, class: usize) -> String {
        match self.labels.get(class) {
            Some(label) => format!("class {class} ({})", quoted(label)),
            None => format!("class {class}"),
        }
    }

    /// What a name has to be, as it stands in a message.
    pub(super) fn expected(&self) -> String {
        format!("a label of the model or {}", self.expected_index())
    }

    pub(super) fn expected_index(&self) -> String {
        format!("an index from 0 to {}", self.count - 1)
    }

    /// The class of that name: a label exactly, a label with `_` for each space, a WordNet id that begins a label, or
    /// else an index.
    ///
    /// # Errors
    /// What is wrong with a name that is the label of several classes.
    pub(super) fn named(&self, name: &str) -> Result<Option<usize>, String> {
        match self.labelled(name) {
            [] => Ok(index(name).filter(|&index| index < self.count)),
            [class] => Ok(Some(*class)),
            several => Err(ambiguous(name, several)),
        }
    }

    /// The classes whose label is this exactly, or with `_` for each space.
    fn labelled(&self, name: &str) -> &[usize] {
        let spaced = || self.by_label.get(name.replace('_', " ").as_str());
        self.by_label.get(name).or_else(spaced).map(Vec::as_slice).unwrap_or_default()
    }

    /// The classes that `names`, one or several between commas, mean first of all by the model's labels: by all of
    /// them together, else by the first of them that is a label or a part of one.
    pub(super) fn meant(&self, names: &str) -> &[usize] {
        let whole = match self.labelled(names) {
            [] => self.called(names),
            labelled => labelled,
        };
        let mut meant = [whole].into_iter().chain(synonyms(names).map(|name| self.called(name)));
        meant.find(|classes| !classes.is_empty()).unwrap_or_default()
    }

    /// The classes that have this name as their label or as a part of it. `_` may stand for a space.
    pub(super) fn called(&self, name: &str) -> &[usize] {
        self.by_synonym.get(&spaced(name)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// That a name is no guess.
pub(super) fn ambiguous(name: &str, classes: &[usize]) -> String {
    let (name, count, first) = (quoted(name), classes.len(), classes[0]);
    let found = format!("{name}, the label of {count} classes, the first of index {first}");
    format!("expected the label of one class, found {found} (a class map takes an index)")
}

/// Digits and nothing else; zeros may stand before.
pub(super) fn index(name: &str) -> Option<usize> {
    if name.bytes().all(|b| b.is_ascii_digit()) { name.parse().ok() } else { None }
}

/// Whether this is the id of a noun in WordNet, by which ImageNet calls its classes: n01440764.
pub(super) fn is_wordnet_id(name: &str) -> bool {
    name.len() == 9 && name.starts_with('n') && name[1..].bytes().all(|b| b.is_ascii_digit())
}

/// The WordNet id that begins a line, and what follows after white space or a comma.
pub(super) fn split_id(line: &str) -> (Option<&str>, &str) {
    let is_separator = |c: char| c == ',' || c.is_whitespace();
    let (first, rest) = line.split_once(is_separator).unwrap_or((line, ""));
    if is_wordnet_id(first) { (Some(first), rest.trim_start_matches(is_separator)) } else { (None, line) }
}

/// The names between commas.
pub(super) fn synonyms(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

/// A name or line as it stands in a message: on one line, and not endless.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(labels: &[&str]) -> Spec {
        let mut spec = Spec::family("mobilenext-cifar").unwrap();
        spec.classes = labels.len();
        spec.labels = Some(labels.iter().map(|&label| label.to_owned()).collect());
        spec
    }

    #[test]
    fn a_name_is_a_label_before_it_is_an_index() {
        let spec = spec(&["cat", "polar bear", "sea_lion", "1", "é"]);
        let classes = Classes::new(&spec);
        for (name, class) in [
            ("cat", Some(0)),
            ("polar bear", Some(1)),
            ("polar_bear", Some(1)),
            ("sea_lion", Some(2)),
            ("1", Some(3)),
            ("é", Some(4)),
            ("2", Some(2)),
            ("0004", Some(4)),
        ] {
            assert_eq!(classes.named(name).unwrap(), class, "{name}");
        }
        for name in ["Cat", "cat ", "sea lion", "5", "-1", "+1", "1.0", "", " 2", "99999999999999999999999"] {
            assert_eq!(classes.named(name).unwrap(), None, "{name}");
        }
    }

    #[test]
    fn without_labels_there_are_indices() {
        let mut spec = spec(&["cat", "dog"]);
        spec.labels = None;
        let classes = Classes::new(&spec);
        assert_eq!(classes.named("1").unwrap(), Some(1));
        assert_eq!(classes.named("2").unwrap(), None);
        assert_eq!(classes.named("cat").unwrap(), None);
    }

    #[test]
    fn a_label_of_two_classes_is_no_guess() {
        let spec = spec(&["crane", "hen", "crane"]);
        let classes = Classes::new(&spec);
        let message = classes.named("crane").unwrap_err();
        assert!(message.contains("\"crane\", the label of 2 classes, the first of index 0"), "{message}");
        assert_eq!(classes.meant("crane"), [0, 2]);
        assert_eq!(classes.meant("crane, hen"), [0, 2]);
        assert_eq!(classes.meant("hen, crane"), [1]);
    }

    #[test]
    fn synonyms_are_understood_beside_labels() {
        let spec = spec(&[
            "maillot",
            "maillot, tank suit",
            "great_white_shark",
            "n02123045 tabby, tabby cat",
            "n02124075",
            "",
        ]);
        let classes = Classes::new(&spec);
        for (names, meant) in [
            ("maillot", &[0][..]),
            ("maillot, tank suit", &[1]),
            ("tank suit", &[1]),
            ("swimsuit, maillot", &[0, 1]),
            ("tank suit, maillot", &[1]),
            ("great white shark, white shark, man-eater", &[2]),
            ("tabby cat", &[3]),
            ("n02123045", &[3]),
            ("n02124075", &[4]),
            ("Tabby", &[]),
            ("tab", &[]),
            (" , ", &[]),
        ] {
            assert_eq!(classes.meant(names), meant, "{names}");
        }
        // A folder is called by a whole label or the id before it.
        assert_eq!([classes.named("n02123045"), classes.named("tabby")], [Ok(Some(3)), Ok(None)]);
    }
}
