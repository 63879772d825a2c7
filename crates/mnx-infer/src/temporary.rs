//! Temporary files beside the files that they are to become. None is left when the program ends by itself, nor, after
//! [`end_with_signals`], by SIGTERM, SIGINT or SIGHUP. (SIGKILL cannot be caught: `.mnx-` begins the names of what it leaves.)

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempPath;

/// All there are. Whoever makes, renames or removes one holds the lock, so that a signal finds them all.
static ALL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn all() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file, which is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Temporary(Option<TempPath>);

impl Temporary {
    /// Makes an empty file in the folder of `target`.
    pub(crate) fn beside(target: &Path) -> io::Result<(File, Temporary)> {
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // tempfile's errors are without the system's number.
        fs::metadata(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".mnx-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The usual mode of a new file; the user's umask takes from it.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut all = all();
        let (file, path) = builder.tempfile_in(folder)?.into_parts();
        all.insert(path.to_path_buf());
        Ok((file, Temporary(Some(path))))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Renames it. What was there before is replaced.
    pub(crate) fn persist(mut self, target: &Path) -> io::Result<()> {
        let Some(path) = self.0.take() else { return Ok(()) };
        let mut all = all();
        all.remove(&*path);
        // A file that cannot be renamed is removed.
        path.persist(target).map_err(|e| e.error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let mut all = all();
            all.remove(&*path);
            drop(path);
        }
    }
}

/// Makes SIGTERM, SIGINT and SIGHUP remove all temporary files before they end the program.
pub(crate) fn end_with_signals() -> io::Result<()> {
    #[cfg(unix)]
    signals::watch()?;
    Ok(())
}

#[cfg(unix)]
mod signals {
    use std::io;
    use std::sync::{Mutex, PoisonError};
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// Starts a thread that waits for signals, unless this process has it.
    pub(super) fn watch() -> io::Result<()> {
        // A fork has the memory of its parent, but not its threads.
        static WATCHED_BY: Mutex<Option<u32>> = Mutex::new(None);
        let mut watched_by = WATCHED_BY.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        match *watched_by {
            Some(by) if by == process => return Ok(()),
            // The parent's files are not this process's to remove.
            Some(_) => super::all().clear(),
            None => (),
        }
        // What the program was told to ignore (`nohup`) stays ignored.
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)))?;
        let end = move || {
            for signal in signals.forever() {
                // Nobody can make another one before the program has ended.
                let all = super::all();
                for path in all.iter() {
                    let _ = std::fs::remove_file(path);
                }
                let _ = emulate_default_handler(signal);
            }
        };
        thread::Builder::new().name("signals".into()).stack_size(1 << 17).spawn(end)?;
        *watched_by = Some(process);
        Ok(())
    }

    fn is_ignored(signal: i32) -> bool {
        crate::process::action(signal).sa_sigaction == libc::SIG_IGN
    }
}
