//! The mutable state of one stream of inferences.

mod layouts;
mod observe;
mod options;
mod stop;

pub use observe::{BlockOutput, ValueOutput};
pub use options::{MAX_THREADS, SessionOptions, tuned};
pub use stop::Stopper;

use layouts::Layouts;
use mnx_tensor::{Cpu, ErrorKind, Isa, TensorView, TunedFor};

use crate::crew::Crew;
use crate::exec::Regions;
use crate::graph::Graph;
use crate::int8::dequantize;
use crate::layers::Layers;
use crate::outputs::Outputs;
use crate::plan::{BatchValue, Plan};
use crate::run::{Observed, Prepared, Until, Watch};
use crate::threads::{MOST, Shares, default_threads};
use crate::{Error, Model};

/// Runs a [`Model`]: owns the memory for activations, which is laid out for an input's shape when that shape
/// first comes. Sessions are cheap; give each thread its own, on one shared model.
///
/// The memory of the last four shapes is kept, as far as it is within [`Limits::arena_bytes`](crate::Limits::arena_bytes) together;
/// [`forget`](Session::forget) gives it back. On one thread a `run` with one of these shapes allocates nothing; on several,
/// only what rayon does.
pub struct Session {
    model: Model,
    layers: Layers,
    threads: usize,
    crew: Crew,
    layouts: Layouts,
    stopper: Stopper,
    /// Features of a classifier in int8, dequantised.
    features: Vec<f32>,
}

impl Session {
    /// A session with the default options.
    ///
    /// # Errors
    /// As [`Session::with`].
    pub fn new(model: &Model) -> Result<Session, Error> {
        Session::with(model, SessionOptions::default())
    }

    /// A session with these options.
    ///
    /// # Errors
    /// [`Error::Threads`] for a number of threads that is 0, too large or not to be had without the feature
    /// `rayon`; [`Error::Pool`] when they cannot be started; [`Error::Tensor`] for an ISA that this CPU lacks or, in
    /// `MNX_ISA`, an unknown one, and for what `MNX_TUNED_FOR`, `MNX_DOT_PRODUCTS` or `MNX_AMX` misspell.
    pub fn with(model: &Model, options: SessionOptions) -> Result<Session, Error> {
        let cpu = Cpu::choose(options.isa, options.tuned_for)?;
        let cpu = match options.dot_products {
            None => cpu,
            Some(true) => cpu.with_dot_products(),
            Some(false) => cpu.without_dot_products(),
        };
        let cpu = match options.amx {
            None => cpu,
            Some(true) => cpu.with_amx(),
            Some(false) => cpu.without_amx(),
        };
        let layers = Layers::new(model, cpu, options.tuning)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        if !(1..=MOST).contains(&threads) {
            return Err(Error::Threads { most: MOST, found: threads });
        }
        let crew = Crew::new(threads, options.pool)?;
        let (layouts, stopper) = (Layouts::new(), Stopper::default());
        Ok(Session { model: model.clone(), layers, threads, crew, layouts, stopper, features: Vec::new() })
    }

    /// The model that it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The ISA whose kernels run.
    pub fn isa(&self) -> Isa {
        self.layers.cpu().isa()
    }

    /// The cores whose kernels are preferred.
    pub fn tuned_for(&self) -> TunedFor {
        self.layers.cpu().tuned_for()
    }

    /// Whether int8 layers use the CPU's instructions for dot products of bytes.
    pub fn dot_products(&self) -> bool {
        self.layers.cpu().dot_products()
    }

    /// Whether int8 layers use AMX.
    pub fn amx(&self) -> bool {
        self.layers.cpu().amx()
    }

    /// Threads that work on an inference, the calling one included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Lays out memory for inputs of this shape, `[N, 3, H, W]`, as the first [`run`](Session::run) would.
    ///
    /// # Errors
    /// [`Error::Input`] for a shape that the network does not take; [`Error::Limit`] when an activation or
    /// the arena would be larger than the model's limits allow; [`Error::Average`] when the average pool in int8 would not be
    /// exact; [`Error::Tensor`] and [`Error::Memory`] when there is no memory for it.
    pub fn prepare(&mut self, shape: [usize; 4]) -> Result<(), Error> {
        self.prepare_for(shape, Observed::Nothing)
    }

    /// `observed`: what exists whole besides the outputs.
    fn prepare_for(&mut self, shape: [usize; 4], observed: Observed) -> Result<(), Error> {
        if self.layouts.bring(shape, observed) {
            return Ok(());
        }
        match self.lay_out(shape, observed) {
            // There may be enough without the memory of other shapes.
            Err(error) if error.kind() == ErrorKind::Memory && !self.layouts.is_empty() => {
                self.layouts.clear();
                self.lay_out(shape, observed)
            }
            result => result,
        }
    }

