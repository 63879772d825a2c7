//! The commands, one file each, and what they share.

pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod detect;
pub(crate) mod eval;
pub(crate) mod init;
pub(crate) mod inspect;
mod network;
mod onnx;
pub(crate) mod quantize;
pub(crate) mod run;
mod timing;

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use mnx::{Cpu, Isa, Model, PictureLimits, PictureReader, Session, SessionOptions, TunedFor};
use serde::Serialize;

use crate::args::{Amx, Command, DotProducts, Format, Global, NeededWeights, Weights};
use crate::embedded::{self, Embedded};
use crate::error::{Error, line, shown};
use crate::output::check_plain;
use crate::stdout::{BAR_COLOR, HEADER};

/// What is mapped or read more than once, which pipes are not good for.
const WEIGHT_FILE: &str = "a weight file";
/// Characters of a bar that stands for all.
const BAR: usize = 30;
/// From one eighth of a character to all of it.
const EIGHTHS: &str = "▏▎▍▌▋▊▉█";

/// The global flags, checked.
pub(crate) struct Context {
    /// As many as were given; without any, as many as there are physical cores.
    threads: Vec<usize>,
    cpu: Cpu,
    format: Format,
    /// Reads pictures, on all threads within one limit of memory.
    pictures: PictureReader,
}

impl Context {
    /// # Errors
    /// [`Error::Usage`] for a list of threads or a format that the command does not take, [`Error::Failed`] for an ISA
    /// that the CPU lacks, and for what `MNX_ISA`, `MNX_TUNED_FOR`, `MNX_DOT_PRODUCTS` or `MNX_AMX` misspell.
    pub(crate) fn new(global: &Global, command: &Command) -> Result<Context, Error> {
        if global.threads.len() > 1 && !matches!(command, Command::Bench(_) | Command::Compare(_)) {
            let found = global.threads.len();
            return Err(Error::Usage(format!("--threads: expected one number for this command, found {found}")));
        }
        if global.format == Format::Markdown && !matches!(command, Command::Compare(_)) {
            return Err(Error::Usage("--format: expected text or json for this command, found markdown".into()));
        }
        // `auto` is what is found, whatever the environment says.
        let isa = global.isa.map(|choice| choice.0.unwrap_or_else(Isa::detect));
        let tuned_for = global.tuned_for.map(|choice| choice.0.unwrap_or_else(TunedFor::detect));
        let cpu = Cpu::choose(isa, tuned_for).map_err(Error::failed)?;
        let cpu = match global.dot_products {
            None => cpu,
            Some(DotProducts::Auto) => cpu.with_dot_products(),
            Some(DotProducts::Off) => cpu.without_dot_products(),
        };
        let cpu = match global.amx {
            None => cpu,
            Some(Amx::Auto) => cpu.with_amx(),
            Some(Amx::Off) => cpu.without_amx(),
        };
        let limits = command.max_pixels().map_or_else(PictureLimits::default, PictureLimits::for_pixels);
        let pictures = PictureReader::new(limits);
        Ok(Context { threads: global.threads.clone(), cpu, format: global.format, pictures })
    }

    /// The same with this number of threads.
    fn with_threads(&self, threads: usize) -> Context {
        Context { threads: vec![threads], pictures: self.pictures.clone(), ..*self }
    }

    /// What reads pictures.
    pub(crate) fn pictures(&self) -> &PictureReader {
        &self.pictures
    }

    fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The first number of threads, else as many as there are physical cores.
    pub(crate) fn threads(&self) -> usize {
        self.threads.first().copied().unwrap_or_else(mnx::default_threads)
    }

    /// Options of a session that the thread which calls it runs alone.
    pub(crate) fn lone_options(&self) -> SessionOptions {
        self.options_of(Some(1))
    }

    /// Options of a session with the first number of threads.
    pub(crate) fn options(&self) -> SessionOptions {
        self.options_of(self.threads.first().copied())
    }

    /// Options of a session with this number of threads; without one, as many as there are physical cores.
    fn options_of(&self, threads: Option<usize>) -> SessionOptions {
        let options = SessionOptions::new().isa(self.cpu.isa()).tuned_for(self.cpu.tuned_for());
        let options = options.dot_products(self.cpu.dot_products()).amx(self.cpu.amx());
        threads.map_or(options.clone(), |threads| options.threads(threads))
    }
}

/// Which kernels a session uses.
#[derive(Serialize)]
struct Kernels {
    isa: &'static str,
    /// The kind of core that they suit.
    tuned_for: &'static str,
    /// Whether int8 layers use the CPU's instructions for dot products of bytes.
    dot_products: bool,
    /// Whether they use AMX.
    amx: bool,
}

impl Kernels {
    fn of(session: &Session) -> Kernels {
        Kernels {
            isa: session.isa().name(),
            tuned_for: session.tuned_for().name(),
            dot_products: session.dot_products(),
            amx: session.amx(),
        }
    }

    /// For headings.
    fn name(&self) -> String {
        let core = if self.tuned_for == TunedFor::Any.name() { "" } else { " for wide cores" };
        format!("{}{core}", self.isa)
    }
}

/// What is written behind a kernel's name: which instructions it needs beyond its ISA's.
fn instructions(dot_products: bool, amx: bool) -> &'static str {
    match (amx, dot_products) {
        (true, _) => " amx",
        (false, true) => " dot",
        (false, false) => "",
    }
}

