//! Which priors and classes have a score above the threshold.

use mnx_graph::ScoreKind;
use mnx_tensor::{Error, memory};

use super::exp::exp;

/// A score with its class and prior in one number. The larger number comes first: that of the higher score, then of the lower
/// class, then of the lower prior.
///
/// Scores are above 0, and the bits of such numbers have their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

impl Candidate {
    /// `place` is the class times the number of priors, plus the prior.
    fn new(score: f32, place: u32) -> Candidate {
        Candidate(u64::from(score.to_bits()) << 32 | u64::from(!place))
    }

    pub(super) fn score(self) -> f32 {
        f32::from_bits((self.0 >> 32) as u32)
    }

    pub(super) fn place(self) -> u32 {
        !(self.0 as u32)
    }
}

/// Candidates of a picture, of which the worse may be left for later.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    list: &'a mut Vec<Candidate>,
    /// When there are twice as many, the worse half is left for later.
    most: usize,
    /// Only what comes after this one is collected.
    after: Candidate,
    /// Only what comes before this one is collected: first everything above the threshold, then what is better than those that
    /// were left.
    before: Candidate,
    has_left: bool,
}

impl<'a> Collector<'a> {
    /// Collects what is strictly above `threshold`, 0…1, and comes after `after`, if there is one.
    pub(super) fn new(
        list: &'a mut Vec<Candidate>,
        threshold: f32,
        after: Option<Candidate>,
        most: usize,
    ) -> Collector<'a> {
        list.clear();
        // Before every candidate, and after all that have the threshold for a score: 0 instead of -0, whose bits have no order.
        let (first, last) = (Candidate(u64::MAX), Candidate::new(threshold + 0.0, 0));
        Collector { list, most, after: after.unwrap_or(first), before: last, has_left: false }
    }

    /// The score that a candidate must have at the least.
    fn least_score(&self) -> f32 {
        self.before.score()
    }

    /// Room for more candidates.
    fn reserve(&mut self, more: usize) -> Result<(), Error> {
        let bytes = (self.list.len() + more) * size_of::<Candidate>();
        self.list.try_reserve(more).map_err(|_| Error::Memory { bytes })
    }

    #[inline(always)]
    fn add(&mut self, score: f32, place: u32) {
        let candidate = Candidate::new(score, place);
        if candidate > self.before && candidate < self.after {
            self.list.push(candidate);
        }
    }

    /// Leaves the worse half for later, if there are many.
    fn is_shortened(&mut self) -> bool {
        if self.list.len() / 2 < self.most {
            return false;
        }
        let (_, &mut last, _) = self.list.select_nth_unstable_by(self.most, |a, b| b.cmp(a));
        self.list.truncate(self.most);
        (self.before, self.has_left) = (last, true);
        true
    }

    /// What the list is before, if something was left: all that is missing is not better than this.
    pub(super) fn left(self) -> Option<Candidate> {
        // The one at which the list was cut has been left, too.
        self.has_left.then_some(Candidate(self.before.0.saturating_add(1)))
    }
}

/// Finds candidates in the rows of a class head. The classes of a row are those of a prior; class 0 is the background.
#[derive(Clone, Debug)]
pub(super) struct Scorer {
    kind: ScoreKind,
    classes: usize,
    /// e^(logit - largest logit) of one row.
    powers: Vec<f32>,
}

impl Scorer {
    pub(super) fn new(kind: ScoreKind, classes: usize) -> Result<Scorer, Error> {
        Ok(Scorer { kind, classes, powers: memory::zeros(classes)? })
    }

    /// Passes on all classes of all rows that the collector wants.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub(super) fn find(&mut self, logits: &[f32], collector: &mut Collector) -> Result<(), Error> {
        if collector.least_score() >= 1.0 {
            return Ok(());
        }
        let priors = (logits.len() / self.classes) as u32;
        let mut least = least_logit(collector.least_score());
        for (prior, row) in (0..).zip(logits.chunks_exact(self.classes)) {
            // Once for each row, so that adding need not ask.
            collector.reserve(self.classes - 1)?;
            match self.kind {
                ScoreKind::Sigmoid => sigmoid(row, least, |class, score| {
                    collector.add(score, class * priors + prior);
                }),
                _ => softmax(row, &mut self.powers, least, collector.least_score(), |class, score| {
                    collector.add(score, class * priors + prior);
                }),
            }
            if collector.is_shortened() {
                least = least_logit(collector.least_score());
            }
        }
        Ok(())
    }
}

