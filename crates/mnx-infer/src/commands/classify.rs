//! `classify`: pictures in, labels out.

use std::path::Path;

use mnx::{Classifier, Picture, Prediction};
use serde::Serialize;

use super::{Context, Source, plain_table};
use crate::args::Classify;
use crate::error::{Error, printable, shown};
use crate::npy;
use crate::output::OutputFile;
use crate::stdout;

/// How many classes are listed where `--top` is not given.
const TOP: usize = 5;
/// Characters of a bar that stands for certainty.
const BAR: usize = 30;

/// What is said of one picture.
#[derive(Serialize)]
struct Answer {
    file: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Top(Vec<Guess>),
    Error(String),
}

/// A class and how likely it is.
#[derive(Serialize)]
struct Guess {
    index: usize,
    label: Option<String>,
    probability: f32,
}

impl Guess {
    fn new(prediction: Prediction<'_>) -> Guess {
        let Prediction { index, label, probability, .. } = prediction;
        Guess { index, label: label.map(str::to_owned), probability }
    }
}

pub(crate) fn run(args: &Classify, context: &Context) -> Result<(), Error> {
    let model = Source::new(args.weights.weights.as_deref())?.open()?;
    let mut classifier = Classifier::with(&model, context.options(&model)?).map_err(Error::failed)?;
    let mut dump = args.dump_input.as_deref().map(|path| Dump::create(path, model.spec().resolution)).transpose()?;
    let mut answers = Vec::new();
    for path in &args.images {
        let top = classify(path, args.top.unwrap_or(TOP), &mut classifier, dump.as_mut());
        let outcome = top.map_or_else(
            |e| {
                let message = printable(&e.to_string());
                stdout::complain(&message);
                Outcome::Error(message)
            },
            Outcome::Top,
        );
        let answer = Answer { file: path.to_string_lossy().into(), outcome };
        if !context.is_json() {
            stdout::print(&text(path, &answer))?;
        }
        answers.push(answer);
    }
    if let Some(dump) = dump {
        dump.finish()?;
    }
    if context.is_json() {
        stdout::print_json(&answers)?;
    }
    let failed = answers.iter().any(|answer| matches!(answer.outcome, Outcome::Error(_)));
    if failed { Err(Error::Reported) } else { Ok(()) }
}

fn classify(
    path: &Path,
    top: usize,
    classifier: &mut Classifier,
    dump: Option<&mut Dump>,
) -> Result<Vec<Guess>, Error> {
    let picture = Picture::open(path).map_err(Error::failed)?;
    let guesses: Vec<_> =
        classifier.classify(&picture, top).map_err(Error::failed)?.into_iter().map(Guess::new).collect();
    if guesses.iter().any(|guess| !guess.probability.is_finite()) {
        return Err(Error::expected(
            path,
            "finite logits",
            "NaN or infinity: weights or normalisation are out of range",
        ));
    }
    if let Some(dump) = dump {
        dump.inputs.extend_from_slice(classifier.input());
    }
    Ok(guesses)
}

/// Inputs of the pictures that could be read.
struct Dump {
    output: OutputFile,
    /// Height and width of each.
    side: usize,
    inputs: Vec<f32>,
}

impl Dump {
    fn create(path: &Path, side: usize) -> Result<Dump, Error> {
        Ok(Dump { output: OutputFile::create(path)?, side, inputs: Vec::new() })
    }

    fn finish(self) -> Result<(), Error> {
        let side = self.side;
        let pictures = self.inputs.len() / (3 * side * side);
        if pictures == 0 {
            // No input, no file: each picture's error has been told.
            return Ok(());
        }
        npy::write(self.output, &[pictures, 3, side, side], &self.inputs)
    }
}

/// The file's name and a line per class; nothing for a picture whose error has been told.
fn text(path: &Path, answer: &Answer) -> String {
    let Outcome::Top(top) = &answer.outcome else {
        return String::new();
    };
    let rows = top.iter().map(|guess| {
        let label = guess.label.as_ref().map_or_else(|| format!("class {}", guess.index), |label| printable(label));
        vec![format!("  {label}"), format!("{:.1} %", 100.0 * guess.probability), bar(guess.probability)]
    });
    format!("{}\n{}", shown(path), plain_table("lrl", &[], rows))
}

/// A bar in eighths of a character.
fn bar(probability: f32) -> String {
    let eighths = (probability * 8.0 * BAR as f32).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(" ▏▎▍▌▋▊▉".chars().nth(eighths % 8).filter(|&c| c != ' '));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!((bar(0.0), bar(f32::NAN)), (String::new(), String::new()));
        assert_eq!(bar(0.5 / 30.0), "▌");
        assert_eq!(bar(0.1), "███");
        assert_eq!(bar(1.0).chars().count(), BAR);
    }
}
