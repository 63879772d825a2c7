//! Reports a comparison: as JSON, and as a table in text or Markdown.

use std::path::Path;

use mnx::Model;
use serde::Serialize;

use super::judge::{Agreement, Judgement};
use super::measure::{Bout, Run};
use super::subjects::{Entry, Origin};
use crate::args::Compare;
use crate::commands::eval::Accuracy;
use crate::commands::timing::{cpu, macs::Macs};
use crate::context::Kernels;
use crate::error::{printable, shown};
use crate::json_path::bytes_unless_utf8;
use crate::source::arithmetic;
use crate::table::plain_table;
use crate::words::{counted, grouped, threads};

/// The fields of the JSON.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) cpu: String,
    #[serde(flatten)]
    pub(super) kernels: Kernels,
    pub(super) batch: usize,
    iterations: usize,
    rounds: usize,
    pub(super) networks: Vec<Row>,
}

/// One network.
#[derive(Serialize)]
pub(super) struct Row {
    /// As the table calls it: no two have the same name and file.
    pub(super) name: String,
    /// The weight file; none for networks inside this program and random weights.
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<Vec<u8>>,
    /// The name of a network inside this program.
    embedded: Option<&'static str>,
    /// Of the weight file.
    size_bytes: u64,
    /// `f32`, `int8`, or `mixed`: some layers in each.
    pub(super) arithmetic: &'static str,
    pub(super) family: String,
    pub(super) width: f64,
    pub(super) identity: f64,
    pub(super) resolution: usize,
    classes: usize,
    /// Before batch norms are folded.
    parameters: u64,
    /// Of one picture.
    pub(super) macs: u64,
    /// Of the first number of threads.
    peak_arena_bytes: usize,
    /// One for each number of threads.
    pub(super) runs: Vec<Run>,
    #[serde(flatten)]
    pub(super) accuracy: Option<Accuracy>,
    /// With the first network that has the same classes; none for that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<Agreement>,
    /// The file as the table calls it.
    #[serde(skip)]
    pub(super) file_name: String,
}

impl Report {
    /// `judgements`: none, or one for each entry.
    pub(super) fn new(
        entries: &[Entry],
        bout: &Bout,
        judgements: Vec<Judgement>,
        args: &Compare,
        rounds: usize,
    ) -> Report {
        let mut judgements = judgements.into_iter();
        let file_names = file_names(entries);
        let mut networks: Vec<Row> = Vec::new();
        for (i, (entry, file_name)) in entries.iter().zip(file_names).enumerate() {
            let (spec, network) = (entry.model.spec(), entry.model.network());
            let macs = Macs::of(&entry.model);
            let runs = bout.runs(i, macs, args.batch);
            let (accuracy, agreement) =
                judgements.next().map_or((None, None), |of: Judgement| (Some(of.accuracy), of.agreement));
            networks.push(Row {
                name: name(&entry.model),
                file: entry.origin.file().map(|path| path.to_string_lossy().into()),
                file_bytes: entry.origin.file().and_then(bytes_unless_utf8),
                embedded: match entry.origin {
                    Origin::Embedded(embedded) => Some(embedded.name),
                    Origin::File(_) | Origin::Random => None,
                },
                size_bytes: entry.size_bytes,
                arithmetic: arithmetic(&entry.model),
                family: spec.family.clone(),
                width: spec.width,
                identity: spec.identity,
                resolution: spec.resolution,
                classes: spec.classes,
                parameters: network.parameters(),
                macs: macs.total(),
                peak_arena_bytes: runs.first().map_or(0, |run| run.peak_arena_bytes),
                runs,
                accuracy,
                agreement,
                file_name,
            });
        }
        number_repeats(&mut networks);
        let kernels = bout.kernels();
        Report { cpu: cpu::name(), kernels, batch: args.batch, iterations: args.iterations, rounds, networks }
    }

    pub(super) fn text(&self) -> String {
        let (columns, header, rows) = self.table();
        let header: Vec<_> = header.iter().map(String::as_str).collect();
        format!("{}\n\n{}\n{}", self.head(), plain_table(&columns, &header, rows), self.notes())
    }

