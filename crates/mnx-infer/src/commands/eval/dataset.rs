//! What there is to evaluate in a folder.

use std::path::Path;

use super::classes::{ClassMap, Classes};
use super::report::counted;
use crate::error::{Error, printable};
use crate::pictures::{self, Entry, PassedOver, is_wanted};

/// How many unknown folders a message names.
const NAMED: usize = 5;
/// What every folder to evaluate is.
const EXPECTED: &str = "a folder with a sub-folder of pictures per class";

/// A file in a folder that names a class.
pub(super) struct Candidate {
    pub(super) entry: Entry,
    /// Index of the class that the picture should be of.
    pub(super) class: usize,
}

impl AsRef<Entry> for Candidate {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

/// The files of a folder's sub-folders.
#[derive(Default)]
pub(super) struct Dataset {
    /// All pictures that are not hidden, in the order of their paths.
    pub(super) candidates: Vec<Candidate>,
    /// Files and folders that are there and cannot be visited.
    pub(super) unvisited: Vec<Entry>,
    /// Sub-folders whose names are no class; what is in them is not looked at.
    pub(super) unknown_folders: Vec<String>,
    /// Pictures beside the sub-folders.
    pub(super) loose_pictures: usize,
    /// Files that are no pictures.
    pub(super) passed_over: PassedOver,
}

impl Dataset {
    /// Visits `folder` and those of its sub-folders that are classes.
    ///
    /// # Errors
    /// [`Error::File`] when `folder` is none, cannot be read, has nothing to evaluate, or has a sub-folder whose name
    /// is the label of two classes.
    pub(super) fn find(folder: &Path, classes: &Classes, map: &ClassMap) -> Result<Dataset, Error> {
        let mut dataset = Dataset::default();
        // Of the sub-folder that the walk is in.
        let mut class = None;
        let mut walk = pictures::walk(folder).into_iter().filter_entry(is_wanted);
        while let Some(found) = walk.next() {
            let found = match found {
                Ok(found) => found,
                Err(e) if e.depth() == 0 => {
                    let reason = e.io_error().map_or_else(|| e.to_string(), ToString::to_string);
                    return Err(Error::file(folder, format_args!("expected {EXPECTED}, found: {reason}")));
                }
                Err(e) => {
                    dataset.unvisited.extend(Entry::unvisited(&e));
                    continue;
                }
            };
            let kind = found.file_type();
            let passed_over = &mut dataset.passed_over;
            match found.depth() {
                0 if kind.is_dir() => (),
                0 => return Err(Error::expected(folder, EXPECTED, "something that is no folder")),
                1 if kind.is_dir() => {
                    let name = found.file_name().to_string_lossy();
                    class = map.class_of(&name, classes).map_err(|e| Error::file(found.path(), e))?;
                    if class.is_none() {
                        dataset.unknown_folders.push(name.into());
                        walk.skip_current_dir();
                    }
                }
                1 => dataset.loose_pictures += usize::from(pictures::picture(&found, passed_over).is_some()),
                _ => {
                    let candidate = pictures::picture(&found, passed_over).zip(class);
                    dataset.candidates.extend(candidate.map(|(entry, class)| Candidate { entry, class }));
                }
            }
        }
        dataset.check(folder)?;
        Ok(dataset)
    }

    /// Files that should be pictures.
    pub(super) fn files(&self) -> usize {
        self.candidates.len() + self.unvisited.len()
    }

