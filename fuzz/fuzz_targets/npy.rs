//! Reads arbitrary bytes as a `.npy` file, as the command line does.
#![no_main]

#[allow(dead_code)]
#[path = "../../crates/mnx-infer/src/npy.rs"]
mod npy;

include!("../src/command_line.rs");

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::InMemory;

thread_local! {
    static FILE: InMemory = InMemory::new();
}

fuzz_target!(|bytes: &[u8]| FILE.with(|file| {
    file.set(bytes);
    let tensor = npy::NpyInput::open(file.path(), 3, 1 << 20).and_then(|input| {
        let shape = input.shape();
        assert!(shape[1] == 3 && shape.iter().all(|&side| side > 0), "{shape:?}");
        input.read()
    });
    match tensor {
        Ok(tensor) => {
            let values: &[u8] = bytemuck::cast_slice(tensor.data());
            assert!(bytes.ends_with(values));
        }
        Err(error) => mnx_fuzz::assert_one_line(&error.to_string()),
    }
}));
