//! How a step is cut into units, each computed by one thread.

use mnx_tensor::Tuning;
use mnx_tensor::part::Span;

/// Whether each thread keeps the same rows in one layer after the other. It then finds what it wrote in its own cache, and
/// only rows at the seams come from another core.
///
/// This pays for planes of middle height whose rows divide evenly. Larger planes are cut into strips of rows anyway. Smaller
/// planes, and rows that do not divide evenly, are better divided by channels.
pub(super) fn keeps_rows(height: usize, threads: usize, tuning: &Tuning) -> bool {
    let rows = height / threads;
    threads > 1 && height.is_multiple_of(threads) && tuning.rows_to_keep.contains(&rows)
}

/// The units of a step. They can run in any order on any thread; neighbouring units go to the same thread if possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// Output pixels in groups of `grain`. A grain of the plane's width means whole rows.
    area: Cut,
    grain: usize,
    /// Blocks or panels of channels.
    channels: Cut,
}

/// `total` things cut into `parts` almost equal parts.
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
        (self.start(index)..self.start(index + 1)).into()
    }

    /// `total * index / parts`, where the product need not fit: a plane of 1.8 million rows has thousands of parts, and addresses
    /// may have 32 bits.
    fn start(self, index: usize) -> usize {
        let (each, rest) = (self.total / self.parts, self.total % self.parts);
        // There are fewer than 2³² parts.
        each * index + (rest as u64 * index as u64 / self.parts as u64) as usize
    }

    /// At least `parts` parts, but no empty one.
    fn at_least(self, parts: usize) -> Cut {
        Cut { parts: self.parts.max(parts).min(self.total).max(1), ..self }
    }

    /// A number of parts that `threads` divides, so that each thread gets as many.
    fn even(self, threads: usize) -> Cut {
        self.at_least(self.parts.next_multiple_of(threads))
    }

    /// The size of the largest part.
    fn largest(self) -> usize {
        self.total.div_ceil(self.parts)
    }
}

/// What is cut: a plane of `height` x `width` output pixels and groups of channels, with the multiply-adds of it all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) macs: u64,
    /// Threads of the session.
    pub(super) threads: usize,
    pub(super) tuning: &'a Tuning,
}

impl Task<'_> {
    /// How many threads share the work. Small tasks are not worth all of them.
    fn workers(self) -> usize {
        usize::try_from(self.macs / self.tuning.min_unit_macs.max(1)).unwrap_or(usize::MAX).clamp(1, self.threads)
    }

    /// Cut by groups of channels if the plane is small, else by rows; where that is too little for all threads, by both.
    /// `pixels`: any pixels may be a unit, not whole rows only.
    pub(super) fn by_size(self, pixels: bool) -> Split {
        let mut split = Split { area: Cut::whole(self.height), grain: self.width, channels: Cut::whole(self.channels) };
        let rows = self.height >= self.tuning.min_height_for_rows || keeps_rows(self.height, self.threads, self.tuning);
        let least = [split.area, split.channels];
        let larger = if rows { &mut split.area } else { &mut split.channels };
        *larger = larger.at_least(self.workers());
        let split = self.balanced(split, split.grain, least, 0);
        let all = Cut::whole(self.height.saturating_mul(self.width));
        if pixels { self.balanced(split, 1, [all, least[1]], 0) } else { split }
    }

    /// Cut by rows into `parts` or more.
    pub(super) fn by_rows(self, parts: usize) -> Split {
        let area = Cut::whole(self.height).at_least(parts).even(self.workers());
        Split { area, grain: self.width, channels: Cut::whole(self.channels) }
    }

    /// Cut by rows if the plane is large or its rows divide evenly, else by pixels: also where there are fewer rows than threads.
    pub(super) fn by_pixels(self, parts: usize) -> Split {
        let workers = self.workers();
        let large = self.height >= self.tuning.min_height_for_rows && self.height >= workers;
        if large || self.height.is_multiple_of(workers) {
            return self.by_rows(parts);
        }
        let area = Cut::whole(self.height * self.width).at_least(parts).even(self.workers());
        Split { area, grain: 1, channels: Cut::whole(self.channels) }
    }

    /// Cut into `rows` parts of rows times groups of at most `group` channels. More threads mean more parts of rows if the
    /// plane is cut by rows already, else smaller groups of channels.
    pub(super) fn by_channels(self, rows: usize, group: usize) -> Split {
        let workers = self.workers();
        let mut area = Cut::whole(self.height).at_least(rows);
        let mut channels = Cut::whole(self.channels).at_least(self.channels.div_ceil(group));
        let least = [area, channels];
        if area.parts > 1 {
            area = area.even(workers);
        } else {
            channels = channels.even(workers);
        }
        area = area.at_least(workers.div_ceil(channels.parts));
        // The rows of a layer's input that two units read: what feeds it computes them twice.
        self.balanced(Split { area, grain: self.width, channels }, self.width, least, 2)
    }

    /// This split, or another with at least `least` parts of the area, in groups of `grain` pixels, and of the channels, if that
    /// gives the thread with the most to do a twentieth less. Where the area is cut, a unit computes `more` groups than its own.
    fn balanced(self, split: Split, grain: usize, [area, channels]: [Cut; 2], more: usize) -> Split {
        let (workers, max_units) = (self.workers(), self.tuning.max_units);
        if workers == 1 {
            return split;
        }
        let most = |split: &Split| {
            let area = split.area.largest() + if split.area.parts > 1 { more } else { 0 };
            let unit = area.saturating_mul(split.grain).saturating_mul(split.channels.largest());
            unit.saturating_mul(split.units().div_ceil(workers))
        };
        let grid = |parts: usize, units: usize| {
            let area = area.at_least((units * workers).div_ceil(parts));
            Split { area, grain, channels: channels.at_least(parts) }
        };
        let parts = channels.parts..=channels.total.min(max_units * workers).max(channels.parts);
        let grids = parts.flat_map(|parts| (1..=max_units).map(move |units| grid(parts, units)));
        let best = grids.min_by_key(|split| (most(split), split.units() < workers, split.units())).unwrap_or(split);
        if most(&best).saturating_mul(20) <= most(&split).saturating_mul(19) { best } else { split }
    }
}

impl Split {
    /// The number of units.
    pub(crate) fn units(&self) -> usize {
        self.area.parts.saturating_mul(self.channels.parts)
    }

    /// Output pixels and groups of channels of unit `unit`. Units with the same pixels follow each other, because what they
    /// read is still in the cache.
    pub(crate) fn unit(&self, unit: usize) -> (Span, Span) {
        let Span { start, end } = self.area.part(unit / self.channels.parts);
        ((start * self.grain..end * self.grain).into(), self.channels.part(unit % self.channels.parts))
    }

    /// All units.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Span, Span)> {
        (0..self.units()).map(|unit| self.unit(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_exact_where_products_do_not_fit() {
        for (total, parts) in [(0, 1), (7, 7), (1_800_000, 2350), (usize::MAX, 3), (usize::MAX - 1, (1 << 24) - 3)] {
            let cut = Cut { total, parts };
            let expected = |index: usize| (total as u128 * index as u128 / parts as u128) as usize;
            for index in (0..parts.min(3000)).chain(parts.saturating_sub(3000)..parts) {
                let Span { start, end } = cut.part(index);
                assert_eq!((start, end), (expected(index), expected(index + 1)), "part {index} of {parts} of {total}");
            }
            assert_eq!(cut.part(parts - 1).end, total);
        }
    }
}
