//! Post-processing of a detector: 3,234 priors x 21 classes, as SSDLite at 320 x 320 has them for Pascal VOC.
//!
//! Names are `detect/OUTPUTS`: in `sure`, as after training, the background is far ahead of the other classes in all rows but a
//! few; in `unsure`, as before training, every class of every row is above the threshold.
//!
//! ```sh
//! cargo bench -p mnx-benches --bench detect
//! ```
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use mnx::{DetectorSpec, PostProcessor};
use mnx_benches::{found, nothing_found};

const CLASSES: usize = 21;
const SIDE: usize = 320;
const GRIDS: [usize; 6] = [20, 10, 5, 3, 2, 1];

fn detector() -> DetectorSpec {
    let level = |(stride, min, max)| {
        format!(r#"{{"sizes": {{"stride": {stride}, "min": {min}, "max": {max}, "ratios": [2, 3]}}}}"#)
    };
    let levels =
        [(16, 45, 120), (32, 90, 180), (64, 135, 220), (120, 180, 260), (160, 225, 300), (320, 270, 320)].map(level);
    let extra = r#"{"block": "depthwise_first", "hidden": 8, "channels": 8}"#;
    let text = format!(
        r#"{{"taps": [{{"block": 1}}, {{"block": 2}}], "extras": [{}], "priors": [{}], "clip": true,
            "coder": {{"centre": 0.1, "size": 0.2}}, "scores": "softmax", "score": 0.01, "iou": 0.45, "top": 100}}"#,
        [extra; 4].join(", "),
        levels.join(", "),
    );
    serde_json::from_str(&text).expect("a detector")
}

/// Numbers around 0, from -1 to 1, most of them near 0.
fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    move || uniform() + uniform()
}

fn post_processing(c: &mut Criterion) {
    let spec = detector();
    let priors = spec.priors(&GRIDS.map(|grid| (grid, grid)), SIDE).unwrap();
    let rows = priors.len();
    assert_eq!(rows, 3234);
    let mut random = random(1);
    let boxes: Vec<f32> = (0..rows * 4).map(|_| random()).collect();
    let unsure: Vec<f32> = (0..rows * CLASSES).map(|_| random()).collect();
    let mut sure = unsure.clone();
    for (prior, row) in sure.chunks_exact_mut(CLASSES).enumerate() {
        // One row in fifty sees something, in twenty classes in turn.
        row[if prior % 50 == 7 { 1 + prior / 50 % 20 } else { 0 }] += 9.0;
    }
    let mut group = c.benchmark_group("detect");
    for (name, scores) in [("sure", &sure), ("unsure", &unsure)] {
        let mut post = PostProcessor::new(&spec, CLASSES, priors.clone(), SIDE).expect("a detector");
        group.bench_function(name, |b| {
            found();
            b.iter(|| post.process(scores, &boxes, 640, 480).map(<[_]>::len));
        });
    }
}

criterion_group!(benches, post_processing, nothing_found);
criterion_main!(benches);
