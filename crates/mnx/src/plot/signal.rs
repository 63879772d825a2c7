//! Signal to noise per layer: which layer of a quantised network loses how much, and by what.

use super::{
    Area, BAR, BOTTOM, COMPUTE, Drawn, GREY, GRID, INK, MEASURED, MEMORY, ROW, TOP, WIDTH, bars_and_marks, cut,
    document, left_edge, mark, rows, style, text, titles,
};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Space right of the longest bar, where its figures stand.
const FIGURES: i32 = 150;
/// The scale begins at 0 dB and ends here or above.
const LEAST_END: f64 = 20.0;
/// What is above this is drawn as this.
const LARGEST: f64 = 80.0;

/// One layer. All figures are in decibels; `None` where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalBar {
    /// The layer, e.g. `features.3.conv.0`.
    pub name: String,
    /// Signal to noise of its output: the bar.
    pub output: Option<f64>,
    /// Signal to noise of its weights, a mark.
    pub weights: Option<f64>,
    /// Signal to noise of its value if it alone were quantised, a mark.
    pub value: Option<f64>,
    /// Share of the value's numbers that are clipped, 0 to 1.
    pub clipped: Option<f64>,
}

/// One network: its layers as bars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalPanel {
    /// What was quantised, e.g. `mobilenetv2 1.0 in int8`.
    pub title: String,
    /// How, e.g. method and number of pictures.
    pub subtitle: String,
    /// What the bars are, e.g. `output against f32`.
    pub output: String,
    /// The bars, from top to bottom.
    pub bars: Vec<SignalBar>,
}

/// Draws signal to noise per layer: a bar for the output, marks for the weights and for the value alone. Panels are one below
/// the other. Returns an SVG document, 900 pixels wide, on white.
///
/// ```
/// use mnx::plot::{SignalBar, SignalPanel, signal};
///
/// let bar = SignalBar { name: "features.0".into(), output: Some(31.5), weights: Some(42.0), ..SignalBar::default() };
/// let panel = SignalPanel { title: "a network in int8".into(), bars: vec![bar], ..SignalPanel::default() };
/// assert!(signal(&[panel]).contains("31.5 dB"));
/// ```
///
/// Any text and any number make a well-formed document. Control characters are left out, and numbers that are not from 0 to
/// 80 are drawn as the nearest of these.
pub fn signal(panels: &[SignalPanel]) -> String {
    let heights: Vec<i32> = panels.iter().map(|panel| TOP + ROW * rows(panel.bars.len()) + BOTTOM).collect();
    document(panels, &heights, draw)
}

/// The scale from decibels to pixels.
struct Scale {
    left: i32,
    width: i32,
    end: f64,
}

impl Scale {
    fn new(bars: &[SignalBar]) -> Scale {
        let left = left_edge(bars.iter().map(|bar| &bar.name));
        let figures = bars.iter().flat_map(|bar| [bar.output, bar.weights, bar.value]).flatten();
        let end = figures.map(drawable).fold(LEAST_END, f64::max);
        Scale { left, width: WIDTH as i32 - left - FIGURES, end: (end / 10.0).ceil() * 10.0 }
    }

    fn x(&self, decibels: f64) -> i32 {
        self.left + (f64::from(self.width) * (drawable(decibels) / self.end)).round() as i32
    }
}

fn drawable(decibels: f64) -> f64 {
    if decibels.is_nan() { 0.0 } else { decibels.clamp(0.0, LARGEST) }
}

fn draw(area: &Area, panel: &SignalPanel) -> Drawn {
    let scale = Scale::new(&panel.bars);
    titles(area, &panel.title, &panel.subtitle)?;
    let marks = ["its weights alone", "its value alone"];
    bars_and_marks(area, &panel.output, marks, "figures: bar, and share clipped")?;
    grid(area, &scale, TOP + ROW * rows(panel.bars.len()))?;
    for (i, bar) in (0..).zip(&panel.bars) {
        draw_bar(area, &scale, bar, TOP + ROW * i)?;
    }
    Ok(())
}

/// Draws a line every ten decibels.
fn grid(area: &Area, scale: &Scale, bottom: i32) -> Drawn {
    for tens in 0..=(scale.end / 10.0) as i32 {
        let x = scale.x(f64::from(10 * tens));
        area.draw(&PathElement::new([(x, TOP - 2), (x, bottom + 4)], GRID.stroke_width(1)))?;
        text(area, &(10 * tens).to_string(), (x, bottom + 13), style(GREY, HPos::Center))?;
    }
    let middle = scale.left + scale.width / 2;
    text(
        area,
        "signal to noise, dB; 20 dB more are a tenth of the error",
        (middle, bottom + 31),
        style(GREY, HPos::Center),
    )
}

fn draw_bar(area: &Area, scale: &Scale, bar: &SignalBar, top: i32) -> Drawn {
    let middle = top + ROW / 2;
    text(area, &cut(&bar.name), (scale.left - 8, middle), style(INK, HPos::Right))?;
    let mut end = scale.left;
    if let Some(decibels) = bar.output {
        end = scale.x(decibels);
        let corners = [(scale.left, middle - BAR / 2), (end.max(scale.left + 1), middle + BAR / 2)];
        area.draw(&Rectangle::new(corners, MEASURED.filled()))?;
    }
    for (decibels, color) in [(bar.weights, COMPUTE), (bar.value, MEMORY)] {
        if let Some(decibels) = decibels {
            let x = scale.x(decibels);
            end = end.max(x);
            mark(area, (x, middle), color)?;
        }
    }
    let clipped = bar.clipped.filter(|&share| share > 0.0).map(|share| format!("{:.3} %", 100.0 * share));
    let figures: Vec<_> = bar.output.map(|decibels| format!("{decibels:.1} dB")).into_iter().chain(clipped).collect();
    text(area, &figures.join(" · "), (end + 8, middle), style(INK, HPos::Left))
}
