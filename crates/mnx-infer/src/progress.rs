//! Progress on standard error, for work that takes a while. It shows only if standard error is a terminal.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Counts pictures up to `total`, with the rate and the time that is left. Messages are printed by
/// [`ProgressBar::suspend`], which keeps them and the bar apart.
pub(crate) fn pictures(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} pictures, {rate}, {eta} left");
    // The template is known to be right; were it not, indicatif's own bar would do.
    if let Ok(style) = style {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // If this cannot be written, neither can the rest of the line.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

/// Counts rounds of a measurement up to `total`. It is drawn only when a round begins: nothing runs beside what is measured.
pub(crate) fn rounds(total: usize, what: String) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg}: {pos} of {len} rounds") {
        bar.set_style(style);
    }
    bar.with_message(what)
}
