//! Everything that goes to standard output and standard error. Colours are for terminals: elsewhere, and if `NO_COLOR` is
//! set, their codes are removed on the way.

use std::borrow::Cow;
use std::io::{self, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use mnx::unstable::is_treacherous;
use serde::Serialize;

use crate::error::{Error, line};
use crate::process;

/// Heads of tables.
pub(crate) const HEADER: Style = Style::new().bold();
/// Bars in tables.
pub(crate) const BAR_COLOR: Style = AnsiColor::Cyan.on_default();
/// Most lines of a list: more than the largest network has tensors.
const MOST_LISTED: usize = 2000;
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes `text` to standard output. Lines are the caller's. Other characters that would drive a terminal or deceive a
/// reader are escaped, wherever they come from, except for this program's own colours.
///
/// # Errors
/// [`Error::Closed`] when nobody reads it, [`Error::Failed`] when it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    print_own(&safe(text))
}

/// The same for text of the program's own, help and scripts.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_own(text: &str) -> Result<(), Error> {
    check()?;
    let out = io::stdout();
    let mut out = AutoStream::new(out.lock(), color(&out));
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| failed(&e))
}

/// Whether there is a standard output. (A pipe that nobody reads is one.)
///
/// # Errors
/// [`Error::Failed`] if there is none.
pub(crate) fn check() -> Result<(), Error> {
    if process::has_no_stdout() {
        return Err(Error::failed("standard output: expected one, found it closed"));
    }
    Ok(())
}

/// Writes `value` to standard output as one line of JSON.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut text = safe_json(&serde_json::to_string(value).map_err(Error::failed)?);
    text.push('\n');
    print_own(&text)
}

fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_treacherous(c)) {
        return text.into();
    }
    let own = [HEADER, BAR_COLOR].map(|style| [style.render().to_string(), style.render_reset().to_string()]);
    let (mut safe, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let style = own.iter().flatten().find(|style| !style.is_empty() && rest.starts_with(&***style));
        let length = style.map_or(c.len_utf8(), String::len);
        if style.is_some() || c == '\n' || !is_treacherous(c) {
            safe.push_str(&rest[..length]);
        } else {
            safe.extend(c.escape_default());
        }
        rest = &rest[length..];
    }
    safe.into()
}

/// JSON with the same value in characters that deceive nobody. Outside of strings it has none that do.
fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_treacherous(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The error for standard output that cannot be written.
pub(crate) fn failed(e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::failed(format_args!("standard output: {e}")),
    }
}

/// Says on standard error what is wrong, on one line whatever the message holds.
pub(crate) fn complain(message: impl std::fmt::Display) {
    remark(&format!("{ERROR}error:{ERROR:#} "), message, &[]);
}

/// Says on standard error why the program fails. A list goes below.
pub(crate) fn complain_of(error: &Error) {
    let list = if let Error::Listed { list, .. } = error { &list[..] } else { &[] };
    remark(&format!("{ERROR}error:{ERROR:#} "), error, list);
}

/// Says on standard error what someone should know, though nothing is wrong, on one line whatever the message holds.
pub(crate) fn note(message: impl std::fmt::Display) {
    remark("", message, &[]);
}

/// As [`note`], with a list below.
pub(crate) fn note_list(message: impl std::fmt::Display, list: &[String]) {
    remark("", message, list);
}

/// Writes a message to standard error. If that is closed, too, there is nobody to tell.
fn remark(start: &str, message: impl std::fmt::Display, list: &[String]) {
    let mut text = format!("{start}{}\n", line(&message.to_string()));
    for item in list.iter().take(MOST_LISTED) {
        text += &format!("  {}\n", line(item));
    }
    if list.len() > MOST_LISTED {
        text += &format!("  … and {} more\n", list.len() - MOST_LISTED);
    }
    let err = io::stderr();
    let mut err = AutoStream::new(err.lock(), color(&err));
    let _ = err.write_all(text.as_bytes());
}

/// `NO_COLOR` and the like count on a terminal; nothing forces codes into a pipe.
fn color(stream: &impl RawStream) -> ColorChoice {
    if stream.is_terminal() { AutoStream::choice(stream) } else { ColorChoice::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_colours_reach_a_terminal() {
        let text = format!("{HEADER}head{HEADER:#}\n{BAR_COLOR}██{BAR_COLOR:#} plain\n");
        assert_eq!(safe(&text), text);
        assert_eq!(safe("a\u{1b}[2Jb\u{202e}c\rd\te\n"), "a\\u{1b}[2Jb\\u{202e}c\\rd\\te\n");
        let mixed = format!("{HEADER}\u{1b}]0;title\u{7}{HEADER:#}");
        assert_eq!(safe(&mixed), format!("{HEADER}\\u{{1b}}]0;title\\u{{7}}{HEADER:#}"));
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{7f}\u{9b}\n\t\"\\", "\u{e0041}é日\u{200f}\u{feff}"] });
        let json = safe_json(&value.to_string());
        assert!(!json.contains(is_treacherous) && json.contains("é日") && json.contains("\\u202e"), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
