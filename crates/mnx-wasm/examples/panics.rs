//! A module with a function that panics, for the test of what JavaScript gets then. There is none in the package.

use wasm_bindgen::prelude::wasm_bindgen;

/// As the package does it.
#[wasm_bindgen(start)]
pub fn begin() {
    mnx_wasm::panics_are_exceptions();
}

/// Panics.
#[wasm_bindgen]
pub fn panics(number: usize) -> u8 {
    [1_u8, 2][number]
}
