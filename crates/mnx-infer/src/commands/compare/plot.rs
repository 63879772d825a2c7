//! Draws the comparison: a chart for each number of threads.

use mnx::plot::{Chart, Point, Series, scatter};

use super::report::{Report, Row, threads};

pub(super) fn draw(report: &Report) -> String {
    let first = report.networks.first().map(|row| &row.runs[..]).unwrap_or_default();
    let charts: Vec<_> = (0..first.len()).map(|run| chart(report, run)).collect();
    scatter(&charts)
}

/// All networks on the `run`th number of threads.
fn chart(report: &Report, run: usize) -> Chart {
    let with_accuracy = report.networks.iter().all(|row| row.accuracy.is_some());
    let y = |row: &Row| match &row.accuracy {
        Some(accuracy) => 100.0 * accuracy.top1.rate.unwrap_or_default(),
        None => row.macs as f64 / 1e6,
    };
    let mut series: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in &report.networks {
        let name = series_of(row, report);
        match series.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => series.push((name, vec![row])),
        }
    }
    let series = series.into_iter().map(|(name, mut rows)| {
        rows.sort_by(|a, b| a.width.total_cmp(&b.width));
        let point =
            |row: &&Row| Point { label: label(row, &rows, &name), x: row.runs[run].latency_ms.median, y: y(row) };
        let points = rows.iter().map(point).collect();
        Series { name, points }
    });
    let what = if with_accuracy { "Top-1 accuracy" } else { "Multiply-adds" };
    let count = report.networks.first().map_or(1, |row| row.runs[run].threads);
    Chart {
        title: format!("{what} against latency, {}", threads(count)),
        subtitle: format!("{}, {} kernels, batch {}; points: width multipliers", report.cpu, report.isa, report.batch),
        x: "milliseconds, median".into(),
        y: if with_accuracy { "top-1, %".into() } else { "million multiply-adds a picture".into() },
        series: series.collect(),
    }
}

/// Networks that differ in nothing but the width are one line.
fn series_of(row: &Row, report: &Report) -> String {
    let mut name = row.family.clone();
    if row.arithmetic != "f32" {
        name += &format!(", {}", row.arithmetic);
    }
    if row.identity != 1.0 {
        name += &format!(", identity {:?}", row.identity);
    }
    if report.networks.iter().any(|other| other.resolution != row.resolution) {
        name += &format!(", {side} x {side}", side = row.resolution);
    }
    name
}

/// The width, with what tells it from others: the name of a line that is a lone point, the file or a number where
/// another one of the line has the same width.
fn label(row: &Row, line: &[&Row], name: &str) -> String {
    if line.len() == 1 {
        return format!("{name} {:?}", row.width);
    }
    let same: Vec<_> = line.iter().filter(|other| other.width == row.width).collect();
    if same.len() == 1 {
        return format!("{:?}", row.width);
    }
    let of_file = same.iter().filter(|other| other.file_name == row.file_name).count();
    let place = same.iter().position(|other| std::ptr::eq(**other, row)).unwrap_or(0) + 1;
    if of_file == 1 { format!("{:?} {}", row.width, row.file_name) } else { format!("{:?} ({place})", row.width) }
}
