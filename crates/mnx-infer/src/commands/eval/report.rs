//! Reports an evaluation, as JSON or text.

use std::path::Path;
use std::time::Duration;

use mnx::Model;
use serde::Serialize;

use super::dataset::Dataset;
use super::tally::Tally;
use crate::commands::classify::{label, shown_class};
use crate::error::{printable, shown};
use crate::json_path::{Unreadable, bytes_unless_utf8};
use crate::pictures::PassedOver;
use crate::table::{bar, plain_table};
use crate::words::{counted, grouped};

/// How many confusions the text lists; the JSON has all.
const CONFUSIONS: usize = 10;

/// The fields of the JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    /// Those that were read and classified.
    pictures: u64,
    top1: Score,
    top5: Score,
    classes: Vec<ClassRow<'a>>,
    confusions: Vec<Confusion<'a>>,
    unreadable: &'a [Unreadable],
    #[serde(flatten)]
    unknown_folders: UnknownFolders,
    /// Sub-folders of classes without a picture.
    empty_folders: Vec<String>,
    /// Pictures beside the sub-folders, not scored.
    loose_pictures: usize,
    /// Pictures that are not in the list, not scored.
    unlisted_pictures: usize,
    /// Files that are no pictures.
    passed_over: usize,
    /// The same by kinds.
    #[serde(skip)]
    passed_over_kinds: &'a PassedOver,
    elapsed_seconds: f64,
    pictures_per_second: f64,
}

/// Sub-folders that are not classes, and so are not scored.
#[derive(Serialize)]
pub(in crate::commands) struct UnknownFolders {
    pub(in crate::commands) unknown_folders: Vec<String>,
    /// The bytes of names that are not UTF-8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_folders_bytes: Vec<Vec<u8>>,
}

impl UnknownFolders {
    pub(super) fn new(dataset: &Dataset) -> UnknownFolders {
        let folders = &dataset.unknown_folders;
        UnknownFolders {
            unknown_folders: folders.iter().map(|name| name.to_string_lossy().into()).collect(),
            unknown_folders_bytes: folders.iter().filter_map(|name| bytes_unless_utf8(Path::new(name))).collect(),
        }
    }
}

/// `rate` is a share of all pictures; none, and null in JSON, where there are no pictures.
#[derive(Serialize)]
pub(in crate::commands) struct Score {
    pub(in crate::commands) correct: u64,
    pub(in crate::commands) rate: Option<f64>,
}

impl Score {
    pub(in crate::commands) fn new(correct: u64, pictures: u64) -> Score {
        Score { correct, rate: (pictures > 0).then(|| correct as f64 / pictures as f64) }
    }

    pub(in crate::commands) fn percent(&self) -> String {
        self.rate.map_or_else(|| "-".into(), |rate| format!("{:.1} %", 100.0 * rate))
    }
}

#[derive(Serialize)]
struct ClassRow<'a> {
    index: usize,
    label: Option<&'a str>,
    pictures: u64,
    correct: u64,
}

#[derive(Serialize)]
struct Confusion<'a> {
    index: usize,
    label: Option<&'a str>,
    predicted_index: usize,
    predicted_label: Option<&'a str>,
    count: u64,
}

