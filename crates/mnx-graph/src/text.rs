//! Text from outside, as it stands in messages: names of tensors and operations, keys of a header, what a decoder says.

/// Characters of a name.
pub(crate) const NAME: usize = 100;
/// Characters of a sentence with names in it.
pub(crate) const SENTENCE: usize = 300;

/// Whether a character would break a line, drive a terminal, or make text look different from what it is: control
/// characters, those that change the direction of writing, and invisible ones. (Joiners stay: scripts and emoji need them.)
pub fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text with what would break a line or deceive a reader escaped, in at most `most` characters: what is longer loses its
/// middle, as both ends tell names apart.
pub fn shown(text: &str, most: usize) -> String {
    if escaped(text).nth(most).is_none() {
        return escaped(text).collect();
    }
    let end = most / 3;
    // What is in between may be megabytes, and is not looked at.
    let last = text.char_indices().rev().take(end).last().map_or(text.len(), |(at, _)| at);
    let last: Vec<char> = escaped(&text[last..]).collect();
    let first = escaped(text).take(most.saturating_sub(end + 1));
    first.chain(['…']).chain(last[last.len() - end..].iter().copied()).collect()
}

fn escaped(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(|c| {
        let (plain, escape) = if is_treacherous(c) { (None, Some(c.escape_default())) } else { (Some(c), None) };
        plain.into_iter().chain(escape.into_iter().flatten())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_line_or_deceives_a_reader_is_escaped() {
        assert_eq!(shown("a\nb\u{1b}[2J é日.weight", NAME), "a\\nb\\u{1b}[2J é日.weight");
        let deceiving = "\r\n\t\u{7f}\u{9b}\u{61c}\u{200b}\u{200f}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}";
        for c in deceiving.chars() {
            let shown = shown(&format!("a{c}b"), NAME);
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && !shown.contains(is_treacherous), "{shown}");
        }
    }

    #[test]
    fn what_is_long_loses_its_middle() {
        assert_eq!(shown("features.0.weight", 17), "features.0.weight");
        assert_eq!(shown("features.10.weight", 17), "features.10…eight");
        for text in ["x".repeat(1 << 20), "\n".repeat(1000), "é\u{202e}".repeat(500)] {
            for most in [0, 1, 2, 3, 40, 300] {
                let shown = shown(&text, most);
                assert!(shown.chars().count() <= most.max(1) && shown.contains('…'), "{most}: {shown}");
                assert!(!shown.contains(is_treacherous));
            }
        }
    }
}
