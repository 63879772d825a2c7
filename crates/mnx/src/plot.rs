//! Draws profiles, comparisons and losses of quantisation as SVG.

mod chart;
mod curves;
mod scatter;
mod signal;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use curves::{Curve, CurveChart, curves};
pub use scatter::{Chart, Point, Series, scatter};
pub use signal::{SignalBar, SignalPanel, signal};

/// Width of every picture in pixels.
const WIDTH: u32 = 900;
/// Height of a bar's row. The bar itself takes [`BAR`].
const ROW: i32 = 18;
const BAR: i32 = 12;
/// Space above the bars (titles, legend), below them (scale) and beside them.
const TOP: i32 = 82;
const BOTTOM: i32 = 48;
const MARGIN: i32 = 20;
/// Where the legend is.
const LEGEND: i32 = 66;
/// Space right of the longest bar, where its figures stand.
const FIGURES: i32 = 122;
/// About the width of a character at the size of names. The font is up to the viewer of an SVG.
const CHARACTER: i32 = 7;
/// Names are cut to this many characters.
const LONGEST_NAME: usize = 40;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const GREY: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const GRID: RGBColor = RGBColor(0xe5, 0xe7, 0xeb);
const MEASURED: RGBColor = RGBColor(0x7d, 0xb1, 0xe8);
const COMPUTE: RGBColor = RGBColor(0xc2, 0x41, 0x0c);
const MEMORY: RGBColor = RGBColor(0x6d, 0x28, 0xd9);

/// What limits a block's speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Its multiply-adds, at the CPU's peak.
    Compute,
    /// Its bytes, at the bandwidth of the cache or memory that holds them.
    Memory,
}

/// The latency of one block beside the roofline.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The block, e.g. `features.3`.
    pub name: String,
    /// How long it takes.
    pub microseconds: f64,
    /// How long it must take at the least, by the roofline model.
    pub bound_microseconds: f64,
    /// Which limit that is.
    pub bound: Bound,
}

/// One measurement: its blocks as bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What was measured, e.g. `mobilenext 1.0 at 224 x 224: 6.63 ms`.
    pub title: String,
    /// The circumstances, e.g. CPU, ISA, threads and batch.
    pub subtitle: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Bar>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the latency of blocks as bars. A mark shows each bar's roofline bound, a figure the share of it that was reached.
/// Panels are one below the other. Returns an SVG document, 900 pixels wide, on white.
///
/// ```
/// use mnx::plot::{Bar, Bound, Panel, blocks};
///
/// let bar = Bar { name: "features.0".into(), microseconds: 300.0, bound_microseconds: 240.0, bound: Bound::Compute };
/// let panel = Panel { title: "a network: 0.3 ms".into(), subtitle: "a CPU, 1 thread".into(), bars: vec![bar] };
/// assert!(blocks(&[panel]).contains("80 %"));
/// ```
///
/// Any text and any number make a well-formed document. Control characters are left out, and a number that is not finite and
/// above 0 is drawn as 0.
pub fn blocks(panels: &[Panel]) -> String {
    let heights: Vec<i32> = panels.iter().map(|panel| TOP + ROW * rows(panel.bars.len()) + BOTTOM).collect();
    document(panels, &heights, draw)
}

/// Draws parts of these heights one below the other, on white.
fn document<P>(parts: &[P], heights: &[i32], draw: impl Fn(&Area, &P) -> Drawn) -> String {
    let height = heights.iter().fold(0_i32, |sum, &height| sum.saturating_add(height)).max(1);
    let mut svg = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height.unsigned_abs())).into_drawing_area();
        draw_all(&root, parts, heights, draw)
    };
    // Writing to a string cannot fail. If it did, an empty picture would still be a document.
    if drawn.is_ok() { svg } else { String::from(r#"<svg xmlns="http://www.w3.org/2000/svg"/>"#) }
}

fn draw_all<P>(root: &Area, parts: &[P], heights: &[i32], draw: impl Fn(&Area, &P) -> Drawn) -> Drawn {
    root.fill(&WHITE)?;
    let mut rest = root.clone();
    for (part, &height) in parts.iter().zip(heights) {
        let (area, below) = rest.split_vertically(height);
        draw(&area, part)?;
        rest = below;
    }
    root.present()?;
    Ok(())
}

/// Number of rows to draw. There is at least one, because the scale is drawn even without bars.
fn rows(bars: usize) -> i32 {
    i32::try_from(bars.clamp(1, 100_000)).unwrap_or(1)
}

/// The scale from microseconds to pixels.
struct Scale {
    left: i32,
    width: i32,
    longest: f64,
}

/// Where bars with these names begin.
fn left_edge<'a>(names: impl Iterator<Item = &'a String>) -> i32 {
    let letters = names.map(|name| letters(&cut(name))).max().unwrap_or(0);
    MARGIN + CHARACTER * letters.max(8) + 8
}

fn letters(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(0)
}

impl Scale {
    fn new(bars: &[Bar]) -> Scale {
        let left = left_edge(bars.iter().map(|bar| &bar.name));
        let longest = bars.iter().map(|bar| finite(bar.microseconds).max(finite(bar.bound_microseconds)));
        let longest = longest.fold(0.0, f64::max);
        Scale { left, width: WIDTH as i32 - left - FIGURES, longest: if longest > 0.0 { longest } else { 1.0 } }
    }

