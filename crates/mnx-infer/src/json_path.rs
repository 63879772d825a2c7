//! Paths in JSON. JSON is Unicode text, but a file's name need not be.

use std::path::Path;

use serde::Serialize;

use crate::error::line;

/// A file's fields in an object, `file` and, where its name is not UTF-8, `file_bytes`.
#[derive(Debug, Serialize)]
pub(crate) struct FileName {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
}

impl From<&Path> for FileName {
    fn from(path: &Path) -> FileName {
        FileName { file: path.to_string_lossy().into(), file_bytes: bytes_unless_utf8(path) }
    }
}

/// A file that cannot be read, and why, in one line.
#[derive(Debug, Serialize)]
pub(crate) struct Unreadable {
    #[serde(flatten)]
    file: FileName,
    pub(crate) error: String,
}

impl Unreadable {
    pub(crate) fn new(path: &Path, error: &str) -> Unreadable {
        Unreadable { file: path.into(), error: line(error) }
    }
}

/// The bytes of a path that is not UTF-8. `None` if it is, because then the path's text is enough.
///
/// They go to a field beside the text, which has U+FFFD in place of other bytes and opens no file. On Windows the bytes are
/// WTF-8, in which a lone surrogate is three bytes. Python's `os.fsdecode` understands both.
pub(crate) fn bytes_unless_utf8(path: &Path) -> Option<Vec<u8>> {
    match path.to_str() {
        Some(_) => None,
        None => Some(path.as_os_str().as_encoded_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_enough_for_names_in_unicode() {
        for name in ["a.png", "naïve/日本.jpg", "a\nb\u{1b}", ""] {
            assert_eq!(bytes_unless_utf8(Path::new(name)), None);
        }
    }

    #[cfg(unix)]
    #[test]
    fn other_names_keep_their_bytes() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        for name in [&b"bad\xff\xfename.jpg"[..], b"\xe9t\xe9.png", b"\xc3", b"\xed\xa0\x80", b"a\n\xff"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(bytes_unless_utf8(path).as_deref(), Some(name));
        }
    }
}
