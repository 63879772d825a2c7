//! From a detector's raw outputs to boxes: numbers of any kind, in rows of which many are equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx::{DetectOptions, DetectorSpec, PostProcessor, ScoredBox};
use mnx_fuzz::{Source, network};

const SIDE: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source::new(bytes);
    let (scores, order) = (source.one_of(&["softmax", "sigmoid"]), source.one_of(&["xywh", "yxhw"]));
    let thresholds = [0.0, 0.01, 0.3, 0.5, 0.9, 1.0];
    let (score, iou) = (source.one_of(&thresholds), source.one_of(&thresholds));
    let top = source.one_of(&[1, 2, 5, 100, usize::MAX]);
    let text = format!(
        r#"{{"taps":[{{"block":1}}],"extras":[],"priors":[{{"scales":[[0.4,1.0],[0.4,4.0],[0.0,1.0]]}}],"scores":"{scores}",
        "coder":{{"centre":0.1,"size":0.2,"order":"{order}"}},"score":{score},"iou":{iou},"top":{top}}}"#
    );
    let spec: DetectorSpec = serde_json::from_str(&text).expect("a detector");
    let (classes, grid) = (source.between(2, 6), source.one_of(&[1, 1, 1, 1, 1, 2, 2, 3, 7]));
    let priors = spec.priors(&[(grid, grid)], SIDE).unwrap();
    let rows = priors.len();
    let mut post = PostProcessor::new(&spec, classes, priors, SIDE).expect("a detector");
    // The bytes are used over and over: many rows are equal.
    let (scores, boxes) = (numbers(bytes, 5, rows * classes), numbers(bytes, 11, rows * 4));
    // Other numbers before: nothing of them may show.
    let before = post.process(&scores, &vec![0.5; rows * 4], SIDE, SIDE).expect("as many numbers as priors").to_vec();
    check(&before, &spec, classes, rows);
    let first = post.process(&scores, &boxes, SIDE, SIDE).expect("as many numbers as priors").to_vec();
    check(&first, &spec, classes, rows);
    if source.below(8) == 0 {
        let priors = post.priors().to_vec();
        let mut fresh = PostProcessor::new(&spec, classes, priors, SIDE).expect("a detector");
        let again = fresh.process(&scores, &boxes, SIDE, SIDE).expect("as many numbers as priors");
        assert_eq!(of(&first), of(again), "what was before shows");
    }
    // Cut off at the picture's edges, it is the same boxes.
    post.set_options(DetectOptions::new().clip(true)).expect("thresholds in their range");
    let cut = post.process(&scores, &boxes, SIDE, SIDE).expect("as many numbers as priors");
    assert_eq!(cut.len(), first.len());
    for (cut, whole) in cut.iter().zip(&first) {
        assert_eq!((cut.class, cut.prior, cut.score.to_bits()), (whole.class, whole.prior, whole.score.to_bits()));
        assert!(corners(cut).iter().all(|corner| (0.0..=SIDE as f32).contains(corner)), "{cut:?}");
    }
    assert!(post.process(&scores[1..], &boxes, SIDE, SIDE).is_err());
});

/// Numbers from byte `start` on, again from the start when they come to an end.
fn numbers(bytes: &[u8], start: usize, count: usize) -> Vec<f32> {
    let mut source = Source::new(bytes.get(start..).unwrap_or_default());
    let mut next = || {
        if source.is_empty() {
            source = Source::new(bytes);
        }
        source.f32()
    };
    (0..count).map(|_| next()).collect()
}

fn corners(found: &ScoredBox) -> [f32; 4] {
    [found.xmin, found.ymin, found.xmax, found.ymax]
}

/// All that tells boxes apart.
fn of(all: &[ScoredBox]) -> Vec<(usize, usize, u32, Vec<u32>)> {
    all.iter().map(|found| (found.class, found.prior, found.score.to_bits(), network::bits(&corners(found)))).collect()
}

/// What holds whatever the numbers are.
fn check(all: &[ScoredBox], spec: &DetectorSpec, classes: usize, priors: usize) {
    assert!(all.len() <= spec.top);
    for (index, found) in all.iter().enumerate() {
        assert!((1..classes).contains(&found.class) && found.prior < priors, "{found:?}");
        assert!(found.score > spec.score && found.score <= 1.0, "{found:?}");
        assert!(corners(found).iter().all(|corner| corner.is_finite()), "{found:?}");
        let Some(next) = all.get(index + 1) else { continue };
        let key = |found: &ScoredBox| (-found.score, found.class, found.prior);
        assert!(key(found) < key(next), "{found:?} before {next:?}");
        let better = all[..=index].iter().filter(|better| better.class == next.class);
        for better in better {
            assert!(
                !(overlap(corners(better), corners(next)) > f64::from(spec.iou) + 1e-4),
                "{better:?} over {next:?}"
            );
        }
    }
}

/// Intersection over union, in twice the digits. Boxes that are too large or too small for that in f32 have none here.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f64 {
    let (a, b) = (a.map(f64::from), b.map(f64::from));
    let area = |of: [f64; 4]| (of[2] - of[0]) * (of[3] - of[1]);
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let common = side(0) * side(1);
    let is_plain =
        [a, b].iter().all(|of| (1e-3..1e4).contains(&(of[2] - of[0])) && (1e-3..1e4).contains(&(of[3] - of[1])));
    let is_near = a.iter().chain(&b).all(|corner| corner.abs() < 100.0);
    if is_plain && is_near { common / (area(a) + area(b) - common) } else { 0.0 }
}
