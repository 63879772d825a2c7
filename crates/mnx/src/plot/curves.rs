//! Curves over shares from 0 to 1, such as precision over recall.

use super::chart::{COLORS, LEFT, Legend, upwards};
use super::{Area, BOTTOM, Drawn, GREY, GRID, INK, MARGIN, WIDTH, document, style, text, titles};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Height of the field of curves.
const FIELD: i32 = 420;

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// Points from 0 to 1 across and up, in the order in which a line joins them.
    pub points: Vec<(f64, f64)>,
}

/// One chart of curves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CurveChart {
    /// What is shown.
    pub title: String,
    /// The circumstances.
    pub subtitle: String,
    /// What goes across.
    pub x: String,
    /// What goes up.
    pub y: String,
    /// The curves; each has a colour, and from the seventh on thinner lines.
    pub curves: Vec<Curve>,
}

/// Draws charts of curves one below the other; both scales go from 0 to 1. Returns an SVG document, 900 pixels wide, on white.
///
/// ```
/// use mnx::plot::{Curve, CurveChart, curves};
///
/// let curve = Curve { name: "cat 61.0 %".into(), points: vec![(0.0, 1.0), (0.5, 0.8), (0.7, 0.4)] };
/// let chart = CurveChart { title: "Precision against recall".into(), curves: vec![curve], ..CurveChart::default() };
/// assert!(curves(&[chart]).contains("cat 61.0 %"));
/// ```
///
/// Any text and any number make a well-formed document. Control characters are left out, and so are points that are not
/// within the scales.
pub fn curves(charts: &[CurveChart]) -> String {
    let heights: Vec<i32> = charts.iter().map(|chart| legend(chart).bottom() + FIELD + BOTTOM).collect();
    document(charts, &heights, draw)
}

fn legend(chart: &CurveChart) -> Legend {
    Legend::new(chart.curves.iter().map(|curve| &curve.name), 24)
}

fn line_of(curve: usize) -> ShapeStyle {
    COLORS[curve % COLORS.len()].stroke_width(if curve < COLORS.len() { 2 } else { 1 })
}

fn draw(area: &Area, chart: &CurveChart) -> Drawn {
    titles(area, &chart.title, &chart.subtitle)?;
    let legend = legend(chart);
    let (top, right) = (legend.bottom(), WIDTH as i32 - MARGIN);
    for (i, (name, (x, y))) in legend.0.into_iter().enumerate() {
        area.draw(&PathElement::new([(x, y), (x + 18, y)], line_of(i)))?;
        text(area, &name, (x + 24, y), style(INK, HPos::Left))?;
    }
    let place = |(x, y): (f64, f64)| {
        let across = (f64::from(right - LEFT) * x).round() as i32;
        (LEFT + across, top + FIELD - (f64::from(FIELD) * y).round() as i32)
    };
    for tenths in 0..=10 {
        let share = f64::from(tenths) / 10.0;
        let (x, y) = place((share, share));
        area.draw(&PathElement::new([(x, top), (x, top + FIELD + 4)], GRID.stroke_width(1)))?;
        area.draw(&PathElement::new([(LEFT - 4, y), (right, y)], GRID.stroke_width(1)))?;
        text(area, &format!("{share:.1}"), (x, top + FIELD + 13), style(GREY, HPos::Center))?;
        text(area, &format!("{share:.1}"), (LEFT - 8, y), style(GREY, HPos::Right))?;
    }
    text(area, &chart.x, ((LEFT + right) / 2, top + FIELD + 31), style(GREY, HPos::Center))?;
    upwards(area, &chart.y, top + FIELD / 2)?;
    for (i, curve) in chart.curves.iter().enumerate() {
        let within = |point: &&(f64, f64)| (0.0..=1.0).contains(&point.0) && (0.0..=1.0).contains(&point.1);
        let line: Vec<_> = curve.points.iter().filter(within).map(|&point| place(point)).collect();
        match &line[..] {
            [] => (),
            &[alone] => area.draw(&Circle::new(alone, 3, line_of(i).filled()))?,
            _ => area.draw(&PathElement::new(line, line_of(i)))?,
        }
    }
    Ok(())
}
