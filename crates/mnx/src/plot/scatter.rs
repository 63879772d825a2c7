//! Scatter plots: points over two scales, with lines between points that belong together.

use super::chart::{COLORS, LEFT, Legend, upwards};
use super::{
    Area, BOTTOM, CHARACTER, Drawn, GREY, GRID, INK, MARGIN, WIDTH, cut, document, letters, number, style, text, titles,
};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Height of the field of points.
const FIELD: i32 = 380;
/// Half of a marker's side.
const MARKER: i32 = 4;
/// Height of a label.
const LINE: i32 = 14;
/// A scale is logarithmic if its values span at least this factor.
const LOGARITHMIC: f64 = 8.0;
/// The largest value that can be drawn. With a margin around it, it is still a number.
const LARGEST: f64 = 1e300;

/// Something measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What is written beside it, e.g. a width multiplier.
    pub label: String,
    /// The value across.
    pub x: f64,
    /// The value up.
    pub y: f64,
}

/// Points that belong together, e.g. a family of networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls them.
    pub name: String,
    /// The points, in the order in which a line joins them.
    pub points: Vec<Point>,
}

/// One chart of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// The circumstances, e.g. CPU, ISA and threads.
    pub subtitle: String,
    /// What goes across, with its unit.
    pub x: String,
    /// What goes up, with its unit.
    pub y: String,
    /// The lines; each has a colour and a shape of marker.
    pub series: Vec<Series>,
}

/// Draws charts one below the other. Points have labels, and a line joins the points of each series. A scale is logarithmic if
/// its values span a factor of 8 or more. Returns an SVG document, 900 pixels wide, on white.
///
/// ```
/// use mnx::plot::{Chart, Point, Series, scatter};
///
/// let point = |label: &str, x, y| Point { label: label.into(), x, y };
/// let points = vec![point("0.5", 2.0, 100.0), point("1.0", 6.0, 311.0)];
/// let chart = Chart {
///     title: "Multiply-adds against latency".into(),
///     subtitle: "a CPU, 1 thread".into(),
///     x: "milliseconds".into(),
///     y: "millions".into(),
///     series: vec![Series { name: "a family".into(), points }],
/// };
/// assert!(scatter(&[chart]).contains("a family"));
/// ```
///
/// Any text and any number make a well-formed document. Control characters are left out, and so are points with a coordinate
/// that is not a number from 0 to 1e300.
pub fn scatter(charts: &[Chart]) -> String {
    let heights: Vec<i32> = charts.iter().map(|chart| legend(chart).bottom() + FIELD + BOTTOM).collect();
    document(charts, &heights, draw)
}

/// Points that can be drawn.
fn drawable(series: &Series) -> impl Iterator<Item = &Point> {
    let fits = |value: f64| (0.0..=LARGEST).contains(&value);
    series.points.iter().filter(move |point| fits(point.x) && fits(point.y))
}

fn draw(area: &Area, chart: &Chart) -> Drawn {
    titles(area, &chart.title, &chart.subtitle)?;
    let legend = legend(chart);
    let top = legend.bottom();
    for (i, (name, at)) in legend.0.into_iter().enumerate() {
        marker(area, i, (at.0 + 7, at.1))?;
        text(area, &name, (at.0 + 20, at.1), style(INK, HPos::Left))?;
    }
    let points = || chart.series.iter().flat_map(drawable);
    let x = Axis::new(points().map(|point| point.x), LEFT, WIDTH as i32 - MARGIN);
    let y = Axis::new(points().map(|point| point.y), top + FIELD, top);
    grid(area, chart, &x, &y)?;
    let place = |point: &Point| (x.at(point.x), y.at(point.y));
    let mut labels = Labels { field: [LEFT, top, WIDTH as i32 - MARGIN, top + FIELD], taken: Vec::new() };
    for (i, series) in chart.series.iter().enumerate() {
        let line: Vec<_> = drawable(series).map(place).collect();
        line.windows(2).for_each(|ends| labels.avoid(ends[0], ends[1]));
        if line.len() > 1 {
            area.draw(&PathElement::new(line, color(i).stroke_width(2)))?;
        }
    }
    for (i, series) in chart.series.iter().enumerate() {
        drawable(series).try_for_each(|point| marker(area, i, place(point)))?;
    }
    labels.taken.extend(points().map(|point| around(place(point))));
    for (i, series) in chart.series.iter().enumerate() {
        for point in drawable(series) {
            let name = cut(&point.label);
            text(area, &name, labels.place(place(point), &name), style(color(i), HPos::Left))?;
        }
    }
    Ok(())
}

