//! A picture in, labels out.

use js_sys::Array;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::count;
use crate::failure::Failure;
use crate::model::Model;
use crate::objects::{bytes, label, object};
#[cfg(feature = "image")]
use crate::picture::Picture;
use crate::types::PredictionList;

/// How many classes are given if nobody says.
const K: f64 = 5.0;

/// Says what is on pictures.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Classifier {
    inner: mnx::Classifier,
    /// The last frame, to spare the memory's management.
    frame: Vec<u8>,
}

#[wasm_bindgen]
impl Classifier {
    /// A classifier with its own memory.
    ///
    /// # Errors
    /// `InvalidInput` if the model is a detector; `Memory`, `Limit`.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &Model) -> Result<Classifier, JsValue> {
        Ok(Classifier { inner: mnx::Classifier::new(&model.inner).map_err(Failure::from)?, frame: Vec::new() })
    }

    /// The `k` most probable classes (5 if it is left out) of a frame, most probable first.
    ///
    /// `rgba` has `height` rows of `width` pixels of 4 bytes, as `ImageData.data` has. Alpha is ignored.
    ///
    /// # Errors
    /// `InvalidInput` for another type, sizes that contradict each other, `k` below 1.
    pub fn classify(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | Uint8ClampedArray")] rgba: &JsValue,
        width: f64,
        height: f64,
        k: Option<f64>,
    ) -> Result<PredictionList, JsValue> {
        let (width, height) = (count("width", width, 1)?, count("height", height, 1)?);
        bytes("frame", rgba, &mut self.frame)?;
        let frame = mnx::Frame::rgba8(&self.frame, width, height, width.saturating_mul(4)).map_err(Failure::from)?;
        predictions(&mut self.inner, frame, k)
    }

    /// The same of a picture.
    ///
    /// # Errors
    /// `InvalidInput` for `k` below 1; `Memory`.
    #[cfg(feature = "image")]
    #[wasm_bindgen(js_name = classifyPicture)]
    pub fn classify_picture(&mut self, picture: &Picture, k: Option<f64>) -> Result<PredictionList, JsValue> {
        predictions(&mut self.inner, picture.inner.frame(), k)
    }
}

fn predictions(
    classifier: &mut mnx::Classifier,
    frame: mnx::Frame<'_>,
    k: Option<f64>,
) -> Result<PredictionList, JsValue> {
    let k = count("k", k.unwrap_or(K), 1)?;
    let found = classifier.classify(frame, k).map_err(Failure::from)?;
    let list: Array = found
        .iter()
        .map(|found| {
            object([
                ("index", found.index.into()),
                ("label", label(found.label.as_deref())),
                ("probability", found.probability.into()),
            ])
        })
        .collect();
    Ok(JsValue::from(list).into())
}