/// The logit that a score of `threshold` has, less what rounding may add: a smaller one need not be looked at. In a softmax it
/// counts from the background's logit, because the other classes only take from a score.
fn least_logit(threshold: f32) -> f32 {
    let threshold = f64::from(threshold);
    let rounding = 1e-3 + 1e-5 / (1.0 - threshold);
    ((threshold / (1.0 - threshold)).ln() - rounding) as f32
}

fn largest(numbers: &[f32]) -> f32 {
    // Four at a time, as vectors have them; a comparison, because `f32::max` takes longer to treat NaN.
    let mut lanes = [f32::NEG_INFINITY; 4];
    let (fours, rest) = numbers.as_chunks::<4>();
    for four in fours {
        for (lane, &number) in lanes.iter_mut().zip(four) {
            *lane = if number > *lane { number } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &number| if number > most { number } else { most })
}

/// Four sums side by side, as vectors have them.
fn sum(numbers: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 4];
    let (fours, rest) = numbers.as_chunks::<4>();
    for four in fours {
        for (lane, &number) in lanes.iter_mut().zip(four) {
            *lane += number;
        }
    }
    for (lane, &number) in lanes.iter_mut().zip(rest) {
        *lane += number;
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// Scores of a row that is softmaxed, of classes with `least_score` or nearly so much. As in PyTorch, all are NaN, and so above
/// nothing, if a logit is NaN or +Inf.
#[inline(always)]
fn softmax(row: &[f32], powers: &mut [f32], least: f32, least_score: f32, mut found: impl FnMut(u32, f32)) {
    let Some((&background, others)) = row.split_first() else { return };
    let best = largest(others);
    // In most rows the background is far ahead.
    let ahead = best - background;
    if ahead <= least || ahead.is_nan() {
        return;
    }
    let most = if best > background { best } else { background };
    for (power, &logit) in powers.iter_mut().zip(row) {
        *power = exp(logit - most);
    }
    let sum = sum(powers);
    // A division each only for those that are near enough. None is if the sum is NaN.
    let near = least_score * sum * (1.0 - 1e-6);
    for (class, &power) in (1..).zip(&powers[1..]) {
        if power >= near {
            found(class, power / sum);
        }
    }
}

/// Scores of a row whose classes are judged each for itself.
#[inline(always)]
fn sigmoid(row: &[f32], least: f32, mut found: impl FnMut(u32, f32)) {
    for (class, &logit) in (1..).zip(row.iter().skip(1)) {
        // A NaN is not above anything.
        if logit > least {
            let power = exp(-logit.abs());
            found(class, if logit > 0.0 { 1.0 } else { power } / (1.0 + power));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class, prior and score of everything above the threshold.
    fn found(kind: ScoreKind, classes: usize, logits: &[f32], threshold: f32) -> Vec<(u32, u32, f32)> {
        let mut candidates = Vec::new();
        let mut collector = Collector::new(&mut candidates, threshold, None, usize::MAX);
        Scorer::new(kind, classes).unwrap().find(logits, &mut collector).unwrap();
        assert_eq!(collector.left(), None);
        candidates.sort_by(|a, b| b.cmp(a));
        let priors = (logits.len() / classes) as u32;
        candidates.iter().map(|c| (c.place() / priors, c.place() % priors, c.score())).collect()
    }

    #[test]
    fn candidates_are_in_order_of_score_then_class_then_prior() {
        let third = |class, prior| (class, prior, 1.0 / 3.0);
        let logits = [0.0; 6];
        let all = [third(1, 0), third(1, 1), third(2, 0), third(2, 1)];
        assert_eq!(found(ScoreKind::Softmax, 3, &logits, 0.3), all);
        // Strictly above.
        assert_eq!(found(ScoreKind::Softmax, 3, &logits, 1.0 / 3.0), []);
        assert_eq!(found(ScoreKind::Sigmoid, 3, &logits, 0.5), []);
        assert_eq!(found(ScoreKind::Sigmoid, 3, &logits, 0.499).len(), 4);
    }

    #[test]
    fn the_ends_of_the_threshold() {
        for kind in [ScoreKind::Softmax, ScoreKind::Sigmoid] {
            // So sure that the score rounds to 1, and so unsure that it is 0.
            let logits = [0.0, 200.0, -200.0, f32::NEG_INFINITY];
            assert_eq!(found(kind, 4, &logits, 1.0), []);
            assert_eq!(found(kind, 4, &logits, 0.0), [(1, 0, 1.0)]);
            assert_eq!(found(kind, 4, &logits, -0.0), [(1, 0, 1.0)]);
            let below_one = 1.0 - f32::EPSILON / 2.0;
            assert_eq!(found(kind, 4, &logits, below_one), [(1, 0, 1.0)]);
        }
    }

    #[test]
    fn what_is_no_number_is_above_nothing() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for row in [[nan, 1.0, 1.0], [0.0, nan, 1.0], [0.0, 1.0, nan], [inf, 1.0, 1.0], [0.0, inf, 1.0], [-inf; 3]] {
            assert_eq!(found(ScoreKind::Softmax, 3, &row, 0.0), [], "{row:?}");
        }
        assert_eq!(found(ScoreKind::Softmax, 3, &[-inf, 1.0, -inf], 0.5), [(1, 0, 1.0)]);
        // A sigmoid's classes have nothing to do with each other.
        assert_eq!(found(ScoreKind::Sigmoid, 4, &[nan, nan, 0.0, inf], 0.4), [(3, 0, 1.0), (2, 0, 0.5)]);
        assert_eq!(found(ScoreKind::Sigmoid, 2, &[0.0, -inf], 0.0), []);
    }

    /// The best come first, and what was left can be had afterwards: nothing is lost, and nothing comes twice.
    #[test]
    fn many_candidates_come_in_two_parts() {
        let logits: Vec<f32> = (0..3000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 28) as f32 / 8.0).collect();
        for (kind, classes, most) in
            [(ScoreKind::Softmax, 3, 10), (ScoreKind::Sigmoid, 2, 100), (ScoreKind::Softmax, 6, 1)]
        {
            let mut scorer = Scorer::new(kind, classes).unwrap();
            let mut part = |after, most| {
                let mut list = Vec::new();
                let mut collector = Collector::new(&mut list, 0.01, after, most);
                scorer.find(&logits, &mut collector).unwrap();
                let left = collector.left();
                list.sort_by(|a, b| b.cmp(a));
                (list, left)
            };
            let (all, none) = part(None, usize::MAX);
            let (best, left) = part(None, most);
            let (rest, nothing) = part(left, usize::MAX);
            assert!(none.is_none() && nothing.is_none() && best.len() < all.len() && best.len() >= most);
            assert_eq!([best, rest].concat(), all);
        }
    }

    /// Nothing is passed over that f64 finds, for any number of classes and any threshold.
    #[test]
    fn scores_are_those_of_f64() {
        let mut seed = 1_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32
        };
        for classes in [2, 3, 4, 5, 8, 21, 91] {
            for threshold in [0.0, 1e-8, 0.01, 0.3, 0.5, 0.9, 0.999] {
                for (kind, spread) in
                    [(ScoreKind::Softmax, 4.0), (ScoreKind::Softmax, 40.0), (ScoreKind::Sigmoid, 30.0)]
                {
                    let logits: Vec<f32> = (0..classes * 50).map(|_| spread * (random() - 0.5)).collect();
                    let mut expected = Vec::new();
                    for (prior, row) in logits.chunks_exact(classes).enumerate() {
                        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                        for (class, &logit) in row.iter().enumerate().skip(1) {
                            let score = match kind {
                                ScoreKind::Softmax => f64::from(logit).exp() / sum,
                                _ => 1.0 / (1.0 + f64::from(-logit).exp()),
                            };
                            expected.push((class as u32, prior as u32, score));
                        }
                    }
                    let found = found(kind, classes, &logits, threshold);
                    // The difference of two logits is rounded before it is an exponent.
                    let error = f64::from((4.0 + spread) * f32::EPSILON);
                    let limit = f64::from(threshold);
                    for &(class, prior, score) in &expected {
                        let hit = found.iter().find(|hit| (hit.0, hit.1) == (class, prior));
                        match hit {
                            Some(hit) => assert!((f64::from(hit.2) - score).abs() <= error * score, "{score} {hit:?}"),
                            None => {
                                assert!(score <= limit * (1.0 + error), "{score} at {threshold}, {classes} classes")
                            }
                        }
                    }
                }
            }
        }
    }
}
