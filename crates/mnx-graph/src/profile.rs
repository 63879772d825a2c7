//! What a session does for an input of some shape, step by step, and how long each step takes.

use std::time::{Duration, Instant};

use mnx_tensor::part::Geometry;
use mnx_tensor::{Arithmetic, Element, Isa, TensorView};

use crate::exec::Exec;
use crate::layers::Layers;
use crate::plan::{Head, Home, Shortcut, Step, StepKind};
use crate::run::{Prepared, Until, Watch};
use crate::{Error, Model, PlacedLayer, Session};

/// One layer as a session runs it, for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerInfo {
    /// Name in a checkpoint, e.g. `features.1.conv.0`; `maxpool` or `pool` (the global average pool); `quantize` or
    /// `dequantize` where f32 becomes u8 or the other way round; `rows` where a head's planes become rows of a detector's output.
    pub name: String,
    /// What it computes with.
    pub arithmetic: Arithmetic,
    /// Name of the kernel that runs, as [`mnx_tensor`] forms it.
    pub kernel: &'static str,
    /// Whether the kernel uses the CPU's instructions for dot products of bytes.
    pub dot_products: bool,
    /// Whether the kernel uses AMX.
    pub amx: bool,
    /// The kernel's largest tile: pixels (or rows) x output channels.
    pub tile: (usize, usize),
    /// `[C, H, W]` of the input.
    pub input: [usize; 3],
    /// `[C, H, W]` of the output. Of `rows`: priors, numbers of each, 1.
    pub output: [usize; 3],
    /// Trained parameters before batch norms are folded.
    pub parameters: u64,
    /// Multiply-adds; those with the padding are counted. Pools have none.
    pub macs: u64,
    /// Bytes of packed weights and bias, and in int8 of factors, as the kernel reads them.
    pub weight_bytes: u64,
    /// Where the first picture's output begins, in bytes from the start of the session's memory. `None` if the next layer is
    /// fused with this one, because then the output never exists whole.
    pub arena_offset: Option<u64>,
}

/// One step of a session: one layer, or several that are fused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepInfo {
    /// The blocks that it is part of, e.g. `features.1`, joined by ` + `. Or `pool` or `classifier`, or a
    /// detector's head, e.g. `cls_headers.0`.
    pub block: String,
    /// The layers, in order.
    pub layers: Vec<LayerInfo>,
    /// Bytes of activations that must be moved for one picture at the least: input, output and shortcut, each once.
    pub activation_bytes: u64,
}

impl StepInfo {
    /// The layers' names joined by ` + `.
    pub fn name(&self) -> String {
        self.layers.iter().map(|layer| &*layer.name).collect::<Vec<_>>().join(" + ")
    }

    /// Multiply-adds of one picture.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|layer| layer.macs).fold(0, u64::saturating_add)
    }

    /// Bytes that must be moved for `batch` pictures at the least: their activations, and the weights once.
    pub fn bytes(&self, batch: usize) -> u64 {
        let weights = self.layers.iter().map(|layer| layer.weight_bytes).fold(0, u64::saturating_add);
        self.activation_bytes.saturating_mul(batch as u64).saturating_add(weights)
    }
}

/// Where the time of a number of inferences goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Pictures per inference.
    pub batch: usize,
    /// Threads of the session.
    pub threads: usize,
    /// ISA of the kernels.
    pub isa: Isa,
    /// The steps in order; the average pool and the classifier come last.
    pub steps: Vec<StepProfile>,
    /// The duration of each inference from start to end.
    pub whole: Vec<Duration>,
    /// How long the calling thread waited, in each inference, for pictures that other threads computed whole.
    pub gathering: Vec<Duration>,
}

/// The times of one step as the calling thread sees them. There is one time per inference, for all pictures of the batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepProfile {
    /// What the step does.
    pub step: StepInfo,
    /// From the end of the step before to the end of this one. When threads compute whole pictures, only the calling thread's
    /// pictures count.
    pub times: Vec<Duration>,
    /// How much of that time the calling thread waited for others.
    pub waiting: Vec<Duration>,
}

