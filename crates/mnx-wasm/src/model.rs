//! A weight file.

use js_sys::Array;
use mnx::unstable::arithmetic_name;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::failure::Failure;
use crate::objects::bytes;
use crate::types::LabelList;

/// A weight file (`.mnx`), opened and checked. It never changes, and is shared by all that is made of it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model {
    pub(crate) inner: mnx::Model,
}

#[wasm_bindgen]
impl Model {
    /// Opens a weight file. The bytes are copied.
    ///
    /// # Errors
    /// `InvalidFile`, `Limit` or `Unsupported`: what is wrong with the file. `Memory`; `InvalidInput` for another type.
    #[wasm_bindgen(js_name = fromBytes)]
    pub fn from_bytes(#[wasm_bindgen(unchecked_param_type = "Uint8Array")] file: &JsValue) -> Result<Model, JsValue> {
        let mut own = Vec::new();
        bytes("weight file", file, &mut own)?;
        Ok(Model { inner: mnx::Model::from_bytes(own).map_err(Failure::from)? })
    }

    /// Family of the network, e.g. `mobilenext`.
    #[wasm_bindgen(getter)]
    pub fn family(&self) -> String {
        self.inner.spec().family.clone()
    }

    /// What it computes in: `f32`, `int8` or `mixed`.
    #[wasm_bindgen(getter)]
    pub fn arithmetic(&self) -> String {
        arithmetic_name(self.inner.arithmetic().iter().copied()).expect("a network has layers").into()
    }

    /// Number of classes. Of a detector the background is one of them.
    #[wasm_bindgen(getter)]
    pub fn classes(&self) -> usize {
        self.inner.spec().classes
    }

    /// Names of the classes, or null.
    #[wasm_bindgen(getter)]
    pub fn labels(&self) -> LabelList {
        let Some(labels) = &self.inner.spec().labels else { return JsValue::NULL.into() };
        JsValue::from(labels.iter().map(|label| JsValue::from_str(label)).collect::<Array>()).into()
    }

    /// Side in pixels of the pictures that the network was trained on.
    #[wasm_bindgen(getter)]
    pub fn resolution(&self) -> usize {
        self.inner.spec().resolution
    }

    /// Whether it says where things are (`Detector`), and not what a picture is (`Classifier`).
    #[wasm_bindgen(getter, js_name = isDetector)]
    pub fn is_detector(&self) -> bool {
        self.inner.spec().detector.is_some()
    }
}
