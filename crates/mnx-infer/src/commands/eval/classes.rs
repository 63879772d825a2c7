//! Which class a folder's name means.

use std::collections::HashMap;
use std::path::Path;

use mnx::Spec;

use crate::error::Error;
use crate::output::read_text;

/// A line for each of 65,536 classes, with room.
const LARGEST_MAP: u64 = 16 << 20;

/// The classes of a model by their names.
pub(super) struct Classes<'a> {
    count: usize,
    /// Several classes may have one label.
    by_label: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(spec: &'a Spec) -> Classes<'a> {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for (index, label) in spec.labels.iter().flatten().enumerate() {
            by_label.entry(label.as_str()).or_default().push(index);
        }
        Classes { count: spec.classes, by_label }
    }

    /// The class of that name: a label exactly, a label with `_` for each space, or else an index.
    ///
    /// # Errors
    /// What is wrong with a name that is the label of several classes.
    pub(super) fn named(&self, name: &str) -> Result<Option<usize>, String> {
        let spaced = || self.by_label.get(name.replace('_', " ").as_str());
        match self.by_label.get(name).or_else(spaced).map(Vec::as_slice) {
            Some([class]) => Ok(Some(*class)),
            Some(several) => {
                let (name, count, first) = (quoted(name), several.len(), several[0]);
                let found = format!("{name}, the label of {count} classes, the first of index {first}");
                Err(format!("expected the label of one class, found {found} (a class map takes an index)"))
            }
            None => Ok(index(name).filter(|&index| index < self.count)),
        }
    }
}

/// Digits and nothing else; zeros may stand before.
fn index(name: &str) -> Option<usize> {
    if name.bytes().all(|b| b.is_ascii_digit()) { name.parse().ok() } else { None }
}

/// A name or line as it stands in a message: on one line, and not endless.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Classes of folders that are named otherwise.
#[derive(Debug, Default)]
pub(super) struct ClassMap(HashMap<String, usize>);

impl ClassMap {
    /// Reads lines of folder, tab, label or index.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read and, with its number, a line that is no such thing, names no
    /// class or names a folder again.
    pub(super) fn open(path: &Path, classes: &Classes) -> Result<ClassMap, Error> {
        ClassMap::parse(&read_text(path, LARGEST_MAP)?, classes).map_err(|e| Error::file(path, e))
    }

    /// # Errors
    /// What is wrong and in which line.
    fn parse(text: &str, classes: &Classes) -> Result<ClassMap, String> {
        // Editors of some systems begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut map = HashMap::new();
        for (i, line) in text.lines().enumerate() {
            let wrong = |expected: &str, found: &str| {
                Err(format!("line {}: expected {expected}, found {}", i + 1, quoted(found)))
            };
            let Some((folder, name)) = line.split_once('\t').filter(|(folder, _)| !folder.is_empty()) else {
                return wrong("a folder, a tab and a label or class index", line);
            };
            let class = classes.named(name).map_err(|e| format!("line {}: {e}", i + 1))?;
            let Some(class) = class else {
                let expected = format!("a label of the model or an index from 0 to {}", classes.count - 1);
                return wrong(&expected, name);
            };
            if map.insert(folder.to_owned(), class).is_some() {
                return wrong("a folder that has no line yet", folder);
            }
        }
        Ok(ClassMap(map))
    }

    /// The class of a folder of that name: what the map says, else what the name does.
    ///
    /// # Errors
    /// As [`Classes::named`].
    pub(super) fn class_of(&self, folder: &str, classes: &Classes) -> Result<Option<usize>, String> {
        match self.0.get(folder) {
            Some(&class) => Ok(Some(class)),
            None => classes.named(folder),
        }
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
        let map = ClassMap::parse("crane\t2\n", &classes).unwrap();
        assert_eq!(map.class_of("crane", &classes).unwrap(), Some(2));
    }

    #[test]
    fn a_map_goes_before_names() {
        let spec = spec(&["cat", "polar bear"]);
        let classes = Classes::new(&spec);
        for text in ["n01\tcat\ncat\tpolar_bear\nx y\t0\n", "\u{feff}n01\tcat\r\ncat\t1\r\nx y\t00"] {
            let map = ClassMap::parse(text, &classes).unwrap();
            for (folder, class) in [("n01", Some(0)), ("cat", Some(1)), ("x y", Some(0)), ("0", Some(0)), ("n02", None)]
            {
                assert_eq!(map.class_of(folder, &classes).unwrap(), class, "{folder}");
            }
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let spec = spec(&["cat", "dog"]);
        let classes = Classes::new(&spec);
        for (text, message) in [
            ("a\tcat\nb cat\n", "line 2: expected a folder, a tab and a label or class index, found \"b cat\""),
            ("a\tcat\n\nb\tdog\n", "line 2: expected a folder, a tab and a label or class index, found \"\""),
            ("\tcat\n", "line 1: expected a folder, a tab and a label or class index, found \"\\tcat\""),
            ("a\thorse\n", "line 1: expected a label of the model or an index from 0 to 1, found \"horse\""),
            ("a\t2\n", "line 1: expected a label of the model or an index from 0 to 1, found \"2\""),
            ("a\t\n", "line 1: expected a label of the model or an index from 0 to 1, found \"\""),
            ("a\tcat\nb\tdog\na\tcat\n", "line 3: expected a folder that has no line yet, found \"a\""),
        ] {
            assert_eq!(ClassMap::parse(text, &classes).unwrap_err(), message);
        }
    }
}