    pub(super) fn markdown(&self) -> String {
        let (columns, header, rows) = self.table();
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<_> = columns.chars().map(|side| if side == 'l' { "---" } else { "---:" }.to_owned()).collect();
        let cell = |text: String| text.replace('\\', "\\\\").replace('|', "\\|");
        let rows = rows.into_iter().map(|row| line(&row.into_iter().map(cell).collect::<Vec<_>>()));
        let table = [line(&header), line(&rule)].into_iter().chain(rows).collect::<String>();
        format!("{table}\n{}. {}", self.head(), self.notes())
    }

    /// On what all were measured.
    fn head(&self) -> String {
        let runs = self.networks.first().map(|row| &row.runs[..]).unwrap_or_default();
        let list = |peak: &dyn Fn(&Run) -> Option<f64>| {
            let shown = runs.iter().filter_map(|run| Some(format!("{:.1} ({})", peak(run)?, threads(run.threads))));
            shown.collect::<Vec<_>>().join(", ")
        };
        let fma = list(&|run| Some(run.peaks.fma_peak_gflops));
        let dot = list(&|run| run.peaks.dot_peak_gmacs);
        let dot = if dot.is_empty() { dot } else { format!("; int8 peak in GMAC/s: {dot}") };
        let cpu = printable(&self.cpu);
        format!("{} on {cpu}, batch {}; FMA peak in GFLOP/s: {fma}{dot}", self.kernels.name(), self.batch)
    }

    /// How to read the table, and what did not count.
    fn notes(&self) -> String {
        let first = self.networks.first().and_then(|row| row.runs.first()).map_or(1, |run| run.threads);
        let mut text = format!(
            "ms: the median of {} inferences, all networks in turn in {} rounds; x: the first network's = 1, the median of the rounds (and \
             their quartiles); arena: {}\n",
            grouped(self.iterations as u64),
            self.rounds,
            threads(first),
        );
        let mut runs = self.networks.iter().flat_map(|row| &row.runs);
        let doubt = runs.find_map(|run| run.peaks.doubt(run.percent_of_peak));
        text.extend(doubt.map(|doubt| doubt + "\n"));
        if self.networks.iter().any(|row| row.agreement.is_some()) {
            text += "same class: share of the pictures for which the most probable class is that of the first network with the same classes\n";
        }
        for row in &self.networks {
            let Some(accuracy) = &row.accuracy else { continue };
            text += &format!("{}: {}", row.file_name, counted(accuracy.pictures as usize, "picture", "pictures"));
            if let Some(first) = accuracy.unreadable.first() {
                text += &format!("; {} unreadable, the first: {}", accuracy.unreadable.len(), first.error);
            }
            let folders = &accuracy.unknown_folders.unknown_folders;
            if let Some(first) = folders.first() {
                let count = counted(folders.len(), "folder is", "folders are");
                text += &format!("; {count} no class and not scored, the first: {}", printable(first));
            }
            let passed_over = [(accuracy.unlisted_pictures, "not in the list"), (accuracy.passed_over, "no pictures")];
            for (count, what) in passed_over.into_iter().filter(|&(count, _)| count > 0) {
                text += &format!("; {} {what}", grouped(count as u64));
            }
            text.push('\n');
        }
        text
    }

    /// Sides of the columns, heads and cells.
    fn table(&self) -> (String, Vec<String>, Vec<Vec<String>>) {
        let shown = Shown {
            files: self.networks.iter().any(|row| row.file.is_some() || row.embedded.is_some()),
            accuracy: self.networks.iter().any(|row| row.accuracy.is_some()),
            agreement: self.networks.iter().any(|row| row.agreement.is_some()),
        };
        let mut header = vec!["network".to_owned()];
        header.extend(shown.files.then(|| "file".to_owned()));
        let mut columns = "l".repeat(header.len());
        header.extend(["input", "parameters", "M MACs", "size MB"].map(str::to_owned));
        for run in self.networks.first().map(|row| &row.runs[..]).unwrap_or_default() {
            header.extend([format!("{}: ms", threads(run.threads)), "x".into(), "% of peak".into()]);
        }
        header.push("arena MB".into());
        if shown.accuracy {
            header.extend(["top-1", "top-5"].map(str::to_owned));
        }
        header.extend(shown.agreement.then(|| "same class".to_owned()));
        columns += &"r".repeat(header.len() - columns.len());
        let rows = self.networks.iter().map(|row| row.cells(shown)).collect();
        (columns, header, rows)
    }
}

