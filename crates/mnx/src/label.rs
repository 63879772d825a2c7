//! Names of classes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
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
///
/// // Labels are counted and sorted as their texts.
/// let mut seen = std::collections::BTreeMap::new();
/// for class in [3, 1, 3] {
///     *seen.entry(mnx::Label::of(&model, class).expect("a name")).or_insert(0) += 1;
/// }
/// let seen: Vec<(String, i32)> = seen.into_iter().map(|(label, count)| (label.into(), count)).collect();
/// assert_eq!(seen, [("class 1".to_string(), 1), ("class 3".to_string(), 2)]);
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

/// As its text.
impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// As its text.
impl Ord for Label {
    fn cmp(&self, other: &Label) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Label) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.to_string()
    }
}

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
