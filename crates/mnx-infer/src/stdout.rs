//! Everything that goes to standard output and standard error. Colours are for terminals: elsewhere, and if `NO_COLOR` is
//! set, their codes are removed on the way.

use std::io::{self, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::{Error, printable};

/// Heads of tables.
pub(crate) const HEADER: Style = Style::new().bold();
/// Bars in tables.
pub(crate) const BAR_COLOR: Style = AnsiColor::Cyan.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes `text` to standard output.
///
/// # Errors
/// [`Error::Closed`] when nobody reads it, [`Error::Failed`] when it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let out = io::stdout();
    let mut out = AutoStream::new(out.lock(), color(&out));
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| failed(&e))
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

/// The error for standard output that cannot be written.
pub(crate) fn failed(e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::failed(format_args!("standard output: {e}")),
    }
}

/// Says on standard error what is wrong.
pub(crate) fn complain(message: impl std::fmt::Display) {
    remark(&format!("{ERROR}error:{ERROR:#} "), message);
}

/// Says on standard error what someone should know, though nothing is wrong.
pub(crate) fn note(message: impl std::fmt::Display) {
    remark("", message);
}

/// Writes a message to standard error. If that is closed, too, there is nobody to tell.
fn remark(start: &str, message: impl std::fmt::Display) {
    // What a file says may hold anything; a list keeps its lines.
    let text = format!("{message}").lines().map(printable).collect::<Vec<_>>().join("\n");
    let err = io::stderr();
    let mut err = AutoStream::new(err.lock(), color(&err));
    let _ = writeln!(err, "{start}{text}");
}

/// `NO_COLOR` and the like count on a terminal; nothing forces codes into a pipe.
fn color(stream: &impl RawStream) -> ColorChoice {
    if stream.is_terminal() { AutoStream::choice(stream) } else { ColorChoice::Never }
}
