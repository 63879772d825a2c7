//! Reports average precision, as JSON or text.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::LIMIT;
use super::kind::Kind;
use super::metric::{Curve, mean};
use super::problem::Problem;
use super::tally::Tally;
use crate::commands::classify::shown_class;
use crate::error::{Error, printable, shown};
use crate::json_path::Unreadable;
use crate::table::{bar, plain_table};
use crate::words::{counted, first_few, grouped};

/// How many problems of each kind the text lists; the JSON has all.
const LISTED: usize = 10;

/// How many names of no class a message lists.
const NAMED: usize = 5;

/// The fields of the JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    split: &'a str,
    /// Those that were read, with their annotations.
    pictures: usize,
    /// Boxes count if their score is above this.
    score: f32,
    /// A box is found if its intersection over union with a detection is at least this.
    iou: f64,
    /// Mean of the classes that have something to find; null if none has.
    map: Option<f64>,
    map_11_point: Option<f64>,
    pub(super) classes: Vec<ClassRow<'a>>,
    unreadable: &'a [Unreadable],
    problems: &'a [Problem],
    unknown_classes: Vec<UnknownClass<'a>>,
    elapsed_seconds: f64,
    pictures_per_second: f64,
    #[serde(skip)]
    candidates: usize,
}

#[derive(Serialize)]
pub(super) struct ClassRow<'a> {
    pub(super) index: usize,
    pub(super) label: Option<&'a str>,
    /// Boxes to find.
    truths: usize,
    /// Boxes that do not count.
    difficult: usize,
    detections: usize,
    true_positives: usize,
    false_positives: usize,
    recall: Option<f64>,
    pub(super) ap: Option<f64>,
    ap_11_point: Option<f64>,
    #[serde(skip)]
    pub(super) curve: Curve,
}

