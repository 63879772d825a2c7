//! A file that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::temporary::Temporary;

/// A file that is being written: a temporary file beside the target, which [`finish`](WholeFile::finish) renames. If it is
/// dropped before that, nothing is left. Pipes and devices, which a rename would replace, are written to as they are.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("network.mnx");
/// let mut file = mnx_infer::WholeFile::create(&path)?;
/// file.write(b"its bytes")?;
/// assert!(!path.exists());
/// file.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"its bytes");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct WholeFile(Sink);

#[derive(Debug)]
enum Sink {
    Renamed {
        /// `None` while it is [paused](WholeFile::pause).
        file: Option<BufWriter<File>>,
        temporary: Temporary,
        target: PathBuf,
    },
    Direct(BufWriter<File>),
}

impl WholeFile {
    /// Checks that `path` can be written, and opens the temporary file. A link stays one: what it points to is replaced.
    /// The new file has the permissions of the one that it replaces.
    ///
    /// # Errors
    /// The system's for a folder, an absent or read-only folder around it, or a read-only file. They may name the temporary file.
    pub fn create(path: &Path) -> io::Result<WholeFile> {
        let found = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(is_a_folder()),
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let target = end_of_links(path)?;
                if ends_as_folders_do(&target) {
                    return Err(is_a_folder());
                }
                let (file, temporary) = Temporary::beside(&target)?;
                return Ok(WholeFile(Sink::Renamed { file: Some(BufWriter::new(file)), temporary, target }));
            }
            Err(e) => return Err(e),
        };
        // A rename asks the folder for permission, not the file.
        let direct = OpenOptions::new().write(true).open(path)?;
        if !found.is_file() {
            return Ok(WholeFile(Sink::Direct(BufWriter::new(direct))));
        }
        let target = fs::canonicalize(path)?;
        let (file, temporary) = Temporary::beside(&target)?;
        file.set_permissions(found.permissions())?;
        Ok(WholeFile(Sink::Renamed { file: Some(BufWriter::new(file)), temporary, target }))
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The system's, for instance when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Sink::Renamed { file, temporary, .. } => opened(file, temporary)?.write_all(bytes),
            Sink::Direct(file) => file.write_all(bytes),
        }
    }

    /// Closes the file until the next [`write`](WholeFile::write) or [`finish`](WholeFile::finish), because a program may have
    /// few files open at once. Pipes and devices stay open.
    ///
    /// # Errors
    /// As [`write`](WholeFile::write).
    pub fn pause(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::Renamed { file, .. } => file.take().map_or(Ok(()), |mut file| file.flush()),
            Sink::Direct(_) => Ok(()),
        }
    }

    /// Makes the file appear under its name.
    ///
    /// # Errors
    /// As [`write`](WholeFile::write); nothing is left then.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Sink::Direct(mut file) => file.flush(),
            Sink::Renamed { mut file, temporary, target } => {
                let file = opened(&mut file, &temporary)?;
                file.flush()?;
                file.get_ref().sync_all()?;
                temporary.persist(&target)
            }
        }
    }
}

/// The file, which is opened again if it was paused.
fn opened<'a>(file: &'a mut Option<BufWriter<File>>, temporary: &Temporary) -> io::Result<&'a mut BufWriter<File>> {
    let open = match file.take() {
        Some(open) => open,
        None => BufWriter::new(OpenOptions::new().append(true).open(temporary.path())?),
    };
    Ok(file.insert(open))
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

/// Whether a path ends with a separator.
pub(crate) fn ends_as_folders_do(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last().is_some_and(|&byte| std::path::is_separator(byte.into()))
}

fn is_a_folder() -> io::Error {
    // As the system says it, with its number.
    #[cfg(unix)]
    return io::Error::from_raw_os_error(libc::EISDIR);
    #[cfg(not(unix))]
    io::ErrorKind::IsADirectory.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = WholeFile::create(path)?;
        file.write(bytes)?;
        file.finish()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = WholeFile::create(&path).unwrap();
        output.write(b"new").unwrap();
        assert!(!path.exists());
        drop(output);
        assert!(names(folder.path()).is_empty());

        fs::write(&path, "old").unwrap();
        let mut output = WholeFile::create(&path).unwrap();
        output.write(b"new").unwrap();
        output.pause().unwrap();
        output.write(b"er").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn folders_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("new/")] {
            assert_eq!(WholeFile::create(path).unwrap_err().kind(), io::ErrorKind::IsADirectory, "{}", path.display());
        }
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_survive() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&link, Path::new("/dev/null")] {
            write(path, b"new").unwrap();
        }
        // To a file that is not there yet, by way of another link.
        let (new, first, second) =
            (folder.path().join("new"), folder.path().join("first"), folder.path().join("second"));
        std::os::unix::fs::symlink("new", &first).unwrap();
        std::os::unix::fs::symlink(&first, &second).unwrap();
        write(&second, b"new").unwrap();
        assert!([&first, &second].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
        assert_eq!(fs::read(&new).unwrap(), b"new");
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(WholeFile::create(&folder.path().join("loop")).is_err());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_the_usual_ones_or_those_of_the_file_before() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write(&ours, b"").unwrap();
        File::create(&usual).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ours), mode(&usual));
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o640)).unwrap();
        write(&ours, b"again").unwrap();
        assert_eq!(mode(&ours), 0o640);
    }
}
