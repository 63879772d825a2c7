//! The formats of files that say which class a folder is. Their content tells them apart.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::commands::eval::classes::{index, is_wordnet_id, quoted, split_id};
use crate::commands::eval::numbering::Place;

/// What a file says of one folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) folder: String,
    /// Of the class, if the file numbers it.
    pub(super) number: Option<usize>,
    /// What the class is called, one name or several between commas; empty where the file does not say.
    pub(super) names: String,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Folders and labels, or the model's own indices in their place.
    Labels(Vec<Entry>),
    /// Folders and numbers.
    Numbers(Vec<Entry>),
    /// Numbers and names, which may be folders' or labels of the folders that are called by the numbers.
    Titles(Vec<Entry>),
    /// Folders in the order of the classes, numbered so.
    Order(Vec<Entry>),
}

/// # Errors
/// What is wrong and where.
pub(super) fn parse(text: &str) -> Result<Content, String> {
    // Editors of some systems begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().chars().next() {
        Some('{') => object(text),
        Some('[') => array(text),
        _ => lines(text),
    }
}

fn wrong<T>(place: &Place, expected: &str, found: &str) -> Result<T, String> {
    Err(format!("{place}: expected {expected}, found {}", quoted(found)))
}

/// Lines of folder, tab and label; or of WordNet id and names, perhaps in the order of the classes, or of ids alone.
fn lines(text: &str) -> Result<Content, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let entry = |(number, (at, line)): (usize, (usize, &str))| {
        let place = Place::Line(at);
        let (folder, names) = match split_id(line.trim()) {
            (Some(id), names) => (id, names),
            (None, _) => match line.split_once('\t') {
                Some((folder, name)) if !folder.is_empty() => (folder, name.trim()),
                _ => return wrong(&place, "a folder, a tab and a label or class index", line),
            },
        };
        Ok(Entry { place, folder: folder.into(), number: Some(number), names: names.into() })
    };
    let entries = lines.enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
    let are_ids = !entries.is_empty() && entries.iter().all(|entry| is_wordnet_id(&entry.folder));
    let have_indices = entries.iter().any(|entry| index(&entry.names).is_some());
    Ok(if are_ids && !have_indices { Content::Order(entries) } else { Content::Labels(entries) })
}

/// `["n01440764", …]` or `[["n01440764", "tench"], …]`.
fn array(text: &str) -> Result<Content, String> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let entry = |(number, value): (usize, Value)| {
        let place = Place::Element(number);
        match strings(&value).as_deref() {
            Some([folder, names @ ..]) => {
                Ok(Entry { place, folder: (*folder).into(), number: Some(number), names: names.join(", ") })
            }
            _ => wrong(&place, "a folder or a list of folder and names", &value.to_string()),
        }
    };
    values.into_iter().enumerate().map(entry).collect::<Result<_, _>>().map(Content::Order)
}

/// `{"0": ["n01440764", "tench"], …}`, `{"0": "n01440764", …}`, `{"n01440764": 0, …}` or `{"n01440764": "tench", …}`.
fn object(text: &str) -> Result<Content, String> {
    let Pairs(pairs) = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let are_numbered = pairs.iter().all(|(key, _)| index(key).is_some());
    let are_numbers = pairs.iter().all(|(_, value)| value.is_number());
    let are_texts = pairs.iter().all(|(_, value)| value.is_string());
    let entry = |(key, value): (String, Value)| {
        let place = Place::Key(key.clone());
        let strings = strings(&value);
        let (folder, number, names) = match strings.as_deref() {
            Some([folder, names @ ..]) if are_numbered && !are_texts => {
                ((*folder).to_owned(), index(&key), names.join(", "))
            }
            Some(names @ [_, ..]) => {
                let number = index(&key);
                (key, number, names.join(", "))
            }
            _ if are_numbers => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
                Some(number) => (key, Some(number), String::new()),
                None => return wrong(&place, "a class index", &value.to_string()),
            },
            _ => {
                return wrong(
                    &place,
                    "as its neighbours: a label, an index, or a list of folder and names",
                    &value.to_string(),
                );
            }
        };
        Ok(Entry { place, folder, number, names })
    };
    let entries = pairs.into_iter().map(entry).collect::<Result<_, String>>()?;
    Ok(match (are_numbered, are_texts, are_numbers) {
        (_, _, true) => Content::Numbers(entries),
        (true, true, _) => Content::Titles(entries),
        (true, false, _) => Content::Numbers(entries),
        (false, ..) => Content::Labels(entries),
    })
}

/// A text, or a list of nothing else.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// An object whose keys may come twice, in their order.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
