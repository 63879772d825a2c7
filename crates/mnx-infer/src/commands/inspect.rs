//! `inspect`: what a weight file holds and how it will run, or which kernels there are.

use mnx::{Isa, KernelInfo, LayerInfo, Model, Session, Spec, TunedFor};
use serde::Serialize;
use serde_json::json;

use super::{Context, Source, channels, grouped, plain_table, shape};
use crate::args::Inspect;
use crate::error::{Error, printable};
use crate::stdout;

pub(crate) fn run(args: &Inspect, context: &Context) -> Result<(), Error> {
    if args.kernels {
        return kernels(context);
    }
    let model = Source::new(args.weights.weights.as_deref())?.open()?;
    let report = Report::new(&model, args.batch, context)?;
    if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text()) }
}

/// What is said of a weight file.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    spec: Shown<'a>,
    isa: &'static str,
    threads: usize,
    batch: usize,
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
}

/// A layer at its place in the plan.
#[derive(Serialize)]
struct Layer {
    name: String,
    /// The block, or the fused blocks, that the layer is part of.
    block: String,
    kernel: &'static str,
    /// Pixels (or rows) x output channels.
    tile: [usize; 2],
    /// `[C, H, W]` of the output.
    shape: [usize; 3],
    parameters: u64,
    macs: u64,
    weight_bytes: u64,
    /// Of the first picture's output; none where the layer's output is never whole.
    arena_offset: Option<u64>,
}

impl<'a> Report<'a> {
    fn new(model: &'a Model, batch: usize, context: &Context) -> Result<Report<'a>, Error> {
        let spec = model.spec();
        let mut session = Session::with(model, context.options()).map_err(Error::passed_on)?;
        let steps = session.steps([batch, spec.channels, spec.resolution, spec.resolution]).map_err(Error::failed)?;
        let layers = steps.iter().flat_map(|step| step.layers.iter().map(|layer| Layer::new(layer, &step.block)));
        let layers: Vec<_> = layers.collect();
        let total = |of: fn(&Layer) -> u64| layers.iter().map(of).fold(0, u64::saturating_add);
        Ok(Report {
            spec: Shown::new(spec),
            isa: session.isa().name(),
            threads: session.threads(),
            batch,
            parameters: total(|layer| layer.parameters),
            macs: total(|layer| layer.macs),
            weight_bytes: total(|layer| layer.weight_bytes),
            peak_arena_bytes: session.arena_bytes(),
            almost_zero: model.almost_zero(),
            layers,
        })
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}", self.spec.text(), self.table(), self.totals())
    }

    fn table(&self) -> String {
        let header = ["layer", "kernel", "tile", "output", "parameters", "M MACs", "weight bytes", "arena offset"];
        let rows = self.layers.iter().map(|layer| {
            vec![
                printable(&layer.name),
                layer.kernel.into(),
                tile(layer.tile.into()),
                shape(layer.shape),
                grouped(layer.parameters),
                format!("{:.2}", layer.macs as f64 / 1e6),
                grouped(layer.weight_bytes),
                layer.arena_offset.map_or("-".into(), grouped),
            ]
        });
        plain_table("llrrrrrr", &header, rows)
    }

    fn totals(&self) -> String {
        let threads = if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let mut rows = vec![
            ("parameters", grouped(self.parameters), "before batch norms are folded".into()),
            ("multiply-adds", format!("{:.2} M", self.macs as f64 / 1e6), "a picture".into()),
            ("weights", grouped(self.weight_bytes), "bytes, packed".into()),
            ("peak arena", grouped(self.peak_arena_bytes as u64), {
                format!("bytes, with {}, {threads}, batch {}", self.isa, self.batch)
            }),
        ];
        if self.almost_zero > 0 {
            let advice = "weights and biases, which can slow it down many times: convert it again";
            rows.push(("almost zero", grouped(self.almost_zero), advice.into()));
        }
        let rows = rows.into_iter().map(|(name, number, unit): (&str, _, _)| vec![name.into(), number, unit]);
        plain_table("lrl", &[], rows)
    }
}

impl<'a> Shown<'a> {
    fn new(spec: &'a Spec) -> Shown<'a> {
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
        }
    }

    fn text(&self) -> String {
        /// So many names show what kind of labels they are.
        const FIRST: usize = 5;
        let labels = match self.labels {
            None => "none".into(),
            Some(labels) => {
                let first: Vec<_> = labels.iter().take(FIRST).map(|label| printable(label)).collect();
                format!("{}{}", first.join(", "), if labels.len() > FIRST { ", …" } else { "" })
            }
        };
        let padding = match self.padding {
            mnx::Padding::Torch => "as PyTorch's",
            mnx::Padding::Tf => "as TensorFlow's SAME",
            other => other.name(),
        };
        let rows = [
            ("network", format!("{} {:?}, identity {:?}", printable(self.family), self.width, self.identity)),
            ("input", format!("{} x {r} x {r}, padding {padding}", self.channels, r = self.resolution)),
            ("pictures", pictures(self.preprocessing)),
            ("classes", format!("{}, labels: {labels}", grouped(self.classes as u64))),
        ];
        plain_table("ll", &[], rows.map(|(name, value)| vec![name.into(), value]))
    }
}

