//! A bar on standard error for work that takes a while.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Counts pictures up to `total`, with the rate and the time that is left; invisible where standard error is no
/// terminal. Messages go out by [`ProgressBar::suspend`], which keeps the two apart.
pub(crate) fn pictures(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} pictures, {rate}, {eta} left");
    // The template is known to be right; were it not, indicatif's own bar would do.
    if let Ok(style) = style {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Where this cannot be written, nor can the rest of the line.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}
