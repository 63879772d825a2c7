//! Which class a folder is, if its name does not say so, or must not decide.

mod formats;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::classes::{Classes, ambiguous, quoted, synonyms};
use super::numbering::{self, Numbered, Place, Resolved};
use crate::error::Error;
use crate::output::read_text;
use formats::{Content, Entry};

/// A line for each of 65,536 classes, with room.
const LARGEST_MAP: u64 = 16 << 20;

/// Classes of folders by their names.
#[derive(Debug, Default)]
pub(super) struct ClassMap {
    classes: HashMap<OsString, usize>,
    note: Option<String>,
}

impl ClassMap {
    /// Reads a file of one of the kinds that people have: lines of folder, tab and label or index; ImageNet's
    /// `LOC_synset_mapping.txt` or its ids alone; JSON like `imagenet_class_index.json`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read and, with its number, a line that is no such thing, names no
    /// class, another one than its number or a folder again.
    pub(super) fn open(path: &Path, classes: &Classes) -> Result<ClassMap, Error> {
        let map = ClassMap::parse(&read_text(path, LARGEST_MAP)?, classes).map_err(|e| Error::file(path, e))?;
        if map.is_empty() {
            return Err(Error::expected(path, "folders and their classes", "none"));
        }
        let note = map.note.map(|note| Error::file(path, note).to_string());
        Ok(ClassMap { note, ..map })
    }

    /// # Errors
    /// What is wrong and in which line.
    fn parse(text: &str, classes: &Classes) -> Result<ClassMap, String> {
        let content = formats::parse(text)?;
        let (entries, resolved) = match content {
            Content::Labels(entries) => by_label(entries, classes)?,
            Content::Numbers(entries) => by_number(entries, classes)?,
            Content::Titles(entries) => titled(entries, classes)?,
            Content::Order(entries) => by_order(entries, classes)?,
        };
        let mut map = ClassMap { note: resolved.note, ..ClassMap::default() };
        for (Entry { place, folder, .. }, class) in entries.into_iter().zip(resolved.classes) {
            let found = quoted(&folder);
            if map.classes.insert(folder.into(), class).is_some() {
                let unit = if let Place::Line(_) = place { "line" } else { "entry" };
                return Err(format!("{place}: expected a folder that has no {unit} yet, found {found}"));
            }
        }
        Ok(map)
    }

    /// Gives the classes to folders in sorted order, as torchvision's `ImageFolder` does.
    ///
    /// # Errors
    /// How many folders were expected and found, or which one is called like another one's class.
    pub(super) fn of_sorted(mut folders: Vec<OsString>, classes: &Classes) -> Result<ClassMap, String> {
        // UTF-8 sorts as its code points do, which is Python's order.
        folders.sort_unstable();
        let is_background = classes.begin_with_background() && folders.len() + 1 == classes.count();
        if folders.len() != classes.count() && !is_background {
            let (count, found) = (classes.count(), folders.len());
            let hint = match classes.hint(found) {
                "" => "; a class map (--class-map FILE) may have fewer",
                hint => hint,
            };
            return Err(format!("expected {count} sub-folders, one per class (--sorted-folders), found {found}{hint}"));
        }
        let numbered = |(number, folder): (usize, &OsString)| {
            let name = folder.to_string_lossy().into_owned();
            Numbered { place: Place::Folder(name.clone()), number, names: vec![name] }
        };
        let numbered: Vec<_> = folders.iter().enumerate().map(numbered).collect();
        let Resolved { classes, note, .. } = numbering::resolve(&numbered, classes)?;
        Ok(ClassMap { classes: folders.into_iter().zip(classes).collect(), note })
    }

    /// What someone should know of how the file's numbers were understood.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The class that the map gives to a name.
    pub(super) fn get(&self, name: &OsStr) -> Option<usize> {
        self.classes.get(name).copied()
    }

    /// The class of a folder of that name: what the map says, else what the name does.
    ///
    /// # Errors
    /// As [`Classes::named`].
    pub(super) fn class_of(&self, folder: &OsStr, classes: &Classes) -> Result<Option<usize>, String> {
        match self.get(folder) {
            Some(class) => Ok(Some(class)),
            None => folder.to_str().map_or(Ok(None), |name| classes.named(name)),
        }
    }
}

