//! Reads arbitrary bytes as a checkpoint: which network it is of, and into a weight file, which must open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_graph::{Model, Spec, convert, identify};

/// What the seed is of: a layer of every kind that MobileNets have.
const SMALL: &str = r#"{
    "stem": {"channels": 8, "stride": 2},
    "stages": [{"block": "inverted_residual", "ratio": 1, "channels": 8, "repeats": 1, "stride": 1}],
    "classes": 2
}"#;

fuzz_target!(|bytes: &[u8]| {
    // It looks at every known network, which takes a hundred times as long as the rest.
    if crc32fast::hash(bytes).is_multiple_of(64) {
        let _ = identify(bytes);
    }
    let spec = Spec::from_json(SMALL).expect("the stage table is right");
    if let Ok(converted) = convert(bytes, &spec, 1e-5) {
        let model = Model::from_bytes(converted.file).expect("what convert writes opens");
        assert_eq!(model.almost_zero().expect("memory for a small network"), 0);
    }
});
