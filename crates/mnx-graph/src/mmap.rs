//! Weight files mapped into memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memmap2::Mmap;

use crate::model::{Storage, front_of, in_file};
use crate::{Error, Model, OpenOptions};

impl Model {
    /// Maps a weight file into memory. Nothing is copied, and processes that map the same file share its pages.
    ///
    /// This suits processes that run few inferences and must start fast. For many inferences use [`Model::open`].
    ///
    /// # Safety
    /// The file must not change while the model or a clone of it lives, because the model's weights are the file's pages:
    /// - If anybody writes to the file, this process or another, checked values change that the compiler takes for constant.
    /// - If the file is truncated, reading the weights ends the process (SIGBUS on Unix).
    ///
    /// Replacing the file by renaming another one over it is fine: the mapping keeps the old one.
    ///
    /// # Errors
    /// As [`Model::open`]. A file that cannot be mapped, e.g. a pipe, gives an [`Error::Io`].
    pub unsafe fn open_mmap(path: impl AsRef<Path>) -> Result<Model, Error> {
        // SAFETY: the caller's promise.
        unsafe { Model::open_mmap_with(path, &OpenOptions::default()) }
    }

    /// Maps a weight file into memory, with options.
    ///
    /// # Safety
    /// As [`Model::open_mmap`].
    ///
    /// # Errors
    /// As [`Model::open_mmap`].
    pub unsafe fn open_mmap_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Model, Error> {
        let path = path.as_ref();
        let open = || {
            let mut file = File::open(path)?;
            // Of a folder, mapping says that it is no device. Reading says what it is.
            if file.metadata()?.is_dir() {
                file.read_exact(&mut [0])?;
            }
            // SAFETY: the caller promises that the file does not change while the model lives, which is as long as it is
            // mapped.
            let map = unsafe { Mmap::map(&file) }?;
            let front = front_of(&map, options)?;
            let start = front.payload_start;
            Model::new(front, Storage::Mapped(map, start), options)
        };
        open().map_err(|error| in_file(path, error))
    }
}
