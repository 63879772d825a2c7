//! Finds what there is to evaluate in a folder.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use walkdir::DirEntry;

use super::class_map::ClassMap;
use super::classes::{Classes, is_wordnet_id};
use super::list::List;
use crate::error::{Error, printable};
use crate::pictures::{self, Entry, PassedOver, is_wanted};
use crate::words::{counted, first_few};

/// How many unknown folders a message names.
const NAMED: usize = 5;
/// What every folder to evaluate is, without a list.
const EXPECTED: &str = "a folder with a sub-folder of pictures per class";
/// What it is with one.
const EXPECTED_FLAT: &str = "a folder of pictures";

/// A file whose class is known.
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

/// The files of a folder's sub-folders, or of a list.
#[derive(Default)]
pub(super) struct Dataset {
    /// All pictures that are not hidden, in the order of their paths; those of a list in its order.
    pub(super) candidates: Vec<Candidate>,
    /// Files and folders that are there and cannot be visited.
    pub(super) unvisited: Vec<Entry>,
    /// Sub-folders whose names are no class; what is in them is not looked at.
    pub(super) unknown_folders: Vec<OsString>,
    /// Sub-folders of classes without a picture.
    pub(super) empty_folders: Vec<OsString>,
    /// Pictures beside the sub-folders.
    pub(super) loose_pictures: usize,
    /// Pictures that a list leaves out.
    pub(super) unlisted_pictures: usize,
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
        // Its name, until there is a picture in it.
        let mut empty = None;
        let mut walk = pictures::walk(folder).into_iter().filter_entry(is_wanted);
        while let Some(found) = walk.next() {
            let Some(found) = dataset.visited(found, folder, EXPECTED)? else { continue };
            if found.depth() == 1 && found.file_type().is_dir() {
                let name = found.file_name();
                class = map.class_of(name, classes).map_err(|e| Error::file(found.path(), e))?;
                dataset.empty_folders.extend(empty.take());
                empty = class.map(|_| name.into());
                if class.is_none() {
                    dataset.unknown_folders.push(name.into());
                    walk.skip_current_dir();
                }
                continue;
            }
            let Some(entry) = pictures::picture(&found, &mut dataset.passed_over) else { continue };
            if found.depth() == 1 {
                dataset.loose_pictures += 1;
            } else {
                dataset.candidates.extend(class.map(|class| Candidate { entry, class }));
                empty = None;
            }
        }
        dataset.empty_folders.extend(empty);
        dataset.check(folder, map)?;
        Ok(dataset)
    }

    /// The files of `list`, and what else there is in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] when `folder` is none or cannot be read.
    pub(super) fn listed(folder: &Path, list: List) -> Result<Dataset, Error> {
        let mut dataset = Dataset::default();
        let files: HashSet<_> = list.files.iter().map(|(file, _)| file.as_path()).collect();
        for found in pictures::walk(folder).into_iter().filter_entry(is_wanted) {
            let Some(found) = dataset.visited(found, folder, EXPECTED_FLAT)? else { continue };
            if !files.contains(found.path()) {
                let picture = pictures::picture(&found, &mut dataset.passed_over);
                dataset.unlisted_pictures += usize::from(picture.is_some());
            }
        }
        // What the list names is told by its own line.
        dataset.unvisited.retain(|entry| !files.contains(entry.path.as_path()));
        let candidate = |(file, class): (PathBuf, _)| Candidate { entry: Entry::regular(&file), class };
        dataset.candidates = list.files.into_iter().map(candidate).collect();
        Ok(dataset)
    }

    /// What a walk through `folder` found; none where that cannot be visited, which is kept.
    ///
    /// # Errors
    /// [`Error::File`] when `folder` is not what is expected.
    fn visited(
        &mut self,
        found: walkdir::Result<DirEntry>,
        folder: &Path,
        expected: &str,
    ) -> Result<Option<DirEntry>, Error> {
        match found {
            Ok(found) if found.depth() == 0 && !found.file_type().is_dir() => {
                Err(Error::expected(folder, expected, "something that is no folder"))
            }
            Ok(found) => Ok(Some(found)),
            Err(e) if e.depth() == 0 => {
                let reason = e.io_error().map_or_else(|| e.to_string(), ToString::to_string);
                Err(Error::file(folder, format_args!("expected {expected}, found: {reason}")))
            }
            Err(e) => {
                self.unvisited.extend(Entry::unvisited(&e));
                Ok(None)
            }
        }
    }

    /// Files that should be pictures.
    pub(super) fn files(&self) -> usize {
        self.candidates.len() + self.unvisited.len()
    }

    /// Whether there is anything to evaluate.
    fn check(&self, folder: &Path, map: &ClassMap) -> Result<(), Error> {
        if self.files() > 0 {
            return Ok(());
        }
        let (mut found, mut hints) = (Vec::new(), Vec::new());
        if !self.unknown_folders.is_empty() {
            found.push(self.unknown());
            let hint = if map.is_empty() {
                "--class-map FILE says which class a folder is, --sorted-folders that they are the classes in order"
            } else {
                "the class map names none of them"
            };
            hints.push(hint.to_owned());
        }
        if self.loose_pictures > 0 {
            found.push(counted(self.loose_pictures, "picture", "pictures") + " in no sub-folder");
            hints.push("--list FILE says which class a file is".into());
        }
        if found.is_empty() {
            found.push("no picture".into());
        }
        if self.passed_over.files() > 0 {
            found.push(self.passed_over.to_string());
        }
        let found = [vec![found.join(" and ")], hints].concat().join("; ");
        Err(Error::expected(folder, EXPECTED, found))
    }

    /// The sub-folders that are no class, as they stand in a message.
    fn unknown(&self) -> String {
        let names: Vec<_> = self.unknown_folders.iter().map(|name| name.to_string_lossy()).collect();
        let named = first_few(names.iter().map(|name| printable(name)), NAMED);
        let kind = if names.iter().all(|name| is_wordnet_id(name)) { ": WordNet ids" } else { "" };
        let folders = counted(names.len(), "sub-folder", "sub-folders");
        format!("{folders} with the name of no class of the model ({named}{kind})")
    }
}

