//! Draws signal to noise per layer.

use mnx::plot::{SignalBar, SignalPanel, signal};

use super::report::{Report, Row};

pub(super) fn draw(report: &Report) -> String {
    let bar = |row: &Row| SignalBar {
        name: row.name.clone(),
        output: row.output_snr_db,
        weights: row.weight_snr_db,
        value: row.value_snr_db,
        clipped: row.clipped,
    };
    signal(&[SignalPanel {
        title: format!("{} {:?} in int8: signal to noise per layer", report.family, report.width),
        subtitle: format!("ranges by {}, {} pictures", report.method, report.pictures),
        output: "output against f32, all errors up to here".into(),
        bars: report.layers.iter().map(bar).collect(),
    }])
}
