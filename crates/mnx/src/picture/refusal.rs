//! Why a file of a known format has no pixels.

use mnx_graph::unstable::shown;

/// Characters of a decoder's message. Some list all numbers that a file has.
const LONGEST_REASON: usize = 300;

/// Why a file of a known format has no pixels.
pub(super) enum Refusal {
    /// The header claims more pixels than are allowed.
    TooLarge { width: u32, height: u32 },
    /// Decoding would take more memory than is allowed.
    TooMuch { width: u32, height: u32, bytes: u64 },
    /// There is no memory for it.
    Memory { bytes: u64 },
    /// What is wrong with the file.
    Found(String),
}

impl From<String> for Refusal {
    fn from(found: String) -> Self {
        Refusal::Found(found)
    }
}

/// What is damaged in the file.
pub(super) fn damaged(what: &str) -> Refusal {
    format!("damaged data ({what})").into()
}

/// A decoder's message on one line.
pub(super) fn one_line(error: impl std::fmt::Display) -> String {
    let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&line, LONGEST_REASON)
}