    fn lay_out(&mut self, shape: [usize; 4], observed: Observed) -> Result<(), Error> {
        let channels = self.model.spec().channels;
        let [batch, found_channels, height, width] = shape;
        if found_channels != channels || batch == 0 || height == 0 || width == 0 {
            return Err(Error::Input { channels, found: shape });
        }
        let limits = self.model.limits();
        let network = self.model.network();
        let counts = [
            ("multiply-adds", network.macs(height, width), limits.macs),
            ("priors", network.priors(height, width), limits.priors),
        ];
        // Before there is a plan of that size.
        if let Some((what, found, limit)) = counts.into_iter().find(|(_, found, limit)| found > limit) {
            let what = format!("{what} for {channels} x {height} x {width}");
            return Err(Error::Limit { what, limit, found });
        }
        let graph = Graph::new(network, self.model.numbers(), (height, width));
        let keep = match observed {
            Observed::Nothing => Vec::new(),
            Observed::Blocks => graph.blocks.clone(),
            Observed::Values => graph.nodes.iter().map(|node| node.dst).collect(),
        };
        let plan = Plan::new(&graph, &self.layers, &keep, self.model.spec().padding, limits, self.threads)?;
        // Pictures go to threads whole as long as there is one for each; the rest is split.
        let whole = if self.threads == 1 { batch } else { batch / self.threads * self.threads };
        let workspaces = if whole > 0 { self.threads } else { 1 };
        let limit = limits.arena_bytes;
        let regions = Regions::new(&plan, workspaces, self.threads, batch);
        let bytes = regions.as_ref().map_or(u64::MAX, |r| r.end as u64);
        // What threads share out is session memory like the arena.
        let held = bytes.saturating_add(Shares::bytes(&plan, batch, whole, self.threads));
        let Some(regions) = regions.filter(|_| held <= limit) else {
            let what = format!("bytes of the arena for {batch} x {channels} x {height} x {width}");
            return Err(Error::Limit { what, limit, found: held });
        };
        self.layouts.make_room(held, limit);
        let shares = Shares::new(&plan, batch, whole, self.threads)?;
        let memory = regions.memory()?;
        self.layouts.add(Prepared { shape, observed, keep, memory, regions, shares, plan, held });
        Ok(())
    }

