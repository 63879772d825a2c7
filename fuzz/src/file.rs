//! Files that are in memory, for readers that take a path.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

/// A file without a name on any disk.
pub struct InMemory {
    descriptor: i32,
    path: PathBuf,
}

impl InMemory {
    /// # Panics
    /// If the system has no such files.
    pub fn new() -> InMemory {
        // SAFETY: the name ends with a zero.
        let descriptor = unsafe { libc::memfd_create(c"fuzzed".as_ptr(), 0) };
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        InMemory { descriptor, path: format!("/proc/self/fd/{descriptor}").into() }
    }

    /// Where readers find it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts these bytes in place of all others.
    pub fn set(&self, bytes: &[u8]) {
        // SAFETY: the descriptor is open as long as this lives, and so many bytes are readable.
        let written = unsafe {
            assert_eq!(libc::ftruncate(self.descriptor, 0), 0);
            libc::pwrite(self.descriptor, bytes.as_ptr().cast::<c_void>(), bytes.len(), 0)
        };
        assert_eq!(written, bytes.len() as isize);
    }
}

impl Default for InMemory {
    fn default() -> InMemory {
        InMemory::new()
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        // SAFETY: opened in `new`, and nobody else has it.
        unsafe { libc::close(self.descriptor) };
    }
}