/// What happens to a picture.
fn pictures(of: &mnx::Preprocessing) -> String {
    let three = |values: [f32; 3]| values.map(|v| v.to_string()).join(", ");
    let sides = match of.fit {
        mnx::Fit::Squash => format!("squashed to {0} x {0}", of.resize),
        _ => format!("short side to {}", of.resize),
    };
    let bicubic = if of.interpolation == mnx::Interpolation::Bicubic { ", bicubic" } else { "" };
    let doubt = of.in_unit_range().map(|meant| {
        let flags = format!("--mean {} --std {}", channels(meant.mean), channels(meant.std));
        format!(", which are for pixels of 0…255: convert it again with {flags}")
    });
    format!("{sides}{bicubic}, mean {}, std {}{}", three(of.mean), three(of.std), doubt.unwrap_or_default())
}

impl Layer {
    fn new(info: &LayerInfo, block: &str) -> Layer {
        Layer {
            name: info.name.clone(),
            block: block.into(),
            kernel: info.kernel,
            tile: info.tile.into(),
            shape: info.output,
            parameters: info.parameters,
            macs: info.macs,
            weight_bytes: info.weight_bytes,
            arena_offset: info.arena_offset,
        }
    }
}

fn tile((pixels, channels): (usize, usize)) -> String {
    format!("{pixels} x {channels}")
}

/// The kernel table of this build.
fn kernels(context: &Context) -> Result<(), Error> {
    let kernels = mnx::kernels();
    if !context.is_json() {
        return stdout::print(&kernel_table(&kernels));
    }
    let rows = kernels.iter().map(|kernel| KernelRow {
        isa: kernel.isa.name(),
        tuned_for: kernel.tuned_for.name(),
        available: kernel.available,
        name: kernel.name,
        tile: kernel.tile.into(),
    });
    stdout::print_json(&json!({"kernels": rows.collect::<Vec<_>>()}))
}

#[derive(Serialize)]
struct KernelRow {
    isa: &'static str,
    /// For which cores its tile was chosen.
    tuned_for: &'static str,
    /// Whether this CPU can run it.
    available: bool,
    name: &'static str,
    /// Pixels (or rows) x output channels.
    tile: [usize; 2],
}

/// A row per kernel, a column per ISA and kind of core.
fn kernel_table(kernels: &[KernelInfo]) -> String {
    let mut columns: Vec<&KernelInfo> = Vec::new();
    let mut names: Vec<_> = Vec::new();
    for kernel in kernels {
        if !columns.iter().any(|column| (column.isa, column.tuned_for) == (kernel.isa, kernel.tuned_for)) {
            columns.push(kernel);
        }
        if !names.contains(&kernel.name) {
            names.push(kernel.name);
        }
    }
    columns.sort_by_key(|column| (Isa::ALL.iter().position(|&isa| isa == column.isa), column.tuned_for));
    let head = |of: &&KernelInfo| {
        let core = if of.tuned_for == TunedFor::Any { String::new() } else { format!(" {}", of.tuned_for) };
        if of.available { format!("{}{core}", of.isa) } else { format!("({}{core})", of.isa) }
    };
    let heads: Vec<String> = ["kernel".into()].into_iter().chain(columns.iter().map(head)).collect();
    let rows = names.iter().map(|&name| {
        let tile_of = |of: &&KernelInfo| {
            let here =
                |kernel: &&KernelInfo| (kernel.isa, kernel.tuned_for, kernel.name) == (of.isa, of.tuned_for, name);
            kernels.iter().find(here).map_or("-".into(), |kernel| tile(kernel.tile))
        };
        [name.to_owned()].into_iter().chain(columns.iter().map(tile_of)).collect()
    });
    let header: Vec<_> = heads.iter().map(String::as_str).collect();
    let table = plain_table(&format!("l{}", "r".repeat(columns.len())), &header, rows);
    let lacks = |isa: &&Isa| columns.iter().any(|column| column.isa == **isa && !column.available);
    let lacking: Vec<_> = Isa::ALL.iter().filter(lacks).map(|isa| isa.name()).collect();
    let lacking = if lacking.is_empty() { String::new() } else { format!("; this CPU lacks {}", lacking.join(", ")) };
    let found = TunedFor::detect();
    format!(
        "{table}\ntiles in pixels (rows of linear) x output channels{lacking}\n\
         this CPU is tuned for {found}: a kernel without a column of that name runs as in the one without\n"
    )
}