impl<'a> Report<'a> {
    pub(super) fn new(model: &'a Model, dataset: &'a Dataset, tally: &'a Tally, elapsed: Duration) -> Report<'a> {
        let pictures = tally.pictures();
        let classes = tally.classes.iter().map(|(&index, class)| ClassRow {
            index,
            label: label(model, index),
            pictures: class.pictures,
            correct: class.correct,
        });
        let confusions = tally.confusions().into_iter().map(|(index, predicted_index, count)| Confusion {
            index,
            label: label(model, index),
            predicted_index,
            predicted_label: label(model, predicted_index),
            count,
        });
        let seconds = elapsed.as_secs_f64();
        Report {
            pictures,
            top1: Score::new(tally.top1(), pictures),
            top5: Score::new(tally.top5(), pictures),
            classes: classes.collect(),
            confusions: confusions.collect(),
            unreadable: &tally.unreadable,
            unknown_folders: UnknownFolders::new(dataset),
            empty_folders: dataset.empty_folders.iter().map(|name| name.to_string_lossy().into()).collect(),
            loose_pictures: dataset.loose_pictures,
            unlisted_pictures: dataset.unlisted_pictures,
            passed_over: dataset.passed_over.files(),
            passed_over_kinds: &dataset.passed_over,
            elapsed_seconds: seconds,
            pictures_per_second: if seconds > 0.0 { pictures as f64 / seconds } else { 0.0 },
        }
    }

    /// The report on `folder` for people.
    pub(super) fn text(&self, folder: &Path) -> String {
        let mut text = self.head(folder);
        if !self.classes.is_empty() {
            text += "\n";
            text += &self.class_table();
        }
        if !self.confusions.is_empty() {
            text += &self.confusion_table();
        }
        text += &self.not_scored();
        text
    }

    fn head(&self, folder: &Path) -> String {
        let row = |name: &str, score: &Score| {
            let of = format!("{} of {}", grouped(score.correct), grouped(self.pictures));
            vec![name.into(), score.percent(), of]
        };
        let scores = plain_table("lrl", &[], [row("top-1", &self.top1), row("top-5", &self.top5)]);
        format!(
            "{}: {} of {}, {:.2} s, {:.0} pictures/s\n\n{scores}",
            shown(folder),
            counted(self.pictures as usize, "picture", "pictures"),
            counted(self.classes.len(), "class", "classes"),
            self.elapsed_seconds,
            self.pictures_per_second,
        )
    }

    fn class_table(&self) -> String {
        let rows = self.classes.iter().map(|class| {
            let score = Score::new(class.correct, class.pictures);
            let name = shown_class(class.index, class.label);
            let share = score.rate.unwrap_or_default() as f32;
            vec![name, grouped(class.pictures), grouped(class.correct), score.percent(), bar(share)]
        });
        plain_table("lrrrl", &["class", "pictures", "correct", "", ""], rows)
    }

    fn confusion_table(&self) -> String {
        let rows = self.confusions.iter().take(CONFUSIONS).map(|c| {
            let [class, taken_for] = [shown_class(c.index, c.label), shown_class(c.predicted_index, c.predicted_label)];
            vec![format!("  {class} → {taken_for}"), grouped(c.count)]
        });
        format!("\nmost frequent confusions\n{}", plain_table("lr", &[], rows))
    }

    /// Files and folders that did not count.
    fn not_scored(&self) -> String {
        let mut text = String::new();
        if !self.unreadable.is_empty() {
            let files = counted(self.unreadable.len(), "file", "files");
            text += &format!("\n{files} could not be read\n");
            text.extend(self.unreadable.iter().map(|file| format!("  {}\n", file.error)));
        }
        let folders = &self.unknown_folders.unknown_folders;
        if !folders.is_empty() {
            let are = counted(folders.len(), "folder is", "folders are");
            text += &format!("\n{are} no class of the model: not scored\n");
            text.extend(folders.iter().map(|name| format!("  {}\n", printable(name))));
        }
        if !self.empty_folders.is_empty() {
            let have = counted(self.empty_folders.len(), "folder of a class has", "folders of classes have");
            text += &format!("\n{have} no picture\n");
            text.extend(self.empty_folders.iter().map(|name| format!("  {}\n", printable(name))));
        }
        if self.loose_pictures > 0 {
            let pictures = counted(self.loose_pictures, "picture is", "pictures are");
            text += &format!("\n{pictures} in no sub-folder: not scored\n");
        }
        if self.unlisted_pictures > 0 {
            let pictures = counted(self.unlisted_pictures, "picture is", "pictures are");
            text += &format!("\n{pictures} not in the list: not scored\n");
        }
        if self.passed_over > 0 {
            text += &format!("\n{}\n", self.passed_over_kinds);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_without_pictures_are_none() {
        assert_eq!((Score::new(0, 0).rate, Score::new(0, 0).percent().as_str()), (None, "-"));
        assert_eq!((Score::new(1, 4).rate, Score::new(2, 3).percent().as_str()), (Some(0.25), "66.7 %"));
    }
}
