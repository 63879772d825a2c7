//! A picture in, boxes out.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::count;
use crate::failure::Failure;
use crate::model::Model;
use crate::objects::{frame, kind_of, label, object};
#[cfg(feature = "image")]
use crate::picture::Picture;
use crate::types::DetectionList;

/// Says what is where on pictures.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Detector {
    inner: mnx::Detector,
    /// The last frame, to spare the memory's management.
    frame: Vec<u8>,
}

#[wasm_bindgen]
impl Detector {
    /// A detector with its own memory.
    ///
    /// # Errors
    /// `InvalidInput` if the model is a classifier or an option is out of range; `Memory`, `Limit`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        model: &Model,
        #[wasm_bindgen(unchecked_optional_param_type = "DetectOptions")] options: &JsValue,
    ) -> Result<Detector, JsValue> {
        let options = detect_options(options)?;
        let mut inner = mnx::Detector::new(&model.inner).map_err(Failure::from)?;
        inner.set_options(options).map_err(Failure::from)?;
        Ok(Detector { inner, frame: Vec::new() })
    }

    /// What is in a frame, the highest score first.
    ///
    /// `rgba` has `height` rows of `width` pixels of 4 bytes, as `ImageData.data` has. Alpha is ignored.
    ///
    /// # Errors
    /// `InvalidInput` for another type and for sizes that contradict each other; `Memory`.
    pub fn detect(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Uint8Array | Uint8ClampedArray")] rgba: &JsValue,
        width: f64,
        height: f64,
    ) -> Result<DetectionList, JsValue> {
        let frame = frame(rgba, width, height, &mut self.frame)?;
        detections(&mut self.inner, frame)
    }

    /// The same of a picture.
    ///
    /// # Errors
    /// `Memory`.
    #[cfg(feature = "image")]
    #[wasm_bindgen(js_name = detectPicture)]
    pub fn detect_picture(&mut self, picture: &Picture) -> Result<DetectionList, JsValue> {
        detections(&mut self.inner, picture.inner.frame())
    }
}

fn detections(detector: &mut mnx::Detector, frame: mnx::Frame<'_>) -> Result<DetectionList, JsValue> {
    let found = detector.detect(frame).map_err(Failure::from)?;
    let list: Array = found
        .map(|found| {
            object([
                ("index", found.index.into()),
                ("label", label(found.label.as_deref())),
                ("score", found.score.into()),
                ("xmin", found.xmin.into()),
                ("ymin", found.ymin.into()),
                ("xmax", found.xmax.into()),
                ("ymax", found.ymax.into()),
            ])
        })
        .collect();
    Ok(JsValue::from(list).into())
}

/// The options in an object; undefined and null are an object without any.
fn detect_options(given: &JsValue) -> Result<mnx::DetectOptions, Failure> {
    let mut options = mnx::DetectOptions::new();
    if given.is_undefined() || given.is_null() {
        return Ok(options);
    }
    if !given.is_object() {
        return Err(Failure::input("options", "an object", kind_of(given)));
    }
    // A getter that throws is a field that is not there.
    let field = |name: &str| Reflect::get(given, &name.into()).ok().filter(|value| !value.is_undefined());
    let number = |name: &str| {
        let number = |value: JsValue| value.as_f64().ok_or_else(|| Failure::input(name, "a number", kind_of(&value)));
        field(name).map(number).transpose()
    };
    if let Some(score) = number("score")? {
        options = options.score(score as f32);
    }
    if let Some(iou) = number("iou")? {
        options = options.iou(iou as f32);
    }
    if let Some(top) = number("top")? {
        options = options.top(count("top", top, 1)?);
    }
    if let Some(clip) = field("clip") {
        let clip = clip.as_bool().ok_or_else(|| Failure::input("clip", "true or false", kind_of(&clip)))?;
        options = options.clip(clip);
    }
    Ok(options)
}
