//! Opens arbitrary bytes as a weight file; what opens has weights for every layer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_graph::{Model, OpenOptions};

fuzz_target!(|bytes: &[u8]| {
    let _ = Model::from_bytes(bytes.to_vec());
    let patched = mnx_fuzz::with_header_checksum(bytes.to_vec());
    if let Ok(model) = Model::from_bytes_with(patched, &OpenOptions::new().verify_checksums(false)) {
        (0..model.network().layers().count()).for_each(|i| assert!(model.weights(i).0.len() % 8 == 0));
    }
});
