//! Plain objects for JavaScript, and typed arrays from there.

use js_sys::{Array, ArrayBuffer, Float32Array, Object, Reflect, Symbol, Uint8Array};
use mnx::TensorView;
use wasm_bindgen::{JsCast, JsValue};

use crate::arguments::{count, resize};
use crate::failure::Failure;

/// A plain object with these fields, in this order.
pub(crate) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        // It is a new object without a setter, so it takes what it is given.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object.into()
}

/// A name, or null.
pub(crate) fn label(label: Option<&str>) -> JsValue {
    label.map_or(JsValue::NULL, JsValue::from_str)
}

/// The fields of a tensor.
pub(crate) fn tensor_fields(tensor: &TensorView<'_>) -> [(&'static str, JsValue); 2] {
    let shape: Array = tensor.shape().iter().map(|&side| JsValue::from_f64(side as f64)).collect();
    [("shape", shape.into()), ("data", Float32Array::from(tensor.data()).into())]
}

/// The bytes of a `Uint8Array` or a `Uint8ClampedArray`.
pub(crate) fn bytes(what: &str, value: &JsValue, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    match class_of_view(value).as_deref() {
        // The elements of both are bytes.
        Some("Uint8Array" | "Uint8ClampedArray") => {
            let array: &Uint8Array = value.unchecked_ref();
            resize(what, buffer, array.length() as usize)?;
            // An array whose buffer went to somebody else is empty, and cannot be copied from.
            if !buffer.is_empty() {
                array.copy_to(buffer);
            }
            Ok(())
        }
        _ => Err(Failure::input(what, "a Uint8Array or a Uint8ClampedArray", kind_of(value))),
    }
}

/// The class of a typed array, also of one that another window or Node.js made: `instanceof` knows only one's own classes.
fn class_of_view(value: &JsValue) -> Option<String> {
    if !ArrayBuffer::is_view(value) {
        return None;
    }
    Reflect::get(value, &Symbol::to_string_tag()).ok()?.as_string()
}

/// A frame of RGBA bytes without gaps, copied to `buffer`.
pub(crate) fn frame<'b>(
    rgba: &JsValue,
    width: f64,
    height: f64,
    buffer: &'b mut Vec<u8>,
) -> Result<mnx::Frame<'b>, Failure> {
    let (width, height) = (count("width", width, 1)?, count("height", height, 1)?);
    bytes("frame", rgba, buffer)?;
    Ok(mnx::Frame::rgba8(buffer, width, height, width.saturating_mul(4))?)
}

/// The numbers of a `Float32Array`.
pub(crate) fn floats(what: &str, value: &JsValue, buffer: &mut Vec<f32>) -> Result<(), Failure> {
    if class_of_view(value).as_deref() != Some("Float32Array") {
        return Err(Failure::input(what, "a Float32Array", kind_of(value)));
    }
    let array: &Float32Array = value.unchecked_ref();
    resize(what, buffer, array.length() as usize)?;
    if !buffer.is_empty() {
        array.copy_to(buffer);
    }
    Ok(())
}

/// What a value is, for messages: `null`, `a string`, `an Int8Array`.
pub(crate) fn kind_of(value: &JsValue) -> String {
    if value.is_null() || value.is_undefined() {
        return if value.is_null() { "null" } else { "undefined" }.into();
    }
    // An object may have no constructor, or one that throws.
    let field = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).ok();
    let class = || field(&field(value, "constructor")?, "name")?.as_string().filter(|name| !name.is_empty());
    let name = match value.is_object() {
        true => class().unwrap_or_else(|| "object".into()),
        false => value.js_typeof().as_string().unwrap_or_default(),
    };
    // `Uint8Array` begins as `you` does.
    let vowel = name.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
