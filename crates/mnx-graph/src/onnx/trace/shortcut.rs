//! Shortcuts: features that are added to all channels of later features, or to the first few.

use std::ops::Range;

use super::super::constant::{Misfit, misfit};
use super::super::operation::{Operation, bounds, place, places};
use super::super::step::{Bounds, Shortcut, Step, What};
use super::words;
use super::{Axis, Channel, Features, Tracer, Value};

impl<'a> Tracer<'a> {
    /// The sum of two features.
    pub(super) fn add(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let (a, b) = (self.features(op, 0)?.clone(), self.features(op, 1)?.clone());
        let plain = |features: &Features| features.pads == [(0, 0); 2] && features.pooled == [false; 2];
        if !plain(&a) || !plain(&b) || a.axes != b.axes || a.channels != b.channels {
            let channels = format!("{} and {}", words::channels(&a.channels), words::channels(&b.channels));
            return misfit("a sum of the same channels of two features", channels);
        }
        if self.steps[a.step].channels != self.steps[b.step].channels || a.channels.start != 0 {
            let channels = format!("{} and {}", self.steps[a.step].channels, self.steps[b.step].channels);
            return misfit("a sum of as many channels, from the first on", channels);
        }
        if a.channels.end < self.steps[a.step].channels {
            let (steps, channels) = ([a.step, b.step], a.channels.end);
            return self.set(op, Value::Sum { steps, channels, axes: a.axes });
        }
        self.shortcut(op, [a.step, b.step], a.channels.end, a.axes)
    }

    /// Some channels of features.
    pub(super) fn slice(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.features(op, 0)?.clone();
        let rank = features.axes.len();
        let (starts, ends) = (self.ints(op, "starts", 1)?, self.ints(op, "ends", 2)?);
        let axes = match self.ints(op, "axes", 3)? {
            Some(axes) => places(&axes, rank),
            None => Some((0..starts.as_ref().map_or(0, Vec::len).min(rank)).collect()),
        };
        let steps = self.constant(op, 4)?.map_or(Some(Vec::new()), |steps| steps.ints());
        let (Some(starts), Some(ends), Some(axes), Some(steps)) = (starts, ends, axes, steps) else {
            return misfit("a slice that is known", "another one");
        };
        if starts.len() != axes.len() || ends.len() != axes.len() || steps.iter().any(|&step| step != 1) {
            return misfit(
                "a start and an end for each axis, and steps of 1",
                format!("{starts:?}, {ends:?}, {steps:?}"),
            );
        }
        let mut channels = features.channels.clone();
        for ((&axis, &start), &end) in axes.iter().zip(&starts).zip(&ends) {
            if features.axes[axis] == Channel {
                let (start, end) = bounds(start, end, channels.len());
                channels = channels.start + start..channels.start + end;
            } else if start != 0 || end < i64::from(i32::MAX) {
                return misfit("a slice of channels", format!("one of {}", words::names(&[features.axes[axis]])));
            }
        }
        self.part(op, 0, features, channels)
    }

    /// Channels one part after the other.
    pub(super) fn split(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.features(op, 0)?.clone();
        let axis = place(op.int("axis", 0), features.axes.len()).map(|i| features.axes[i]);
        if axis != Some(Channel) {
            return misfit(
                "a split of channels",
                format!("one of {}", axis.map_or("no dimension".into(), |axis| words::names(&[axis]))),
            );
        }
        let (all, parts) = (features.channels.len(), op.node.output.len());
        let lengths = match self.ints(op, "split", 1)? {
            Some(lengths) => lengths.iter().map(|&length| usize::try_from(length).ok()).collect::<Option<Vec<_>>>(),
            None => {
                let each = all.div_ceil(parts.max(1));
                Some((0..parts).map(|i| each.min(all.saturating_sub(i * each))).collect())
            }
        };
        let sum = |lengths: &Vec<usize>| lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        let Some(lengths) = lengths.filter(|lengths| lengths.len() == parts && sum(lengths) == Some(all)) else {
            return misfit(format!("{parts} parts of {all} channels"), "others");
        };
        let mut start = features.channels.start;
        for (i, length) in lengths.into_iter().enumerate() {
            self.part(op, i, features.clone(), start..start + length)?;
            start += length;
        }
        Ok(())
    }

