use mnx_graph::{DetectorSpec, ScoreKind};
use proptest::prelude::*;

use super::boxes::{area, decode, iou};
use super::*;
use crate::Error;

/// A level of `grid` x `grid` cells, each with a square of 0.4 and a box of twice the width.
fn spec(scores: &str) -> DetectorSpec {
    let text = format!(
        r#"{{"taps": [{{"block": 1}}], "extras": [], "priors": [{{"scales": [[0.4, 1.0], [0.4, 4.0]]}}],
            "coder": {{"centre": 0.1, "size": 0.2}}, "scores": "{scores}", "score": 0.01, "iou": 0.45, "top": 100}}"#
    );
    serde_json::from_str(&text).unwrap()
}

const SIDE: usize = 100;

fn post(spec: &DetectorSpec, classes: usize, grid: usize) -> PostProcessor {
    PostProcessor::new(spec, classes, spec.priors(&[(grid, grid)], SIDE).unwrap(), SIDE).unwrap()
}

/// Numbers from -0.5 to 0.5.
fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    }
}

/// The rules, one after the other: every score, suppression in each class, then the best of all.
fn plain(spec: &DetectorSpec, classes: usize, priors: &[[f32; 4]], scores: &[f32], boxes: &[f32]) -> Vec<ScoredBox> {
    let scored: Vec<Vec<f32>> = scores
        .chunks(classes)
        .map(|row| match spec.scores {
            ScoreKind::Softmax => crate::softmax(row),
            _ => row.iter().map(|&x| (1.0 / (1.0 + f64::from(-x).exp())) as f32).collect(),
        })
        .collect();
    let corners: Vec<_> = boxes
        .chunks(4)
        .zip(priors)
        .map(|(numbers, &prior)| decode(&spec.coder, numbers.try_into().unwrap(), prior, SIDE as f32))
        .collect();
    let score = |prior: usize, class: usize| scored[prior][class];
    let mut found = Vec::new();
    for class in 1..classes {
        let mut above: Vec<usize> = (0..priors.len()).filter(|&prior| score(prior, class) > spec.score).collect();
        above.sort_by(|&a, &b| score(b, class).total_cmp(&score(a, class)));
        let mut kept: Vec<usize> = Vec::new();
        for prior in above {
            let overlap =
                |other: usize| iou(corners[other], area(corners[other]), corners[prior], area(corners[prior]));
            let is_finite = corners[prior].iter().all(|corner| corner.is_finite());
            if is_finite && !kept.iter().any(|&other| overlap(other) > spec.iou) {
                kept.push(prior);
            }
        }
        found.extend(kept.into_iter().map(|prior| {
            let [xmin, ymin, xmax, ymax] = corners[prior];
            ScoredBox { class, prior, score: score(prior, class), xmin, ymin, xmax, ymax }
        }));
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(spec.top);
    found
}

/// The same boxes in the same order; scores may differ in the last places.
fn assert_same(found: &[ScoredBox], expected: &[ScoredBox]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.score - expected.score).abs() <= 1e-6, "{found:?}, {expected:?}");
        assert_eq!(ScoredBox { score: 0.0, ..*found }, ScoredBox { score: 0.0, ..*expected });
    }
}

#[test]
fn the_same_as_by_plain_rules() {
    for (kind, classes, spread) in
        [("softmax", 4, 6.0), ("softmax", 21, 12.0), ("sigmoid", 2, 8.0), ("sigmoid", 5, 8.0)]
    {
        for (seed, (score, iou, top)) in
            (1..).zip([(0.01, 0.45, 100), (0.01, 0.45, 7), (0.3, 0.0, 100), (0.0, 1.0, 1000), (0.05, 0.6, 1)])
        {
            let mut spec = spec(kind);
            (spec.score, spec.iou, spec.top) = (score, iou, top);
            let mut post = post(&spec, classes, 9);
            let mut random = random(seed);
            // Twice, so that what the first picture leaves behind would show.
            for _ in 0..2 {
                let scores: Vec<f32> = (0..162 * classes).map(|_| spread * random()).collect();
                let boxes: Vec<f32> = (0..162 * 4).map(|_| 4.0 * random()).collect();
                let expected = plain(&spec, classes, post.priors(), &scores, &boxes);
                assert!(!expected.is_empty());
                assert_same(post.process(&scores, &boxes, SIDE, SIDE).unwrap(), &expected);
            }
        }
    }
}

