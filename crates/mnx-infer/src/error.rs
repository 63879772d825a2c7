//! How a command can fail, and its exit code then.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// One sentence per variant: what, which file, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something about a file is wrong.
    #[error("{}: {message}", shown(path))]
    File {
        /// As the user wrote it.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Several things about a file are wrong.
    #[error("{}: {message}", shown(path))]
    Listed {
        /// As the user wrote it.
        path: PathBuf,
        /// What is wrong in general.
        message: String,
        /// What is wrong in particular. Each goes on a line of its own.
        list: Vec<String>,
    },
    /// Something that the machine or the network does not do.
    #[error("{0}")]
    Failed(String),
    /// Flags that are no use together.
    #[error("{0}")]
    Usage(String),
    /// The command has said already what is wrong.
    #[error("already reported")]
    Reported,
    /// Nobody reads standard output any more: no reason to complain.
    #[error("standard output is closed")]
    Closed,
}

impl Error {
    /// Puts the file in front of what is wrong with it.
    pub(crate) fn file(path: &Path, message: impl Display) -> Error {
        Error::File { path: path.into(), message: message.to_string() }
    }

    /// A file that is not as it should be.
    pub(crate) fn expected(path: &Path, expected: impl Display, found: impl Display) -> Error {
        Error::file(path, format_args!("expected {expected}, found {found}"))
    }

    /// Something that is wrong with no file in particular.
    pub(crate) fn failed(message: impl Display) -> Error {
        Error::Failed(message.to_string())
    }

    /// What the library says, with its causes.
    pub(crate) fn with_causes(error: impl std::error::Error) -> Error {
        Error::Failed(with_causes(&error))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Closed => 0,
            Error::File { .. } | Error::Listed { .. } | Error::Failed(_) | Error::Reported => 1,
            Error::Usage(_) => 2,
        }
    }
}

/// Most characters of a line about something that is wrong. What is longer loses its middle.
const LONGEST: usize = 500;

/// Text from outside (names of files and labels), with what would break a line or deceive a reader escaped.
pub(crate) fn printable(text: &str) -> String {
    mnx::unstable::shown(text, usize::MAX)
}

/// The same on one line that is not too long.
pub(crate) fn line(text: &str) -> String {
    mnx::unstable::shown(text, LONGEST)
}

/// An error's own sentence, then its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // What the sentence has said already is not said again.
        let words = error.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = error.source();
    }
    line(&said)
}

/// A path as it stands in a message.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line_whatever_the_file_is_called() {
        let error = Error::expected(Path::new("a\nb\u{1b}[2J é.png"), "a picture", "0 bytes");
        assert_eq!(error.to_string(), "a\\nb\\u{1b}[2J é.png: expected a picture, found 0 bytes");
    }

    #[test]
    fn what_writes_some_languages_stays() {
        for text in ["naïve 日本 ½ \u{200d}", "أسد \u{200c}", "…█▏"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn long_lines_lose_their_middle() {
        assert_eq!(line(&"é".repeat(500)), "é".repeat(500));
        let cut = line(&format!("begin{}\nend", "\u{202e}".repeat(100_000)));
        assert_eq!(cut.chars().count(), 500);
        assert!(cut.starts_with("begin\\u{202e}") && cut.contains('…') && cut.ends_with("\\nend"), "{cut}");
    }
}