#[derive(Serialize)]
struct UnknownClass<'a> {
    name: &'a str,
    boxes: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(tally: &'a Tally, split: &'a str, score: f32, elapsed: Duration) -> Report<'a> {
        let names = &tally.names;
        let classes: Vec<_> = tally
            .classes
            .iter()
            .map(|(&index, class)| {
                let curve = Curve::new(&class.truths, &class.found, LIMIT);
                ClassRow {
                    index,
                    label: names.label(index),
                    truths: curve.positives,
                    difficult: class.truths.len() - curve.positives,
                    detections: class.found.len(),
                    true_positives: curve.right(),
                    false_positives: curve.wrong(),
                    recall: (curve.positives > 0).then(|| curve.right() as f64 / curve.positives as f64),
                    ap: curve.all_point(),
                    ap_11_point: curve.eleven_point(),
                    curve,
                }
            })
            .collect();
        let seconds = elapsed.as_secs_f64();
        Report {
            split,
            pictures: tally.pictures,
            score,
            iou: LIMIT,
            map: mean(classes.iter().map(|class| class.ap)),
            map_11_point: mean(classes.iter().map(|class| class.ap_11_point)),
            classes,
            unreadable: &tally.unreadable,
            problems: &tally.problems,
            unknown_classes: tally.unknown.iter().map(|(name, &boxes)| UnknownClass { name, boxes }).collect(),
            elapsed_seconds: seconds,
            pictures_per_second: if seconds > 0.0 { tally.pictures as f64 / seconds } else { 0.0 },
            candidates: tally.pictures + tally.unreadable.len(),
        }
    }

    /// Why the command fails although the answers are there.
    pub(super) fn failure(&self, folder: &Path, strict: bool) -> Option<Error> {
        let unknown: usize = self.unknown_classes.iter().map(|class| class.boxes).sum();
        if self.pictures == 0 {
            let found = format!("none among {}", self.candidates);
            return Some(Error::expected(folder, "annotated pictures that can be read", found));
        }
        let known: usize = self.classes.iter().map(|class| class.truths + class.difficult).sum();
        if known == 0 && unknown > 0 {
            let names = first_few(self.unknown_classes.iter().map(|class| printable(class.name)), NAMED);
            let found = format!("none among {unknown}: {names}");
            return Some(Error::expected(folder, "objects of the model's classes", found));
        }
        let wrong = self.unreadable.len() + self.problems.len() + unknown;
        let found = || {
            let unreadable = counted(self.unreadable.len(), "unreadable picture", "unreadable pictures");
            let problems = counted(self.problems.len(), "problem", "problems");
            let unknown = counted(unknown, "box of an unknown class", "boxes of unknown classes");
            format!("{unreadable}, {problems} and {unknown}")
        };
        (strict && wrong > 0).then(|| Error::expected(folder, "a data set without faults (--strict)", found()))
    }

    /// The report on `folder` for people.
    pub(super) fn text(&self, folder: &Path) -> String {
        let mut text = self.head(folder);
        if !self.classes.is_empty() {
            text += "\n";
            text += &self.class_table();
        }
        text += &self.faults();
        text
    }

    /// Split and mean, in a few words.
    pub(super) fn summary(&self) -> String {
        format!("split {}: mAP {} at an intersection over union of {}", self.split, percent(self.map), self.iou)
    }

    fn head(&self, folder: &Path) -> String {
        let row = |name: &str, value: Option<f64>| vec![name.into(), percent(value)];
        let means = [row("mAP, all-point", self.map), row("mAP, 11-point", self.map_11_point)];
        format!(
            "{}: split {}, {}, {:.2} s, {:.0} pictures/s\nscores above {}, intersection over union from {} on\n\n{}",
            shown(folder),
            printable(self.split),
            counted(self.pictures, "picture", "pictures"),
            self.elapsed_seconds,
            self.pictures_per_second,
            self.score,
            self.iou,
            plain_table("lr", &[], means),
        )
    }

    fn class_table(&self) -> String {
        let heads = ["class", "boxes", "found", "wrong", "recall", "AP", "11-point", ""];
        let rows = self.classes.iter().map(|class| {
            let counts = [class.truths, class.true_positives, class.false_positives].map(|n| grouped(n as u64));
            let mut row = vec![shown_class(class.index, class.label)];
            row.extend(counts);
            row.extend([class.recall, class.ap, class.ap_11_point].map(percent));
            row.push(bar(class.ap.unwrap_or(0.0) as f32));
            row
        });
        plain_table("lrrrrrrl", &heads, rows)
    }

    /// What could not be read or is odd.
    fn faults(&self) -> String {
        let mut text = String::new();
        if !self.unreadable.is_empty() {
            let pictures = counted(self.unreadable.len(), "picture is", "pictures are");
            text += &format!("\n{pictures} not scored, because a file could not be read\n");
            text += &listed(self.unreadable.iter().map(|file| &*file.error));
        }
        for kind in Kind::ALL {
            let (one, several) = kind.sentences();
            let these = || self.problems.iter().filter(|problem| problem.kind == kind).map(|problem| &*problem.error);
            if these().next().is_some() {
                text += &format!("\n{}\n{}", counted(these().count(), one, several), listed(these()));
            }
        }
        if !self.unknown_classes.is_empty() {
            let names = counted(self.unknown_classes.len(), "name is", "names are");
            text += &format!("\n{names} no class of the model: not scored\n");
            let row = |class: &UnknownClass| {
                vec![format!("  {}", printable(class.name)), counted(class.boxes, "box", "boxes")]
            };
            text += &plain_table("lr", &[], self.unknown_classes.iter().map(row));
        }
        text
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// A line for each of the first few, and how many more there are.
fn listed<'a>(messages: impl Iterator<Item = &'a str>) -> String {
    let messages: Vec<_> = messages.collect();
    let mut text: String = messages.iter().take(LISTED).map(|message| format!("  {message}\n")).collect();
    if messages.len() > LISTED {
        text += &format!("  … and {} more\n", grouped((messages.len() - LISTED) as u64));
    }
    text
}
