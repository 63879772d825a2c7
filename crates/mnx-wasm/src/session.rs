//! Plain tensors in, plain tensors out.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::{not_four, shape};
use crate::failure::Failure;
use crate::model::Model;
use crate::objects::{floats, object, tensor_fields};
use crate::types::{NumberList, OutputList, TensorObject};

/// The memory of one stream of inferences.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session {
    inner: mnx::Session,
    /// The last input, to spare the memory's management.
    input: Vec<f32>,
}

#[wasm_bindgen]
impl Session {
    /// A session of its own.
    ///
    /// # Errors
    /// `Memory`, `Limit`.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &Model) -> Result<Session, JsValue> {
        Ok(Session { inner: mnx::Session::new(&model.inner).map_err(Failure::from)?, input: Vec::new() })
    }

    /// Runs the network on `[pictures, 3, rows, columns]`, any number of each from 1 on, and gives its outputs.
    ///
    /// # Errors
    /// `InvalidInput` for another type, a shape that the network does not take, and a length that is not the shape's;
    /// `Memory`, `Limit`.
    pub fn run(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Float32Array")] input: &JsValue,
        shape: &NumberList,
    ) -> Result<OutputList, JsValue> {
        let shape = numbers(shape)?;
        floats("input", input, &mut self.input)?;
        let view = mnx::TensorView::new(shape, &self.input).map_err(Failure::from)?;
        let outputs = self.inner.run(view).map_err(Failure::from)?;
        let list: Array = outputs
            .iter()
            .map(|(name, tensor)| {
                let [shape, data] = tensor_fields(&tensor);
                object([("name", name.into()), shape, data])
            })
            .collect();
        Ok(JsValue::from(list).into())
    }

    /// What the classifier sees, instead of what it says: an embedding of each picture.
    ///
    /// # Errors
    /// As `run`; `InvalidInput` if the model is a detector.
    pub fn features(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Float32Array")] input: &JsValue,
        shape: &NumberList,
    ) -> Result<TensorObject, JsValue> {
        let shape = numbers(shape)?;
        floats("input", input, &mut self.input)?;
        let view = mnx::TensorView::new(shape, &self.input).map_err(Failure::from)?;
        let features = self.inner.features(view).map_err(Failure::from)?;
        Ok(object(tensor_fields(&features)).into())
    }
}

/// A shape. What is no number, or cannot be read, becomes NaN, which no shape has; what has no length is empty.
fn numbers(list: &NumberList) -> Result<[usize; 4], Failure> {
    // Field by field: an iterator of the caller's may have no end, and what it throws would leave the session borrowed.
    let field = |name: &JsValue| Reflect::get(list, name).ok().and_then(|value| value.as_f64());
    match field(&"length".into()).unwrap_or(0.0) {
        4.0 => shape(&[0, 1, 2, 3].map(|index| field(&index.into()).unwrap_or(f64::NAN))),
        length => Err(not_four(length)),
    }
}