/// The names of the folders in `folder` that are not hidden. What cannot be visited is left for a later walk to tell.
pub(super) fn sub_folders(folder: &Path) -> Vec<OsString> {
    let walk = pictures::walk(folder).min_depth(1).max_depth(1).into_iter().filter_entry(is_wanted);
    walk.flatten().filter(|found| found.file_type().is_dir()).map(|found| found.file_name().into()).collect()
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
        assert_eq!(dataset.empty_folders, ["dog"]);
        assert_eq!((dataset.loose_pictures, dataset.files()), (2, 4));
        let others = "3 other files passed over (.md 1, .txt 1, no suffix 1)";
        assert_eq!(dataset.passed_over.to_string(), others);
    }

    #[test]
    fn nothing_to_evaluate_says_what_is_there() {
        for (files, found) in [
            (&[][..], "found no picture"),
            (&["README.md", "cat/.hidden"], "found no picture and 1 other file passed over (.md 1)"),
            (&["a.png", "b.JPG"], "found 2 pictures in no sub-folder; --list FILE says which class a file is"),
            (
                &["x/a.png", "y\n/a.png", "a.png"],
                "found 2 sub-folders with the name of no class of the model (x, y\\n) and 1 picture in no sub-folder; \
                 --class-map FILE says which class a folder is, --sorted-folders that they are the classes in order; \
                 --list FILE says which class a file is",
            ),
            (
                &["n02123045/a.png", "n04266014/a.png"],
                "found 2 sub-folders with the name of no class of the model (n02123045, n04266014: WordNet ids); \
                 --class-map FILE says which class a folder is, --sorted-folders that they are the classes in order",
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

    #[test]
    fn a_list_names_files_and_leaves_out_others() {
        let folder = folder(&["b.png", "c/a.jpg", "other.png", "c/other.jpg", "list.txt", ".hidden.png"]);
        let files = ["c/a.jpg", "gone.png", "b.png"].map(|name| (folder.path().join(name), 1)).to_vec();
        let list = |files| List { files, note: None };
        let dataset = Dataset::listed(folder.path(), list(files)).unwrap();
        assert_eq!(names(&dataset), ["a.jpg", "gone.png", "b.png"].map(|name| (1, name.to_owned())));
        assert_eq!((dataset.unlisted_pictures, dataset.passed_over.files(), dataset.unvisited.len()), (2, 1, 0));
        let path = folder.path().join("absent");
        let message = Dataset::listed(&path, list(Vec::new())).err().unwrap().to_string();
        assert!(message.contains("absent") && message.contains(EXPECTED_FLAT), "{message}");
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
