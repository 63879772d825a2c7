//! Where the pictures go on which boxes are drawn.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, shown};
use crate::output::{OutputFile, check_apart, is_folder, is_standard};
use crate::pictures::Entry;

/// Where standard input's copy goes in a folder.
const STANDARD_INPUT: &str = "stdin";

/// Where the copy of each of `entries`, which `images` name, goes: to `path` or into that folder. None of them is an input.
///
/// # Errors
/// [`Error::Usage`] for a path that is neither a folder nor, for a single picture, a name that ends in `.png`, and for a copy
/// that is an input; [`Error::File`] if it cannot be written.
pub(super) fn copies(
    path: &Path,
    images: &[PathBuf],
    entries: &[Entry],
    weights: Option<&Path>,
) -> Result<Vec<PathBuf>, Error> {
    let inputs = || entries.iter().map(|entry| &*entry.path).chain(weights);
    if is_folder(path) {
        return in_folder(path, entries, inputs());
    }
    let is_png = path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("png"));
    let one = images.len() == 1 && !images[0].is_dir();
    match (one, is_png) {
        (true, true) => {
            check_apart(path, inputs())?;
            // What cannot be written is said before the work.
            OutputFile::create(path)?;
            Ok(vec![path.into()])
        }
        (false, false) if !path.exists() => in_folder(path, entries, inputs()),
        (true, false) => Err(unfit(path, "a name that ends in .png, or a folder")),
        (false, _) => Err(unfit(path, "a folder for several pictures")),
    }
}

fn in_folder<'a>(
    folder: &Path,
    entries: &[Entry],
    inputs: impl Iterator<Item = &'a Path>,
) -> Result<Vec<PathBuf>, Error> {
    let cannot = |e| Error::file(folder, format_args!("cannot be written: {e}"));
    fs::create_dir_all(folder).map_err(cannot)?;
    tempfile::tempfile_in(folder).map_err(cannot)?;
    // A copy is renamed to its name, so that another name of the same file would keep the old content. Only the name itself,
    // with links followed, must not be an input's.
    let inputs: HashSet<PathBuf> = inputs.filter_map(|input| fs::canonicalize(input).ok()).collect();
    let (mut taken, mut next) = (HashSet::new(), HashMap::new());
    let copy = |entry: &Entry| {
        let copy = folder.join(name_of(&entry.path, &mut taken, &mut next));
        match fs::canonicalize(&copy) {
            Ok(there) if inputs.contains(&there) => Err(unfit(&copy, "an output that is no input")),
            _ => Ok(copy),
        }
    };
    entries.iter().map(copy).collect()
}

fn unfit(path: &Path, expected: &str) -> Error {
    Error::Usage(format!("--annotate: expected {expected}, found {}", shown(path)))
}

/// The picture's name with the suffix `.png`, and with a number if that is taken. Upper and lower case are the same name,
/// as they are on some systems.
///
/// `next` has the number from which on a stem may be free, so that many pictures of one name do not take for ever.
fn name_of(picture: &Path, taken: &mut HashSet<OsString>, next: &mut HashMap<OsString, usize>) -> OsString {
    let stem = match picture.file_stem() {
        Some(stem) if !is_standard(picture) => stem,
        _ => STANDARD_INPUT.as_ref(),
    };
    let folded = |name: &OsStr| name.to_str().map_or_else(|| name.to_owned(), |name| name.to_lowercase().into());
    let number = next.entry(folded(stem)).or_insert(1);
    loop {
        let mut name = stem.to_owned();
        if *number > 1 {
            name.push(format!("-{number}"));
        }
        name.push(".png");
        *number += 1;
        if taken.insert(folded(&name)) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different() {
        let (mut taken, mut next) = (HashSet::new(), HashMap::new());
        let names = ["a/cat.jpg", "b/cat.png", "CAT.gif", "cat-2.jpg", "-", "x/stdin.png", "dog.tar.gz", "dog.tar"];
        let names = names.map(|name| name_of(Path::new(name), &mut taken, &mut next).into_string().unwrap());
        let expected = ["cat", "cat-2", "CAT-3", "cat-2-2", "stdin", "stdin-2", "dog.tar", "dog"];
        assert_eq!(names, expected.map(|name| format!("{name}.png")));
    }
}
