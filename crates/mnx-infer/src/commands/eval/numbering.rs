//! Numbers that files give to classes, laid beside the model's own.

use std::fmt;

use super::classes::{Classes, quoted};

/// Classes of TensorFlow's networks of ImageNet: a background and a thousand.
const WITH_BACKGROUND: usize = 1001;

/// Where in a file something is said.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Of a text, from 1.
    Line(usize),
    /// Of an array in JSON, from 0.
    Element(usize),
    /// Of an object in JSON.
    Key(String),
    /// No file: a sub-folder's name.
    Folder(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "line {number}"),
            Place::Element(number) => write!(f, "element {number}"),
            Place::Key(key) => write!(f, "key {}", quoted(key)),
            Place::Folder(name) => write!(f, "sub-folder {}", quoted(name)),
        }
    }
}

/// A class by its number.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) place: Place,
    pub(super) number: usize,
    /// What the class is called there: of these, the first one that is a label of the model has to be that class's.
    pub(super) names: Vec<String>,
}

/// Classes of the model, and what someone should know of how they were found.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) classes: Vec<usize>,
    pub(super) note: Option<String>,
}

/// The class of each number. Where the model's class 0 is a background and the numbers leave it out, they are the
/// classes after it, which is noted.
///
/// # Errors
/// What is wrong and where: a number that is no class, a name that is the label of another one. Also that 1,000
/// classes are numbered and a model of 1,001 has no labels that say what the other one is.
pub(super) fn resolve(numbered: &[Numbered], classes: &Classes) -> Result<Resolved, String> {
    let shift = shift(numbered, classes)?;
    let class = |entry: &Numbered| {
        let class = entry.number.checked_add(shift).filter(|&class| class < classes.count());
        let class = class
            .ok_or_else(|| format!("{}: expected {}, found {}", entry.place, classes.expected_index(), entry.number))?;
        match contradiction(entry, class, classes) {
            None => Ok(class),
            Some((name, other)) => Err(format!(
                "{}: expected the number of {} for the name {}, found {}, that of {}",
                entry.place,
                classes.shown(other),
                quoted(name),
                entry.number,
                classes.shown(class),
            )),
        }
    };
    let note = classes.begin_with_background().then(|| match shift {
        0 => format!("class numbers are taken for the model's own, which begin with {}", classes.shown(0)),
        _ => format!("class numbers leave out the model's {}: 0 is {}", classes.shown(0), classes.shown(shift)),
    });
    Ok(Resolved { classes: numbered.iter().map(class).collect::<Result<_, _>>()?, note })
}

/// What there is to add to the numbers.
fn shift(numbered: &[Numbered], classes: &Classes) -> Result<usize, String> {
    let last = numbered.iter().map(|entry| entry.number).max().unwrap_or(0);
    let leaves_one_out = last.saturating_add(2) == classes.count() && numbered.iter().any(|entry| entry.number == 0);
    if !classes.are_labelled() && leaves_one_out && classes.count() == WITH_BACKGROUND {
        let expected = "a model with labels, which say whether its class 0 is a background";
        return Err(format!(
            "expected {expected}, found {WITH_BACKGROUND} classes without, and numbers from 0 to {last}"
        ));
    }
    let contradicts = |shift| {
        numbered.iter().any(|entry| contradiction(entry, entry.number.saturating_add(shift), classes).is_some())
    };
    let is_shifted = classes.begin_with_background() && (leaves_one_out || contradicts(0) && !contradicts(1));
    Ok(usize::from(is_shifted))
}

/// The name by which an entry means another class than this one, and the first one that it means.
fn contradiction<'a>(entry: &'a Numbered, class: usize, classes: &Classes) -> Option<(&'a str, usize)> {
    let meant = entry.names.iter().map(|name| (name, classes.meant(name))).find(|(_, meant)| !meant.is_empty());
    meant.filter(|(name, _)| !classes.may_mean(name, class)).map(|(name, meant)| (name.as_str(), meant[0]))
}
