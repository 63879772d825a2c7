//! Outputs and inputs of a command: files that appear whole or not at all, and files that are read up to a limit.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use same_file::Handle;

use crate::error::{Error, shown};
use crate::stdout;
use crate::temporary;
use crate::whole_file::{WholeFile, ends_as_folders_do};

/// An output that is being written: a file that appears whole or not at all, or standard output.
pub(crate) struct OutputFile {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    File(WholeFile),
    Stdout(BufWriter<io::Stdout>),
}

impl OutputFile {
    /// Checks that `path` can be written, and opens it.
    ///
    /// # Errors
    /// [`Error::File`] for a folder, an absent or read-only folder around it, or a read-only file; [`Error::Usage`] for `-`.
    pub(crate) fn create(path: &Path) -> Result<OutputFile, Error> {
        if is_standard(path) {
            let file = "./- is a file of that name";
            return Err(Error::Usage(format!("-: expected a file to write, found standard output ({file})")));
        }
        let created = temporary::end_with_signals().and_then(|()| WholeFile::create(path));
        let sink = created.map_err(|e| match e.kind() {
            io::ErrorKind::IsADirectory if path.is_dir() => Error::expected(path, "a file to write", "a folder"),
            io::ErrorKind::IsADirectory => Error::expected(path, "a file to write", "the name of a folder"),
            _ => cannot_write(path, &e),
        })?;
        Ok(OutputFile { path: path.into(), sink: Sink::File(sink) })
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
        match &mut self.sink {
            Sink::File(file) => file.write(bytes).map_err(|e| cannot_write(&self.path, &e)),
            Sink::Stdout(out) => out.write_all(bytes).map_err(|e| stdout::failed(&e)),
        }
    }

    /// [`WholeFile::pause`]. Standard output stays open.
    ///
    /// # Errors
    /// As [`write`](OutputFile::write).
    pub(crate) fn pause(&mut self) -> Result<(), Error> {
        match &mut self.sink {
            Sink::File(file) => file.pause().map_err(|e| cannot_write(&self.path, &e)),
            Sink::Stdout(_) => Ok(()),
        }
    }

    /// Makes the file appear under its name.
    ///
    /// # Errors
    /// As [`write`](OutputFile::write); nothing is left then.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.sink {
            Sink::File(file) => file.finish().map_err(|e| cannot_write(&self.path, &e)),
            Sink::Stdout(mut out) => out.flush().map_err(|e| stdout::failed(&e)),
        }
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

/// Whether a path is that of a folder, or of one to make: then it ends with a separator.
pub(crate) fn is_folder(path: &Path) -> bool {
    path.is_dir() || ends_as_folders_do(path)
}

/// What all names of a regular file have in common. `None` for other things, and if there is no file.
fn identity(path: &Path) -> Option<Handle> {
    // Opening a pipe would wait for whoever writes to it.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Handle::from_path(path).ok()
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
