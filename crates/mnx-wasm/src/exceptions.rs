//! Errors and panics as exceptions.

use js_sys::{Error, Reflect};
use wasm_bindgen::JsValue;

use crate::failure::Failure;

/// The exception for a failure: an `Error` with `name`, `kind` and a message of one line.
pub fn thrown(failure: &Failure) -> JsValue {
    let error = Error::new(&failure.message);
    error.set_name("MnxError");
    // It is a new object without a setter, so it takes what it is given.
    let _ = Reflect::set(&error, &"kind".into(), &failure.kind.as_str().into());
    error.into()
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> JsValue {
        thrown(&failure)
    }
}

/// Makes panics throw an exception of the kind `Internal`. Only a picture decoder is expected to panic. After a panic the
/// module must not be used any more. An engine keeps a module as long as its worker lives, so only a new worker can
/// load it anew.
pub fn panics_are_exceptions() {
    // Elsewhere there is nobody who could catch it.
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| {
        let message = format!("internal error, load the module in a new worker: {panic}").replace('\n', " ");
        wasm_bindgen::throw_val(thrown(&Failure { kind: "Internal".into(), message }))
    }));
}
