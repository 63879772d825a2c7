// What the readers of the command line take from its other modules, for targets that include them: `include!` this file,
// which then stands for the root of that crate.

#[allow(dead_code)]
#[path = "../../crates/mnx-infer/src/error.rs"]
mod error;

/// Stands for the command line's own module, which writes files and asks for terminals.
#[allow(dead_code)]
mod output {
    use std::fs;
    use std::path::Path;

    use crate::error::Error;

    pub(crate) struct OutputFile;

    impl OutputFile {
        pub(crate) fn write(&mut self, _bytes: &[u8]) -> Result<(), Error> {
            Ok(())
        }

        pub(crate) fn finish(self) -> Result<(), Error> {
            Ok(())
        }
    }

    pub(crate) fn is_standard(_path: &Path) -> bool {
        false
    }

    pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
        let bytes = fs::read(path).map_err(Error::failed)?;
        assert!(bytes.len() as u64 <= limit);
        String::from_utf8(bytes).map_err(Error::failed)
    }
}
