//! Opens arbitrary bytes as a weight file; what opens has weights for every layer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_graph::{Arithmetic, Model, OpenOptions};

fuzz_target!(|bytes: &[u8]| {
    let _ = Model::from_bytes(bytes.to_vec());
    let patched = mnx_fuzz::with_header_checksum(bytes.to_vec());
    if let Ok(model) = Model::from_bytes_with(patched, &OpenOptions::new().verify_checksums(false)) {
        for (index, arithmetic) in model.arithmetic().iter().enumerate() {
            match arithmetic {
                Arithmetic::F32 => assert!(model.weights(index).0.len() % 8 == 0),
                _ => assert!(model.int8_weights(index).expect("a layer in int8").weight.len() % 16 == 0),
            }
        }
    }
});
