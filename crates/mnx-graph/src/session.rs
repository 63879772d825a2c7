//! The mutable state of one stream of inferences.

use mnx_tensor::{Cpu, Isa, TensorView, TunedFor, memory};

use crate::exec::{Exec, Regions};
use crate::graph::{Graph, ValueId};
use crate::int8::dequantize;
use crate::layers::Layers;
use crate::outputs::Outputs;
use crate::plan::{BatchValue, Plan};
use crate::run::{Observed, Prepared, Until};
use crate::threads::{Crew, MOST, Shares, Watch, default_threads};
use crate::{Error, Model, ThreadPool};

/// Most threads that a session accepts.
pub const MAX_THREADS: usize = 1024;

/// How a session runs. The default: one thread per physical core, the fastest ISA.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads that work on an inference, the calling one included, 1 to [`MAX_THREADS`]. `None`: as many as
    /// there are physical cores that the calling thread may run on, slow ones of big.LITTLE left out (1 without the
    /// feature `rayon`). The result has the same bits for every number.
    pub threads: Option<usize>,
    /// Which kernels run. `None`: those that the environment variable `MNX_ISA` names, else the fastest.
    pub isa: Option<Isa>,
    /// For which cores the kernels' tiles were chosen. `None`: as the environment variable `MNX_TUNED_FOR` says, else what
    /// this CPU is. The result has the same bits for every choice.
    pub tuned_for: Option<TunedFor>,
    /// Whether int8 layers use instructions for dot products of bytes, if the CPU has them. `None`: unless the environment
    /// variable `MNX_DOT_PRODUCTS` is `off`. The result has the same bits with and without.
    pub dot_products: Option<bool>,
    /// Where the other threads come from. `None`: a pool that all such sessions of the process share.
    pub pool: Option<ThreadPool>,
}

impl SessionOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this many threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// With the kernels of this ISA.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// With the kernels for these cores, where there are any of their own.
    #[must_use]
    pub fn tuned_for(mut self, tuned_for: TunedFor) -> Self {
        self.tuned_for = Some(tuned_for);
        self
    }

    /// With instructions for dot products of bytes, if the CPU has them, or without.
    #[must_use]
    pub fn dot_products(mut self, dot_products: bool) -> Self {
        self.dot_products = Some(dot_products);
        self
    }

    /// With helpers from this pool. It is entered once per inference and may be shared: a session makes
    /// progress alone while the pool is busy.
    #[must_use]
    pub fn pool(mut self, pool: ThreadPool) -> Self {
        self.pool = Some(pool);
        self
    }
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("threads", &self.threads)
            .field("isa", &self.isa)
            .field("tuned_for", &self.tuned_for)
            .field("dot_products", &self.dot_products)
            .finish_non_exhaustive()
    }
}

/// One picture's output of one block.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BlockOutput<'a> {
    /// Index in [`Network::blocks`](crate::Network::blocks).
    pub block: usize,
    /// The block's name in a checkpoint, e.g. `features.3`.
    pub name: &'a str,
    /// Which picture of the batch.
    pub picture: usize,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// The values in that order. Of a block that ends in int8: what its u8 numbers stand for.
    pub values: &'a [f32],
}

/// One picture's values between two layers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ValueOutput<'a> {
    /// Its name in a weight file: that of the layer (or `maxpool`, or `pool`) which makes it, and `.output`; or `input`, if
    /// that is quantised.
    pub name: &'a str,
    /// Which picture of the batch.
    pub picture: usize,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// The values in that order.
    pub values: &'a [f32],
}

