//! Reads arbitrary bytes as an ONNX model, and into a weight file, which must open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_graph::{Model, Onnx};

fuzz_target!(|bytes: &[u8]| {
    let Ok(onnx) = Onnx::from_bytes(bytes.to_vec()) else { return };
    if let Ok(converted) = onnx.convert(onnx.spec()) {
        Model::from_bytes(converted.file).expect("what convert writes opens");
    }
});
