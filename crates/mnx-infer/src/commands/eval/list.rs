//! Lists that give single files their labels, if no folder says what they show.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::class_map::ClassMap;
use super::classes::{Classes, ambiguous, index, is_wordnet_id, quoted};
use super::numbering::{self, Numbered, Place};
use crate::error::Error;
use crate::output::read_text;

/// ImageNet's 1.3 million files, with room.
const LARGEST_LIST: u64 = 64 << 20;
/// The first line of `LOC_val_solution.csv`, whose lines name a picture without its suffix and a class before each box.
const KAGGLE: &str = "ImageId,PredictionString";
/// The suffix that those pictures have.
const KAGGLE_SUFFIX: &str = "JPEG";

/// Files and their classes, in the order of the list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) files: Vec<(PathBuf, usize)>,
    /// What someone should know of how numbers were understood.
    pub(super) note: Option<String>,
}

/// A line: which file, below `folder`, and what its class is called.
struct Row<'a> {
    place: Place,
    file: PathBuf,
    label: &'a str,
}

impl List {
    /// Reads lines of file and label or index, or Kaggle's solution of ImageNet. Files are looked for in `folder`,
    /// labels first in `map`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read and, with its number, a line that is no such thing, names no
    /// class or a file again.
    pub(super) fn open(path: &Path, folder: &Path, classes: &Classes, map: &ClassMap) -> Result<List, Error> {
        let list = List::parse(&read_text(path, LARGEST_LIST)?, folder, classes, map);
        let list = list.map_err(|e| Error::file(path, e))?;
        let note = list.note.map(|note| Error::file(path, note).to_string());
        Ok(List { note, ..list })
    }

    /// # Errors
    /// What is wrong and in which line.
    fn parse(text: &str, folder: &Path, classes: &Classes, map: &ClassMap) -> Result<List, String> {
        let rows = rows(text, folder)?;
        if rows.is_empty() {
            return Err("expected lines of a file and its label or class index, found none".into());
        }
        let (mut found, mut numbered) = (Vec::new(), Vec::new());
        for row in &rows {
            let class = match meaning(row, classes, map)? {
                Meaning::Class(class) => Some(class),
                Meaning::Number(number) => {
                    numbered.push(Numbered { place: row.place.clone(), number, names: Vec::new() });
                    None
                }
            };
            found.push(class);
        }
        let note = if numbered.is_empty() {
            None
        } else {
            let resolved = numbering::resolve(&numbered, classes)?;
            let unknown = found.iter_mut().filter(|class| class.is_none());
            unknown.zip(resolved.classes).for_each(|(class, number)| *class = Some(number));
            resolved.note
        };
        let files = rows.into_iter().map(|row| row.file).zip(found.into_iter().flatten()).collect();
        Ok(List { files, note })
    }
}

/// The lines that are not empty.
fn rows<'a>(text: &'a str, folder: &Path) -> Result<Vec<Row<'a>>, String> {
    // Editors of some systems begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_kaggle = text.lines().next().is_some_and(|line| line.trim() == KAGGLE);
    let split = if is_kaggle { of_kaggle } else { of_line };
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(text.lines()).skip(usize::from(is_kaggle)) {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place::Line(number);
        let Some((file, label)) = split(line) else {
            let expected = "a file, a space or tab, and a label or class index";
            return Err(format!("{place}: expected {expected}, found {}", quoted(line)));
        };
        rows.push(Row { place, file: folder.join(file), label });
    }
    let mut seen = HashSet::new();
    match rows.iter().find(|row| !seen.insert(row.file.as_path())) {
        Some(Row { place, file, .. }) => {
            let file = quoted(&file.to_string_lossy());
            Err(format!("{place}: expected a file that has no line yet, found {file}"))
        }
        None => Ok(rows),
    }
}

/// File and label, apart by a tab, else by the first white space.
fn of_line(line: &str) -> Option<(PathBuf, &str)> {
    let (file, label) = line.split_once('\t').or_else(|| line.trim().split_once(char::is_whitespace))?;
    let label = label.trim();
    (!file.is_empty() && !label.is_empty()).then(|| (file.into(), label))
}

/// `ILSVRC2012_val_00000001,n01751748 111 108 230 366 …`.
fn of_kaggle(line: &str) -> Option<(PathBuf, &str)> {
    let (id, boxes) = line.split_once(',')?;
    let label = boxes.split_whitespace().next()?;
    (!id.is_empty()).then(|| (format!("{id}.{KAGGLE_SUFFIX}").into(), label))
}

/// What a label says.
enum Meaning {
    Class(usize),
    /// A number, which need not be the model's.
    Number(usize),
}

