//! Names of classes.

use std::fmt;
use std::ops::Deref;

use mnx_graph::Model;

/// The name of a class: a string that lives in its [`Model`], so that it can be sent and kept without a copy. It keeps the
/// model's memory.
///
/// ```
/// # fn main() -> Result<(), mnx::Error> {
/// # let mut spec = mnx::Spec::family("mobilenext-cifar").expect("a known family");
/// # spec.width = 0.1;
/// spec.labels = Some((0..10).map(|class| format!("class {class}")).collect());
/// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
/// let label = mnx::Label::of(&model, 3).expect("the model has names");
/// assert_eq!(&*label, "class 3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Label {
    model: Model,
    index: usize,
}

impl Label {
    /// That of a class. `None` if the model has no names, or no such class.
    pub fn of(model: &Model, index: usize) -> Option<Label> {
        model.spec().labels.as_ref().filter(|labels| index < labels.len())?;
        Some(Label { model: model.clone(), index })
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        let labels = self.model.spec().labels.as_deref().unwrap_or_default();
        labels.get(self.index).map_or("", String::as_str)
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        **self == **other
    }
}

impl Eq for Label {}

impl PartialEq<str> for Label {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Label {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}
