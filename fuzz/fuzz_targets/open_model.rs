//! Opens arbitrary bytes as a weight file and runs what opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::{Source, network};
use mnx_graph::{Arithmetic, Model, OpenOptions};

fuzz_target!(|bytes: &[u8]| {
    let options = OpenOptions::new().limits(network::limits());
    let _ = Model::from_bytes(bytes.to_vec());
    let patched = mnx_fuzz::with_header_checksum(bytes.to_vec());
    // Without the payload's checksums, so that weights are whatever stands there.
    if let Ok(model) = Model::from_bytes_with(patched, &options.verify_checksums(false)) {
        for (index, arithmetic) in model.arithmetic().iter().enumerate() {
            match arithmetic {
                Arithmetic::F32 => assert!(model.f32_weights(index).unwrap().0.len() % 8 == 0),
                _ => assert!(model.int8_weights(index).expect("a layer in int8").weight.len() % 16 == 0),
            }
        }
        network::run(&model, &mut Source::new(&bytes[bytes.len().saturating_sub(8)..]));
    }
});