    fn x(&self, microseconds: f64) -> i32 {
        self.left + (f64::from(self.width) * (finite(microseconds) / self.longest)).round() as i32
    }

    /// The distance between grid lines: 1, 2 or 5 times a power of ten, for 4 to 10 lines.
    fn step(&self) -> f64 {
        let decade = 10_f64.powf((self.longest / 10.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
        steps.into_iter().find(|step| self.longest / step <= 10.0).unwrap_or(self.longest)
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

/// What XML allows.
fn allowed(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// A name, cut to the room that there is.
fn cut(name: &str) -> String {
    let mut name: String = allowed(name).take(LONGEST_NAME + 1).collect();
    if let Some((end, _)) = name.char_indices().nth(LONGEST_NAME) {
        name.truncate(end);
        name.push('…');
    }
    name
}

fn draw(area: &Area, panel: &Panel) -> Drawn {
    let scale = Scale::new(&panel.bars);
    titles(area, &panel.title, &panel.subtitle)?;
    let bounds = ["bound by the peak", "bound by memory bandwidth"];
    bars_and_marks(area, "measured", bounds, "figures: time, and the bound in % of it")?;
    grid(area, &scale, TOP + ROW * rows(panel.bars.len()))?;
    for (i, bar) in (0..).zip(&panel.bars) {
        draw_bar(area, &scale, bar, TOP + ROW * i)?;
    }
    Ok(())
}

fn titles(area: &Area, title: &str, subtitle: &str) -> Drawn {
    text(area, title, (MARGIN, 24), sized(17.0, FontStyle::Bold, INK, HPos::Left))?;
    text(area, subtitle, (MARGIN, 45), style(GREY, HPos::Left))
}

/// The legend of bars, of the two marks on them, and of the figures beside them.
fn bars_and_marks(area: &Area, bar: &str, marks: [&str; 2], figures: &str) -> Drawn {
    let (y, mut x) = (LEGEND, MARGIN);
    area.draw(&Rectangle::new([(x, y - 5), (x + 14, y + 5)], MEASURED.filled()))?;
    x += legend(area, bar, (x + 20, y))?;
    for (color, what) in [COMPUTE, MEMORY].into_iter().zip(marks) {
        mark(area, (x + 10, y), color)?;
        x += legend(area, what, (x + 20, y))?;
    }
    text(area, figures, (WIDTH as i32 - MARGIN, y), style(GREY, HPos::Right))
}

/// Writes one entry and returns where the next one begins.
fn legend(area: &Area, what: &str, at: (i32, i32)) -> Result<i32, Box<dyn std::error::Error>> {
    text(area, what, at, style(INK, HPos::Left))?;
    Ok(20 + CHARACTER * i32::try_from(what.len()).unwrap_or(0) + 16)
}

fn mark(area: &Area, (x, y): (i32, i32), color: RGBColor) -> Drawn {
    area.draw(&Rectangle::new([(x - 1, y - BAR / 2 - 2), (x + 2, y + BAR / 2 + 2)], color.filled()))?;
    Ok(())
}

/// Draws lines at round times, and the times under them.
fn grid(area: &Area, scale: &Scale, bottom: i32) -> Drawn {
    let step = scale.step();
    for i in 0..=10 {
        let time = f64::from(i) * step;
        if time > scale.longest {
            break;
        }
        let x = scale.x(time);
        area.draw(&PathElement::new([(x, TOP - 2), (x, bottom + 4)], GRID.stroke_width(1)))?;
        text(area, &number(time), (x, bottom + 13), style(GREY, HPos::Center))?;
    }
    let middle = scale.left + scale.width / 2;
    text(area, "microseconds", (middle, bottom + 31), style(GREY, HPos::Center))
}

fn draw_bar(area: &Area, scale: &Scale, bar: &Bar, top: i32) -> Drawn {
    let middle = top + ROW / 2;
    let (end, bound) = (scale.x(bar.microseconds), scale.x(bar.bound_microseconds));
    text(area, &cut(&bar.name), (scale.left - 8, middle), style(INK, HPos::Right))?;
    let corners = [(scale.left, middle - BAR / 2), (end.max(scale.left + 1), middle + BAR / 2)];
    area.draw(&Rectangle::new(corners, MEASURED.filled()))?;
    let color = if bar.bound == Bound::Compute { COMPUTE } else { MEMORY };
    mark(area, (bound, middle), color)?;
    let time = finite(bar.microseconds);
    let share = finite(100.0 * (finite(bar.bound_microseconds) / time));
    let figures = format!("{} µs · {share:.0} %", number(time));
    text(area, &figures, (end.max(bound) + 8, middle), style(INK, HPos::Left))
}

/// Three significant digits or more.
fn number(value: f64) -> String {
    if value >= 1e7 {
        return format!("{value:.2e}");
    }
    let decimals = if value >= 99.95 || value == 0.0 { 0 } else { usize::from(value < 9.995) + 1 };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Text that is centred vertically on the point at which it is drawn.
fn style(color: RGBColor, side: HPos) -> TextStyle<'static> {
    sized(12.0, FontStyle::Normal, color, side)
}

/// The SVG backend takes the size for the height of a line.
fn sized(pixels: f64, style: FontStyle, color: RGBColor, side: HPos) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, pixels * 1.24, style);
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(side, VPos::Center) }
}

fn text(area: &Area, text: &str, at: (i32, i32), style: TextStyle<'static>) -> Drawn {
    area.draw(&Text::new(allowed(text).collect::<String>(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests;
