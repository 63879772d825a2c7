//! Draws precision against recall.

use std::path::Path;

use mnx::plot::{Curve, CurveChart, curves};

use super::report::{ClassRow, Report};
use crate::commands::classify::shown_class;
use crate::error::shown;

/// Points of a curve at most, about as many as there are pixels.
const POINTS: usize = 800;

pub(super) fn draw(report: &Report, folder: &Path) -> String {
    let with_curve = report.classes.iter().filter(|class| class.ap.is_some());
    curves(&[CurveChart {
        title: "Precision against recall".into(),
        subtitle: format!("{}, {}", shown(folder), report.summary()),
        x: "recall".into(),
        y: "precision".into(),
        curves: with_curve.map(curve).collect(),
    }])
}

fn curve(class: &ClassRow) -> Curve {
    let ap = 100.0 * class.ap.unwrap_or(0.0);
    let mut points = Vec::new();
    for (recall, precision) in class.curve.points() {
        // Of many points in a pixel's width, the first and the last.
        let column = |point: &(f64, f64)| (point.0 * POINTS as f64) as usize;
        let new = (recall, precision);
        match &points[..] {
            [.., a, b] if column(a) == column(b) && column(b) == column(&new) => {
                points.pop();
            }
            _ => (),
        }
        points.push(new);
    }
    Curve { name: format!("{} {ap:.1} %", shown_class(class.index, class.label)), points }
}