/// Two priors in the only cell; the second is as high and twice as wide, so it has half of its area in common with the first.
#[test]
fn suppression_is_strict_and_per_class() {
    let mut spec = spec("sigmoid");
    let scores = [0.0, 2.0, 1.0, 0.0, 1.0, 2.0];
    let found = |spec: &DetectorSpec, scores: &[f32]| -> Vec<(usize, usize)> {
        let mut post = post(spec, 3, 1);
        post.process(scores, &[0.0; 8], SIDE, SIDE).unwrap().iter().map(|b| (b.class, b.prior)).collect()
    };
    let priors = spec.priors(&[(1, 1)], SIDE).unwrap();
    let corners: Vec<_> = priors.iter().map(|&prior| decode(&spec.coder, [0.0; 4], prior, SIDE as f32)).collect();
    let exact = iou(corners[0], area(corners[0]), corners[1], area(corners[1]));
    spec.iou = exact;
    assert_eq!(found(&spec, &scores), [(1, 0), (2, 1), (1, 1), (2, 0)]);
    spec.iou = exact.next_down();
    assert_eq!(found(&spec, &scores), [(1, 0), (2, 1)]);
    // Of equal scores, the lower class comes first, then the lower prior.
    assert_eq!(found(&spec, &[1.0; 6]), [(1, 0), (2, 0)]);
    spec.iou = 1.0;
    assert_eq!(found(&spec, &[1.0; 6]), [(1, 0), (1, 1), (2, 0), (2, 1)]);
    spec.top = 3;
    assert_eq!(found(&spec, &[1.0; 6]), [(1, 0), (1, 1), (2, 0)]);
}

#[test]
fn what_is_no_number_is_dropped_and_suppresses_nothing() {
    let spec = spec("sigmoid");
    let mut post = post(&spec, 2, 1);
    let scores = [0.0, 3.0, 0.0, 2.0];
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in 0..4 {
            let mut boxes = [0.0; 8];
            boxes[place] = wrong;
            let found: Vec<_> = post.process(&scores, &boxes, SIDE, SIDE).unwrap().iter().map(|b| b.prior).collect();
            // A size of e^-∞ is 0, which is a number.
            let dropped = !(place >= 2 && wrong == f32::NEG_INFINITY);
            assert_eq!(found, if dropped { vec![1] } else { vec![0, 1] }, "{wrong} at {place}");
        }
    }
    // Finite in pixels of the input, but not in those of the picture.
    let boxes = [0.0, 0.0, 420.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(post.process(&scores, &boxes, SIDE, SIDE).unwrap().len(), 2);
    assert_eq!(post.process(&scores, &boxes, 4_000_000_000, 1).unwrap().len(), 1);
    assert!(post.process(&[f32::NAN; 4], &[0.0; 8], SIDE, SIDE).unwrap().is_empty());
    assert!(post.process(&[f32::NAN; 4], &[f32::NAN; 8], 1, 1).unwrap().is_empty());
}

