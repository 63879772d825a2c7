//! The plan: what is computed once per model, input size and number of threads. It says which steps there are, which
//! layers each one runs, how it is split into units, and where in the arena its values lie.

mod builder;
mod fused;
mod split;

use std::ops::RangeInclusive;

use mnx_tensor::part::{Geometry, Span};
use mnx_tensor::{Blocking, Clamp, Element, Operation};

use builder::PlanBuilder;
pub(crate) use split::Split;

use crate::arena::Slot;
use crate::graph::{Graph, ValueId};
use crate::layers::Layers;
use crate::{Error, Layer, Limits, Padding, Quantization};

/// The steps of an inference on pictures of one size.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The steps of each picture, then the steps of the whole batch.
    pub(crate) steps: Vec<Step>,
    /// How many of the steps are for each picture.
    pub(crate) picture_steps: usize,
    /// Bytes of one picture's activations.
    pub(crate) workspace_bytes: usize,
    /// Bytes of scratch that each thread needs.
    #[cfg_attr(feature = "guarded", allow(dead_code, reason = "each step has scratch of its own there"))]
    pub(crate) scratch_bytes: usize,
    /// Values with a row for every picture of the batch.
    pub(crate) batch: Vec<BatchValue>,
    /// Which of them the classifier reads, if there is one.
    pub(crate) features: Option<usize>,
    /// The network's outputs: names and indices in `batch`.
    pub(crate) outputs: Vec<(&'static str, usize)>,
    /// What may be used of a workspace.
    #[cfg(feature = "guarded")]
    pub(crate) open: Vec<std::ops::Range<usize>>,
}

/// A value that has a row for every picture of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchValue {
    /// `[C, H, W]` of a row: pooled features, logits, or a detector's output.
    pub(crate) shape: [usize; 3],
    /// Bytes from row to row.
    pub(crate) stride: usize,
    /// What its u8 numbers stand for. `None`: it is f32.
    pub(crate) quantization: Option<Quantization>,
}

impl BatchValue {
    /// Numbers in a row.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How a row lies in memory, as planes of one pixel.
    pub(crate) fn blocking(&self) -> Blocking {
        if self.quantization.is_some() { Blocking::U8 } else { Blocking::F32 }
    }
}

/// Where a step finds or leaves a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Home {
    /// The caller's tensor.
    Input,
    /// A slot of the picture's workspace.
    Workspace(Slot),
    /// Rows of the batch: an index in [`Plan::batch`].
    Batch(usize),
}

impl Home {
    /// The slot, if the value lies in the workspace.
    pub(crate) fn slot(self) -> Option<Slot> {
        if let Home::Workspace(slot) = self { Some(slot) } else { None }
    }
}

/// One layer, or several that are fused, for one picture or for the batch.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) src: Home,
    pub(crate) dst: Home,
    pub(crate) shortcut: Option<Shortcut>,
    /// How it is split into units.
    pub(crate) split: Split,
    /// The value that it writes.
    pub(crate) value: ValueId,
    /// What the u8 numbers that it writes stand for. `None`: they are f32.
    pub(crate) quantization: Option<Quantization>,
    /// The blocks that its operations are part of.
    pub(crate) blocks: RangeInclusive<usize>,
    /// Bytes of scratch that it needs of each thread.
    #[cfg(feature = "guarded")]
    pub(crate) scratch: usize,
}

/// What is added to a step's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortcut {
    pub(crate) slot: Slot,
    /// How many channels it covers.
    pub(crate) channels: usize,
    /// What follows the addition.
    pub(crate) clamp: Clamp,
}

/// What a step computes.
#[derive(Debug)]
pub(crate) enum StepKind {
    /// Layers in a row, each reading the one before. What lies between two layers never exists whole: each unit computes
    /// the rows that it needs into its thread's scratch. With more than one layer, all channels are computed.
    Chain(Chain),
    /// A pointwise layer and the depthwise layer that reads it. A unit computes some channels of some pointwise rows into its
    /// thread's scratch.
    Channels(Box<Pair>),
    /// The caller's input as u8.
    QuantizeInput,
    /// An f32 value as u8, in between.
    Quantize(Quantization),
    /// A u8 value as f32, in between.
    Dequantize(Quantization),
    /// A 3x3 max pool of stride 2.
    MaxPool(Geometry),
    /// The global average pool.
    Pool(Geometry),
    /// A linear layer on the rows of the batch.
    Linear(LayerRef),
    /// A head's planes of `channels` channels to its place in a row, `offset` bytes from the row's start: pixel by pixel, all
    /// channels of each.
    Rows { offset: usize, channels: usize },
    /// The last layer of a head in int8, with its outputs as rows in the same way.
    Head(Head),
}

