//! Files of labels: one name per line, in class order.

use crate::Error;

/// The names in `text`, one per line. Lines end with LF or CR LF; the last line may end without.
///
/// `classes` is the number of names that there must be, or `None` if any number will do.
///
/// ```
/// # fn main() -> Result<(), mnx::Error> {
/// assert_eq!(mnx::parse_labels("cat\ndog\n", 2)?, ["cat", "dog"]);
/// assert!(mnx::parse_labels("cat\ndog\n", 3).is_err());
/// assert_eq!(mnx::parse_labels("cat\ndog\n", None)?.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Labels`] if the number differs or a line is blank.
pub fn parse_labels(text: &str, classes: impl Into<Option<usize>>) -> Result<Vec<String>, Error> {
    // Editors of some systems begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let labels: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(blank) = labels.iter().position(|label| label.trim().is_empty()) {
        let found = format!("a blank line, line {}", blank + 1);
        return Err(Error::Labels { expected: "a name on every line".into(), found });
    }
    let lines = |count: usize| format!("{count} line{}", if count == 1 { "" } else { "s" });
    match classes.into() {
        Some(classes) if classes != labels.len() => {
            let expected = format!("one name per class, {}", lines(classes));
            Err(Error::Labels { expected, found: lines(labels.len()) })
        }
        _ => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends() {
        for text in ["a b\nc", "a b\nc\n", "a b\r\nc\r\n", "\u{feff}a b\nc\n"] {
            assert_eq!(parse_labels(text, 2).unwrap(), ["a b", "c"], "{text:?}");
        }
        assert!(parse_labels("", 0).unwrap().is_empty());
    }

    #[test]
    fn errors_say_what_was_found() {
        let message = |text: &str, classes: usize| parse_labels(text, classes).unwrap_err().to_string();
        assert_eq!(message("a\nb\n", 3), "labels: expected one name per class, 3 lines, found 2 lines");
        assert_eq!(message("a\nb\nc\nd\n", 3), "labels: expected one name per class, 3 lines, found 4 lines");
        assert_eq!(message("a\n\nc\n", 3), "labels: expected a name on every line, found a blank line, line 2");
        assert_eq!(message("", 1), "labels: expected one name per class, 1 line, found 0 lines");
    }
}
