//! Plain tensors in, plain tensors out.

use js_sys::{Array, Number};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::shape;
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

/// A shape. What is no number becomes NaN, which no shape has.
fn numbers(list: &NumberList) -> Result<[usize; 4], Failure> {
    // `Array.from` throws for null and undefined.
    if list.is_null() || list.is_undefined() {
        return shape(&[]);
    }
    let list = Array::from(list);
    // Four are enough to say what is wrong with more.
    if list.length() != 4 {
        return shape(&vec![0.0; list.length().min(64) as usize]);
    }
    let values: Vec<f64> = list.iter().map(|value| value.as_f64().unwrap_or(Number::NAN)).collect();
    shape(&values)
}
