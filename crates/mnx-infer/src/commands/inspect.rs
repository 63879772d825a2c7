//! `inspect`: what a weight file holds and how it will run, which networks are inside this program, or which kernels.

mod kernels;
mod models;

use mnx::{Arithmetic, LayerInfo, Model, Quantization, Session, Spec};
use serde::Serialize;

use crate::args::Inspect;
use crate::context::{Context, Kernels, instructions};
use crate::error::{Error, printable};
use crate::source::{Source, arithmetic};
use crate::stdout;
use crate::table::{channels, plain_table, shape};
use crate::words::{first_few, grouped, threads};

pub(crate) fn run(args: &Inspect, context: &Context) -> Result<(), Error> {
    if args.kernels {
        return kernels::show(context);
    }
    if args.models {
        return models::show(context);
    }
    let model = Source::new(&args.weights)?.open()?;
    let report = Report::new(&model, args.batch, context)?;
    if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text()) }
}

/// What is said of a weight file.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    spec: Shown<'a>,
    #[serde(flatten)]
    kernels: Kernels,
    threads: usize,
    batch: usize,
    /// `f32`, `int8`, or `mixed`: some layers in each.
    arithmetic: &'static str,
    int8_layers: usize,
    f32_layers: usize,
    /// Before batch norms are folded.
    parameters: u64,
    /// Of one picture.
    macs: u64,
    weight_bytes: u64,
    peak_arena_bytes: usize,
    /// Weights and biases that `convert` makes zero since it knows them.
    almost_zero: u64,
    layers: Vec<Layer>,
}

/// The spec without its stage table.
#[derive(Serialize)]
struct Shown<'a> {
    family: &'a str,
    width: f64,
    identity: f64,
    resolution: usize,
    channels: usize,
    classes: usize,
    padding: mnx::Padding,
    preprocessing: &'a mnx::Preprocessing,
    labels: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detector: Option<&'a mnx::DetectorSpec>,
    /// Of a detector, for a picture of the resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    priors: Option<u64>,
}

/// A layer at its place in the plan.
#[derive(Serialize)]
struct Layer {
    name: String,
    /// The block, or the fused blocks, that the layer is part of.
    block: String,
    kernel: &'static str,
    arithmetic: &'static str,
    /// Whether the kernel uses dot products of bytes.
    dot_products: bool,
    /// Whether the kernel uses AMX.
    amx: bool,
    /// Pixels (or rows) x output channels.
    tile: [usize; 2],
    /// `[C, H, W]` of the output.
    shape: [usize; 3],
    /// What the output's u8 numbers stand for, `scale * (q - zero_point)`; none if it is f32.
    scale: Option<f32>,
    zero_point: Option<u8>,
    /// The least and the largest scale of an int8 layer's weights, which have one per output channel.
    weight_scales: Option<[f32; 2]>,
    parameters: u64,
    macs: u64,
    weight_bytes: u64,
    /// Of the first picture's output; none where the layer's output is never whole.
    arena_offset: Option<u64>,
}

impl<'a> Report<'a> {
    fn new(model: &'a Model, batch: usize, context: &Context) -> Result<Report<'a>, Error> {
        let spec = model.spec();
        let mut session = Session::with(model, context.options()).map_err(Error::with_causes)?;
        let steps = session.steps([batch, spec.channels, spec.resolution, spec.resolution]).map_err(Error::failed)?;
        let mut layers: Vec<Layer> = Vec::new();
        for (info, block) in steps.iter().flat_map(|step| step.layers.iter().map(|layer| (layer, &step.block))) {
            layers.push(Layer::new(info, block, model, layers.last()));
        }
        let count = |of| model.arithmetic().iter().filter(|&&arithmetic| arithmetic == of).count();
        let total = |of: fn(&Layer) -> u64| layers.iter().map(of).fold(0, u64::saturating_add);
        Ok(Report {
            spec: Shown::new(model),
            kernels: Kernels::of(&session),
            threads: session.threads(),
            batch,
            arithmetic: arithmetic(model),
            int8_layers: count(Arithmetic::Int8),
            f32_layers: count(Arithmetic::F32),
            parameters: total(|layer| layer.parameters),
            macs: total(|layer| layer.macs),
            weight_bytes: total(|layer| layer.weight_bytes),
            peak_arena_bytes: session.arena_bytes(),
            almost_zero: model.almost_zero().map_err(Error::with_causes)?,
            layers,
        })
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}", self.spec.text(), self.table(), self.totals())
    }

