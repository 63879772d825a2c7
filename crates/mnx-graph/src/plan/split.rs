//! How a step is cut into units that threads compute.

use mnx_tensor::Tuning;
use mnx_tensor::part::Span;

/// Whether each of several threads computes the same rows of planes of this height in one layer after the other, and finds
/// what it wrote in its own cache: only rows at the seams come from another one. (Larger planes are cut into strips of rows
/// anyway; of smaller ones or uneven shares, channels are divided better.)
pub(super) fn keeps_rows(height: usize, threads: usize, tuning: &Tuning) -> bool {
    let rows = height / threads;
    threads > 1 && height.is_multiple_of(threads) && tuning.rows_to_keep.contains(&rows)
}

/// A step in units that can run in any order on any thread. Neighbours go to the same one as far as possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// Output pixels, in groups of `grain`: whole rows where that is the width.
    area: Cut,
    grain: usize,
    /// Blocks or panels of channels.
    channels: Cut,
}

/// A number of things in almost equal parts.
#[derive(Clone, Copy, Debug)]
struct Cut {
    total: usize,
    parts: usize,
}

impl Cut {
    fn whole(total: usize) -> Cut {
        Cut { total, parts: 1 }
    }

    fn part(self, index: usize) -> Span {
        (self.total * index / self.parts..self.total * (index + 1) / self.parts).into()
    }

    /// In at least `parts` parts, as far as there is something for each.
    fn at_least(self, parts: usize) -> Cut {
        Cut { parts: self.parts.max(parts).min(self.total).max(1), ..self }
    }

    /// In so many parts that each of `threads` gets as many.
    fn even(self, threads: usize) -> Cut {
        self.at_least(self.parts.next_multiple_of(threads))
    }
}

/// What is cut: a plane of `height` x `width` output pixels, groups of channels, and the multiply-adds in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) macs: u64,
    /// Threads of the session.
    pub(super) threads: usize,
    pub(super) tuning: &'static Tuning,
}

impl Task {
    /// Among how many threads it is divided.
    fn workers(self) -> usize {
        usize::try_from(self.macs / self.tuning.min_unit_macs).unwrap_or(usize::MAX).clamp(1, self.threads)
    }

    /// By groups of channels on small planes, by rows on others.
    pub(super) fn by_size(self) -> Split {
        let mut split = Split { area: Cut::whole(self.height), grain: self.width, channels: Cut::whole(self.channels) };
        let rows = self.height >= self.tuning.min_height_for_rows || keeps_rows(self.height, self.threads, self.tuning);
        let larger = if rows { &mut split.area } else { &mut split.channels };
        *larger = larger.at_least(self.workers());
        split
    }

    /// By rows, in `parts` or more.
    pub(super) fn by_rows(self, parts: usize) -> Split {
        let area = Cut::whole(self.height).at_least(parts).even(self.workers());
        Split { area, grain: self.width, channels: Cut::whole(self.channels) }
    }

    /// By rows on large planes; on small ones, of which the rows cannot be divided evenly, by pixels.
    pub(super) fn by_pixels(self, parts: usize) -> Split {
        if self.height >= self.tuning.min_height_for_rows || self.height.is_multiple_of(self.workers()) {
            return self.by_rows(parts);
        }
        let area = Cut::whole(self.height * self.width).at_least(parts).even(self.workers());
        Split { area, grain: 1, channels: Cut::whole(self.channels) }
    }

    /// In `rows` parts times groups of at most `group` channels. More threads get more rows of a large plane, or fewer
    /// channels of a small one.
    pub(super) fn by_channels(self, rows: usize, group: usize) -> Split {
        let workers = self.workers();
        let mut area = Cut::whole(self.height).at_least(rows);
        let mut channels = Cut::whole(self.channels).at_least(self.channels.div_ceil(group));
        if area.parts > 1 {
            area = area.even(workers);
        } else {
            channels = channels.even(workers);
        }
        area = area.at_least(workers.div_ceil(channels.parts));
        Split { area, grain: self.width, channels }
    }
}

impl Split {
    /// How many units.
    pub(crate) fn units(&self) -> usize {
        self.area.parts * self.channels.parts
    }

    /// Output pixels and groups of channels of unit `unit`. Units of the same pixels follow each other:
    /// what they read is still in the cache.
    pub(crate) fn unit(&self, unit: usize) -> (Span, Span) {
        let Span { start, end } = self.area.part(unit / self.channels.parts);
        ((start * self.grain..end * self.grain).into(), self.channels.part(unit % self.channels.parts))
    }

    /// All units.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Span, Span)> {
        (0..self.units()).map(|unit| self.unit(unit))
    }
}
