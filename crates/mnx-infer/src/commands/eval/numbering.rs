//! Compares the numbers that files give to classes with the model's own.

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
    /// What the class is called there: if any of these is a label of the model, one has to be that class's.
    pub(super) names: Vec<String>,
}

/// Classes of the model, and what someone should know of how they were found.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) classes: Vec<usize>,
    /// How many of the names bear them out.
    pub(super) agreements: usize,
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
    let found = numbered.iter().map(class).collect::<Result<Vec<_>, _>>()?;
    let agreements = numbered.iter().zip(&found).filter(|(entry, class)| agrees(entry, **class, classes)).count();
    Ok(Resolved { classes: found, agreements, note })
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

/// The name by which an entry means another class than this one, and the first one that it means; none where one of its
/// names is a label of this class, or none is a label at all.
fn contradiction<'a>(entry: &'a Numbered, class: usize, classes: &Classes) -> Option<(&'a str, usize)> {
    if agrees(entry, class, classes) {
        return None;
    }
    entry.names.iter().find_map(|name| Some((name.as_str(), *classes.called(name).first()?)))
}

/// Whether one of the entry's names is a label of this class.
fn agrees(entry: &Numbered, class: usize, classes: &Classes) -> bool {
    entry.names.iter().any(|name| classes.called(name).contains(&class))
}
