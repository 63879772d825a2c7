//! Temporary files beside the files that they are to become. None is left, whether the program ends by itself or by SIGTERM,
//! SIGINT or SIGHUP. (SIGKILL cannot be caught: `.mnx-` begins the names of what it leaves.)

use std::collections::BTreeSet;
use std::fs::File;
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
        signals::watch()?;
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".mnx-");
        #[cfg(unix)]
        {
            use std::fs::Permissions;
            use std::os::unix::fs::PermissionsExt;
            // The usual mode of a new file; the user's umask takes from it.
            builder.permissions(Permissions::from_mode(0o666));
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

#[cfg(not(unix))]
mod signals {
    pub(super) fn watch() -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
mod signals {
    use std::io;
    use std::sync::Mutex;
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// Starts a thread that removes all temporary files when a signal ends the program, unless there is one.
    pub(super) fn watch() -> io::Result<()> {
        static WATCHED: Mutex<bool> = Mutex::new(false);
        let mut watched = WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *watched {
            return Ok(());
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
        *watched = true;
        Ok(())
    }

    fn is_ignored(signal: i32) -> bool {
        crate::process::action(signal).sa_sigaction == libc::SIG_IGN
    }
}