    fn table(&self) -> String {
        let with_int8 = self.int8_layers > 0;
        let mut header = vec!["layer", "kernel"];
        if with_int8 {
            header.push("arithmetic");
        }
        let mut columns = "l".repeat(header.len());
        header.extend(["tile", "output"]);
        if with_int8 {
            header.extend(["scale", "zero point", "weight scales"]);
        }
        header.extend(["parameters", "M MACs", "weight bytes", "arena offset"]);
        columns += &"r".repeat(header.len() - columns.len());
        plain_table(&columns, &header, self.layers.iter().map(|layer| layer.cells(with_int8)))
    }

    fn totals(&self) -> String {
        let threads = threads(self.threads);
        let mut rows = vec![
            ("parameters", grouped(self.parameters), "before batch norms are folded".into()),
            ("multiply-adds", format!("{:.2} M", self.macs as f64 / 1e6), "a picture".into()),
            ("weights", grouped(self.weight_bytes), "bytes, packed".into()),
            ("peak arena", grouped(self.peak_arena_bytes as u64), {
                format!("bytes, with {}, {threads}, batch {}", self.kernels.name(), self.batch)
            }),
        ];
        if self.int8_layers > 0 {
            let all = self.int8_layers + self.f32_layers;
            let dot = match (self.kernels.amx, self.kernels.dot_products) {
                (true, _) => "; dot: with the CPU's dot products of bytes; amx: with AMX",
                (false, true) => "; dot: with the CPU's dot products of bytes",
                (false, false) => "",
            };
            rows.push(("int8 layers", grouped(self.int8_layers as u64), format!("of {all}{dot}")));
        }
        if self.almost_zero > 0 {
            let advice = "weights and biases, which can slow it down many times: convert it again";
            rows.push(("almost zero", grouped(self.almost_zero), advice.into()));
        }
        let rows = rows.into_iter().map(|(name, number, unit): (&str, _, _)| vec![name.into(), number, unit]);
        plain_table("lrl", &[], rows)
    }
}