/// Which columns the table has because some network has something to say there.
#[derive(Clone, Copy)]
struct Shown {
    files: bool,
    accuracy: bool,
    agreement: bool,
}

impl Row {
    fn cells(&self, shown: Shown) -> Vec<String> {
        let mut cells = vec![printable(&self.name)];
        cells.extend(shown.files.then(|| self.file_name.clone()));
        cells.extend([self.resolution.to_string(), grouped(self.parameters), millions(self.macs)]);
        cells.push(format!("{:.2}", self.size_bytes as f64 / 1e6));
        for run in &self.runs {
            cells.extend([format!("{:.3}", run.latency_ms.median), run.ratio(), format!("{:.1}", run.percent_of_peak)]);
        }
        cells.push(format!("{:.2}", self.peak_arena_bytes as f64 / 1e6));
        cells.extend(self.accuracy.iter().flat_map(|a| [a.top1.percent(), a.top5.percent()]));
        let agreement = || self.agreement.as_ref().map_or_else(|| "-".into(), Agreement::percent);
        cells.extend(shown.agreement.then(agreement));
        cells
    }
}

/// 4089184256 as 4,089.18.
fn millions(n: u64) -> String {
    let hundredths = n.saturating_add(5_000) / 10_000;
    format!("{}.{:02}", grouped(hundredths / 100), hundredths % 100)
}

/// Family, width, and what is unusual.
fn name(model: &Model) -> String {
    let spec = model.spec();
    let identity = if spec.identity == 1.0 { String::new() } else { format!(", identity {:?}", spec.identity) };
    let arithmetic = match arithmetic(model) {
        "f32" => String::new(),
        other => format!(" {other}"),
    };
    format!("{} {:?}{arithmetic}{identity}", spec.family, spec.width)
}

/// Tells rows apart that look the same.
fn number_repeats(rows: &mut [Row]) {
    let looks = |row: &Row| (row.name.clone(), row.file_name.clone(), row.resolution);
    let all: Vec<_> = rows.iter().map(looks).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        let before = all[..i].iter().filter(|&other| *other == all[i]).count();
        if before > 0 {
            row.name += &format!(" ({})", before + 1);
        }
    }
}

/// Each file's name, or its path where another one in another folder is called the same; `-` without a file.
fn file_names(entries: &[Entry]) -> Vec<String> {
    let paths: Vec<Option<&Path>> = entries.iter().map(|entry| entry.origin.file()).collect();
    let is_alone =
        |path: &Path| paths.iter().flatten().all(|other| *other == path || other.file_name() != path.file_name());
    let name = |entry: &Entry| match &entry.origin {
        Origin::Random => "-".into(),
        Origin::Embedded(embedded) => format!("embedded:{}", embedded.name),
        Origin::File(path) => match path.file_name() {
            Some(name) if is_alone(path) => printable(&name.to_string_lossy()),
            _ => shown(path),
        },
    };
    entries.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millions_are_rounded_and_grouped() {
        let shown = [0, 4_999, 5_000, 995_000, 311_340_000, 4_089_184_256].map(millions);
        assert_eq!(shown, ["0.00", "0.00", "0.01", "1.00", "311.34", "4,089.18"]);
    }

    #[test]
    fn files_of_one_name_are_told_apart_by_their_folders() {
        let mut spec = mnx::Spec::family("mobilenext-cifar").unwrap();
        spec.width = 0.1;
        let model = mnx::Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap();
        let origin = |file: Option<&str>| file.map_or(Origin::Random, |file| Origin::File(file.into()));
        let entry = |file| Entry { model: model.clone(), origin: origin(file), size_bytes: 0 };
        let entries = [Some("a/w.mnx"), None, Some("b/w.mnx"), Some("b/v.mnx"), Some("b/v.mnx")].map(entry);
        assert_eq!(file_names(&entries), ["a/w.mnx", "-", "b/w.mnx", "v.mnx", "v.mnx"]);
    }
}