/// Runs a [`Model`]: owns the memory for activations, which is laid out for an input's shape when that shape
/// first comes and kept. Sessions are cheap; give each thread its own, on one shared model.
///
/// On one thread a `run` with the shape of the one before allocates nothing; on several, only what rayon does.
pub struct Session {
    model: Model,
    layers: Layers,
    threads: usize,
    crew: Crew,
    prepared: Option<Prepared>,
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
    /// `MNX_ISA`, an unknown one, and for what `MNX_TUNED_FOR` or `MNX_DOT_PRODUCTS` misspell.
    pub fn with(model: &Model, options: SessionOptions) -> Result<Session, Error> {
        let cpu = Cpu::choose(options.isa, options.tuned_for)?;
        let cpu = match options.dot_products {
            None => cpu,
            Some(true) => cpu.with_dot_products(),
            Some(false) => cpu.without_dot_products(),
        };
        let layers = Layers::new(model, cpu)?;
        let threads = options.threads.unwrap_or_else(default_threads);
        if !(1..=MOST).contains(&threads) {
            return Err(Error::Threads { most: MOST, found: threads });
        }
        let crew = Crew::new(threads, options.pool)?;
        Ok(Session { model: model.clone(), layers, threads, crew, prepared: None, features: Vec::new() })
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

    /// Threads that work on an inference, the calling one included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Lays out memory for inputs of this shape, `[N, 3, H, W]`, as the first [`run`](Session::run) would.
    ///
    /// # Errors
    /// [`Error::Input`] for a shape that the network does not take; [`Error::Limit`] when an activation or
    /// the arena would be larger than the model's limits allow; [`Error::Average`] when the average pool in int8 would not be
    /// exact; [`Error::Tensor`] when there is no memory for it.
    pub fn prepare(&mut self, shape: [usize; 4]) -> Result<(), Error> {
        self.prepare_for(shape, Observed::Nothing)
    }

    /// `observed`: what exists whole besides the outputs.
    fn prepare_for(&mut self, shape: [usize; 4], observed: Observed) -> Result<(), Error> {
        if self.prepared.as_ref().is_some_and(|p| p.shape == shape && p.observed == observed) {
            return Ok(());
        }
        let channels = self.model.spec().channels;
        let [batch, found_channels, height, width] = shape;
        if found_channels != channels || batch == 0 || height == 0 || width == 0 {
            return Err(Error::Input { channels, found: shape });
        }
        let limits = self.model.limits();
        // The old memory goes first: both together could be too much.
        self.prepared = None;
        let graph = Graph::new(self.model.network(), self.model.numbers(), (height, width));
        let keep = match observed {
            Observed::Nothing => Vec::new(),
            Observed::Blocks => graph.blocks.clone(),
            Observed::Values => graph.nodes.iter().map(|node| node.dst).collect(),
        };
        let plan = Plan::new(&graph, &self.layers, &keep, self.model.spec().padding, limits, self.threads)?;
        // Pictures go to threads whole as long as there is one for each; the rest is split.
        let whole = if self.threads == 1 { batch } else { batch / self.threads * self.threads };
        let lanes = if whole > 0 { self.threads } else { 1 };
        let limit = limits.arena_bytes;
        let regions = Regions::new(&plan, lanes, self.threads, batch);
        let bytes = regions.as_ref().map_or(u64::MAX, |r| r.end as u64);
        let Some(regions) = regions.filter(|_| bytes <= limit) else {
            let what = format!("bytes of the arena for {batch} x {channels} x {height} x {width}");
            return Err(Error::Limit { what, limit, found: bytes });
        };
        let macs = self.model.network().macs(height, width);
        if macs > limits.macs {
            let what = format!("multiply-adds for {channels} x {height} x {width}");
            return Err(Error::Limit { what, limit: limits.macs, found: macs });
        }
        let shares = Shares::new(&plan, batch, whole, self.threads, limit)?;
        let memory = regions.memory()?;
        self.prepared = Some(Prepared { shape, observed, keep, memory, regions, shares, plan });
        Ok(())
    }

    /// Logits `[N, classes, 1, 1]` for an input `[N, 3, H, W]`, any N, H and W from 1 on; of a detector the raw
    /// [outputs](Outputs) of its heads. All are f32, whatever the layers compute with.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// let model = mnx_graph::Model::open("mobilenext.mnx")?;
    /// let mut session = mnx_graph::Session::new(&model)?;
    /// let input = mnx_tensor::Tensor::zeros([1, 3, 224, 224])?;
    /// let logits = session.run(input.view())?;
    /// assert_eq!(logits.shape(), [1, model.spec().classes, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`prepare`](Session::prepare), when the shape is a new one.
    pub fn run(&mut self, input: TensorView<'_>) -> Result<Outputs<'_>, Error> {
        self.run_watched(input, Until::Outputs, &mut ())?;
        self.outputs()
    }

    /// What the classifier sees: the pooled features `[N, C, 1, 1]` of an input `[N, 3, H, W]`, for embeddings or a
    /// classifier of one's own. The model's classifier does not run. Of a classifier in int8 they are what its u8 input stands
    /// for.
    ///
    /// ```
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx_graph::Model::from_bytes(mnx_graph::init(&spec, 1)?)?;
    /// let mut session = mnx_graph::Session::new(&model)?;
    /// let pictures = mnx_tensor::Tensor::zeros([2, 3, 64, 64])?;
    /// let features = session.features(pictures.view())?;
    /// assert_eq!(features.shape(), [2, 1280, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run); and [`Error::Detector`] for a detector, which has no classifier.
    pub fn features(&mut self, input: TensorView<'_>) -> Result<TensorView<'_>, Error> {
        let Some(channels) = self.model.network().classifier().map(|layer| layer.cin) else {
            return Err(Error::Detector { wanted: "features" });
        };
        self.run_watched(input, Until::Features, &mut ())?;
        let features = self.prepared.as_mut().and_then(|p| p.plan.features.map(|index| (p, index)));
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

    /// As [`run`](Session::run), and calls `observe` with the output of every block of every picture: the same
    /// bits that `run` computes. Runs on the calling thread alone; takes more memory, which is laid out anew when calls of
    /// both kinds alternate.
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn run_observed(
        &mut self,
        input: TensorView<'_>,
        mut observe: impl FnMut(BlockOutput<'_>),
    ) -> Result<Outputs<'_>, Error> {
        self.prepare_for(input.shape(), Observed::Blocks)?;
        if let Some(p) = &mut self.prepared {
            let blocks = &self.model.network().blocks;
            let block_of = |value: ValueId| p.keep.iter().position(|&kept| kept == value);
            let ends: Vec<_> = p.plan.steps.iter().map(|step| block_of(step.value)).collect();
            let observe = |step: usize, picture: usize, shape: [usize; 3], values: &[f32]| {
                let Some(block) = ends[step] else { return };
                observe(BlockOutput { block, name: &blocks[block].name, picture, shape, values });
            };
            let wanted = ends.iter().map(Option::is_some).collect();
            let mut watch = Observer { wanted, values: memory::room(p.plan.largest_value())?, observe };
            p.run_alone(&self.layers, input, Until::Outputs, &mut watch);
        }
        self.outputs()
    }

    /// As [`run_observed`](Session::run_observed), for every value of the network instead of every block's output: the output
    /// of each layer after its activation and shortcut, and those of the pools. A value that is kept as u8 is what its u8 stand
    /// for. The outputs are what it returns.
    ///
    /// ```
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx_graph::Model::from_bytes(mnx_graph::init(&spec, 1)?)?;
    /// let mut session = mnx_graph::Session::new(&model)?;
    /// let input = mnx_tensor::Tensor::zeros([1, 3, 64, 64])?;
    /// let mut names = Vec::new();
    /// session.run_observing_values(input.view(), |value| names.push(value.name.to_owned()))?;
    /// assert_eq!((&*names[0], &*names[names.len() - 1]), ("features.0.0.output", "pool.output"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn run_observing_values(
        &mut self,
        input: TensorView<'_>,
        mut observe: impl FnMut(ValueOutput<'_>),
    ) -> Result<Outputs<'_>, Error> {
        let [.., height, width] = input.shape();
        self.prepare_for(input.shape(), Observed::Values)?;
        if let Some(p) = &mut self.prepared {
            let graph = Graph::new(self.model.network(), self.model.numbers(), (height, width));
            let values = p.plan.steps.iter().map(|step| step.value);
            let names: Vec<_> = values.map(|value| graph.file_name(value)).collect();
            let observe = |step: usize, picture: usize, shape: [usize; 3], values: &[f32]| {
                let Some(name) = &names[step] else { return };
                observe(ValueOutput { name, picture, shape, values });
            };
            let wanted = names.iter().map(Option::is_some).collect();
            let mut watch = Observer { wanted, values: memory::room(p.plan.largest_value())?, observe };
            p.run_alone(&self.layers, input, Until::Outputs, &mut watch);
        }
        self.outputs()
    }

    /// Bytes of the session's memory: activations, scratch, padding, logits. Weights and the caller's input
    /// are not in it. 0 before the first [`prepare`](Session::prepare) or [`run`](Session::run).
    pub fn arena_bytes(&self) -> usize {
        self.prepared.as_ref().map_or(0, |p| p.memory.len())
    }

    /// Runs as many threads as it has, or alone.
    pub(crate) fn run_watched<W: Watch + Send>(
        &mut self,
        input: TensorView<'_>,
        until: Until,
        watch: &mut W,
    ) -> Result<(), Error> {
        self.prepare(input.shape())?;
        let Some(p) = &mut self.prepared else { return Ok(()) };
        self.crew.run(p, &self.layers, input, until, watch);
        Ok(())
    }

    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    fn outputs(&self) -> Result<Outputs<'_>, Error> {
        let prepared = self.prepared.as_ref().expect("a run prepares");
        Outputs::new(prepared)
    }
}

/// Hands on what steps have written.
struct Observer<F> {
    /// Per step whether its output is wanted.
    wanted: Vec<bool>,
    values: Vec<f32>,
    /// Gets the step, the picture, `[C, H, W]` and the values.
    observe: F,
}

impl<F: FnMut(usize, usize, [usize; 3], &[f32])> Watch for Observer<F> {
    fn step(&mut self, exec: &Exec, step: usize, picture: usize) {
        if self.wanted.get(step) != Some(&true) {
            return;
        }
        // SAFETY: the step has run, on this thread, which is the only one.
        let shape = unsafe { exec.read(step, 0, picture, &mut self.values) };
        (self.observe)(step, picture, shape, &self.values);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = self.prepared.as_ref().map(|p| p.shape);
        f.debug_struct("Session")
            .field("isa", &self.isa())
            .field("threads", &self.threads)
            .field("shape", &shape)
            .finish_non_exhaustive()
    }
}
