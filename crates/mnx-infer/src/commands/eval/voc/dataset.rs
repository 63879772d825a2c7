//! Finds the pictures of a split and their annotations.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, printable};
use crate::output::read_text;
use crate::pictures::Entry;
use crate::words::first_few;

/// What every data set is.
const EXPECTED: &str = "a data set in VOC's form, with the folders Annotations, JPEGImages and ImageSets/Main";
/// Largest list of a split.
const LIMIT: u64 = 64 << 20;
/// Splits that are taken where none is named, the first one that there is.
const DEFAULTS: [&str; 2] = ["test", "val"];
/// Suffixes that are tried, in upper and lower case.
const SUFFIXES: [&str; 10] = ["jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff", "ppm", "pgm"];
/// How many wrong lines of a list are kept.
const TOLD: usize = 1000;
/// How many splits a message names.
const NAMED: usize = 12;

/// A picture and its annotation. Either may be absent.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) entry: Entry,
    pub(super) annotation: PathBuf,
}

impl AsRef<Entry> for Candidate {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

/// The pictures of a split.
#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) split: String,
    pub(super) list: PathBuf,
    /// In the order of the list.
    pub(super) candidates: Vec<Candidate>,
    /// What is wrong with lines of the list.
    pub(super) lines: Vec<String>,
}

impl Dataset {
    /// The pictures of a split of the data set in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] if it is no data set, if there is no such split, or if none is named and there is none by default.
    pub(super) fn open(folder: &Path, split: Option<&str>) -> Result<Dataset, Error> {
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing there" };
            return Err(Error::expected(folder, EXPECTED, found));
        }
        for name in ["Annotations", "JPEGImages", "ImageSets/Main"] {
            if !folder.join(name).is_dir() {
                return Err(Error::expected(folder, EXPECTED, format_args!("no {name}")));
            }
        }
        let lists = folder.join("ImageSets").join("Main");
        let split = choose(&lists, split)?;
        let list = lists.join(format!("{split}.txt"));
        let text = read_text(&list, LIMIT)?;
        let (mut candidates, mut lines, mut seen, mut untold) = (Vec::new(), Vec::new(), HashSet::new(), 0);
        for (number, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(&text).lines()) {
            let name = name_in(line);
            if name.is_empty() {
                continue;
            }
            let wrong = if !is_below(name) {
                format!("expected a name of a picture, found {}", printable(name))
            } else if !seen.insert(name.to_owned()) {
                format!("expected each picture once, found {} again", printable(name))
            } else {
                candidates.push(candidate(folder, name));
                continue;
            };
            if lines.len() < TOLD {
                lines.push(format!("line {number}: {wrong}"));
            } else {
                untold += 1;
            }
        }
        if untold > 0 {
            lines.push(format!("{untold} more lines"));
        }
        Ok(Dataset { split, list, candidates, lines })
    }
}

/// The split that was named, or that is taken without a name.
fn choose(lists: &Path, split: Option<&str>) -> Result<String, Error> {
    if let Some(split) = split.filter(|split| is_below(split) && lists.join(format!("{split}.txt")).is_file()) {
        return Ok(split.into());
    }
    let read = fs::read_dir(lists).map_err(|e| Error::file(lists, format_args!("cannot be read: {e}")))?;
    let mut there: Vec<String> = read
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".txt").map(str::to_owned))
        .collect();
    there.sort();
    let names = match &there[..] {
        [] => "no split at all".into(),
        there => first_few(there.iter().map(|name| printable(name)), NAMED),
    };
    if let Some(split) = split {
        return Err(Error::expected(lists, format_args!("the split {}", printable(split)), names));
    }
    let default = DEFAULTS.into_iter().find(|default| there.iter().any(|name| name == default));
    match (default, &there[..]) {
        (Some(default), _) => Ok(default.into()),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Error::expected(lists, "the split test or val, or --split NAME", names)),
    }
}

/// The picture that a line names. In lists of one class, 1, 0 or -1 after it says whether it is there.
fn name_in(line: &str) -> &str {
    let line = line.trim();
    match line.rsplit_once(char::is_whitespace) {
        Some((name, "1" | "0" | "-1")) => name.trim_end(),
        _ => line,
    }
}

