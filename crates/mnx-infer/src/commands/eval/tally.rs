//! Counts right and wrong answers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use crate::json_path::Unreadable;

/// An answer is nearly right if the class is among this many most probable ones.
pub(super) const TOP: usize = 5;

/// What is known of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    /// How many pictures of it were classified.
    pub(super) pictures: u64,
    /// Of how many it was the most probable class.
    pub(super) correct: u64,
}

/// What is kept of all answers: as much as there are classes, pairs of them that were confused, and unreadable files.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By index; classes without a picture are left out.
    pub(super) classes: BTreeMap<usize, Class>,
    top5: u64,
    /// How often a class was taken for another one.
    confused: BTreeMap<(usize, usize), u64>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl Tally {
    /// Counts a picture of class `truth`; `top` has the most probable classes, the first one first.
    pub(super) fn add(&mut self, truth: usize, top: &[(usize, f32)]) {
        let class = self.classes.entry(truth).or_default();
        class.pictures += 1;
        match top.first() {
            Some(&(predicted, _)) if predicted == truth => class.correct += 1,
            Some(&(predicted, _)) => *self.confused.entry((truth, predicted)).or_default() += 1,
            None => (),
        }
        self.top5 += u64::from(top.iter().take(TOP).any(|&(index, _)| index == truth));
    }

    /// Counts a file that gave no answer.
    pub(super) fn add_unreadable(&mut self, path: &Path, error: &str) {
        self.unreadable.push(Unreadable::new(path, error));
    }

    /// Pictures that were classified.
    pub(super) fn pictures(&self) -> u64 {
        self.classes.values().map(|class| class.pictures).sum()
    }

    /// Pictures whose class was the most probable one.
    pub(super) fn top1(&self) -> u64 {
        self.classes.values().map(|class| class.correct).sum()
    }

    /// Pictures whose class was among the [`TOP`] most probable ones.
    pub(super) fn top5(&self) -> u64 {
        self.top5
    }

    /// Class, what it was taken for and how often: the most frequent first, equal ones by their indices.
    pub(super) fn confusions(&self) -> Vec<(usize, usize, u64)> {
        let mut all: Vec<_> =
            self.confused.iter().map(|(&(truth, taken_for), &count)| (truth, taken_for, count)).collect();
        all.sort_by_key(|&(.., count)| Reverse(count));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answers: &[(usize, &[usize])]) -> Tally {
        let mut tally = Tally::default();
        for (truth, top) in answers {
            let top: Vec<_> = top.iter().map(|&index| (index, 0.1)).collect();
            tally.add(*truth, &top);
        }
        tally
    }

    #[test]
    fn the_first_answer_and_the_first_five_are_counted() {
        let tally =
            tally(&[(3, &[3, 0, 1, 2, 4]), (3, &[0, 1, 2, 4, 3]), (3, &[0, 1, 2, 4, 5, 3]), (7, &[7]), (9, &[8, 7])]);
        assert_eq!((tally.pictures(), tally.top1(), tally.top5()), (5, 2, 3));
        let class = |pictures, correct| Class { pictures, correct };
        let classes = [(3, class(3, 1)), (7, class(1, 1)), (9, class(1, 0))];
        assert!(tally.classes.into_iter().eq(classes));
    }

    #[test]
    fn frequent_confusions_come_first_then_low_indices() {
        let tally = tally(&[(2, &[1]), (1, &[2]), (1, &[0]), (5, &[4]), (5, &[4]), (0, &[0])]);
        assert_eq!(tally.confusions(), [(5, 4, 2), (1, 0, 1), (1, 2, 1), (2, 1, 1)]);
    }
}
