//! mnx for JavaScript: the npm package `mobilenext`.
//!
//! [`Model`], [`Classifier`], [`Detector`], [`Session`] and `Picture` (feature `image`) are those of the `mnx` crate, on
//! typed arrays. `docs/web.md` of the project says how to build and use them; its page, `web/index.html`, is written on them.
//!
//! ```js
//! import { load } from "mobilenext";
//!
//! const { Model, Classifier } = await load();
//! const model = Model.fromBytes(new Uint8Array(await (await fetch("mobilenext.mnx")).arrayBuffer()));
//! const classifier = new Classifier(model);
//! for (const { label, probability } of classifier.classify(pixels, width, height, 5)) console.log(label, probability);
//! ```
//!
//! Everything that can go wrong is an exception: an `Error` whose `kind` is the name of an [`mnx::ErrorKind`], and whose
//! message is one line. What needs no JavaScript to be checked is in [`arguments`] and [`failure`].

pub mod arguments;
mod classifier;
mod detector;
mod exceptions;
pub mod failure;
mod model;
mod objects;
#[cfg(feature = "image")]
mod picture;
mod session;
mod types;

pub use classifier::Classifier;
pub use detector::Detector;
pub use exceptions::{panics_are_exceptions, thrown};
pub use model::Model;
#[cfg(feature = "image")]
pub use picture::Picture;
pub use session::Session;
pub use types::{DetectionList, LabelList, NumberList, OutputList, PredictionList, TensorObject};

use wasm_bindgen::prelude::wasm_bindgen;

/// Runs when the module is instantiated.
#[wasm_bindgen(start)]
pub fn start() {
    panics_are_exceptions();
}

/// Version of the package.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// Which kernels this build has: `simd128` or `scalar`.
#[wasm_bindgen]
pub fn isa() -> String {
    mnx::Isa::detect().name().into()
}