/// Where a command's weights come from.
enum Source {
    File(PathBuf),
    Embedded(&'static Embedded),
}

impl Source {
    /// What was named, else the default network.
    fn new(weights: &Weights) -> Result<Source, Error> {
        let default = || Embedded::find(embedded::DEFAULT);
        match (&weights.weights, weights.model.or_else(default)) {
            (Some(path), _) => Ok(Source::File(path.clone())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => {
                let name = embedded::DEFAULT;
                let message = format!("--weights W.mnx is needed: this program was built without the network {name}");
                Err(Error::Usage(message))
            }
        }
    }

    /// What was named, else the default detector.
    fn detector(weights: Option<&Path>, model: Option<&'static Embedded>) -> Result<Source, Error> {
        match (weights, model.or_else(|| Embedded::find(embedded::DEFAULT_DETECTOR))) {
            (Some(path), _) => Ok(Source::File(path.into())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => {
                let name = embedded::DEFAULT_DETECTOR;
                let message = format!("--weights D.mnx is needed: this program was built without the detector {name}");
                Err(Error::Usage(message))
            }
        }
    }

    /// What was named.
    fn needed(weights: &NeededWeights) -> Result<Source, Error> {
        match (&weights.weights, weights.model) {
            (Some(path), _) => Ok(Source::File(path.clone())),
            (None, Some(embedded)) => Ok(Source::Embedded(embedded)),
            (None, None) => Err(Error::Usage("--weights W.mnx or --model NAME is needed".into())),
        }
    }

    /// The file, if it is one.
    fn file(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Embedded(_) => None,
        }
    }

    /// As it is named on the command line.
    fn name(&self) -> String {
        match self {
            Source::File(path) => shown(path),
            Source::Embedded(embedded) => format!("embedded:{}", embedded.name),
        }
    }

    /// That something is wrong with it.
    fn error(&self, message: impl std::fmt::Display) -> Error {
        match self {
            Source::File(path) => Error::file(path, message),
            Source::Embedded(embedded) => embedded.error(message),
        }
    }

    /// # Errors
    /// [`Error::File`] or [`Error::Failed`] for a detector.
    fn expect_classifier(&self, model: &Model) -> Result<(), Error> {
        match model.spec().detector {
            None => Ok(()),
            Some(_) => Err(self.error("expected a classifier, found a detector (use detect, or eval --voc)")),
        }
    }

    /// # Errors
    /// [`Error::File`] or [`Error::Failed`] for a classifier.
    fn expect_detector(&self, model: &Model) -> Result<(), Error> {
        match model.spec().detector {
            Some(_) => Ok(()),
            None => Err(self.error("expected a detector, found a classifier (use classify, or eval DIR)")),
        }
    }

    /// For a few inferences: starts at once.
    fn open(&self) -> Result<Model, Error> {
        self.by(open)
    }

    /// For many: takes longer to start, and less for each.
    fn read(&self) -> Result<Model, Error> {
        self.by(read)
    }

    fn by(&self, of_file: impl FnOnce(&Path) -> Result<Model, Error>) -> Result<Model, Error> {
        match self {
            Source::File(path) => of_file(path),
            Source::Embedded(embedded) => embedded.open(),
        }
    }
}

/// The weights in memory of the program's own.
fn read(path: &Path) -> Result<Model, Error> {
    check_plain(path, WEIGHT_FILE)?;
    Model::open(path).map_err(Error::with_causes)
}

/// The weights in place.
fn open(path: &Path) -> Result<Model, Error> {
    check_plain(path, WEIGHT_FILE)?;
    // SAFETY: the help of `--weights` tells the user that the file must not change while the program runs.
    let model = unsafe { Model::open_mmap(path) };
    // The message begins with the path.
    model.map_err(Error::with_causes)
}

/// What a network computes with: `f32`, `int8`, or `mixed`, some layers in each.
fn arithmetic(model: &Model) -> &'static str {
    match model.arithmetic() {
        [first, others @ ..] if others.iter().all(|other| other == first) => first.name(),
        _ => "mixed",
    }
}

/// A table without lines; bars stand in its last column. `columns` has a letter per column: `l` for left, `r` for right.
fn plain_table(columns: &str, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    // Whatever names hold, a row stays one.
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| line(cell)).collect::<Vec<_>>()));
    for (column, side) in table.column_iter_mut().zip(columns.chars()) {
        column.set_padding((0, 2));
        column.set_cell_alignment(if side == 'l' { CellAlignment::Left } else { CellAlignment::Right });
    }
    let lines = table.lines().enumerate().map(|(i, line)| {
        let line = line.trim_end();
        if i == 0 && !header.is_empty() {
            return format!("{HEADER}{line}{HEADER:#}\n");
        }
        match line.trim_end_matches(|c| EIGHTHS.contains(c)) {
            text if text.len() < line.len() => format!("{text}{BAR_COLOR}{}{BAR_COLOR:#}\n", &line[text.len()..]),
            text => format!("{text}\n"),
        }
    });
    lines.collect()
}

/// A bar in eighths of a character for a share of 0 to 1.
fn bar(share: f32) -> String {
    let eighths = (share * 8.0 * BAR as f32).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).and_then(|i| EIGHTHS.chars().nth(i)));
    bar
}

/// `[C, H, W]` as it stands in a table.
fn shape([channels, height, width]: [usize; 3]) -> String {
    format!("{channels} x {height} x {width}")
}

/// A number per channel as a flag takes them.
fn channels(values: [f32; 3]) -> String {
    values.map(|value| value.to_string()).join(",")
}

#[cfg(test)]
mod tests {
    use super::{BAR, bar};

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!((bar(0.0), bar(f32::NAN)), (String::new(), String::new()));
        assert_eq!(bar(0.5 / 30.0), "▌");
        assert_eq!(bar(0.1), "███");
        assert_eq!(bar(1.0).chars().count(), BAR);
    }
}
