//! What charts of points and of curves have in common.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, CHARACTER, Drawn, GREY, LEGEND, MARGIN, WIDTH, cut, letters, style, text};

/// How far apart the rows of a legend are.
const LEGEND_ROW: i32 = 18;
/// Space left of the field, for the figures of its scale.
pub(super) const LEFT: i32 = 84;

/// Colours of lines, dark enough for a white background. With the shapes of markers they tell 24 lines apart.
pub(super) const COLORS: [RGBColor; 6] = [
    RGBColor(0xc2, 0x41, 0x0c),
    RGBColor(0x1d, 0x4e, 0xd8),
    RGBColor(0x15, 0x80, 0x3d),
    RGBColor(0x6d, 0x28, 0xd9),
    RGBColor(0xbe, 0x18, 0x5d),
    RGBColor(0x0e, 0x74, 0x90),
];

/// The names of the lines, and where their entries begin.
pub(super) struct Legend(pub(super) Vec<(String, (i32, i32))>);

impl Legend {
    /// With a sign of so many pixels before each name.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a String>, sign: i32) -> Legend {
        let (mut x, mut y) = (MARGIN, LEGEND);
        let entry = |name: &'a String| {
            let name = cut(name);
            let width = sign + CHARACTER * letters(&name) + 16;
            if x > MARGIN && x + width > WIDTH as i32 - MARGIN {
                (x, y) = (MARGIN, y + LEGEND_ROW);
            }
            x += width;
            (name, (x - width, y))
        };
        Legend(names.map(entry).collect())
    }

    /// Where the field below it begins.
    pub(super) fn bottom(&self) -> i32 {
        self.0.last().map_or(LEGEND, |(_, (_, y))| *y) + 22
    }
}

/// What goes up, written upwards beside its scale, whose middle is at `y`.
pub(super) fn upwards(area: &Area, what: &str, y: i32) -> Drawn {
    let mut upwards = style(GREY, HPos::Center).transform(FontTransform::Rotate270);
    upwards.pos = Pos::new(HPos::Center, VPos::Center);
    text(area, what, (MARGIN, y), upwards)
}
