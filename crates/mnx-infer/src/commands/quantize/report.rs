//! Reports what became of the layers, as JSON or text.

use mnx::Model;
use mnx::quantize::{Calibration, Comparison, LayerReport, Options, Quantized};
use serde::Serialize;

use crate::args::Quantize;
use crate::error::{printable, shown};
use crate::json_path::{Unreadable, bytes_unless_utf8};
use crate::table::{bar, plain_table};
use crate::words::{counted, grouped};

/// What the columns are.
const LEGEND: &str = "\
signal to noise in dB: 20 dB more are a tenth of the error
  weights   what rounding them costs
  value     what clipping and rounding the layer's output costs, if it alone is quantised
  output    all errors up to here, against f32
  noise     the error of the output beside its signal; the longest bar is the worst layer
";

/// The fields of the JSON.
#[derive(Serialize)]
pub(super) struct Report {
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<Vec<u8>>,
    pub(super) family: String,
    pub(super) width: f64,
    pub(super) method: &'static str,
    bias_correction: bool,
    /// Those that were calibrated with.
    pub(super) pictures: u64,
    /// Those of one colour.
    uniform_pictures: u64,
    unreadable: Vec<Unreadable>,
    warnings: Vec<String>,
    int8_layers: usize,
    f32_layers: usize,
    /// Length of the file.
    bytes: usize,
    /// Length of the tensors that it was made of.
    f32_bytes: usize,
    /// For how many pictures int8 and f32 agree; none unless a report or a plot was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_class: Option<u64>,
    /// Signal to noise of the logits, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    logits_snr_db: Option<f64>,
    /// Of a detector's raw scores and boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores_snr_db: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes_snr_db: Option<f64>,
    /// Likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) layers: Vec<Row>,
}

/// What became of a layer.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// None for the input and the pool.
    arithmetic: Option<&'static str>,
    /// The least and the largest number of its output in calibration.
    observed: [f32; 2],
    /// The least and the largest number that its quantised output can hold.
    range: Option<[f64; 2]>,
    scale: Option<f32>,
    zero_point: Option<u8>,
    /// Share of the numbers that are clipped, 0 to 1.
    pub(super) clipped: Option<f64>,
    pub(super) weight_snr_db: Option<f64>,
    /// If its output alone were quantised.
    pub(super) value_snr_db: Option<f64>,
    /// Against the f32 network, all layers quantised.
    pub(super) output_snr_db: Option<f64>,
}

impl Report {
    pub(super) fn new(
        args: &Quantize,
        model: &Model,
        options: &Options,
        calibration: &Calibration,
        quantized: &Quantized,
        comparison: Option<&Comparison>,
    ) -> Report {
        let spec = model.spec();
        let wanted = args.report || args.plot.is_some();
        Report {
            output: args.output.to_string_lossy().into(),
            output_bytes: bytes_unless_utf8(&args.output),
            family: spec.family.clone(),
            width: spec.width,
            method: options.method.name(),
            bias_correction: options.bias_correction,
            pictures: calibration.pictures(),
            uniform_pictures: calibration.uniform_pictures(),
            unreadable: Vec::new(),
            warnings: Vec::new(),
            int8_layers: quantized.int8_layers(),
            f32_layers: quantized.f32_layers(),
            bytes: quantized.file.len(),
            f32_bytes: model.tensors().map(|tensor| tensor.bytes.len()).sum(),
            same_class: comparison.filter(|_| model.spec().detector.is_none()).map(Comparison::same_class),
            logits_snr_db: comparison.and_then(|comparison| comparison.snr("logits")),
            scores_snr_db: comparison.and_then(|comparison| comparison.snr("scores")),
            boxes_snr_db: comparison.and_then(|comparison| comparison.snr("boxes")),
            layers: if wanted { quantized.layers.iter().map(Row::new).collect() } else { Vec::new() },
        }
    }

    /// With pictures that could not be read, and what else is doubtful.
    pub(super) fn with_troubles(mut self, unreadable: Vec<Unreadable>, warnings: Vec<String>) -> Report {
        (self.unreadable, self.warnings) = (unreadable, warnings);
        self
    }

    /// The report for people.
    pub(super) fn text(&self, args: &Quantize) -> String {
        let kept = match self.f32_layers {
            0 => String::new(),
            kept => format!(", {kept} f32"),
        };
        let mut text = format!(
            "{}: {} {}: {} int8{kept}, {} bytes, {:.1} % of f32's; {}, {}\n",
            shown(&args.output),
            printable(&self.family),
            self.width,
            counted(self.int8_layers, "layer", "layers"),
            grouped(self.bytes as u64),
            100.0 * self.bytes as f64 / self.f32_bytes.max(1) as f64,
            self.method,
            counted(self.pictures as usize, "picture", "pictures"),
        );
        if let Some(same) = self.same_class {
            let (same, pictures) = (grouped(same), grouped(self.pictures));
            text +=
                &format!("same class as f32 on {same} of {pictures} pictures, logits {} dB\n", db(self.logits_snr_db));
        }
        if self.scores_snr_db.is_some() || self.boxes_snr_db.is_some() {
            text += &format!("scores {} dB, boxes {} dB\n", db(self.scores_snr_db), db(self.boxes_snr_db));
        }
        if args.report {
            text += &format!("\n{}\n{LEGEND}", self.table());
        }
        text
    }

    fn table(&self) -> String {
        let header = ["layer", "", "observed", "range", "clipped", "weights dB", "value dB", "output dB", "noise"];
        let least = self.layers.iter().filter_map(|row| row.output_snr_db).fold(f64::INFINITY, f64::min);
        let rows = self.layers.iter().map(|row| row.cells(least));
        plain_table("llrrrrrrl", &header, rows)
    }
}

impl Row {
    fn new(of: &LayerReport) -> Row {
        Row {
            name: of.name.clone(),
            arithmetic: of.arithmetic.map(|arithmetic| arithmetic.name()),
            observed: [of.observed.0, of.observed.1],
            range: of.range().map(|(low, high)| [low, high]),
            scale: of.quantization.map(|quantization| quantization.scale),
            zero_point: of.quantization.map(|quantization| quantization.zero_point),
            clipped: of.clipped,
            weight_snr_db: of.weight_snr,
            value_snr_db: of.value_snr,
            output_snr_db: of.output_snr,
        }
    }

    /// `least` is the signal to noise of the worst layer.
    fn cells(&self, least: f64) -> Vec<String> {
        let pair = |low: f64, high: f64| format!("{low:.3} … {high:.3}");
        // Amplitudes: 20 dB are a factor of ten.
        let share = self.output_snr_db.map_or(0.0, |snr| 10_f64.powf((least - snr) / 20.0));
        vec![
            printable(&self.name),
            self.arithmetic.unwrap_or_default().into(),
            pair(self.observed[0].into(), self.observed[1].into()),
            self.range.map_or("-".into(), |[low, high]| pair(low, high)),
            self.clipped.map_or("-".into(), |share| format!("{:.3} %", 100.0 * share)),
            db(self.weight_snr_db),
            db(self.value_snr_db),
            db(self.output_snr_db),
            bar(share as f32),
        ]
    }
}

fn db(snr: Option<f64>) -> String {
    snr.map_or("-".into(), |snr| format!("{snr:.1}"))
}
