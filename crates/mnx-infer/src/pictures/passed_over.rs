//! Counts files in a folder of pictures that are not pictures.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::words::{counted, first_few};

/// How many kinds of files a message names.
const NAMED: usize = 5;
/// Longest suffix. Longer text after the last dot is hardly a suffix.
const LONGEST_SUFFIX: usize = 8;

/// How many files were passed over, by their suffixes.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(BTreeMap<String, usize>);

impl PassedOver {
    /// Counts a file.
    pub(super) fn add(&mut self, path: &Path) {
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        let suffix = suffix.filter(|s| s.len() <= LONGEST_SUFFIX && s.bytes().all(|b| b.is_ascii_alphanumeric()));
        self.count(suffix.map_or_else(|| "no suffix".into(), |suffix| format!(".{}", suffix.to_ascii_lowercase())));
    }

    /// Counts a pipe, a socket or a device, whatever its name.
    pub(super) fn add_special(&mut self) {
        self.count("no regular file".into());
    }

    fn count(&mut self, kind: String) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(crate) fn files(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for PassedOver {
    /// "3 other files passed over (.txt 2, no suffix 1)", the most frequent kinds first.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|&(_, count)| Reverse(count));
        let named = first_few(kinds.iter().map(|(kind, count)| format!("{kind} {count}")), NAMED);
        write!(f, "{} passed over ({named})", counted(self.files(), "other file", "other files"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_kinds_are_named_first() {
        let mut passed_over = PassedOver::default();
        passed_over.add(Path::new("README"));
        assert_eq!(passed_over.to_string(), "1 other file passed over (no suffix 1)");
        for name in ["a.txt", "b.TXT", "c.json", "a.b c\u{1b}", "notes.quite-long", "x.é"] {
            passed_over.add(Path::new(name));
        }
        passed_over.add_special();
        let all = "8 other files passed over (no suffix 4, .txt 2, .json 1, no regular file 1)";
        assert_eq!(passed_over.to_string(), all);
        for name in ["a.a", "a.b", "a.c"] {
            passed_over.add(Path::new(name));
        }
        assert!(passed_over.to_string().ends_with("(no suffix 4, .txt 2, .a 1, .b 1, .c 1, …)"), "{passed_over}");
    }
}