impl<'a> Shown<'a> {
    fn new(model: &'a Model) -> Shown<'a> {
        let (spec, network): (&Spec, _) = (model.spec(), model.network());
        let grids = network.grids(spec.resolution, spec.resolution).into_iter().zip(network.levels());
        let priors = grids.map(|((height, width), level)| (height * width * level.priors) as u64).sum();
        Shown {
            family: &spec.family,
            width: spec.width,
            identity: spec.identity,
            resolution: spec.resolution,
            channels: spec.channels,
            classes: spec.classes,
            padding: spec.padding,
            preprocessing: &spec.preprocessing,
            labels: spec.labels.as_deref(),
            detector: spec.detector.as_ref(),
            priors: spec.detector.as_ref().map(|_| priors),
        }
    }

    fn text(&self) -> String {
        /// So many names show what kind of labels they are.
        const FIRST: usize = 5;
        let labels = match self.labels {
            None => "none".into(),
            Some(labels) => first_few(labels.iter().map(|label| printable(label)), FIRST),
        };
        let padding = match self.padding {
            mnx::Padding::Torch => "as PyTorch's",
            mnx::Padding::Tf => "as TensorFlow's SAME",
            other => other.name(),
        };
        let mut rows = vec![
            ("network", format!("{} {:?}, identity {:?}", printable(self.family), self.width, self.identity)),
            ("input", format!("{} x {r} x {r}, padding {padding}", self.channels, r = self.resolution)),
            ("pictures", pictures(self.preprocessing)),
            ("classes", format!("{}, labels: {labels}", grouped(self.classes as u64))),
        ];
        if let Some((detector, priors)) = self.detector.zip(self.priors) {
            let scores = match detector.scores {
                mnx::ScoreKind::Sigmoid => "sigmoid",
                _ => "softmax",
            };
            let defaults = format!("score {}, IoU {}, top {}", detector.score, detector.iou, detector.top);
            let levels = detector.priors.len();
            rows.push(("detector", format!("{levels} levels, {} priors, {scores}, {defaults}", grouped(priors))));
        }
        plain_table("ll", &[], rows.into_iter().map(|(name, value)| vec![name.into(), value]))
    }
}

/// What happens to a picture.
fn pictures(of: &mnx::Preprocessing) -> String {
    let three = |values: [f32; 3]| values.map(|v| v.to_string()).join(", ");
    let sides = match of.fit {
        mnx::Fit::Squash => format!("squashed to {0} x {0}", of.resize),
        _ => format!("short side to {}", of.resize),
    };
    let interpolation = match of.interpolation {
        mnx::Interpolation::Bicubic => ", bicubic",
        mnx::Interpolation::Bilinear => ", bilinear without antialiasing",
        _ => "",
    };
    let doubt = of.in_unit_range().map(|meant| {
        let flags = format!("--mean {} --std {}", channels(meant.mean), channels(meant.std));
        format!(", which are for pixels of 0…255: convert it again with {flags}")
    });
    format!("{sides}{interpolation}, mean {}, std {}{}", three(of.mean), three(of.std), doubt.unwrap_or_default())
}

impl Layer {
    /// `before`: the layer before it.
    fn new(info: &LayerInfo, block: &str, model: &Model, before: Option<&Layer>) -> Layer {
        let index = model.network().layers().position(|layer| layer.name == info.name);
        let weights = index.and_then(|index| model.int8_weights(index));
        let int8 = info.arithmetic == Arithmetic::Int8;
        let (scale, zero_point) = match (&*info.name, before) {
            ("dequantize", _) => (None, None),
            // They keep what the value before them stands for, or give that value its numbers.
            ("maxpool", Some(before)) if int8 => (before.scale, before.zero_point),
            ("quantize", Some(before)) => unzip(model.quantization(&format!("{}.output", before.name))),
            ("quantize", None) => unzip(model.quantization("input")),
            (name, _) => unzip(int8.then(|| model.quantization(&format!("{name}.output"))).flatten()),
        };
        Layer {
            name: info.name.clone(),
            block: block.into(),
            kernel: info.kernel,
            arithmetic: info.arithmetic.name(),
            dot_products: info.dot_products,
            amx: info.amx,
            tile: info.tile.into(),
            shape: info.output,
            scale,
            zero_point,
            weight_scales: weights.map(|weights| ends(&weights.scale[..info.output[0].min(weights.scale.len())])),
            parameters: info.parameters,
            macs: info.macs,
            weight_bytes: info.weight_bytes,
            arena_offset: info.arena_offset,
        }
    }

    fn cells(&self, with_int8: bool) -> Vec<String> {
        let dash = || "-".to_owned();
        let mut cells = vec![printable(&self.name), self.kernel.into()];
        if with_int8 {
            cells.push(format!("{}{}", self.arithmetic, instructions(self.dot_products, self.amx)));
        }
        cells.extend([tile(self.tile.into()), shape(self.shape)]);
        if with_int8 {
            let ends = |[least, largest]: [f32; 2]| format!("{least:.2e} … {largest:.2e}");
            cells.push(self.scale.map_or_else(dash, |scale| format!("{scale:.6}")));
            cells.push(self.zero_point.map_or_else(dash, |zero| zero.to_string()));
            cells.push(self.weight_scales.map_or_else(dash, ends));
        }
        cells.extend([
            grouped(self.parameters),
            format!("{:.2}", self.macs as f64 / 1e6),
            grouped(self.weight_bytes),
            self.arena_offset.map_or_else(dash, grouped),
        ]);
        cells
    }
}

fn unzip(of: Option<Quantization>) -> (Option<f32>, Option<u8>) {
    of.map(|of| (of.scale, of.zero_point)).unzip()
}

/// The least and the largest.
fn ends(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::INFINITY, 0.0], |[least, largest], &value| [least.min(value), largest.max(value)])
}

fn tile((pixels, channels): (usize, usize)) -> String {
    format!("{pixels} x {channels}")
}