/// One layer or more, and where their strips lie in a thread's scratch. Offsets are in bytes from its start.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    /// Where the first layer's copied input goes, for layers that read a copy:
    /// - a dense layer of f32 features: the padded input of the whole unit,
    /// - a pointwise layer of stride 2: every second pixel of every second row.
    pub(crate) window: usize,
    /// Bytes from one block's plane to the next in that copy.
    pub(crate) window_plane: usize,
    /// Where the kernels' own scratch begins.
    pub(crate) kernels: usize,
}

/// A pointwise layer and the depthwise layer that reads it, and the strip between them at the start of a thread's scratch.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) convs: [Conv; 2],
    /// Bytes from one block's plane of the strip to the next.
    pub(crate) plane: usize,
    /// Rows that the depthwise layer computes before the pointwise layer goes on.
    pub(crate) window: usize,
    /// Where the kernels' own scratch begins.
    pub(crate) kernels: usize,
}

/// A pointwise layer in int8 that runs as the classifier does, pixels being its rows. A unit copies some pixels' channels, which lie
/// blocks apart, to the start of its thread's scratch, and computes all outputs of them.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) layer: LayerRef,
    /// Where its outputs begin, in bytes from the start of the row.
    pub(crate) offset: usize,
    /// Where the kernel's own scratch begins.
    pub(crate) kernels: usize,
}

impl Head {
    /// How many pixels are copied at a time.
    pub(crate) const PIXELS: usize = 64;

    /// Blocks of input channels.
    pub(crate) fn blocks(&self) -> usize {
        self.layer.cin.div_ceil(Blocking::U8.lanes)
    }
}

/// A layer of a chain, and the strip that holds its output for the next layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) conv: Conv,
    pub(crate) offset: usize,
    /// Bytes from one block's plane to the next.
    pub(crate) plane: usize,
}

impl StepKind {
    /// The convolutions, in order.
    pub(crate) fn convs(&self) -> Vec<Conv> {
        match self {
            StepKind::Chain(chain) => chain.links.iter().map(|link| link.conv).collect(),
            StepKind::Channels(pair) => pair.convs.to_vec(),
            _ => Vec::new(),
        }
    }
}

/// A convolution with the sizes of its input and output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) layer: LayerRef,
    pub(crate) geometry: Geometry,
    macs: u64,
}

impl Conv {
    /// Bytes of one pixel of a block of its output.
    pub(crate) fn pixel_bytes(&self) -> usize {
        self.layer.output.pixel_bytes()
    }

    /// Output rows that contain any of these pixels.
    pub(crate) fn rows(&self, pixels: Span) -> Span {
        let width = self.geometry.out_width;
        Span { start: pixels.start / width, end: pixels.end.div_ceil(width) }
    }

    /// All pixels of those rows.
    pub(crate) fn whole_rows(&self, pixels: Span) -> Span {
        let (rows, width) = (self.rows(pixels), self.geometry.out_width);
        Span { start: rows.start * width, end: rows.end * width }
    }

    /// These pixels, which are whole rows, in windows of so many rows.
    pub(crate) fn windows(&self, pixels: Span, rows: usize) -> impl Iterator<Item = Span> {
        let window = rows.saturating_mul(self.geometry.out_width).max(1);
        let starts = (pixels.start..pixels.end).step_by(window);
        starts.map(move |start| (start..pixels.end.min(start.saturating_add(window))).into())
    }

    /// Input pixels that these output pixels read, in whole rows.
    pub(crate) fn reads(&self, pixels: Span) -> Span {
        let Geometry { height, width, pad_top, .. } = self.geometry;
        let (Span { start, end }, stride) = (self.rows(pixels), self.layer.stride);
        // The last output row starts at `(end - 1) * stride` and reads `kernel` rows.
        let end = (end * stride + self.layer.operation.kernel() - stride).saturating_sub(pad_top);
        let rows = (start * stride).saturating_sub(pad_top)..end.min(height);
        (rows.start * width..rows.end * width).into()
    }
}

/// What a plan needs to know about a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerRef {
    /// Its number in order of execution.
    pub(crate) index: usize,
    pub(crate) operation: Operation,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    /// The layer's stride. [`Operation::Pointwise`] does not say: a strided pointwise layer runs on a copy without stride.
    pub(crate) stride: usize,
    /// How the channels of its input and output lie.
    pub(crate) input: Blocking,
    pub(crate) output: Blocking,
    /// Output channels of a group: those that are computed together at least.
    pub(crate) lanes: usize,
}