/// What a file says and the class of each entry, or what is wrong and where.
type Outcome = Result<(Vec<Entry>, Resolved), String>;

/// By labels, or the model's indices in their place.
fn by_label(entries: Vec<Entry>, classes: &Classes) -> Outcome {
    let class = |entry: &Entry| {
        let place = |e: String| format!("{}: {e}", entry.place);
        if let Some(class) = classes.named(&entry.names).ok().flatten() {
            return Ok(class);
        }
        let meant = classes.meant(&entry.names);
        match meant {
            [class] => Ok(*class),
            [] => Err(place(format!("expected {}, found {}", classes.expected(), quoted(&entry.names)))),
            several => Err(place(ambiguous(&entry.names, several))),
        }
    };
    let found = entries.iter().map(class).collect::<Result<_, _>>()?;
    Ok((entries, Resolved { classes: found, agreements: 0, note: None }))
}

/// By numbers, which the names may contradict.
fn by_number(entries: Vec<Entry>, classes: &Classes) -> Outcome {
    let resolved = numbering::resolve(&numbered(&entries), classes)?;
    Ok((entries, resolved))
}

/// The entries with all names that no other one has: two of ImageNet's classes are cranes, and which of them a model
/// calls so is no evidence.
fn numbered(entries: &[Entry]) -> Vec<Numbered> {
    let names = |entry: &Entry| {
        let Entry { names, folder, .. } = entry;
        let mut all: Vec<_> = [names.as_str()].into_iter().chain(synonyms(names)).chain([folder.as_str()]).collect();
        all.dedup();
        all.retain(|name| !name.is_empty());
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let names: Vec<_> = entries.iter().map(names).collect();
    let mut uses = HashMap::<_, usize>::new();
    names.iter().flatten().for_each(|name| *uses.entry(name.clone()).or_default() += 1);
    let numbered = |(entry, mut names): (&Entry, Vec<String>)| {
        names.retain(|name| uses.get(name) == Some(&1));
        Numbered { place: entry.place.clone(), number: entry.number.unwrap_or_default(), names }
    };
    entries.iter().zip(names).map(numbered).collect()
}

/// Numbers and names. Where the names are labels of the model, the folders are called by the numbers, which need not be
/// the model's; else they are called by the names.
fn titled(mut entries: Vec<Entry>, classes: &Classes) -> Outcome {
    if entries.iter().all(|entry| classes.meant(&entry.names).is_empty()) {
        for entry in &mut entries {
            entry.folder = std::mem::take(&mut entry.names);
        }
        return by_number(entries, classes);
    }
    // Of two classes with one label, the number tells which.
    match numbering::resolve(&numbered(&entries), classes) {
        Ok(resolved) => Ok((entries, resolved)),
        Err(_) => by_label(entries, classes),
    }
}

/// By the order in the file where it has all classes, else by names. Where there are names, the order may be any one:
/// only that of sorted folders is known to be the classes'.
fn by_order(entries: Vec<Entry>, classes: &Classes) -> Outcome {
    let (count, found) = (classes.count(), entries.len());
    let is_whole = found == count || classes.begin_with_background() && found + 1 == count;
    let has_names = entries.iter().any(|entry| !entry.names.is_empty());
    if is_whole && (!has_names || entries.is_sorted_by_key(|entry| &entry.folder)) {
        match numbering::resolve(&numbered(&entries), classes) {
            Ok(resolved) if !has_names || !classes.are_labelled() || resolved.agreements > 0 => {
                return Ok((entries, resolved));
            }
            Err(e) if !has_names => return Err(e),
            // The order is another one than the classes', or nothing shows that it is theirs.
            _ => (),
        }
    }
    if has_names && classes.are_labelled() {
        return by_label(entries, classes);
    }
    Err(if is_whole {
        "expected ids in sorted order, since the model has no labels, found another order".into()
    } else {
        format!("expected {count} folders in the order of the classes, found {found}{}", classes.hint(found))
    })
}

#[cfg(test)]
mod tests;
