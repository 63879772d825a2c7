//! `classify`: pictures in, labels out.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use mnx::Model;
use serde::Serialize;

use super::answers::Answers;
use crate::args::Classify;
use crate::context::Context;
use crate::error::{Error, printable, shown};
use crate::json_path::FileName;
use crate::npy;
use crate::output::{OutputFile, check_apart};
use crate::pictures;
use crate::pipeline::Pipeline;
use crate::source::Source;
use crate::stdout;
use crate::table::{bar, plain_table};

/// How many classes are listed where `--top` is not given.
const TOP: usize = 5;

/// What is said of one picture.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    file: FileName,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome<'a> {
    Top(Vec<Guess<'a>>),
    Error(String),
}

/// A class and how likely it is.
#[derive(Serialize)]
struct Guess<'a> {
    index: usize,
    label: Option<&'a str>,
    probability: f32,
}

pub(crate) fn run(args: &Classify, context: &Context) -> Result<(), Error> {
    let source = Source::new(&args.weights)?;
    let model = source.open()?;
    source.expect_classifier(&model)?;
    let entries = pictures::expand(&args.images, stdout::note)?;
    if let Some(dump) = &args.dump_input {
        let pictures = entries.iter().map(|entry| &*entry.path);
        check_apart(dump, args.weights.weights.as_deref().into_iter().chain(pictures))?;
    }
    let pipeline = Pipeline::new(&model, context, entries.len(), args.top.unwrap_or(TOP))?;
    let pipeline = pipeline.with_input(args.dump_input.is_some());
    let mut dump = args.dump_input.as_deref().map(|path| Dump::create(path, model.spec().resolution)).transpose()?;
    let mut answers = Answers::new(context, entries.len());
    let ran = pipeline.run(&entries, |entry, answer| {
        let outcome = match answer {
            Ok(answer) => {
                if let Some(dump) = &mut dump {
                    dump.add(&answer.input)?;
                }
                let guess = |(index, probability)| Guess { index, label: label(&model, index), probability };
                Outcome::Top(answer.top.into_iter().map(guess).collect())
            }
            Err(e) => Outcome::Error(answers.complain(&e)),
        };
        let answer = Answer { file: entry.path.as_path().into(), outcome };
        answers.add(answer, |answer| text(&entry.path, answer))
    });
    answers.finish(ran.and_then(|()| dump.map_or(Ok(()), Dump::finish)))
}

/// The name of a class, if the model has names.
pub(super) fn label(model: &Model, index: usize) -> Option<&str> {
    model.spec().labels.as_ref()?.get(index).map(String::as_str)
}

/// A class as it stands in a table.
pub(super) fn shown_class(index: usize, label: Option<&str>) -> String {
    label.map_or_else(|| format!("class {index}"), printable)
}

/// Inputs of the pictures that could be read, in a file without a name until their number is known.
struct Dump {
    output: OutputFile,
    path: PathBuf,
    /// Height and width of each.
    side: usize,
    spool: File,
    pictures: usize,
}

impl Dump {
    fn create(path: &Path, side: usize) -> Result<Dump, Error> {
        let output = OutputFile::create(path)?;
        // Where the result will need the room; beside a device or pipe it may not be allowed.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let spool = tempfile::tempfile_in(folder).or_else(|_| tempfile::tempfile());
        let spool = spool.map_err(|e| cannot_spool(path, &e))?;
        Ok(Dump { output, path: path.into(), side, spool, pictures: 0 })
    }

    fn add(&mut self, input: &[f32]) -> Result<(), Error> {
        // f32 is stored little-endian, as it is in memory on every target of this program.
        self.spool.write_all(bytemuck::cast_slice(input)).map_err(|e| cannot_spool(&self.path, &e))?;
        self.pictures += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Error> {
        if self.pictures == 0 {
            // No input, no file: each picture's error has been told.
            return Ok(());
        }
        npy::start(&mut self.output, &[self.pictures, 3, self.side, self.side])?;
        self.spool.rewind().map_err(|e| cannot_spool(&self.path, &e))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.spool.read(&mut buffer).map_err(|e| cannot_spool(&self.path, &e))? {
                0 => return self.output.finish(),
                length => self.output.write(&buffer[..length])?,
            }
        }
    }
}

fn cannot_spool(path: &Path, e: &io::Error) -> Error {
    Error::file(path, format_args!("cannot be prepared in a temporary file: {e}"))
}

/// The file's name and a line per class; nothing for a picture whose error has been told.
fn text(path: &Path, answer: &Answer) -> String {
    let Outcome::Top(top) = &answer.outcome else {
        return String::new();
    };
    let rows = top.iter().map(|guess| {
        let class = shown_class(guess.index, guess.label);
        vec![format!("  {class}"), format!("{:.1} %", 100.0 * guess.probability), bar(guess.probability)]
    });
    format!("{}\n{}", shown(path), plain_table("lrl", &[], rows))
}
