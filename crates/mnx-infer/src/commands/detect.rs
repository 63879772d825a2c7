//! `detect`: pictures in, boxes out.

mod copies;

use std::path::{Path, PathBuf};

use mnx::{Detector, Model};
use serde::Serialize;

use self::copies::copies;
use super::answers::Answers;
use super::classify::{label, shown_class};
use crate::annotate::{Marked, annotate};
use crate::args::Detect;
use crate::context::Context;
use crate::error::{Error, shown};
use crate::json_path::{FileName, bytes_unless_utf8};
use crate::output::OutputFile;
use crate::pictures::{self, Entry};
use crate::pipeline::{in_order, workers};
use crate::source::Source;
use crate::stdout;
use crate::table::{bar, plain_table};

/// What is said of one picture.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    file: FileName,
    /// The copy with the boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotated_bytes: Option<Vec<u8>>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome<'a> {
    Boxes(Vec<Boxed<'a>>),
    Error(String),
}

/// What was found, and where.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Boxed<'a> {
    pub(super) label: Option<&'a str>,
    pub(super) index: usize,
    pub(super) score: f32,
    pub(super) xmin: f32,
    pub(super) ymin: f32,
    pub(super) xmax: f32,
    pub(super) ymax: f32,
}

/// A picture, and where its copy with boxes goes.
struct Job {
    entry: Entry,
    copy: Option<PathBuf>,
}

impl AsRef<Entry> for Job {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

/// What the network says about one picture, and a PNG file of it where that was asked for.
struct Seen<'a> {
    boxes: Vec<Boxed<'a>>,
    copy: Vec<u8>,
}

pub(crate) fn run(args: &Detect, context: &Context) -> Result<(), Error> {
    let source = Source::detector(args.weights.weights.as_deref(), args.weights.model)?;
    let model = source.open()?;
    source.expect_detector(&model)?;
    let entries = pictures::expand(&args.images, stdout::note)?;
    let copies = match &args.annotate {
        Some(path) => copies(path, &args.images, &entries, args.weights.weights.as_deref())?,
        None => Vec::new(),
    };
    let detectors = detectors(&model, context, entries.len(), args.thresholds.options())?;
    let copies = copies.into_iter().map(Some).chain(std::iter::repeat(None));
    let jobs: Vec<_> = entries.into_iter().zip(copies).map(|(entry, copy)| Job { entry, copy }).collect();
    let mut answers = Answers::new(context, jobs.len());
    let work = |detector: &mut Detector, job: &Job| seen(&model, detector, job, context);
    let ran = in_order(&jobs, detectors, work, |job, seen| {
        let mut annotated = None;
        let outcome = match seen {
            Ok(seen) => {
                if let Some(path) = &job.copy {
                    let mut output = OutputFile::create(path)?;
                    output.write(&seen.copy)?;
                    output.finish()?;
                    annotated = Some(&**path);
                }
                Outcome::Boxes(seen.boxes)
            }
            Err(e) => Outcome::Error(answers.complain(&e)),
        };
        let answer = Answer {
            file: job.entry.path.as_path().into(),
            annotated_bytes: annotated.and_then(bytes_unless_utf8),
            annotated: annotated.map(|path| path.to_string_lossy().into()),
            outcome,
        };
        answers.add(answer, |answer| text(&job.entry.path, answer))
    });
    answers.finish(ran)
}

/// As many detectors as there are threads to work for them.
pub(super) fn detectors(
    model: &Model,
    context: &Context,
    pictures: usize,
    thresholds: mnx::DetectOptions,
) -> Result<Vec<Detector>, Error> {
    workers(context, pictures, |options| {
        let mut detector = Detector::with(model, options)?;
        detector.set_options(thresholds)?;
        Ok(detector)
    })
}

/// What a detector finds in a picture, which is named in errors.
pub(super) fn boxes_in<'a>(
    model: &'a Model,
    detector: &mut Detector,
    path: &Path,
    picture: &mnx::Picture,
) -> Result<Vec<Boxed<'a>>, Error> {
    let found = detector.detect(picture).map_err(|e| Error::file(path, e))?;
    let boxes = found.map(|found| Boxed {
        label: label(model, found.index),
        index: found.index,
        score: found.score,
        xmin: found.xmin,
        ymin: found.ymin,
        xmax: found.xmax,
        ymax: found.ymax,
    });
    Ok(boxes.collect())
}

/// Reads one picture, finds what is in it, and draws the copy.
fn seen<'a>(model: &'a Model, detector: &mut Detector, job: &Job, context: &Context) -> Result<Seen<'a>, Error> {
    let picture = job.entry.open(context.pictures())?;
    let boxes = boxes_in(model, detector, &job.entry.path, &picture)?;
    let copy = match job.copy {
        Some(_) => annotate(picture, &boxes.iter().map(marked).collect::<Vec<_>>())?,
        None => Vec::new(),
    };
    Ok(Seen { boxes, copy })
}

fn marked(boxed: &Boxed) -> Marked {
    let class = shown_class(boxed.index, boxed.label);
    let corners = [boxed.xmin, boxed.ymin, boxed.xmax, boxed.ymax];
    // The background, class 0, needs no colour.
    Marked { class: boxed.index.saturating_sub(1), text: format!("{class} {:.0} %", 100.0 * boxed.score), corners }
}

/// The file's name and a line per box; nothing for a picture whose error has been told.
fn text(path: &Path, answer: &Answer) -> String {
    let Outcome::Boxes(boxes) = &answer.outcome else {
        return String::new();
    };
    if boxes.is_empty() {
        return format!("{}\n  nothing found\n", shown(path));
    }
    let rows = boxes.iter().map(|found| {
        let corners = [found.xmin, found.ymin, found.xmax, found.ymax].map(|corner| format!("{corner:.1}"));
        let [xmin, ymin, xmax, ymax] = corners;
        let class = format!("  {}", shown_class(found.index, found.label));
        vec![class, format!("{:.1} %", 100.0 * found.score), xmin, ymin, xmax, ymax, bar(found.score)]
    });
    let heads = ["", "score", "xmin", "ymin", "xmax", "ymax", ""];
    format!("{}\n{}", shown(path), plain_table("lrrrrrl", &heads, rows))
}