fn meaning(row: &Row, classes: &Classes, map: &ClassMap) -> Result<Meaning, String> {
    let Row { place, label, .. } = row;
    if let Some(class) = map.get(OsStr::new(label)) {
        return Ok(Meaning::Class(class));
    }
    match (classes.meant(label), index(label)) {
        ([class], _) => Ok(Meaning::Class(*class)),
        ([], Some(number)) => Ok(Meaning::Number(number)),
        ([], None) => {
            let hint = if is_wordnet_id(label) && map.is_empty() {
                " (--class-map FILE says which class a WordNet id is)"
            } else {
                ""
            };
            Err(format!("{place}: expected {}, found {}{hint}", classes.expected(), quoted(label)))
        }
        (several, _) => Err(format!("{place}: {}", ambiguous(label, several))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnx::Spec;

    fn spec(labels: &[&str]) -> Spec {
        let mut spec = Spec::family("mobilenext-cifar").unwrap();
        spec.classes = labels.len();
        spec.labels = Some(labels.iter().map(|&label| label.to_owned()).collect());
        spec
    }

    fn parse(text: &str, spec: &Spec, map: &str) -> Result<List, String> {
        let classes = Classes::new(spec);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        std::fs::write(&path, map).unwrap();
        let map = if map.is_empty() { ClassMap::default() } else { ClassMap::open(&path, &classes).unwrap() };
        List::parse(text, Path::new("dir"), &classes, &map)
    }

    fn files(list: &List) -> Vec<(&str, usize)> {
        list.files.iter().map(|(file, class)| (file.to_str().unwrap(), *class)).collect()
    }

    #[test]
    fn lines_have_a_file_and_a_label_or_index() {
        let spec = spec(&["cat", "polar bear", "5", "tench, Tinca tinca"]);
        let text =
            "\u{feff}b.jpg 0\r\na.jpg  polar bear\n\nsub/c.jpg\tpolar_bear\nwith space.jpg\t1\n d 5\ne\ttench\nf n02\n";
        let expected = [
            ("dir/b.jpg", 0),
            ("dir/a.jpg", 1),
            ("dir/sub/c.jpg", 1),
            ("dir/with space.jpg", 1),
            ("dir/d", 2),
            ("dir/e", 3),
            ("dir/f", 1),
        ];
        assert_eq!(files(&parse(text, &spec, "n02\tpolar bear\n").unwrap()), expected);
    }

    #[test]
    fn kaggles_solution_names_classes_by_ids() {
        let spec = spec(&["cat", "dog"]);
        let text = "ImageId,PredictionString\nval_2,n02 85 1 499 272 \nval_1,n01 1 2 3 4 n01 5 6 7 8\n";
        let list = parse(text, &spec, "n01\tdog\nn02\tcat\n").unwrap();
        assert_eq!(files(&list), [("dir/val_2.JPEG", 0), ("dir/val_1.JPEG", 1)]);
    }

    #[test]
    fn numbers_that_leave_out_the_background_are_shifted() {
        let spec = spec(&["background", "cat", "dog"]);
        let list = parse("a 1\nb 0\nc dog\n", &spec, "").unwrap();
        assert_eq!(files(&list), [("dir/a", 2), ("dir/b", 1), ("dir/c", 2)]);
        assert!(list.note.unwrap().contains("0 is class 1 (\"cat\")"));
        let list = parse("a 1\nb 2\n", &spec, "").unwrap();
        assert_eq!(files(&list), [("dir/a", 1), ("dir/b", 2)]);
        assert!(list.note.unwrap().contains("the model's own"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let spec = spec(&["cat", "dog", "dog"]);
        for (text, message) in [
            ("", "expected lines of a file and its label or class index, found none"),
            ("a 0\nb\n", "line 2: expected a file, a space or tab, and a label or class index, found \"b\""),
            ("a\t\n", "line 1: expected a file, a space or tab, and a label or class index, found \"a\\t\""),
            ("a 0\n\nb 3\n", "line 3: expected an index from 0 to 2, found 3"),
            ("a horse\n", "line 1: expected a label of the model or an index from 0 to 2, found \"horse\""),
            ("a 0\nb 1\n./a 0\n", "line 3: expected a file that has no line yet, found \"dir/./a\""),
            (
                "ImageId,PredictionString\na\n",
                "line 2: expected a file, a space or tab, and a label or class index, found \"a\"",
            ),
        ] {
            assert_eq!(parse(text, &spec, "").unwrap_err(), message);
        }
        assert!(parse("a dog\n", &spec, "").unwrap_err().contains("the label of 2 classes"));
        let hint = |map| parse("a n02123045\n", &spec, map).unwrap_err().contains("--class-map");
        assert_eq!([hint(""), hint("x\t0\n")], [true, false]);
    }
}