fn legend(chart: &Chart) -> Legend {
    Legend::new(chart.series.iter().map(|series| &series.name), 20)
}

fn color(series: usize) -> RGBColor {
    COLORS[series % COLORS.len()]
}

/// A circle, a square, a diamond or a triangle.
fn marker(area: &Area, series: usize, (x, y): (i32, i32)) -> Drawn {
    let (fill, m) = (color(series).filled(), MARKER);
    match series / COLORS.len() % 4 {
        0 => area.draw(&Circle::new((x, y), m, fill))?,
        1 => area.draw(&Rectangle::new([(x - m, y - m), (x + m, y + m)], fill))?,
        2 => area.draw(&Polygon::new([(x - m - 1, y), (x, y - m - 1), (x + m + 1, y), (x, y + m + 1)], fill))?,
        _ => area.draw(&Polygon::new([(x - m, y + m), (x, y - m), (x + m, y + m)], fill))?,
    }
    Ok(())
}

/// Draws lines at round values, the values, and what they are.
fn grid(area: &Area, chart: &Chart, x: &Axis, y: &Axis) -> Drawn {
    for value in x.ticks() {
        let at = x.at(value);
        area.draw(&PathElement::new([(at, y.end), (at, y.start + 4)], GRID.stroke_width(1)))?;
        text(area, &number(value), (at, y.start + 13), style(GREY, HPos::Center))?;
    }
    for value in y.ticks() {
        let at = y.at(value);
        area.draw(&PathElement::new([(x.start - 4, at), (x.end, at)], GRID.stroke_width(1)))?;
        text(area, &number(value), (x.start - 8, at), style(GREY, HPos::Right))?;
    }
    text(area, &chart.x, ((x.start + x.end) / 2, y.start + 31), style(GREY, HPos::Center))?;
    upwards(area, &chart.y, (y.start + y.end) / 2)
}

/// A scale, from values to pixels.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// All values are whole numbers, such as threads.
    whole: bool,
    /// Pixels of `low` and `high`.
    start: i32,
    end: i32,
}

impl Axis {
    /// A scale for these values, with a margin around them.
    fn new(values: impl Iterator<Item = f64>, start: i32, end: i32) -> Axis {
        let (mut low, mut high, mut whole) = (f64::INFINITY, 0.0_f64, true);
        for value in values {
            (low, high, whole) = (low.min(value), high.max(value), whole && value.fract() == 0.0);
        }
        let low = low.min(high);
        let logarithmic = low > 0.0 && high / low >= LOGARITHMIC;
        if logarithmic {
            let margin = (high.log10() - low.log10()) * 0.06;
            let (low, high) = (low.log10() - margin, high.log10() + margin);
            return Axis { low, high, logarithmic, whole, start, end };
        }
        let margin = if high > low { (high - low) * 0.08 } else { (high * 0.1).max(1e-3) };
        Axis { low: (low - margin).max(0.0), high: high + margin, logarithmic, whole, start, end }
    }

    fn at(&self, value: f64) -> i32 {
        let value = if self.logarithmic { value.log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.start + (f64::from(self.end - self.start) * share).round() as i32
    }

    /// Round values within the scale, whole ones where all values are.
    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            let decade = 10_f64.powf(((self.high - self.low) / 10.0).log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
            let step = steps.into_iter().find(|step| (self.high - self.low) / step <= 10.0).unwrap_or(decade);
            let step = if self.whole { step.max(1.0) } else { step };
            let first = (self.low / step).ceil();
            let ticks = (0..=10).map(|i| (first + f64::from(i)) * step);
            return ticks.filter(|&value| value <= self.high).collect();
        }
        let (first, last) = (self.low.floor() as i32, self.high.floor() as i32);
        let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        // At most about ten powers of ten.
        let stride = ((last - first) / 10 + 1).unsigned_abs() as usize;
        let powers = (first..=last).step_by(stride).map(|power| 10_f64.powi(power));
        let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * power));
        ticks.filter(|value| (self.low..=self.high).contains(&value.log10())).collect()
    }
}