    /// Whether there is anything to evaluate.
    fn check(&self, folder: &Path) -> Result<(), Error> {
        if self.files() > 0 {
            return Ok(());
        }
        let mut found = Vec::new();
        if !self.unknown_folders.is_empty() {
            let names: Vec<_> = self.unknown_folders.iter().take(NAMED).map(|name| printable(name)).collect();
            let more = if self.unknown_folders.len() > NAMED { ", …" } else { "" };
            let folders = counted(self.unknown_folders.len(), "sub-folder", "sub-folders");
            found.push(format!("{folders} with the name of no class of the model ({}{more})", names.join(", ")));
        }
        if self.loose_pictures > 0 {
            found.push(counted(self.loose_pictures, "picture", "pictures") + " in no sub-folder");
        }
        if found.is_empty() {
            found.push("no picture".into());
        }
        if self.passed_over.files() > 0 {
            found.push(self.passed_over.to_string());
        }
        let found = found.join(" and ");
        Err(Error::expected(folder, EXPECTED, found))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use mnx::Spec;

    use super::*;

    fn spec() -> Spec {
        let mut spec = Spec::family("mobilenext-cifar").unwrap();
        spec.classes = 3;
        spec.labels = Some(["cat", "dog", "polar bear"].map(str::to_owned).to_vec());
        spec
    }

    /// A folder with these files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap();
        }
        folder
    }

    fn find(folder: &Path) -> Result<Dataset, Error> {
        Dataset::find(folder, &Classes::new(&spec()), &ClassMap::default())
    }

    fn names(dataset: &Dataset) -> Vec<(usize, String)> {
        let name = |c: &Candidate| c.entry.path.file_name().unwrap().to_str().unwrap().to_owned();
        dataset.candidates.iter().map(|c| (c.class, name(c))).collect()
    }

    #[test]
    fn every_picture_of_a_class_is_tried() {
        let files = ["1/b.png", "cat/z/deep", "cat/a.png", "cat/.hidden", "polar_bear/c.tif", "x/d.png", ".git/e.png"];
        let others = ["f.png", "g", "README.md", "3/h.png", "cat/notes.txt", "cat/empty", "x/unseen.txt"];
        let folder = folder(&[&files[..], &others].concat());
        for name in ["cat/z/deep", "g"] {
            fs::write(folder.path().join(name), "GIF89a").unwrap();
        }
        fs::create_dir(folder.path().join("dog")).unwrap();
        let dataset = find(folder.path()).unwrap();
        let expected = [(1, "b.png"), (0, "a.png"), (0, "deep"), (2, "c.tif")];
        assert_eq!(names(&dataset), expected.map(|(class, name)| (class, name.to_owned())));
        assert_eq!(dataset.unknown_folders, ["3", "x"]);
        assert_eq!((dataset.loose_pictures, dataset.files()), (2, 4));
        let others = "3 other files passed over (.md 1, .txt 1, no suffix 1)";
        assert_eq!(dataset.passed_over.to_string(), others);
    }

    #[test]
    fn nothing_to_evaluate_says_what_is_there() {
        for (files, found) in [
            (&[][..], "found no picture"),
            (&["README.md", "cat/.hidden"], "found no picture and 1 other file passed over (.md 1)"),
            (&["a.png", "b.JPG"], "found 2 pictures in no sub-folder"),
            (
                &["x/a.png", "y\n/a.png", "a.png"],
                "found 2 sub-folders with the name of no class of the model (x, y\\n) and 1 picture in no sub-folder",
            ),
        ] {
            let folder = folder(files);
            let message = find(folder.path()).err().unwrap().to_string();
            assert!(message.ends_with(found) && message.contains(EXPECTED), "{message}");
        }
        let folder = folder(&["cat/a.png"]);
        for name in ["absent", "cat/a.png"] {
            let path = folder.path().join(name);
            let message = find(&path).err().unwrap().to_string();
            assert!(message.starts_with(path.to_str().unwrap()) && message.contains(EXPECTED), "{message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_end() {
        use std::os::unix::fs::symlink;
        let (folder, elsewhere) = (folder(&["cat/a.png"]), folder(&["b.png"]));
        let at = |name: &str| folder.path().join(name);
        symlink(elsewhere.path(), at("dog")).unwrap();
        symlink(folder.path(), at("cat/up")).unwrap();
        symlink(folder.path(), at("2")).unwrap();
        symlink(at("absent"), at("cat/gone.png")).unwrap();
        let dataset = find(folder.path()).unwrap();
        assert_eq!(names(&dataset), [(0, "a.png".to_owned()), (1, "b.png".to_owned())]);
        assert_eq!(dataset.unvisited.len(), 1);
        assert_eq!(dataset.unvisited[0].path, at("cat/gone.png"));
    }
}
