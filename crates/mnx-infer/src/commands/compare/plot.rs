//! Draws the comparison: a chart for each number of threads, and of several one of what more threads gain.

use mnx::plot::{Chart, Point, Series, scatter};

use super::measure::Run;
use super::report::{Report, Row};
use crate::words::threads;

pub(super) fn draw(report: &Report) -> String {
    let first = report.networks.first().map(|row| &row.runs[..]).unwrap_or_default();
    let over_threads = (first.len() > 1).then(|| over_threads(report));
    let charts: Vec<_> = over_threads.into_iter().chain((0..first.len()).map(|run| chart(report, run))).collect();
    scatter(&charts)
}

/// The latency of each network on all numbers of threads.
fn over_threads(report: &Report) -> Chart {
    let name = |row: &Row| {
        let in_files = report.networks.iter().any(|other| other.name == row.name && other.file_name != row.file_name);
        let file = if in_files { format!(" {}", row.file_name) } else { String::new() };
        format!("{}{file}{}", row.name, side(row, report))
    };
    let line = |row: &Row| {
        let point = |run: &Run| {
            let ms = run.latency_ms.median;
            Point { label: format!("{ms:.2}"), x: run.threads as f64, y: ms }
        };
        let mut points: Vec<_> = row.runs.iter().map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { name: name(row), points }
    };
    Chart {
        title: "Latency against threads".into(),
        subtitle: subtitle(report),
        x: "threads".into(),
        y: "milliseconds, median".into(),
        series: report.networks.iter().map(line).collect(),
    }
}

fn subtitle(report: &Report) -> String {
    format!("{}, {} kernels, batch {}", report.cpu, report.kernels.name(), report.batch)
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
        subtitle: format!("{}; points: width multipliers", subtitle(report)),
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
    name + &side(row, report)
}

/// The side of the picture, where not all have the same.
fn side(row: &Row, report: &Report) -> String {
    let differ = report.networks.iter().any(|other| other.resolution != row.resolution);
    if differ { format!(", {side} x {side}", side = row.resolution) } else { String::new() }
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