/// Whether a name leads to something in the folder, and not out of it.
fn is_below(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn candidate(folder: &Path, name: &str) -> Candidate {
    let below = |folder_name: &str, suffix: &str| folder.join(folder_name).join(format!("{name}.{suffix}"));
    let suffixes = SUFFIXES.iter().flat_map(|suffix| [(*suffix).to_owned(), suffix.to_uppercase()]);
    let mut pictures = suffixes.map(|suffix| below("JPEGImages", &suffix));
    let entry = pictures.find(|path| path.exists()).map(|path| Entry::regular(&path)).unwrap_or_else(|| {
        let path = below("JPEGImages", SUFFIXES[0]);
        let error = Error::expected(&path, "a picture (.jpg, .png, …)", "no file");
        Entry { trouble: Some(error.to_string()), path }
    });
    Candidate { entry, annotation: below("Annotations", "xml") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_set(splits: &[(&str, &str)], pictures: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Annotations", "JPEGImages", "ImageSets/Main"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for (name, text) in splits {
            fs::write(folder.path().join("ImageSets/Main").join(name), text).unwrap();
        }
        for name in pictures {
            fs::write(folder.path().join("JPEGImages").join(name), "").unwrap();
        }
        folder
    }

    fn split(folder: &tempfile::TempDir, name: Option<&str>) -> Result<String, String> {
        Dataset::open(folder.path(), name).map(|set| set.split).map_err(|e| e.to_string())
    }

    #[test]
    fn splits() {
        let both = data_set(&[("val.txt", ""), ("test.txt", ""), ("cat_val.txt", "")], &[]);
        assert_eq!(split(&both, None), Ok("test".into()));
        assert_eq!(split(&both, Some("cat_val")), Ok("cat_val".into()));
        let message = split(&both, Some("train")).unwrap_err();
        assert!(message.ends_with("expected the split train, found cat_val, test, val"), "{message}");
        assert!(split(&both, Some("../Main/test")).is_err());
        assert_eq!(split(&data_set(&[("val.txt", ""), ("train.txt", "")], &[]), None), Ok("val".into()));
        assert_eq!(split(&data_set(&[("mine.txt", "")], &[]), None), Ok("mine".into()));
        let message = split(&data_set(&[("b.txt", ""), ("a.txt", "")], &[]), None).unwrap_err();
        assert!(message.ends_with("expected the split test or val, or --split NAME, found a, b"), "{message}");
        let message = split(&data_set(&[], &[]), None).unwrap_err();
        assert!(message.ends_with("found no split at all"), "{message}");
    }

    #[test]
    fn so_many_wrong_lines_are_kept() {
        let text = "../a\n".repeat(TOLD + 7);
        let set = data_set(&[("test.txt", &text)], &[]);
        let lines = Dataset::open(set.path(), None).unwrap().lines;
        assert_eq!((lines.len(), lines[TOLD].as_str()), (TOLD + 1, "7 more lines"));
    }

    #[test]
    fn lines_are_names_of_pictures() {
        let text = "\u{feff}000001\r\n\n  b  \n000001 1\nc -1\n../d\n/e\nx y\n";
        let set = data_set(&[("test.txt", text)], &["000001.jpg", "b.PNG", "c.jpeg", "x y.png"]);
        let set = Dataset::open(set.path(), None).unwrap();
        let names: Vec<_> =
            set.candidates.iter().map(|c| c.entry.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["000001.jpg", "b.PNG", "c.jpeg", "x y.png"]);
        assert!(set.candidates.iter().all(|candidate| candidate.entry.trouble.is_none()));
        assert!(set.candidates[3].annotation.ends_with("Annotations/x y.xml"));
        let expected = [
            "line 4: expected each picture once, found 000001 again",
            "line 6: expected a name of a picture, found ../d",
            "line 7: expected a name of a picture, found /e",
        ];
        assert_eq!(set.lines, expected);
    }

    #[test]
    fn absent_pictures_are_told() {
        let set = data_set(&[("test.txt", "a")], &[]);
        let set = Dataset::open(set.path(), None).unwrap();
        let trouble = set.candidates[0].entry.trouble.as_ref().unwrap();
        assert!(trouble.ends_with("a.jpg: expected a picture (.jpg, .png, …), found no file"), "{trouble}");
    }

    #[test]
    fn other_folders_are_no_data_sets() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| Dataset::open(path, None).unwrap_err().to_string();
        assert!(message(folder.path()).ends_with("ImageSets/Main, found no Annotations"));
        assert!(message(&folder.path().join("absent")).ends_with("found nothing there"));
        fs::create_dir(folder.path().join("Annotations")).unwrap();
        assert!(message(folder.path()).ends_with("found no JPEGImages"));
    }
}
