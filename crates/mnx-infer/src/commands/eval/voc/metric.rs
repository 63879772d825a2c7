//! Average precision by the rules of Pascal VOC's development kit (`VOCevaldet.m`).
//!
//! Detections of a class are taken from the best to the worst. Each is compared with all boxes of the class in its picture,
//! and belongs to the one with which it has the highest intersection over union. It is
//! - false, if that is below the limit;
//! - ignored, if the box is difficult;
//! - true, if the box has no detection yet;
//! - false, if it has: a duplicate.
//!
//! Boxes that are not difficult are the positives. A box that nothing can match, because it is empty or inverted, is one, too.

/// A class's box in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Truth {
    /// Number of the picture.
    pub(super) picture: usize,
    /// Left, top, right and bottom edge in pixels, where 0 is the picture's edge.
    pub(super) edges: [f64; 4],
    /// Neither finding it nor missing it counts.
    pub(super) difficult: bool,
}

/// What a detector found of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) picture: usize,
    pub(super) edges: [f64; 4],
    pub(super) score: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    True,
    False,
    Ignored,
}

/// True and false detections of a class, up to each one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Curve {
    /// Boxes to find.
    pub(super) positives: usize,
    /// Counts of true and of false detections, from the best detection on.
    steps: Vec<(usize, usize)>,
}

impl Curve {
    /// Judges what was found of one class. A detection counts if its intersection over union with a box is at least `limit`.
    /// Equal scores stay in the order in which they are given.
    pub(super) fn new(truths: &[Truth], found: &[Found], limit: f64) -> Curve {
        let mut by_picture: Vec<usize> = (0..truths.len()).collect();
        by_picture.sort_by_key(|&truth| truths[truth].picture);
        let mut order: Vec<&Found> = found.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut has_detection = vec![false; truths.len()];
        let mut curve = Curve { positives: truths.iter().filter(|truth| !truth.difficult).count(), steps: Vec::new() };
        let (mut right, mut wrong) = (0, 0);
        for found in order {
            let start = by_picture.partition_point(|&truth| truths[truth].picture < found.picture);
            let here = by_picture[start..].iter().copied().take_while(|&truth| truths[truth].picture == found.picture);
            match judge(truths, here, &mut has_detection, found, limit) {
                Verdict::True => right += 1,
                Verdict::False => wrong += 1,
                Verdict::Ignored => continue,
            }
            curve.steps.push((right, wrong));
        }
        curve
    }

    /// Detections that are right.
    pub(super) fn right(&self) -> usize {
        self.steps.last().map_or(0, |step| step.0)
    }

    /// Detections that are wrong, duplicates among them.
    pub(super) fn wrong(&self) -> usize {
        self.steps.last().map_or(0, |step| step.1)
    }

    /// Recall and precision after each detection that counts. Empty if there is nothing to find.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let steps = if self.positives == 0 { &[][..] } else { &self.steps };
        steps.iter().map(|&(right, wrong)| (right as f64 / self.positives as f64, precision(right, wrong)))
    }

    /// The area under the curve of precision over recall, as VOC measures it since 2010. At each recall the precision is the
    /// best one at that recall or a higher one. `None` if there is nothing to find.
    pub(super) fn all_point(&self) -> Option<f64> {
        if self.positives == 0 {
            return None;
        }
        let (mut area, mut best) = (0.0, 0.0_f64);
        for (i, &(right, wrong)) in self.steps.iter().enumerate().rev() {
            best = best.max(precision(right, wrong));
            let before = if i == 0 { 0 } else { self.steps[i - 1].0 };
            area += (right - before) as f64 * best;
        }
        Some(area / self.positives as f64)
    }

    /// The mean of the precision at recalls of 0, 0.1, … 1, as VOC 2007 measures it. `None` if there is nothing to find.
    pub(super) fn eleven_point(&self) -> Option<f64> {
        if self.positives == 0 {
            return None;
        }
        let at = |tenths: usize| {
            // In whole numbers: 3 of 10 boxes are a recall of 0.3, which no rounding may take away.
            let enough = self.steps.iter().filter(|step| 10 * step.0 >= tenths * self.positives);
            enough.map(|&(right, wrong)| precision(right, wrong)).fold(0.0, f64::max)
        };
        Some((0..=10).map(at).sum::<f64>() / 11.0)
    }
}

fn precision(right: usize, wrong: usize) -> f64 {
    right as f64 / (right + wrong) as f64
}

fn judge(
    truths: &[Truth],
    here: impl Iterator<Item = usize>,
    has_detection: &mut [bool],
    found: &Found,
    limit: f64,
) -> Verdict {
    let mut best: Option<(usize, f64)> = None;
    for truth in here {
        let iou = iou(&truths[truth].edges, &found.edges);
        // Of equal ones, the first.
        if iou > best.map_or(0.0, |best| best.1) {
            best = Some((truth, iou));
        }
    }
    match best {
        Some((truth, iou)) if iou >= limit => {
            if truths[truth].difficult {
                Verdict::Ignored
            } else if std::mem::replace(&mut has_detection[truth], true) {
                Verdict::False
            } else {
                Verdict::True
            }
        }
        _ => Verdict::False,
    }
}