impl Session {
    /// What a run on an input of shape `[N, 3, H, W]` does, step by step. Lays out memory as [`prepare`](Session::prepare)
    /// does.
    ///
    /// # Errors
    /// As [`prepare`](Session::prepare).
    pub fn steps(&mut self, shape: [usize; 4]) -> Result<Vec<StepInfo>, Error> {
        self.prepare(shape)?;
        let Some(prepared) = self.prepared() else { return Ok(Vec::new()) };
        Ok(Describe::new(self.model(), prepared, self.layers()).steps())
    }

    /// Runs the input `iterations` times and says where the time goes. The logits are those of [`run`](Session::run).
    ///
    /// The clock is read once per step, or twice on several threads. Runs that are not profiled pay nothing for this.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut session = mnx::Session::new(&model)?;
    /// let input = mnx::Tensor::zeros([1, 3, 64, 64])?;
    /// let profile = session.profile(input.view(), 10)?;
    /// for row in &profile.steps {
    ///     println!("{:<20} {:>9} multiply-adds {:?}", row.step.name(), row.step.macs(), row.times.iter().min());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn profile(&mut self, input: TensorView<'_>, iterations: usize) -> Result<Profile, Error> {
        let steps = self.steps(input.shape())?;
        let row = |step| StepProfile { step, times: Vec::new(), waiting: Vec::new() };
        let mut profile = Profile {
            batch: input.shape()[0],
            threads: self.threads(),
            isa: self.isa(),
            steps: steps.into_iter().map(row).collect(),
            whole: Vec::new(),
            gathering: Vec::new(),
        };
        for _ in 0..iterations {
            let mut laps = Laps::new(profile.steps.len());
            let start = laps.last;
            self.run_watched(input, Until::Outputs, &mut laps)?;
            profile.whole.push(start.elapsed());
            profile.gathering.push(laps.gathering);
            for (row, lap) in profile.steps.iter_mut().zip(laps.steps) {
                row.times.push(lap.time);
                row.waiting.push(lap.waiting);
            }
        }
        Ok(profile)
    }
}

/// A stopwatch that adds up times per step.
struct Laps {
    last: Instant,
    waiting_since: Option<Instant>,
    steps: Vec<Lap>,
    gathering: Duration,
}

#[derive(Clone, Copy, Default)]
struct Lap {
    time: Duration,
    waiting: Duration,
}

impl Laps {
    fn new(steps: usize) -> Laps {
        let steps = vec![Lap::default(); steps];
        Laps { last: Instant::now(), waiting_since: None, steps, gathering: Duration::ZERO }
    }

    /// The time since the last lap, and how much of it was waiting.
    fn lap(&mut self) -> Lap {
        let now = Instant::now();
        let waiting = self.waiting_since.take().map_or(Duration::ZERO, |since| now - since);
        Lap { time: now - std::mem::replace(&mut self.last, now), waiting }
    }
}

impl Watch for Laps {
    fn step(&mut self, _exec: &Exec, step: usize, _picture: usize) {
        let lap = self.lap();
        let sum = &mut self.steps[step];
        sum.time += lap.time;
        sum.waiting += lap.waiting;
    }

    fn waiting(&mut self) {
        self.waiting_since = Some(Instant::now());
    }

    fn gathered(&mut self) {
        self.gathering = self.lap().time;
    }
}

/// Describes a plan's steps for people.
struct Describe<'a> {
    model: &'a Model,
    prepared: &'a Prepared,
    layers: &'a Layers,
    placed: Vec<PlacedLayer<'a>>,
}

impl<'a> Describe<'a> {
    fn new(model: &'a Model, prepared: &'a Prepared, layers: &'a Layers) -> Self {
        let [_, _, height, width] = prepared.shape;
        let placed = model.network().place(height, width).collect();
        Describe { model, prepared, layers, placed }
    }

