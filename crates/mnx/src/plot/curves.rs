//! Curves over shares from 0 to 1, such as precision over recall.

use super::scatter::COLORS;
use super::{Area, BOTTOM, CHARACTER, Drawn, GREY, GRID, INK, MARGIN, WIDTH, cut, document, sized, style, text};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Height of the field of curves.
const FIELD: i32 = 420;
/// Where the first row of the legend is, and how far apart its rows are.
const LEGEND: i32 = 66;
const LEGEND_ROW: i32 = 18;
/// Space left of the field, for the figures of its scale.
const LEFT: i32 = 84;

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
    let heights: Vec<i32> = charts.iter().map(|chart| top_of(chart) + FIELD + BOTTOM).collect();
    document(charts, &heights, draw)
}

/// The names of the curves, and where they stand.
fn legend(chart: &CurveChart) -> Vec<(String, (i32, i32))> {
    let (mut x, mut y) = (MARGIN, LEGEND);
    let entry = |curve: &Curve| {
        let name = cut(&curve.name);
        let width = 24 + CHARACTER * i32::try_from(name.chars().count()).unwrap_or(0) + 16;
        if x > MARGIN && x + width > WIDTH as i32 - MARGIN {
            (x, y) = (MARGIN, y + LEGEND_ROW);
        }
        x += width;
        (name, (x - width, y))
    };
    chart.curves.iter().map(entry).collect()
}

fn top_of(chart: &CurveChart) -> i32 {
    legend(chart).last().map_or(LEGEND, |(_, (_, y))| *y) + 22
}

fn line_of(curve: usize) -> ShapeStyle {
    COLORS[curve % COLORS.len()].stroke_width(if curve < COLORS.len() { 2 } else { 1 })
}

fn draw(area: &Area, chart: &CurveChart) -> Drawn {
    text(area, &chart.title, (MARGIN, 24), sized(17.0, FontStyle::Bold, INK, HPos::Left))?;
    text(area, &chart.subtitle, (MARGIN, 45), style(GREY, HPos::Left))?;
    for (i, (name, (x, y))) in legend(chart).into_iter().enumerate() {
        area.draw(&PathElement::new([(x, y), (x + 18, y)], line_of(i)))?;
        text(area, &name, (x + 24, y), style(INK, HPos::Left))?;
    }
    let (top, right) = (top_of(chart), WIDTH as i32 - MARGIN);
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
    let mut upwards = style(GREY, HPos::Center).transform(FontTransform::Rotate270);
    upwards.pos = Pos::new(HPos::Center, VPos::Center);
    text(area, &chart.y, (MARGIN, top + FIELD / 2), upwards)?;
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
