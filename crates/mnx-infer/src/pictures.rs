//! Finds the files to read as pictures: those that are named, and those in folders.

mod passed_over;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mnx::{ErrorKind, Picture, PictureFormat, PictureReader};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, shown, with_causes};
use crate::output::is_standard;
use crate::words::counted;
pub(crate) use passed_over::PassedOver;

/// Suffixes of pictures, in upper or lower case. They include formats that are not decoded, so that an error can say so.
const SUFFIXES: [&str; 21] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "jif", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm",
    "avif", "heic", "heif", "jp2", "jxl",
];

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

    /// A file that somebody else named. Opening a pipe might wait for ever.
    pub(crate) fn regular(path: &Path) -> Entry {
        if path.exists() && !path.is_file() {
            return Entry::troubled(path, &Error::expected(path, "a picture", "no regular file"));
        }
        Entry::new(path)
    }

    fn troubled(path: &Path, error: &Error) -> Entry {
        Entry { path: path.into(), trouble: Some(error.to_string()) }
    }

    /// A part of a folder that cannot be visited. `None` for a link to a folder around it: all files are visited without the
    /// link.
    pub(crate) fn unvisited(error: &walkdir::Error) -> Option<Entry> {
        if error.loop_ancestor().is_some() {
            return None;
        }
        let path = error.path().unwrap_or(Path::new(""));
        let reason = error.io_error().map_or_else(|| error.to_string(), io::Error::to_string);
        Some(Entry::troubled(path, &Error::file(path, format_args!("cannot be read: {reason}"))))
    }

    /// Reads and decodes, when there is memory.
    ///
    /// # Errors
    /// Those of [`PictureReader::open`]; the message names the file.
    pub(crate) fn open(&self, reader: &PictureReader) -> Result<Picture, Error> {
        match &self.trouble {
            Some(message) => Err(Error::failed(message)),
            None if is_standard(&self.path) => decode(&self.path, io::stdin().lock(), reader),
            None => {
                reader.open(&self.path).map_err(|e| Error::failed(format_args!("{}{}", with_causes(&e), remedy(&e))))
            }
        }
    }
}

impl AsRef<Entry> for Entry {
    fn as_ref(&self) -> &Entry {
        self
    }
}

/// Decodes what `source` holds to its end.
fn decode(path: &Path, source: impl Read, reader: &PictureReader) -> Result<Picture, Error> {
    let limit = reader.limits().file_bytes;
    let mut bytes = Vec::new();
    let read = source.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::file(path, format_args!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(Error::expected(path, format_args!("at most {limit} bytes"), "more"));
    }
    reader.decode(&bytes).map_err(|e| {
        // The library's name for a picture that has none.
        let message = e.to_string();
        Error::file(path, format_args!("{}{}", message.strip_prefix("picture: ").unwrap_or(&message), remedy(&e)))
    })
}

/// Which flag helps, if one does.
fn remedy(error: &mnx::Error) -> &'static str {
    match error.kind() {
        ErrorKind::Limit => " (--max-pixels N allows more)",
        _ => "",
    }
}

/// The files that `images` name, in order. A folder is replaced by its pictures; `note` gets what was passed over in it.
///
/// # Errors
/// [`Error::Usage`] when standard input is named twice.
pub(crate) fn expand(images: &[PathBuf], mut note: impl FnMut(String)) -> Result<Vec<Entry>, Error> {
    if images.iter().filter(|path| is_standard(path)).count() > 1 {
        return Err(Error::Usage("IMAGE: expected - (standard input) once at most, found it again".into()));
    }
    let mut entries = Vec::new();
    for path in images {
        if path.is_dir() {
            entries.extend(in_folder(path, &mut note));
        } else {
            entries.push(Entry::new(path));
        }
    }
    Ok(entries)
}

