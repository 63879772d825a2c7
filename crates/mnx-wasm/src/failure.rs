//! What becomes of an error on its way to JavaScript.

use mnx::Error;

/// An error as JavaScript gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of an [`mnx::ErrorKind`], or `Internal` for a panic.
    pub kind: String,
    /// One line: what, where, what was expected and what was found.
    pub message: String,
}

impl Failure {
    /// A wrong argument.
    pub fn input(what: &str, expected: &str, found: impl std::fmt::Display) -> Failure {
        let message = one_line(&format!("{what}: expected {expected}, found {found}"));
        Failure { kind: format!("{:?}", mnx::ErrorKind::InvalidInput), message }
    }

    /// Memory that the 32-bit address space, or the engine's limit, does not have.
    pub fn memory(what: &str, bytes: usize) -> Failure {
        let message = format!("{what}: out of memory: expected {bytes} bytes, found less");
        Failure { kind: format!("{:?}", mnx::ErrorKind::Memory), message }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        Failure { kind: format!("{:?}", error.kind()), message: one_line(&error.to_string()) }
    }
}

/// An error about a picture, with the name of its file in place of `picture`.
///
/// ```
/// let error = mnx::Error::BadPicture { name: "picture".into(), format: "PNG", found: "the end".into() };
/// let found = mnx_wasm::failure::named(error, "cat.png").to_string();
/// assert_eq!(found, "cat.png: expected a complete PNG picture of a kind that can be decoded, found: the end");
/// ```
#[must_use]
pub fn named(mut error: Error, file: &str) -> Error {
    match &mut error {
        Error::NoPicture { name, .. }
        | Error::PicturePixels { name, .. }
        | Error::PictureMemory { name, .. }
        | Error::OutOfMemory { name, .. }
        | Error::BadPicture { name, .. } => *name = file.into(),
        _ => {}
    }
    error
}

/// Names of files, and values that callers pass, may hold anything.
fn one_line(text: &str) -> String {
    mnx::unstable::shown(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_lines() {
        let failure = Failure::from(mnx::Error::ExpectedDetector);
        assert_eq!(failure.kind, "InvalidInput");
        let failure = Failure::from(mnx::Model::from_bytes(&b"MNXW"[..]).unwrap_err());
        assert_eq!(failure.kind, "InvalidFile");
        assert!(failure.message.starts_with("weight file"), "{}", failure.message);
        assert_eq!(Failure::memory("frame", 12).kind, "Memory");
    }

    #[test]
    fn one_line_whatever_a_file_is_called() {
        let error = Error::NoPicture { name: "picture".into(), found: "nothing".into() };
        let failure = Failure::from(named(error, "a\nb\u{1b}.png"));
        assert!(failure.message.starts_with("a\\nb\\u{1b}.png: expected a PNG"), "{}", failure.message);
    }
}
