//! A picture file, decoded by the library.

use js_sys::Uint8ClampedArray;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::arguments::resize;
use crate::failure::{Failure, named};
use crate::objects::{bytes, kind_of};

/// A decoded, upright picture.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Picture {
    pub(crate) inner: mnx::Picture,
}

#[wasm_bindgen]
impl Picture {
    /// Decodes a PNG, JPEG, WebP, BMP, GIF, TIFF or PNM file, to the same pixels as on every other system. Messages call it
    /// `name`.
    ///
    /// # Errors
    /// `InvalidFile` for what is no picture or a damaged one; `InvalidInput` for another type of `file` or `name`; `Limit`,
    /// `Memory` for one that is too large.
    pub fn decode(
        #[wasm_bindgen(unchecked_param_type = "Uint8Array")] file: &JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "string")] name: &JsValue,
    ) -> Result<Picture, JsValue> {
        let name = match name.as_string() {
            Some(name) => name,
            None if name.is_undefined() || name.is_null() => "picture".into(),
            None => return Err(Failure::input("name", "a string", kind_of(name)).into()),
        };
        let name = name.as_str();
        let mut own = Vec::new();
        bytes(name, file, &mut own)?;
        let picture = mnx::Picture::decode(&own).map_err(|error| named(error, name));
        Ok(Picture { inner: picture.map_err(Failure::from)? })
    }

    /// Pixels in a row.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.inner.width()
    }

    /// Rows.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.inner.height()
    }

    /// The pixels as `new ImageData(picture.rgba(), picture.width)` takes them; alpha is 255.
    ///
    /// # Errors
    /// `Memory`.
    #[wasm_bindgen(unchecked_return_type = "Uint8ClampedArray<ArrayBuffer>")]
    pub fn rgba(&self) -> Result<Uint8ClampedArray, JsValue> {
        let mut rgba: Vec<u8> = Vec::new();
        resize("picture", &mut rgba, self.inner.pixels().len() / 3 * 4)?;
        for (to, from) in rgba.chunks_exact_mut(4).zip(self.inner.pixels().chunks_exact(3)) {
            to.copy_from_slice(&[from[0], from[1], from[2], 255]);
        }
        Ok(Uint8ClampedArray::from(rgba.as_slice()))
    }
}