    fn steps(&self) -> Vec<StepInfo> {
        self.prepared.plan.steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&self, step: &Step) -> StepInfo {
        let offset = match (step.dst, &step.kind) {
            (Home::Input, _) => 0,
            (Home::Workspace(slot), _) => slot.offset,
            (Home::Batch(index), StepKind::Rows { offset, .. } | StepKind::Head(Head { offset, .. })) => {
                self.prepared.regions.batch[index] + offset
            }
            (Home::Batch(index), _) => self.prepared.regions.batch[index],
        };
        let network = self.model.network();
        let of_step =
            || network.all_blocks().nth(*step.blocks.end()).map_or_else(|| "pool".into(), |block| block.name.clone());
        let (block, mut layers) = match &step.kind {
            StepKind::MaxPool(geometry) => {
                let [channels, ..] = self.shape(step.dst);
                (of_step(), vec![pool("maxpool", self.layers.max_pool(), geometry, channels)])
            }
            StepKind::Pool(geometry) => {
                let [channels, ..] = self.shape(step.dst);
                ("pool".into(), vec![pool("pool", self.layers.pool(), geometry, channels)])
            }
            StepKind::QuantizeInput => {
                (of_step(), vec![border("quantize", self.layers.quantize(), self.shape(step.dst))])
            }
            StepKind::Quantize(_) => (of_step(), vec![border("quantize", None, self.shape(step.dst))]),
            StepKind::Dequantize(_) => (of_step(), vec![border("dequantize", None, self.shape(step.dst))]),
            StepKind::Linear(layer) => ("classifier".into(), vec![self.layer(layer.index)]),
            StepKind::Rows { .. } => (of_step(), vec![self.rows(step)]),
            StepKind::Head(head) => (of_step(), vec![self.layer(head.layer.index)]),
            StepKind::Chain(_) | StepKind::Channels(..) => {
                let convs = step.kind.convs().into_iter();
                (self.block(step), convs.map(|conv| self.layer(conv.layer.index)).collect())
            }
        };
        if let Some(last) = layers.last_mut() {
            last.arena_offset = Some(offset as u64);
        }
        let of_shortcut = |Shortcut { slot, channels, .. }| {
            channels * slot.shape.height * slot.shape.width * slot.shape.blocking.element.size()
        };
        let elements = |shape: Option<[usize; 3]>| shape.map_or(0, |shape| shape.iter().product());
        let input = elements(layers.first().map(|layer| layer.input)) * self.element(step.src).size();
        let output = elements(layers.last().map(|layer| layer.output)) * self.element(step.dst).size();
        let activation_bytes = (input + output + step.shortcut.map_or(0, of_shortcut)) as u64;
        StepInfo { block, layers, activation_bytes }
    }

    /// What a value is made of.
    fn element(&self, home: Home) -> Element {
        match home {
            Home::Input => Element::F32,
            Home::Workspace(slot) => slot.shape.blocking.element,
            Home::Batch(index) => self.prepared.plan.batch[index].blocking().element,
        }
    }

    /// `[C, H, W]` of a value.
    fn shape(&self, home: Home) -> [usize; 3] {
        match home {
            Home::Input => [self.prepared.shape[1], self.prepared.shape[2], self.prepared.shape[3]],
            Home::Workspace(slot) => [slot.shape.channels, slot.shape.height, slot.shape.width],
            Home::Batch(index) => self.prepared.plan.batch[index].shape,
        }
    }

    /// The blocks of a step and of all steps that share a block with it, joined by ` + `.
    fn block(&self, step: &Step) -> String {
        let mut blocks = step.blocks.clone();
        for Step { blocks: other, .. } in &self.prepared.plan.steps {
            if other.start() <= blocks.end() && blocks.start() <= other.end() {
                blocks = *blocks.start().min(other.start())..=*blocks.end().max(other.end());
            }
        }
        let all = self.model.network().all_blocks().skip(*blocks.start()).take(1 + blocks.end() - blocks.start());
        all.map(|block| &*block.name).collect::<Vec<_>>().join(" + ")
    }

    /// The step that writes a head's planes as rows: each pixel becomes a row per prior.
    fn rows(&self, step: &Step) -> LayerInfo {
        let (input @ [channels, height, width], [_, numbers, _]) = (self.shape(step.src), self.shape(step.dst));
        let output = [height * width * channels / numbers.max(1), numbers, 1];
        LayerInfo { input, ..border("rows", None, output) }
    }

