//! Which networks are inside this program.

use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::embedded::{self, Embedded};
use crate::error::Error;
use crate::source::arithmetic;
use crate::stdout;
use crate::table::plain_table;
use crate::words::grouped;

/// A network inside this program.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// Whether it is a detector: for `detect` and `eval --voc`.
    detector: bool,
    /// Whether these, or else the other commands, take it where none is named.
    default: bool,
    about: &'static str,
    family: String,
    width: f64,
    resolution: usize,
    classes: usize,
    arithmetic: &'static str,
    /// Of the weight file.
    size_bytes: usize,
    licence: &'static str,
    source: &'static str,
}

impl Row {
    fn new(embedded: &Embedded) -> Result<Row, Error> {
        let model = embedded.open()?;
        let spec = model.spec();
        Ok(Row {
            name: embedded.name,
            detector: spec.detector.is_some(),
            default: [embedded::DEFAULT, embedded::DEFAULT_DETECTOR].contains(&embedded.name),
            about: embedded.about,
            family: spec.family.clone(),
            width: spec.width,
            resolution: spec.resolution,
            classes: spec.classes,
            arithmetic: arithmetic(&model),
            size_bytes: embedded.bytes.len(),
            licence: embedded.licence,
            source: embedded.source,
        })
    }

    fn cells(&self) -> Vec<String> {
        let default = match (self.default, self.detector) {
            (true, true) => " (default of detect)",
            (true, false) => " (default)",
            (false, _) => "",
        };
        let size = grouped(self.size_bytes as u64);
        vec![format!("{}{default}", self.name), self.about.into(), size, self.licence.into(), self.source.into()]
    }
}

/// Lists them.
pub(super) fn show(context: &Context) -> Result<(), Error> {
    let rows = Embedded::all().iter().map(Row::new).collect::<Result<Vec<_>, _>>()?;
    if context.is_json() {
        return stdout::print_json(&json!({ "models": rows }));
    }
    if rows.is_empty() {
        return stdout::print("this program was built without networks\n");
    }
    let header = ["--model", "network", "bytes", "licence", "weights"];
    stdout::print(&plain_table("llrll", &header, rows.iter().map(Row::cells)))
}
