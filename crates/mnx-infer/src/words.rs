//! Numbers and lists as they stand in sentences.

/// A number and what it counts.
pub(crate) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{} {}", grouped(n as u64), if n == 1 { one } else { several })
}

/// A number of threads.
pub(crate) fn threads(n: usize) -> String {
    counted(n, "thread", "threads")
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most so many names of a list, and an ellipsis for the others.
pub(crate) fn first_few(names: impl IntoIterator<Item = String>, most: usize) -> String {
    let mut names = names.into_iter();
    let mut few: Vec<_> = names.by_ref().take(most).collect();
    few.extend(names.next().map(|_| "…".into()));
    few.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let shown: Vec<_> = [0, 999, 1000, 3_535_416, u64::MAX].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0", "999", "1,000", "3,535,416", "18,446,744,073,709,551,615"]);
        assert_eq!((counted(1, "box", "boxes"), counted(2000, "box", "boxes")), ("1 box".into(), "2,000 boxes".into()));
    }

    #[test]
    fn lists_end_with_what_is_left_out() {
        let few = |names: &[&str]| first_few(names.iter().map(|name| name.to_string()), 2);
        assert_eq!([few(&[]), few(&["a"]), few(&["a", "b"]), few(&["a", "b", "c"])], ["", "a", "a, b", "a, b, …"]);
    }
}