#[test]
fn boxes_are_in_pixels_of_the_picture_and_clipped_if_asked() {
    let mut post = post(&spec("sigmoid"), 2, 1);
    // The first prior, moved to the right by 0.4 · 0.4 and up by as much, and 1.5 times as high.
    let boxes = [4.0, -4.0, 0.0, 5.0 * 1.5_f32.ln(), 0.0, 0.0, 0.0, 0.0];
    let scores = [0.0, 3.0, 0.0, -30.0];
    let corners = |post: &mut PostProcessor, width, height| {
        let found = post.process(&scores, &boxes, width, height).unwrap();
        assert_eq!(found.len(), 1);
        [found[0].xmin, found[0].ymin, found[0].xmax, found[0].ymax].map(|corner| (corner * 100.0).round() / 100.0)
    };
    assert_eq!(corners(&mut post, 100, 100), [46.0, 4.0, 86.0, 64.0]);
    assert_eq!(corners(&mut post, 10_000, 10), [4600.0, 0.4, 8600.0, 6.4]);
    assert_eq!(corners(&mut post, 1, 1), [0.46, 0.04, 0.86, 0.64]);
    let boxes = [8.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let corners = |post: &mut PostProcessor| {
        let found = post.process(&scores, &boxes, 100, 100).unwrap();
        [found[0].xmin, found[0].xmax].map(|corner| corner.round())
    };
    assert_eq!(corners(&mut post), [62.0, 102.0]);
    post.set_options(DetectOptions::new().clip(true)).unwrap();
    assert_eq!(corners(&mut post), [62.0, 100.0]);
}

#[test]
fn options_go_back_to_the_models_own() {
    let mut post = post(&spec("softmax"), 3, 4);
    let (scores, boxes) = ([0.0; 96], [0.0; 128]);
    let mut count = |options: DetectOptions| {
        post.set_options(options).unwrap();
        post.process(&scores, &boxes, 9, 9).unwrap().len()
    };
    let all = count(DetectOptions::new());
    assert!(all > 2);
    assert_eq!(count(DetectOptions::new().top(2)), 2);
    assert_eq!(count(DetectOptions::new().score(0.34)), 0);
    assert_eq!(count(DetectOptions::new().iou(1.0)), 64);
    assert_eq!(count(DetectOptions::new().top(usize::MAX)), all);
    assert_eq!(count(DetectOptions::new()), all);
}

#[test]
fn wrong_options_and_sizes_are_named() {
    let spec = spec("softmax");
    let mut post = post(&spec, 3, 1);
    let mut message = |options| post.set_options(options).unwrap_err().to_string();
    assert_eq!(message(DetectOptions::new().score(-0.1)), "detector: expected `score` to be from 0 to 1, found -0.1");
    assert_eq!(message(DetectOptions::new().iou(1.5)), "detector: expected `iou` to be from 0 to 1, found 1.5");
    assert_eq!(message(DetectOptions::new().iou(f32::NAN)), "detector: expected `iou` to be from 0 to 1, found NaN");
    assert_eq!(message(DetectOptions::new().top(0)), "detector: expected `top` to be at least 1, found 0");
    let message = post.process(&[0.0; 5], &[0.0; 8], 1, 1).unwrap_err().to_string();
    let expected = "expected 6 numbers in scores and 8 in boxes, found 5 numbers in scores and 8 in boxes";
    assert_eq!(message, format!("detector's outputs: {expected}"));
    for (classes, priors) in [(1, 1), (0, 5), (2, 0), (1 << 20, 1 << 12)] {
        let made = PostProcessor::new(&spec, classes, vec![[0.5; 4]; priors], SIDE);
        assert!(matches!(made, Err(Error::Heads { .. })), "{classes} {priors}");
    }
    let error = PostProcessor::new(&spec, 2, vec![[0.5; 4]], 0).unwrap_err();
    assert!(error.to_string().ends_with("expected a resolution of at least 1, found 0"), "{error}");
}

#[test]
fn boxes_lie_where_the_input_does() {
    let spec = spec("sigmoid");
    let (mut post, mut random) = (post(&spec, 3, 2), random(7));
    let scores: Vec<f32> = (0..8 * 3).map(|_| random()).collect();
    let boxes: Vec<f32> = (0..8 * 4).map(|_| random()).collect();
    let whole = post.process(&scores, &boxes, SIDE, SIDE).unwrap().to_vec();
    let placement = crate::Placement { scale: [2.0, 4.0], offset: [10.0, -5.0], size: [300, 400] };
    let found = post.process_at(&scores, &boxes, &placement).unwrap();
    assert!(!found.is_empty() && found.len() == whole.len());
    for (found, whole) in found.iter().zip(&whole) {
        let expected = [(whole.xmin + 10.0) * 2.0, (whole.ymin - 5.0) * 4.0, (whole.xmax + 10.0) * 2.0];
        for (found, expected) in [found.xmin, found.ymin, found.xmax].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Any bits give boxes that keep the promises.
    #[test]
    fn any_numbers(
        bits in prop::collection::vec(any::<u32>(), 18 * 3 + 18 * 4), sigmoid: bool, top in 1_usize..40,
        score in 0_f32..=1.0, iou in 0_f32..=1.0, width in 1_usize..5000, height in 1_usize..5000, clip: bool,
    ) {
        let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let mut post = post(&spec(if sigmoid { "sigmoid" } else { "softmax" }), 3, 3);
        post.set_options(DetectOptions::new().score(score).iou(iou).top(top).clip(clip)).unwrap();
        let (scores, boxes) = numbers.split_at(18 * 3);
        let found = post.process(scores, boxes, width, height).unwrap();
        prop_assert!(found.len() <= top);
        for b in found {
            prop_assert!(b.score > score && b.score <= 1.0 && (1..3).contains(&b.class));
            prop_assert!(b.xmin <= b.xmax && b.ymin <= b.ymax && b.xmax.is_finite() && b.xmin.is_finite());
            prop_assert!(!clip || b.xmin >= 0.0 && b.xmax <= width as f32 && b.ymin >= 0.0 && b.ymax <= height as f32);
        }
        for pair in found.windows(2) {
            let key = |b: &ScoredBox| (std::cmp::Reverse(b.score.to_bits()), b.class, b.prior);
            prop_assert!(key(&pair[0]) < key(&pair[1]));
        }
    }
}