/// A rectangle: left, top, right, bottom.
type Rect = [i32; 4];

/// The square that a marker takes.
fn around((x, y): (i32, i32)) -> Rect {
    [x - MARKER, y - MARKER, x + MARKER, y + MARKER]
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// Finds places for labels, so that they hide neither each other nor a marker or line.
struct Labels {
    field: Rect,
    taken: Vec<Rect>,
}

impl Labels {
    /// Keeps labels off a line.
    fn avoid(&mut self, (x0, y0): (i32, i32), (x1, y1): (i32, i32)) {
        let steps = (x1 - x0).abs().max((y1 - y0).abs()) / MARKER;
        let along = |from: i32, to: i32, step: i32| from + (to - from) * step / steps.max(1);
        self.taken.extend((0..=steps).map(|step| {
            let (x, y) = (along(x0, x1, step), along(y0, y1, step));
            [x - 1, y - 1, x + 1, y + 1]
        }));
    }

    /// Where the left end of the label for the point at `(x, y)` goes. Lines mostly rise, so places to the lower right and the
    /// upper left of a point are tried first. If all near places are taken, farther ones are tried.
    fn place(&mut self, (x, y): (i32, i32), label: &str) -> (i32, i32) {
        let width = CHARACTER * letters(label);
        let sides = |step: i32| {
            let (right, left, gap) = (x + 8, x - 8 - width, LINE * step);
            let centre = x - width / 2;
            [(right, y + gap), (left, y - gap), (right, y - gap), (left, y + gap), (centre, y + gap), (centre, y - gap)]
        };
        let beside = [(x + 8, y), (x - 8 - width, y)];
        let places = sides(1).into_iter().chain(beside).chain((2..10).flat_map(sides));
        let bounds = |at: &(i32, i32)| [at.0, at.1 - LINE / 2, at.0 + width, at.1 + LINE / 2];
        let is_free = |at: &(i32, i32)| {
            let [left, top, right, bottom] = bounds(at);
            let within =
                left >= self.field[0] && top >= self.field[1] && right <= self.field[2] && bottom <= self.field[3];
            within && !self.taken.iter().any(|taken| overlap(taken, &[left, top, right, bottom]))
        };
        let at = places.into_iter().find(is_free).unwrap_or((x + 8, y));
        self.taken.push(bounds(&at));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_their_values_and_have_ticks() {
        for values in
            [&[1.5, 80.0][..], &[6.1, 6.5], &[3.0], &[0.0], &[], &[0.0, 1e300], &[5e-324, 1e300], &[70.1, 70.2]]
        {
            let axis = Axis::new(values.iter().copied(), 10, 510);
            assert!(values.iter().all(|&v| (10..=510).contains(&axis.at(v))), "{values:?}");
            let ticks = axis.ticks();
            assert!((1..=12).contains(&ticks.len()) && ticks.is_sorted(), "{values:?}: {ticks:?}");
            assert!(ticks.iter().all(|&v| (10..=510).contains(&axis.at(v))), "{values:?}: {ticks:?}");
        }
        let decades = Axis::new([1.5, 80.0].into_iter(), 0, 100).ticks();
        assert_eq!(decades, [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(Axis::new([0.0, 10.0].into_iter(), 0, 100).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Axis::new([1.0, 2.0].into_iter(), 0, 100).ticks(), [1.0, 2.0]);
        assert!(Axis::new([1.5, 2.0].into_iter(), 0, 100).ticks().contains(&1.8));
    }

    #[test]
    fn labels_of_points_in_one_place_stand_apart() {
        let mut labels = Labels { field: [0, 0, 900, 400], taken: vec![around((300, 200))] };
        let widest = CHARACTER * letters("1.0 (10)");
        let places: Vec<_> = (0..10).map(|_| labels.place((300, 200), "1.0 (10)")).collect();
        for (i, a) in labels.taken.iter().enumerate() {
            assert!(labels.taken[..i].iter().all(|b| !overlap(a, b)), "{places:?}");
        }
        assert!(places.iter().all(|at| at.0 >= 0 && at.0 + widest <= 900));
        // At the edge there is room on one side only.
        assert!(labels.place((895, 10), "1.0").0 < 895);
    }
}