    /// Logits `[N, classes, 1, 1]` for an input `[N, 3, H, W]`, any N, H and W from 1 on; of a detector the raw
    /// [outputs](Outputs) of its heads. All are f32, whatever the layers compute with.
    ///
    /// ```no_run
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// let model = mnx::Model::open("mobilenext.mnx")?;
    /// let mut session = mnx::Session::new(&model)?;
    /// let input = mnx::Tensor::zeros([1, 3, 224, 224])?;
    /// let logits = session.run(input.view())?;
    /// assert_eq!(logits.shape(), [1, model.spec().classes, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Stopped`] if a [`Stopper`] ended it; and as [`prepare`](Session::prepare), when the shape is a new one.
    pub fn run(&mut self, input: TensorView<'_>) -> Result<Outputs<'_>, Error> {
        self.run_watched(input, Until::Outputs, &mut ())?;
        self.outputs()
    }

    /// As [`run`](Session::run), and copies the first output, that of `run(…).data()`, to memory of the caller.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut session = mnx::Session::new(&model)?;
    /// let input = mnx::Tensor::zeros([2, 3, 64, 64])?;
    /// let mut logits = [0.0; 2 * 1000];
    /// session.run_into(input.view(), &mut logits)?;
    /// assert_eq!(logits[..], session.run(input.view())?.data()[..]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run); and [`Error::Tensor`] when `output` does not have exactly as many elements, before anything
    /// is computed.
    pub fn run_into(&mut self, input: TensorView<'_>, output: &mut [f32]) -> Result<(), Error> {
        self.prepare(input.shape())?;
        let (expected, found) = (self.outputs()?.data().len(), output.len());
        if expected != found {
            return Err(mnx_tensor::Error::Length { what: "output", expected, found }.into());
        }
        output.copy_from_slice(self.run(input)?.data());
        Ok(())
    }

    /// What the classifier sees: the pooled features `[N, C, 1, 1]` of an input `[N, 3, H, W]`, for embeddings or a
    /// classifier of one's own. The model's classifier does not run. Of a classifier in int8 they are what its u8 input stands
    /// for.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut session = mnx::Session::new(&model)?;
    /// let pictures = mnx::Tensor::zeros([2, 3, 64, 64])?;
    /// let features = session.features(pictures.view())?;
    /// assert_eq!(features.shape(), [2, 1280, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run); and [`Error::ExpectedClassifier`] for a detector, which has no classifier.
    pub fn features(&mut self, input: TensorView<'_>) -> Result<TensorView<'_>, Error> {
        let Some(channels) = self.model.network().classifier().map(|layer| layer.cin) else {
            return Err(Error::ExpectedClassifier { wanted: "features" });
        };
        self.run_watched(input, Until::Features, &mut ())?;
        let features = self.layouts.current_mut().and_then(|p| p.plan.features.map(|index| (p, index)));
        let Some((p, index)) = features else { return Ok(TensorView::new([0, channels, 1, 1], &[])?) };
        let batch = p.shape[0];
        let (BatchValue { stride, quantization, .. }, start) = (p.plan.batch[index], p.regions.batch[index]);
        if let Some(quantization) = quantization {
            let rows = p.memory[start..].chunks_exact(stride).take(batch);
            self.features.clear();
            let room = self.features.try_reserve_exact(batch * channels);
            let bytes = (batch * channels * size_of::<f32>()) as u64;
            room.map_err(|_| Error::Memory { what: "the features", bytes })?;
            self.features.extend(rows.flat_map(|row| row[..channels].iter().map(|&q| dequantize(q, quantization))));
            return Ok(TensorView::new([batch, channels, 1, 1], &self.features)?);
        }
        let bytes = channels * size_of::<f32>();
        // Rows have room for whole panels; a tensor has no gaps.
        for picture in 1..batch {
            let row = start + picture * stride;
            p.memory.copy_within(row..row + bytes, start + picture * bytes);
        }
        let features = bytemuck::cast_slice(&p.memory[start..start + batch * bytes]);
        Ok(TensorView::new([batch, channels, 1, 1], features)?)
    }

    /// Bytes of the session's memory: activations, scratch, padding, logits, of all shapes that it keeps. Weights and the
    /// caller's input are not in it. 0 before the first [`prepare`](Session::prepare) or [`run`](Session::run).
    pub fn arena_bytes(&self) -> usize {
        self.layouts.bytes()
    }

    /// Gives back the memory of all shapes. The next run lays it out anew.
    pub fn forget(&mut self) {
        self.layouts.clear();
    }

    /// What ends this session's inferences from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Runs as many threads as it has, or alone.
    pub(crate) fn run_watched<W: Watch + Send>(
        &mut self,
        input: TensorView<'_>,
        until: Until,
        watch: &mut W,
    ) -> Result<(), Error> {
        self.prepare(input.shape())?;
        let Some(p) = self.layouts.current_mut() else { return Ok(()) };
        self.crew.run(p, &self.layers, input, until, &self.stopper, watch)
    }

    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.layouts.current()
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    fn outputs(&self) -> Result<Outputs<'_>, Error> {
        let prepared = self.layouts.current().expect("a run prepares");
        Outputs::new(prepared)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = self.layouts.current().map(|p| p.shape);
        f.debug_struct("Session")
            .field("isa", &self.isa())
            .field("threads", &self.threads)
            .field("shape", &shape)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mnx_tensor::ops::{self, Margins};
    use mnx_tensor::{Clamp, Operation, Tensor};

    use super::*;
    use crate::Spec;

    #[test]
    fn features_are_what_the_classifier_sees() {
        for (threads, batch) in [(1, 1), (1, 3), (2, 3)] {
            if threads > crate::threads::MOST {
                continue;
            }
            // 84 channels: rows of features have gaps in the session's memory.
            let spec = r#"{"family": "own", "width": 1, "classes": 5, "resolution": 32,
                "stem": {"channels": 8, "stride": 2},
                "stages": [{"block": "sandglass", "ratio": 2, "channels": 84, "repeats": 1, "stride": 2}]}"#;
            let mut own = Spec::from_json(spec).unwrap();
            own.width = 1.0;
            let model = Model::from_bytes(crate::init(&own, 1).unwrap()).unwrap();
            let mut session = Session::with(&model, SessionOptions::new().threads(threads)).unwrap();
            let mut input = Tensor::zeros([batch, 3, 20, 20]).unwrap();
            input.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 103) as f32 / 50.0 - 1.0);
            let logits = session.run(input.view()).unwrap().data().to_vec();
            let channels = model.network().classifier().unwrap().cin;
            let features = session.features(input.view()).unwrap();
            assert_eq!(features.shape(), [batch, channels, 1, 1]);
            let features = Tensor::from_slice(features.shape(), features.data()).unwrap();
            let (weights, bias) = model.weights(model.network().layers().count() - 1).unwrap();
            let (cpu, channels) = (session.layers().cpu(), [channels, 5]);
            let classifier =
                mnx_tensor::Layer::new(cpu, Operation::Linear, channels, weights, bias, Clamp::NONE).unwrap();
            let again = ops::forward(&classifier, features.view(), Margins::ZERO, None).unwrap();
            assert_eq!(again.data(), logits);
            assert_eq!(session.run(input.view()).unwrap().data(), logits);
        }
    }
}
