//! Which files are to be read as pictures: those that are named, and those in folders.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mnx::{Picture, PictureLimits};
use walkdir::{DirEntry, WalkDir};

use crate::error::Error;
use crate::output::is_standard;

/// Names of pictures end so, in upper or lower case.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// A file that should be a picture.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the user wrote it, or below a folder that is.
    pub(crate) path: PathBuf,
    /// Why there is nothing to read, where that is known already.
    pub(crate) trouble: Option<String>,
}

impl Entry {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Entry {
        Entry { path: path.into(), trouble: None }
    }

    fn troubled(path: &Path, error: &Error) -> Entry {
        Entry { path: path.into(), trouble: Some(error.to_string()) }
    }

    /// A part of a folder that cannot be visited. None where that is a link to a folder around it: all files are
    /// visited without.
    pub(crate) fn unvisited(error: &walkdir::Error) -> Option<Entry> {
        if error.loop_ancestor().is_some() {
            return None;
        }
        let path = error.path().unwrap_or(Path::new(""));
        let reason = error.io_error().map_or_else(|| error.to_string(), io::Error::to_string);
        Some(Entry::troubled(path, &Error::file(path, format_args!("cannot be read: {reason}"))))
    }

    /// Reads and decodes.
    ///
    /// # Errors
    /// Those of [`Picture::open`]; the message names the file.
    pub(crate) fn open(&self) -> Result<Picture, Error> {
        match &self.trouble {
            Some(message) => Err(Error::failed(message)),
            None if is_standard(&self.path) => decode(&self.path, io::stdin().lock()),
            None => Picture::open(&self.path).map_err(Error::failed),
        }
    }
}

impl AsRef<Entry> for Entry {
    fn as_ref(&self) -> &Entry {
        self
    }
}

/// Decodes what `source` holds to its end.
fn decode(path: &Path, source: impl Read) -> Result<Picture, Error> {
    let limit = PictureLimits::default().file_bytes;
    let mut bytes = Vec::new();
    let read = source.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::file(path, format_args!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(Error::expected(path, format_args!("at most {limit} bytes"), "more"));
    }
    Picture::decode(&bytes).map_err(|e| {
        // The library's name for a picture that has none.
        let message = e.to_string();
        Error::file(path, message.strip_prefix("picture: ").unwrap_or(&message))
    })
}

/// The files that `images` name, in order, with the pictures of a folder in its place.
///
/// # Errors
/// [`Error::Usage`] when standard input is named twice.
pub(crate) fn expand(images: &[PathBuf]) -> Result<Vec<Entry>, Error> {
    if images.iter().filter(|path| is_standard(path)).count() > 1 {
        return Err(Error::Usage("IMAGE: expected - (standard input) once at most, found it again".into()));
    }
    let mut entries = Vec::new();
    for path in images {
        if path.is_dir() {
            entries.extend(in_folder(path));
        } else {
            entries.push(Entry::new(path));
        }
    }
    Ok(entries)
}

/// The pictures in a folder, or that there are none.
fn in_folder(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for found in walk(folder).into_iter().filter_entry(is_wanted) {
        match found {
            Ok(found) if found.file_type().is_file() && is_named_as_picture(found.path()) => {
                entries.push(Entry::new(found.path()));
            }
            Ok(_) => (),
            Err(e) => entries.extend(Entry::unvisited(&e)),
        }
    }
    if entries.is_empty() {
        let expected = format!("pictures (.{})", EXTENSIONS.join(", ."));
        let error = Error::expected(folder, expected, "a folder without any");
        entries.push(Entry::troubled(folder, &error));
    }
    entries
}

/// A walk through all that is in a folder and its folders, links followed, in the order of paths.
pub(crate) fn walk(folder: &Path) -> WalkDir {
    WalkDir::new(folder).follow_links(true).sort_by_file_name()
}

/// Whether a walk goes there: hidden files and folders are passed over, unless the user named them.
pub(crate) fn is_wanted(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Whether the name is one that pictures have.
pub(crate) fn is_named_as_picture(path: &Path) -> bool {
    path.extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    /// Paths below `folder`, with what is wrong.
    fn found(folder: &Path) -> Vec<(String, Option<String>)> {
        let below = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
        in_folder(folder).into_iter().map(|entry| (below(&entry.path), entry.trouble)).collect()
    }

    #[test]
    fn a_folder_is_its_pictures_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "b/d", ".hidden", "empty"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names = ["b.png", "b/2.JPG", "b/10.webp", "b/d/x.Gif", "a.bmp", "z.jpeg"];
        let others = ["a.txt", "png", ".a.png", ".hidden/a.png", "b/a.png.part"];
        for name in names.iter().chain(&others) {
            File::create(folder.path().join(name)).unwrap();
        }
        let sorted = ["a.bmp", "b/10.webp", "b/2.JPG", "b/d/x.Gif", "b.png", "z.jpeg"];
        assert_eq!(found(folder.path()), sorted.map(|name| (name.to_owned(), None)));
    }

    #[test]
    fn a_folder_without_pictures_says_so() {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("a.txt")).unwrap();
        let entries = found(folder.path());
        assert_eq!((entries.len(), entries[0].0.as_str()), (1, ""));
        let message = entries[0].1.as_ref().unwrap();
        assert!(message.ends_with("found a folder without any") && message.contains(".webp"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_end() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        File::create(elsewhere.path().join("far.png")).unwrap();
        fs::create_dir(at("a")).unwrap();
        File::create(at("a/near.png")).unwrap();
        symlink(folder.path(), at("a/up")).unwrap();
        symlink(elsewhere.path(), at("b")).unwrap();
        symlink(elsewhere.path().join("far.png"), at("c.png")).unwrap();
        symlink(at("absent.png"), at("d.png")).unwrap();
        symlink(at("e.png"), at("e.png")).unwrap();
        let entries = found(folder.path());
        let names: Vec<_> = entries.iter().map(|(name, trouble)| (name.as_str(), trouble.is_none())).collect();
        let whole = [("a/near.png", true), ("b/far.png", true), ("c.png", true)];
        assert_eq!(names, [&whole[..], &[("d.png", false), ("e.png", false)]].concat());
    }

    #[test]
    fn standard_input_is_named_once() {
        let twice = ["-", "a.png", "-"].map(PathBuf::from);
        assert!(matches!(expand(&twice), Err(Error::Usage(_))));
        assert_eq!(expand(&twice[..2]).unwrap().len(), 2);
    }

    #[test]
    fn a_picture_without_a_file_goes_by_its_stand_in() {
        let message = decode(Path::new("-"), &b"no picture"[..]).unwrap_err().to_string();
        assert!(message.starts_with("-: expected a PNG, JPEG"), "{message}");
    }
}