/// Intersection over union; 0 if there is no intersection.
fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let (width, height) = (a[2].min(b[2]) - a[0].max(b[0]), a[3].min(b[3]) - a[1].max(b[1]));
    // An inverted box would have a negative area.
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |edges: &[f64; 4]| (edges[2] - edges[0]) * (edges[3] - edges[1]);
    let common = width * height;
    common / (area(a) + area(b) - common)
}

/// The mean of those that there are.
pub(super) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: f64 = 0.5;

    /// A box of 10 x 10 pixels.
    fn square(left: f64, top: f64) -> [f64; 4] {
        [left, top, left + 10.0, top + 10.0]
    }

    fn truth(picture: usize, edges: [f64; 4]) -> Truth {
        Truth { picture, edges, difficult: false }
    }

    fn found(picture: usize, edges: [f64; 4], score: f32) -> Found {
        Found { picture, edges, score }
    }

    fn assert_near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn intersection_over_union() {
        assert_eq!(iou(&square(0.0, 0.0), &square(0.0, 0.0)), 1.0);
        assert_eq!(iou(&square(0.0, 0.0), &square(5.0, 0.0)), 50.0 / 150.0);
        assert_eq!(iou(&square(0.0, 0.0), &square(10.0, 0.0)), 0.0);
        assert_eq!(iou(&square(0.0, 0.0), &[5.0, 5.0, 5.0, 5.0]), 0.0);
        assert_eq!(iou(&square(0.0, 0.0), &[8.0, 8.0, 2.0, 2.0]), 0.0);
    }

    /// Four boxes in two pictures, six detections, by hand:
    ///
    /// | score | | right | wrong | precision | recall |
    /// | --- | --- | --- | --- | --- | --- |
    /// | 0.9 | box 1 | 1 | 0 | 1 | 1/4 |
    /// | 0.8 | nothing | 1 | 1 | 1/2 | 1/4 |
    /// | 0.7 | box 2 | 2 | 1 | 2/3 | 2/4 |
    /// | 0.6 | box 1 again | 2 | 2 | 1/2 | 2/4 |
    /// | 0.5 | box 3 | 3 | 2 | 3/5 | 3/4 |
    /// | 0.4 | right place, wrong picture | 3 | 3 | 1/2 | 3/4 |
    ///
    /// All-point: 1/4 · 1 + 1/4 · 2/3 + 1/4 · 3/5. Eleven-point: recalls 0, 0.1, 0.2 have 1, those to 0.5 have 2/3, those to
    /// 0.7 have 3/5.
    #[test]
    fn a_table_by_hand() {
        let truths =
            [(0, 0.0), (0, 50.0), (1, 0.0), (1, 90.0)].map(|(picture, left)| truth(picture, square(left, 0.0)));
        let table = [
            found(1, square(1.0, 1.0), 0.5),
            found(0, square(0.0, 1.0), 0.9),
            found(0, square(200.0, 0.0), 0.8),
            found(0, square(52.0, 0.0), 0.7),
            found(0, square(0.0, 0.0), 0.6),
            found(1, square(50.0, 0.0), 0.4),
        ];
        let curve = Curve::new(&truths, &table, LIMIT);
        assert_eq!((curve.positives, curve.right(), curve.wrong()), (4, 3, 3));
        assert_eq!(curve.steps, [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]);
        let points: Vec<_> = curve.points().collect();
        assert_eq!(points, [(0.25, 1.0), (0.25, 0.5), (0.5, 2.0 / 3.0), (0.5, 0.5), (0.75, 0.6), (0.75, 0.5)]);
        assert_near(curve.all_point(), (1.0 + 2.0 / 3.0 + 0.6) / 4.0);
        assert_near(curve.eleven_point(), (3.0 + 3.0 * 2.0 / 3.0 + 2.0 * 0.6) / 11.0);
    }

    /// An intersection over union of exactly the limit is enough.
    #[test]
    fn the_limit_counts() {
        let truths = [truth(0, [0.0, 0.0, 30.0, 10.0])];
        let half = |right: f64| Curve::new(&truths, &[found(0, [0.0, 0.0, right, 10.0], 0.5)], LIMIT).right();
        assert_eq!((half(15.0), half(14.99), half(60.0), half(60.01)), (1, 0, 1, 0));
    }

    #[test]
    fn difficult_boxes_are_neither_found_nor_missed() {
        let hard = Truth { difficult: true, ..truth(0, square(0.0, 0.0)) };
        let truths = [hard, truth(0, square(50.0, 0.0))];
        let table =
            [found(0, square(0.0, 0.0), 0.9), found(0, square(1.0, 0.0), 0.8), found(0, square(50.0, 0.0), 0.7)];
        let curve = Curve::new(&truths, &table, LIMIT);
        assert_eq!((curve.positives, &curve.steps[..]), (1, &[(1, 0)][..]));
        assert_near(curve.all_point(), 1.0);
        // Too far away even from a difficult box.
        assert_eq!(Curve::new(&truths, &[found(0, square(8.0, 0.0), 0.9)], LIMIT).wrong(), 1);
        // A class of difficult boxes alone has nothing to find.
        let curve = Curve::new(&[hard], &[found(0, square(90.0, 0.0), 0.9)], LIMIT);
        assert_eq!((curve.all_point(), curve.eleven_point(), curve.points().count()), (None, None, 0));
    }

    /// A detection belongs to the box that it fits best, even if another one is free.
    #[test]
    fn the_best_box_decides() {
        let truths = [truth(0, square(0.0, 0.0)), truth(0, square(2.0, 0.0))];
        let table = [found(0, square(0.0, 0.0), 0.9), found(0, square(0.5, 0.0), 0.8)];
        assert_eq!(Curve::new(&truths, &table, LIMIT).steps, [(1, 0), (1, 1)]);
        // Halfway between two, the first one.
        let table = [found(0, square(1.0, 0.0), 0.9), found(0, square(0.0, 0.0), 0.8), found(0, square(2.0, 0.0), 0.7)];
        assert_eq!(Curve::new(&truths, &table, LIMIT).steps, [(1, 0), (1, 1), (2, 1)]);
    }

    #[test]
    fn equal_scores_stay_in_order() {
        let truths = [truth(0, square(0.0, 0.0))];
        let (right, wrong) = (found(0, square(0.0, 0.0), 0.5), found(0, square(50.0, 0.0), 0.5));
        assert_eq!(Curve::new(&truths, &[right, wrong], LIMIT).steps, [(1, 0), (1, 1)]);
        assert_eq!(Curve::new(&truths, &[wrong, right], LIMIT).steps, [(0, 1), (1, 1)]);
    }

    #[test]
    fn inverted_boxes_are_missed_and_thin_ones_found() {
        // One pixel, from 5 to 5 in an annotation.
        let pixel = [4.0, 4.0, 5.0, 5.0];
        let truths = [truth(0, square(0.0, 0.0)), truth(0, pixel), truth(0, [9.0, 9.0, 1.0, 1.0])];
        let table = [found(0, square(0.0, 0.0), 0.9), found(0, pixel, 0.8), found(0, [1.0, 1.0, 9.0, 9.0], 0.7)];
        let curve = Curve::new(&truths, &table, LIMIT);
        assert_eq!((curve.positives, curve.right()), (3, 2));
        assert_near(curve.all_point(), 2.0 / 3.0);
    }

    #[test]
    fn without_boxes_or_detections() {
        let one = [found(0, square(0.0, 0.0), 0.9)];
        assert_eq!(Curve::new(&[], &one, LIMIT).all_point(), None);
        let missed = Curve::new(&[truth(0, square(0.0, 0.0))], &[], LIMIT);
        assert_eq!((missed.all_point(), missed.eleven_point()), (Some(0.0), Some(0.0)));
        assert_eq!(mean([None, Some(0.5), Some(1.0)].into_iter()), Some(0.75));
        assert_eq!(mean([None].into_iter()), None);
    }

    /// 3 of 10 boxes are a recall of 0.3, although 3 · 0.1 is more than 0.3 in floating point.
    #[test]
    fn recalls_are_exact() {
        let truths: Vec<_> = (0..10).map(|i| truth(i, square(0.0, 0.0))).collect();
        for right in 0..=10 {
            let table: Vec<_> = (0..right).map(|i| found(i, square(0.0, 0.0), 0.5)).collect();
            assert_near(
                Curve::new(&truths, &table, LIMIT).eleven_point(),
                if right == 0 { 0.0 } else { (right + 1) as f64 / 11.0 },
            );
            assert_near(Curve::new(&truths, &table, LIMIT).all_point(), right as f64 / 10.0);
        }
    }

    /// Random boxes, judged by the package mean-average-precision (`tools/make_average_precision_goldens.py`).
    #[test]
    fn the_same_as_another_implementation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/average-precision.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(cases.len(), 6);
        for case in cases {
            let rows = |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(case[key].clone()).unwrap() };
            let edges = |row: &[f64]| [row[1] - 1.0, row[2] - 1.0, row[3], row[4]];
            let truths: Vec<_> = rows("truths").iter().map(|row| truth(row[0] as usize, edges(row))).collect();
            let table: Vec<_> =
                rows("found").iter().map(|row| found(row[0] as usize, edges(row), row[5] as f32)).collect();
            let curve = Curve::new(&truths, &table, LIMIT);
            // The package computes in f32.
            for (ours, theirs) in [(curve.all_point(), "ap"), (curve.eleven_point(), "ap_11_point")] {
                let (ours, theirs) = (ours.unwrap(), case[theirs].as_f64().unwrap());
                assert!((ours - theirs).abs() < 1e-6 && (0.05..0.95).contains(&ours), "{ours}, {theirs}");
            }
        }
    }
}
