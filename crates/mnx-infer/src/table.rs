//! Tables and bars for people.

use comfy_table::{CellAlignment, Table, presets};

use crate::error::line;
use crate::stdout::{BAR_COLOR, HEADER};

/// Characters of a bar that stands for all.
const BAR: usize = 30;
/// From one eighth of a character to all of it.
const EIGHTHS: &str = "▏▎▍▌▋▊▉█";

/// A table without lines; bars stand in its last column. `columns` has a letter per column: `l` for left, `r` for right.
pub(crate) fn plain_table(columns: &str, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    // Whatever names hold, a row stays one.
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| line(cell)).collect::<Vec<_>>()));
    for (column, side) in table.column_iter_mut().zip(columns.chars()) {
        column.set_padding((0, 2));
        column.set_cell_alignment(if side == 'l' { CellAlignment::Left } else { CellAlignment::Right });
    }
    let lines = table.lines().enumerate().map(|(i, line)| {
        let line = line.trim_end();
        if i == 0 && !header.is_empty() {
            return format!("{HEADER}{line}{HEADER:#}\n");
        }
        match line.trim_end_matches(|c| EIGHTHS.contains(c)) {
            text if text.len() < line.len() => format!("{text}{BAR_COLOR}{}{BAR_COLOR:#}\n", &line[text.len()..]),
            text => format!("{text}\n"),
        }
    });
    lines.collect()
}

/// A bar in eighths of a character for a share of 0 to 1.
pub(crate) fn bar(share: f32) -> String {
    let eighths = (share * 8.0 * BAR as f32).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).and_then(|i| EIGHTHS.chars().nth(i)));
    bar
}

/// `[C, H, W]` as it stands in a table.
pub(crate) fn shape([channels, height, width]: [usize; 3]) -> String {
    format!("{channels} x {height} x {width}")
}

/// A number per channel as a flag takes them.
pub(crate) fn channels(values: [f32; 3]) -> String {
    values.map(|value| value.to_string()).join(",")
}

#[cfg(test)]
mod tests {
    use super::{BAR, bar};

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!((bar(0.0), bar(f32::NAN)), (String::new(), String::new()));
        assert_eq!(bar(0.5 / 30.0), "▌");
        assert_eq!(bar(0.1), "███");
        assert_eq!(bar(1.0).chars().count(), BAR);
    }
}
