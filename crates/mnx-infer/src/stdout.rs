//! Everything that goes to standard output and standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, printable};

/// Writes `text` to standard output.
///
/// # Errors
/// [`Error::Closed`] when nobody reads it, [`Error::Failed`] when it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::failed(format_args!("standard output: {e}")),
    })
}

/// Writes `value` to standard output as one line of JSON.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string(value).map_err(Error::failed)?;
    text.push('\n');
    print(&text)
}

/// Says on standard error what is wrong. Where that is closed too there is nobody to tell.
pub(crate) fn complain(message: impl std::fmt::Display) {
    // What a file says may hold anything; a list keeps its lines.
    let text = format!("{message}").lines().map(printable).collect::<Vec<_>>().join("\n");
    let _ = writeln!(io::stderr(), "error: {text}");
}
