//! Writes files that appear whole or not at all, and reads files up to a limit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use same_file::Handle;

use crate::error::{Error, shown};
use crate::stdout;
use crate::temporary::Temporary;

/// A file that is being written: a temporary file beside the target, which [`finish`](OutputFile::finish) renames. If it is
/// dropped before that, nothing is left.
pub(crate) struct OutputFile {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    Renamed {
        /// `None` while it is [paused](OutputFile::pause).
        file: Option<BufWriter<File>>,
        temporary: Temporary,
        target: PathBuf,
    },
    /// A pipe or a device, which a rename would replace.
    Direct(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl OutputFile {
    /// Checks that `path` can be written, and opens the temporary file.
    ///
    /// # Errors
    /// [`Error::File`] for a folder, an absent or read-only folder around it, or a read-only file; [`Error::Usage`] for `-`.
    pub(crate) fn create(path: &Path) -> Result<OutputFile, Error> {
        if is_standard(path) {
            let file = "./- is a file of that name";
            return Err(Error::Usage(format!("-: expected a file to write, found standard output ({file})")));
        }
        let cannot = |e: io::Error| Error::file(path, format_args!("cannot be written: {}", reason(&e)));
        let sink = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(Error::expected(path, "a file to write", "a folder")),
            Ok(found) => {
                // A rename asks the folder for permission, not the file.
                let direct = OpenOptions::new().write(true).open(path).map_err(cannot)?;
                if found.is_file() {
                    // A link stays one: what it points to is replaced.
                    let target = fs::canonicalize(path).map_err(cannot)?;
                    let (file, temporary) = Temporary::beside(&target).map_err(cannot)?;
                    file.set_permissions(found.permissions()).map_err(cannot)?;
                    Sink::Renamed { file: Some(BufWriter::new(file)), temporary, target }
                } else {
                    Sink::Direct(BufWriter::new(direct))
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let target = end_of_links(path).map_err(cannot)?;
                let (file, temporary) = Temporary::beside(&target).map_err(cannot)?;
                Sink::Renamed { file: Some(BufWriter::new(file)), temporary, target }
            }
            Err(e) => return Err(cannot(e)),
        };
        Ok(OutputFile { path: path.into(), sink })
    }

    /// As [`create`](OutputFile::create); `-` is standard output.
    ///
    /// # Errors
    /// As [`create`](OutputFile::create), and [`Error::File`] for a terminal, which bytes would garble.
    pub(crate) fn create_or_stdout(path: &Path) -> Result<OutputFile, Error> {
        if !is_standard(path) {
            return OutputFile::create(path);
        }
        let (path, out) = (PathBuf::from("standard output"), io::stdout());
        if out.is_terminal() {
            return Err(Error::expected(&path, "a pipe or a file", "a terminal"));
        }
        Ok(OutputFile { path, sink: Sink::Stdout(BufWriter::new(out)) })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::File`], for instance when the disk is full; [`Error::Closed`] where nobody reads standard output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match &mut self.sink {
            Sink::Renamed { file, temporary, .. } => opened(file, temporary).and_then(|file| file.write_all(bytes)),
            Sink::Direct(file) => file.write_all(bytes),
            Sink::Stdout(out) => return out.write_all(bytes).map_err(|e| stdout::failed(&e)),
        };
        written.map_err(|e| cannot_write(&self.path, &e))
    }

    /// Closes the file until the next [`write`](OutputFile::write) or [`finish`](OutputFile::finish), because a program may
    /// have few files open at once. Pipes, devices and standard output stay open.
    ///
    /// # Errors
    /// As [`write`](OutputFile::write).
    pub(crate) fn pause(&mut self) -> Result<(), Error> {
        let Sink::Renamed { file, .. } = &mut self.sink else { return Ok(()) };
        match file.take().map(|mut file| file.flush()) {
            Some(Err(e)) => Err(cannot_write(&self.path, &e)),
            _ => Ok(()),
        }
    }

    /// Makes the file appear under its name.
    ///
    /// # Errors
    /// As [`write`](OutputFile::write); nothing is left then.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let finished = match self.sink {
            Sink::Direct(mut file) => file.flush(),
            Sink::Stdout(mut out) => return out.flush().map_err(|e| stdout::failed(&e)),
            Sink::Renamed { mut file, temporary, target } => opened(&mut file, &temporary).and_then(|file| {
                file.flush()?;
                file.get_ref().sync_all()?;
                temporary.persist(&target)
            }),
        };
        finished.map_err(|e| cannot_write(&self.path, &e))
    }
}

/// Checks that a file to be written is none of those that are read, not even through a link, because it would be lost.
/// Standard output, pipes and devices can be both.
///
/// # Errors
/// [`Error::Usage`] that names both.
pub(crate) fn check_apart<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Error> {
    if is_standard(output) {
        return Ok(());
    }
    let Some(identity) = identity(output) else { return Ok(()) };
    let same = |input: &&Path| !is_standard(input) && self::identity(input).as_ref() == Some(&identity);
    match inputs.into_iter().find(same) {
        None => Ok(()),
        Some(input) if input == output => {
            Err(Error::Usage(format!("{}: expected an output that is no input, found it as both", shown(output))))
        }
        Some(input) => Err(Error::Usage(format!(
            "{}: expected an output that is no input, found the same file as {}",
            shown(output),
            shown(input)
        ))),
    }
}

/// Whether two outputs are the same file, or would be.
pub(crate) fn is_one_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::canonicalize(path).ok().or_else(|| Some(fs::canonicalize(folder).ok()?.join(path.file_name()?)))
    };
    !is_standard(a) && place(a).is_some_and(|a| place(b) == Some(a))
}

/// What all names of a regular file have in common. `None` for other things, and if there is no file.
fn identity(path: &Path) -> Option<Handle> {
    // Opening a pipe would wait for whoever writes to it.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Handle::from_path(path).ok()
}

/// Where a file appears that is written through a link to nothing. A path that is no link stays as it is.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    // As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The first bytes of a regular file, by which formats are told. `None` for files that cannot be read, which are reported elsewhere,
/// and for pipes, which are not touched.
pub(crate) fn start_of(path: &Path, bytes: usize) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    path.metadata().ok().filter(fs::Metadata::is_file)?;
    File::open(path).ok()?.take(bytes as u64).read_to_end(&mut start).ok()?;
    Some(start)
}

/// Whether a path stands for standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn cannot_write(path: &Path, e: &io::Error) -> Error {
    Error::file(path, format_args!("cannot be written: {}", reason(e)))
}

/// The file, which is opened again if it was paused.
fn opened<'a>(file: &'a mut Option<BufWriter<File>>, temporary: &Temporary) -> io::Result<&'a mut BufWriter<File>> {
    let open = match file.take() {
        Some(open) => open,
        None => BufWriter::new(OpenOptions::new().append(true).open(temporary.path())?),
    };
    Ok(file.insert(open))
}

/// The system's words without the name of a temporary file.
fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "there is no such folder".into(),
        io::ErrorKind::NotADirectory => "a part of the path is not a folder".into(),
        // `tempfile` puts the name behind the system's words.
        _ => {
            let words = e.to_string();
            words.split(" at path ").next().unwrap_or_default().into()
        }
    }
}

/// Checks that a path that is to be mapped or read at once, if there is anything, is a plain file.
///
/// # Errors
/// [`Error::File`] for folders, pipes and devices.
pub(crate) fn check_plain(path: &Path, expected: &str) -> Result<(), Error> {
    match fs::metadata(path) {
        // What cannot be looked at cannot be opened, and the error is told then.
        Err(_) => Ok(()),
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) => Err(Error::expected(path, expected, unfit(&found).unwrap_or("a pipe"))),
    }
}

/// The bytes of a file that may have at most `limit`.
///
/// # Errors
/// [`Error::File`] when it cannot be read or is larger.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let cannot = |e: io::Error| Error::file(path, format_args!("cannot be read: {e}"));
    let file = File::open(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    if let Some(kind) = unfit(&found) {
        return Err(Error::expected(path, "a file", kind));
    }
    // The length of a pipe or device is not known before it ends.
    let mut bytes = Vec::new();
    if found.len() <= limit {
        // A buffer that grows would take twice as much.
        let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(length).map_err(|_| cannot(io::ErrorKind::OutOfMemory.into()))?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(cannot)?;
    }
    let length = found.len().max(bytes.len() as u64);
    if length > limit {
        return Err(Error::expected(path, format_args!("at most {limit} bytes"), format_args!("{length} or more")));
    }
    Ok(bytes)
}

/// What a path is that names neither a file nor a pipe: reading it fails, or may never end.
fn unfit(found: &fs::Metadata) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    found.is_dir().then_some("a folder")
}

/// The text of a file that may have at most `limit` bytes.
///
/// # Errors
/// As [`read_limited`]; and [`Error::File`] if it is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    String::from_utf8(read_limited(path, limit)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::expected(path, "UTF-8 text", format_args!("a byte that is none at offset {at}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = OutputFile::create(&path).unwrap();
        output.write(b"new").unwrap();
        assert!(!path.exists());
        drop(output);
        assert!(names(folder.path()).is_empty());

        fs::write(&path, "old").unwrap();
        let mut output = OutputFile::create(&path).unwrap();
        output.write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_survive() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&link, Path::new("/dev/null")] {
            let mut output = OutputFile::create(path).unwrap();
            output.write(b"new").unwrap();
            output.finish().unwrap();
        }
        // To a file that is not there yet, by way of another link.
        let (new, first, second) =
            (folder.path().join("new"), folder.path().join("first"), folder.path().join("second"));
        std::os::unix::fs::symlink("new", &first).unwrap();
        std::os::unix::fs::symlink(&first, &second).unwrap();
        let mut output = OutputFile::create(&second).unwrap();
        output.write(b"new").unwrap();
        output.finish().unwrap();
        assert!([&first, &second].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
        assert_eq!(fs::read(&new).unwrap(), b"new");
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(OutputFile::create(&folder.path().join("loop")).is_err());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(unix)]
    #[test]
    fn an_output_is_no_input_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("file"), "").unwrap();
        fs::write(path("other"), "").unwrap();
        fs::hard_link(path("file"), path("hard")).unwrap();
        for (target, name) in [("file", "soft"), ("soft", "softer"), ("absent", "dangling")] {
            std::os::unix::fs::symlink(path(target), path(name)).unwrap();
        }
        let file = path("file");
        for same in ["file", "hard", "soft", "softer", "sub/../file"].map(path) {
            for (output, input) in [(&same, &file), (&file, &same)] {
                let error = check_apart(output, [Path::new("-"), &path("other"), input]).unwrap_err();
                assert_eq!(error.exit_code(), 2, "{error}");
                assert!(error.to_string().starts_with(output.to_str().unwrap()), "{error}");
            }
        }
        for output in [path("other"), path("absent"), path("dangling"), path("sub"), "-".into(), "/dev/null".into()] {
            check_apart(&output, [&*file, &path("absent"), &path("sub"), Path::new("/dev/null"), Path::new("-")])
                .unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        OutputFile::create(&ours).unwrap().finish().unwrap();
        File::create(&usual).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let message = read_text(&path, 4).unwrap_err().to_string();
        assert!(message.ends_with("expected at most 4 bytes, found 5 or more"), "{message}");
        fs::write(&path, b"1\xff").unwrap();
        let message = read_text(&path, 4).unwrap_err().to_string();
        assert!(message.ends_with("found a byte that is none at offset 1"), "{message}");
        #[cfg(unix)]
        assert!(read_limited(Path::new("/dev/zero"), 1000).is_err());
    }
}
