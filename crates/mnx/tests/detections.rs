//! Boxes of raw outputs, against PyTorch and torchvision (`tools/make_detection_goldens.py`).

use mnx::{DetectorSpec, PostProcessor};
use serde_json::Value;

#[test]
fn the_same_boxes_as_torchvision() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/detections.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 4);
    for (number, case) in cases.iter().enumerate() {
        let spec: DetectorSpec = serde_json::from_value(case["detector"].clone()).unwrap();
        let numbers = |key: &str| -> Vec<f32> { serde_json::from_value(case[key].clone()).unwrap() };
        let [classes, side] = ["classes", "resolution"].map(|key| case[key].as_u64().unwrap() as usize);
        let grids: Vec<usize> = serde_json::from_value(case["grids"].clone()).unwrap();
        let grids: Vec<_> = grids.into_iter().map(|grid| (grid, grid)).collect();
        let priors = spec.priors(&grids, side).unwrap();
        let mut post = PostProcessor::new(&spec, classes, priors, side).unwrap();
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["found"].clone()).unwrap();
        // In pixels of the input, then of a picture of other proportions.
        for (width, height) in [(side, side), (640, 30)] {
            let found = post.process(&numbers("scores"), &numbers("boxes"), width, height).unwrap();
            assert_eq!(found.len(), expected.len(), "case {number}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!([found.class, found.prior], [expected[0], expected[1]].map(|index| index as usize));
                assert!((f64::from(found.score) - expected[2]).abs() < 1e-6, "{found:?}, {expected:?}");
                let corners = [found.xmin, found.ymin, found.xmax, found.ymax];
                for ((corner, expected), length) in
                    corners.iter().zip(&expected[3..]).zip([width, height, width, height])
                {
                    let scale = length as f64 / side as f64;
                    assert!((f64::from(*corner) - expected * scale).abs() < 1e-4 * scale, "{found:?}, {expected:?}");
                }
            }
        }
    }
}