    fn layer(&self, index: usize) -> LayerInfo {
        let placed = &self.placed[index];
        let layer = self.layers.get(index);
        let kernel = layer.kernel();
        LayerInfo {
            name: placed.layer.name.clone(),
            arithmetic: layer.arithmetic(),
            kernel: kernel.name,
            dot_products: kernel.dot_products,
            amx: kernel.amx,
            tile: kernel.tile,
            input: [placed.layer.cin, placed.input.0, placed.input.1],
            output: [placed.layer.cout, placed.output.0, placed.output.1],
            parameters: placed.layer.parameters(),
            macs: placed.macs(),
            weight_bytes: (layer.weights().len() + layer.bias().len()) as u64,
            arena_offset: None,
        }
    }
}

/// A max or average pool: a layer without parameters.
fn pool(name: &str, layer: Option<&mnx_tensor::Layer<'_>>, geometry: &Geometry, channels: usize) -> LayerInfo {
    LayerInfo {
        input: [channels, geometry.height, geometry.width],
        ..border(name, layer, [channels, geometry.out_height, geometry.out_width])
    }
}

/// A layer without parameters, whose input has the shape of the output. Between f32 and u8 no kernel of the table runs.
fn border(name: &str, layer: Option<&mnx_tensor::Layer<'_>>, shape: [usize; 3]) -> LayerInfo {
    let kernel = layer.map(|layer| layer.kernel());
    LayerInfo {
        name: name.into(),
        arithmetic: layer.map_or(Arithmetic::F32, |layer| layer.arithmetic()),
        kernel: kernel.map_or("-", |kernel| kernel.name),
        dot_products: kernel.is_some_and(|kernel| kernel.dot_products),
        amx: kernel.is_some_and(|kernel| kernel.amx),
        tile: kernel.map_or((0, 0), |kernel| kernel.tile),
        input: shape,
        output: shape,
        parameters: 0,
        macs: 0,
        weight_bytes: 0,
        arena_offset: None,
    }
}

#[cfg(test)]
mod tests {
    use mnx_tensor::Tensor;

    use super::*;
    use crate::{SessionOptions, Spec};

    fn session(width: f64, threads: usize) -> Session {
        let mut spec = Spec::family("mobilenext").unwrap();
        spec.width = width;
        let model = Model::from_bytes(crate::init(&spec, 1).unwrap()).unwrap();
        Session::with(&model, SessionOptions::new().threads(threads)).unwrap()
    }

    #[test]
    fn steps_sum_to_the_network() {
        let mut session = session(0.35, 1);
        let steps = session.steps([1, 3, 224, 224]).unwrap();
        let network = session.model().network().clone();
        assert_eq!(steps.iter().map(StepInfo::macs).sum::<u64>(), network.macs(224, 224));
        let layers: Vec<_> = steps.iter().flat_map(|step| &step.layers).collect();
        assert_eq!(layers.iter().map(|layer| layer.parameters).sum::<u64>(), network.parameters());
        let named = layers.iter().map(|layer| &*layer.name).filter(|&name| name != "pool");
        assert!(named.eq(network.layers().map(|layer| &*layer.name)));
        for pair in layers.windows(2) {
            assert_eq!(pair[0].output, pair[1].input);
        }
        let arena = session.arena_bytes() as u64;
        assert!(layers.iter().all(|layer| layer.arena_offset.is_none_or(|offset| offset < arena)));
    }

    #[test]
    fn laps_add_up_to_the_whole_and_logits_stay() {
        for (threads, batch) in [(1, 1), (1, 3), (2, 1), (2, 5), (3, 2)] {
            if threads > crate::threads::MOST {
                continue;
            }
            let mut session = session(0.1, threads);
            let mut input = Tensor::zeros([batch, 3, 40, 33]).unwrap();
            input.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 101) as f32 / 50.0 - 1.0);
            let expected = session.run(input.view()).unwrap().data().to_vec();
            let profile = session.profile(input.view(), 200).unwrap();
            assert_eq!(session.run(input.view()).unwrap().data(), expected);
            assert_eq!((profile.batch, profile.threads, profile.whole.len()), (batch, threads, 200));
            for (i, &whole) in profile.whole.iter().enumerate() {
                let sum: Duration =
                    profile.steps.iter().map(|row| row.times[i]).sum::<Duration>() + profile.gathering[i];
                assert!(sum <= whole && !sum.is_zero(), "{sum:?} of {whole:?}");
                assert!(profile.steps.iter().all(|row| row.waiting[i] <= row.times[i]));
            }
        }
    }
}
