//! A picture in, labels out.

use js_sys::{Array, Float32Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::count;
use crate::failure::Failure;
use crate::model::Model;
use crate::objects::{frame, label, object};
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
        let frame = frame(rgba, width, height, &mut self.frame)?;
        predictions(&mut self.inner, frame, k)
    }

    /// What the network says of a frame before softmax: a number for each class.
    ///
    /// # Errors
    /// `InvalidInput` for another type and for sizes that contradict each other; `Memory`.
    #[wasm_bindgen(unchecked_return_type = "Float32Array<ArrayBuffer>")]
    pub fn logits(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | Uint8ClampedArray")] rgba: &JsValue,
        width: f64,
        height: f64,
    ) -> Result<Float32Array, JsValue> {
        let frame = frame(rgba, width, height, &mut self.frame)?;
        Ok(Float32Array::from(self.inner.logits(frame).map_err(Failure::from)?))
    }

    /// What the network knows of a frame before it decides: similar pictures have similar numbers.
    ///
    /// # Errors
    /// As `logits`.
    #[wasm_bindgen(unchecked_return_type = "Float32Array<ArrayBuffer>")]
    pub fn embedding(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | Uint8ClampedArray")] rgba: &JsValue,
        width: f64,
        height: f64,
    ) -> Result<Float32Array, JsValue> {
        let frame = frame(rgba, width, height, &mut self.frame)?;
        Ok(Float32Array::from(self.inner.embedding(frame).map_err(Failure::from)?))
    }

    /// The `k` most probable classes (5 if it is left out) of a picture.
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
