//! What several layers compute with.

use mnx_tensor::Arithmetic;

/// Its name: `f32`, `int8`, or `mixed` for some layers in each. `None` without layers.
pub fn arithmetic_name(layers: impl IntoIterator<Item = Arithmetic>) -> Option<&'static str> {
    let mut layers = layers.into_iter();
    let first = layers.next()?;
    Some(if layers.all(|other| other == first) { first.name() } else { "mixed" })
}