impl LayerRef {
    fn new(layer: &Layer, index: usize, layers: &Layers) -> Self {
        let Layer { cin, cout, stride, .. } = *layer;
        let made = layers.get(index);
        let (input, output, lanes) = (made.input(), made.output(), made.lanes());
        LayerRef { index, operation: layer.operation(), cin, cout, stride, input, output, lanes }
    }

    /// Whether it reads the picture.
    pub(crate) fn is_stem(&self) -> bool {
        matches!(self.operation, Operation::Dense { .. })
    }

    /// Whether it computes with u8.
    pub(crate) fn is_int8(&self) -> bool {
        self.input.element == Element::U8
    }

    /// Whether each unit first copies the input that it reads. Dense layers in int8 make a copy of their own.
    pub(crate) fn copies(&self) -> bool {
        match self.operation {
            Operation::Conv { .. } => !self.is_int8(),
            Operation::Pointwise => self.stride > 1,
            _ => false,
        }
    }

    /// Groups of output channels that can be divided among units: blocks of a depthwise layer, panels of the others.
    pub(crate) fn groups(&self) -> usize {
        self.cout.div_ceil(self.lanes)
    }

    /// Blocks of output channels in memory.
    pub(crate) fn blocks(&self) -> usize {
        self.cout.div_ceil(self.output.lanes)
    }
}

impl Plan {
    /// Plans a graph. The values in `keep` exist whole at the end of a step, as the network's outputs do.
    ///
    /// # Errors
    /// [`Error::Limit`] if an activation has more elements than `limits` allow; [`Error::Average`] if the average pool in int8
    /// would not be exact.
    pub(crate) fn new(
        graph: &Graph<'_>,
        layers: &Layers,
        keep: &[ValueId],
        padding: Padding,
        limits: &Limits,
        threads: usize,
    ) -> Result<Plan, Error> {
        let mut builder = PlanBuilder::new(graph, layers, padding, limits, threads);
        builder.steps(keep)?;
        let picture_steps = builder.steps.iter().filter(|step| !matches!(step.kind, StepKind::Linear(_))).count();
        // The classifier is the only step of the batch. A detector has none.
        let classifier = builder.steps.get(picture_steps).map(|step| step.src);
        let mut plan = Plan {
            features: if let Some(Home::Batch(index)) = classifier { Some(index) } else { None },
            scratch_bytes: builder.scratch_bytes,
            steps: builder.steps,
            picture_steps,
            workspace_bytes: 0,
            batch: builder.batch,
            outputs: builder.outputs,
            #[cfg(feature = "guarded")]
            open: Vec::new(),
        };
        #[cfg(not(feature = "guarded"))]
        {
            plan.workspace_bytes = builder.layout.place(|slot, offset| plan.move_slot(slot, offset));
        }
        #[cfg(feature = "guarded")]
        {
            let places = builder.layout.place_apart(|slot, offset| plan.move_slot(slot, offset));
            plan.workspace_bytes = places.as_ref().and_then(|places| places.bytes()).unwrap_or(usize::MAX);
            plan.open = places.map(|places| places.open).unwrap_or_default();
        }
        Ok(plan)
    }

    /// Elements of the largest value that a step writes.
    pub(crate) fn largest_value(&self) -> usize {
        let of_step = |step: &Step| match step.dst {
            Home::Input => 0,
            Home::Workspace(Slot { shape, .. }) => shape.channels * shape.height * shape.width,
            Home::Batch(index) => self.batch[index].elements(),
        };
        self.steps.iter().map(of_step).max().unwrap_or(0)
    }

    /// Sets a slot's offset wherever the plan mentions it.
    fn move_slot(&mut self, id: usize, offset: usize) {
        for step in &mut self.steps {
            let shortcut = step.shortcut.as_mut().map(|shortcut| &mut shortcut.slot);
            let homes = [&mut step.src, &mut step.dst].into_iter();
            let slots = homes.filter_map(|home| if let Home::Workspace(slot) = home { Some(slot) } else { None });
            slots.chain(shortcut).filter(|slot| slot.id == id).for_each(|slot| slot.offset = offset);
        }
    }
}

// Not for WebAssembly: Node.js crashes while its memory grows to what these networks take together. Plans are the same there.
#[cfg(all(test, not(target_family = "wasm")))]
mod tests;