/// The pictures in a folder, or that there are none.
fn in_folder(folder: &Path, note: &mut impl FnMut(String)) -> Vec<Entry> {
    let (mut entries, mut passed_over) = (Vec::new(), PassedOver::default());
    for found in walk(folder).into_iter().filter_entry(is_wanted) {
        match found {
            Ok(found) => entries.extend(picture(&found, &mut passed_over)),
            Err(e) => entries.extend(Entry::unvisited(&e)),
        }
    }
    if entries.is_empty() {
        let others = if passed_over.files() == 0 { String::new() } else { format!(": {passed_over}") };
        let error = Error::expected(folder, "pictures", format_args!("a folder without any{others}"));
        entries.push(Entry::troubled(folder, &error));
    } else if passed_over.files() > 0 {
        let pictures = counted(entries.len(), "picture", "pictures");
        note(format!("{}: {pictures}, {passed_over}", shown(folder)));
    }
    entries
}

/// Walks through a folder and its sub-folders in the order of paths. Links are followed.
pub(crate) fn walk(folder: &Path) -> WalkDir {
    WalkDir::new(folder).follow_links(true).sort_by_file_name()
}

/// Whether a walk goes there: hidden files and folders are passed over, unless the user named them.
pub(crate) fn is_wanted(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// What a walk found, if its name or its first bytes are those of a picture. Other files are counted. A file that cannot be
/// read is a picture with trouble.
pub(crate) fn picture(found: &DirEntry, passed_over: &mut PassedOver) -> Option<Entry> {
    let (path, kind) = (found.path(), found.file_type());
    if kind.is_dir() {
        return None;
    }
    if !kind.is_file() {
        // Opening a pipe might wait for ever.
        passed_over.add_special();
        return None;
    }
    if is_named_as_picture(path) {
        return Some(Entry::new(path));
    }
    match first_bytes(path) {
        Err(e) => Some(Entry::troubled(path, &Error::file(path, format_args!("cannot be read: {e}")))),
        Ok(bytes) if looks_like_picture(&bytes) => Some(Entry::new(path)),
        Ok(_) => {
            passed_over.add(path);
            None
        }
    }
}

/// Whether the name is one that pictures have.
fn is_named_as_picture(path: &Path) -> bool {
    path.extension().is_some_and(|found| SUFFIXES.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// As many first bytes of a file as its format needs.
fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(PictureFormat::BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file that begins with these bytes is a picture. It may be one that is not decoded; an error then says so.
/// Drawings and documents are not pictures.
fn looks_like_picture(bytes: &[u8]) -> bool {
    !matches!(PictureFormat::of(bytes), None | Some(PictureFormat::Svg | PictureFormat::Pdf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[cfg(unix)]
    #[test]
    fn what_a_list_names_is_a_file_or_not_there() {
        assert!(Entry::regular(Path::new("/dev/null")).trouble.is_some_and(|said| said.contains("no regular file")));
        assert!(Entry::regular(Path::new("absent.png")).trouble.is_none());
    }

    /// Paths below `folder` with what is wrong, and what is said of the others.
    fn found(folder: &Path) -> (Vec<(String, Option<String>)>, Vec<String>) {
        let below = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
        let mut notes = Vec::new();
        let entries = in_folder(folder, &mut |note| notes.push(note));
        (entries.into_iter().map(|entry| (below(&entry.path), entry.trouble)).collect(), notes)
    }

    /// A folder of these files and their contents.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_is_its_pictures_in_the_order_of_their_paths() {
        let names = ["b.png", "b/2.JPG", "b/10.webp", "b/d/x.Gif", "a.bmp", "z.jpeg", "t.TIFF", "u.heic"];
        let others = ["a.txt", "png", ".a.png", ".hidden/a.png", "b/a.png.part"];
        let files: Vec<_> = names.iter().chain(&others).map(|&name| (name, &b""[..])).collect();
        let folder = folder(&files);
        fs::create_dir(folder.path().join("empty")).unwrap();
        let sorted = ["a.bmp", "b/10.webp", "b/2.JPG", "b/d/x.Gif", "b.png", "t.TIFF", "u.heic", "z.jpeg"];
        let (entries, notes) = found(folder.path());
        assert_eq!(entries, sorted.map(|name| (name.to_owned(), None)));
        let note = "8 pictures, 3 other files passed over (.part 1, .txt 1, no suffix 1)";
        assert_eq!(notes, [format!("{}: {note}", shown(folder.path()))]);
    }

    #[test]
    fn other_names_are_judged_by_content() {
        const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0";
        const AVIF: &[u8] = b"\0\0\0\x1Cftypavif";
        let pictures =
            [("a", JPEG), ("aa", AVIF), ("b.txt", b"\x89PNG\r\n\x1a\n"), ("c.gif87", b"GIF87a"), ("d.jpg.part", JPEG)];
        let others: [(&str, &[u8]); 6] = [
            ("e", b""),
            ("f.txt", b"a list of pictures"),
            ("g", b"\xFF\xD8"),
            ("h", b"BMW"),
            ("i", &[0; 4096]),
            ("j.pdf", b"%PDF-1.7"),
        ];
        let folder = folder(&[&pictures[..], &others].concat());
        let (entries, notes) = found(folder.path());
        assert_eq!(entries, pictures.map(|(name, _)| (name.to_owned(), None)));
        assert!(
            notes[0].ends_with(": 5 pictures, 6 other files passed over (no suffix 4, .pdf 1, .txt 1)"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_folder_without_pictures_says_so() {
        let folder = folder(&[]);
        for end in ["found a folder without any", "found a folder without any: 1 other file passed over (.txt 1)"] {
            let (entries, notes) = found(folder.path());
            assert_eq!((entries.len(), entries[0].0.as_str(), notes.len()), (1, "", 0));
            let message = entries[0].1.as_ref().unwrap();
            assert!(message.ends_with(end), "{message}");
            fs::write(folder.path().join("a.txt"), "no picture").unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        use std::os::unix::net::UnixListener;
        let folder = folder(&[("a.png", b""), ("secret", b"GIF89a")]);
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").args([at("pipe"), at("pipe.png")]).status().unwrap();
        assert!(made.success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read it all the same.
        let readable = fs::File::open(at("secret")).is_ok();
        let (entries, notes) = found(folder.path());
        let names: Vec<_> = entries.iter().map(|(name, trouble)| (name.as_str(), trouble.is_none())).collect();
        assert_eq!(names, [("a.png", true), ("secret", readable)]);
        assert!(notes[0].ends_with("2 pictures, 4 other files passed over (no regular file 4)"), "{notes:?}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_end() {
        use std::os::unix::fs::symlink;
        let (folder, elsewhere) = (folder(&[("a/near.png", b"")]), folder(&[("far.png", b"")]));
        let at = |name: &str| folder.path().join(name);
        symlink(folder.path(), at("a/up")).unwrap();
        symlink(elsewhere.path(), at("b")).unwrap();
        symlink(elsewhere.path().join("far.png"), at("c.png")).unwrap();
        symlink(at("absent.png"), at("d.png")).unwrap();
        symlink(at("e.png"), at("e.png")).unwrap();
        let (entries, _) = found(folder.path());
        let names: Vec<_> = entries.iter().map(|(name, trouble)| (name.as_str(), trouble.is_none())).collect();
        let whole = [("a/near.png", true), ("b/far.png", true), ("c.png", true)];
        assert_eq!(names, [&whole[..], &[("d.png", false), ("e.png", false)]].concat());
    }

    #[test]
    fn standard_input_is_named_once() {
        let twice = ["-", "a.png", "-"].map(PathBuf::from);
        assert!(matches!(expand(&twice, drop), Err(Error::Usage(_))));
        assert_eq!(expand(&twice[..2], drop).unwrap().len(), 2);
    }

    #[test]
    fn a_picture_without_a_file_goes_by_its_stand_in() {
        let reader = PictureReader::new(mnx::PictureLimits::default());
        let message = decode(Path::new("-"), &b"no picture"[..], &reader).unwrap_err().to_string();
        assert!(message.starts_with("-: expected a PNG, JPEG"), "{message}");
    }
}