    /// An output that is some channels of features.
    fn part(
        &mut self,
        op: Operation<'a>,
        output: usize,
        mut features: Features,
        channels: Range<usize>,
    ) -> Result<(), Misfit> {
        if features.pads != [(0, 0); 2] || features.pooled != [false; 2] || channels.is_empty() {
            return misfit("some channels of features", words::channels(&channels));
        }
        features.channels = channels;
        // All channels of a step may have something else follow in the part.
        features.shared = true;
        let Some(name) = op.node.output.get(output) else { return misfit("an output", "none") };
        self.values.insert(name, Value::Features(features));
        Ok(())
    }

    /// A sum of the first channels, and the others as they are.
    pub(super) fn concat(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let values: Vec<_> = op.node.input.iter().map(|name| self.values.get(name.as_str())).collect();
        let [Some(Value::Sum { steps, channels, axes }), Some(Value::Features(rest))] = values[..] else {
            return misfit("the sum of some channels of two features, and the other channels", "other inputs");
        };
        let (steps, channels, axes, rest) = (*steps, *channels, axes.clone(), rest.clone());
        let axis = place(op.int("axis", 0), axes.len()).map(|i| axes[i]);
        let all = self.steps[rest.step].channels;
        let fits = rest.axes == axes && rest.channels == (channels..all) && axis == Some(Channel);
        let [a, b] = steps;
        let main = match rest.step {
            _ if !fits => return misfit(format!("channels {channels} to {all}"), words::channels(&rest.channels)),
            step if step == a => [a, b],
            step if step == b => [b, a],
            _ => return misfit("the other channels of a feature of the sum", "those of another"),
        };
        let step = self.fork(main).map_or_else(|| misfit("the block's output as the rest", "other features"), Ok)?;
        self.shorten(op, step, channels, axes)
    }

    fn shortcut(
        &mut self,
        op: Operation<'a>,
        [a, b]: [usize; 2],
        covered: usize,
        axes: Vec<Axis>,
    ) -> Result<(), Misfit> {
        match self.fork([a, b]).or_else(|| self.fork([b, a])) {
            Some(shortcut) => self.shorten(op, shortcut, covered, axes),
            None => misfit("a sum with features from before, or with a 1x1 convolution of them", "another sum"),
        }
    }

    fn shorten(
        &mut self,
        op: Operation<'a>,
        shortcut: Shortcut,
        covered: usize,
        axes: Vec<Axis>,
    ) -> Result<(), Misfit> {
        let (main, other) = (&self.steps[shortcut.main], &self.steps[shortcut.projection.unwrap_or(shortcut.fork)]);
        let (channels, size) = (main.channels, main.size);
        let differs = |axis: usize| size[axis].zip(other.size[axis]).is_some_and(|(a, b)| a != b);
        if differs(0) || differs(1) {
            return misfit(
                "a sum of features of one size",
                format!("{} and {}", words::size(&size), words::size(&other.size)),
            );
        }
        let what = What::Shortcut(Shortcut { covered, ..shortcut });
        self.push(op, Step { at: op.index, what, channels, size, bounds: Bounds::NONE }, axes)
    }

    /// Where the ways to two steps part, if the second has nothing on it or a 1x1 convolution.
    fn fork(&self, [main, other]: [usize; 2]) -> Option<Shortcut> {
        if main == other {
            return None;
        }
        if self.leads(other, main) {
            return Some(Shortcut { main, fork: other, projection: None, covered: 0 });
        }
        match &self.steps[other].what {
            What::Convolution(projection) if projection.kernel == 1 && self.leads(projection.input, main) => {
                Some(Shortcut { main, fork: projection.input, projection: Some(other), covered: 0 })
            }
            _ => None,
        }
    }

    /// Whether a step comes of another one, shortcuts aside.
    fn leads(&self, from: usize, to: usize) -> bool {
        let mut at = to;
        while at > from {
            at = match &self.steps[at].what {
                What::Input | What::Classifier => return false,
                What::Convolution(convolution) => convolution.input,
                What::MaxPool(input) => *input,
                What::Shortcut(shortcut) => shortcut.fork,
            };
        }
        at == from
    }
}
