//! The plan: what is computed once per model, input size and number of threads. It says which steps there are, which
//! layers each one runs, how it is split into units, and where in the arena its values lie.

mod builder;
mod split;

use mnx_tensor::part::{Geometry, Span};
use mnx_tensor::{Clamp, Operation, Tuning};

use builder::PlanBuilder;
pub(crate) use split::Split;

use crate::arena::Slot;
use crate::graph::{Graph, ValueId};
use crate::{Error, Layer, Limits, Padding};

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
    pub(crate) scratch_bytes: usize,
    /// Values with a row for every picture of the batch.
    pub(crate) batch: Vec<BatchValue>,
    /// The network's outputs: names and indices in `batch`.
    pub(crate) outputs: Vec<(&'static str, usize)>,
}

/// A value that has a row for every picture of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchValue {
    /// Channels of a row. Each is a single number: pooled features or logits.
    pub(crate) channels: usize,
    /// Bytes from row to row.
    pub(crate) stride: usize,
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
    /// The block that its last operation is part of.
    pub(crate) block: usize,
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
    /// thread's scratch. The number is the distance in bytes from one plane in scratch to the next.
    Channels([Conv; 2], usize),
    /// A 3x3 max pool of stride 2.
    MaxPool(Geometry),
    /// The global average pool.
    Pool(Geometry),
    /// A linear layer on the rows of the batch.
    Linear(LayerRef),
}

/// One layer or more, and where their strips lie in a thread's scratch. Offsets are in bytes from its start.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    /// Where the first layer's copied input goes, for layers that read a copy:
    /// - the stem: the padded input of one tile,
    /// - a dense layer of features: the padded input of the whole unit,
    /// - a pointwise layer of stride 2: every second pixel of every second row.
    pub(crate) window: usize,
    /// Bytes from one block's plane to the next in a copy that is made for the whole unit.
    pub(crate) window_plane: usize,
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
            StepKind::Channels(pair, _) => pair.to_vec(),
            StepKind::MaxPool(_) | StepKind::Pool(_) | StepKind::Linear(_) => Vec::new(),
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
}

impl LayerRef {
    fn new(layer: &Layer, index: usize) -> Self {
        let Layer { cin, cout, stride, .. } = *layer;
        LayerRef { index, operation: layer.operation(), cin, cout, stride }
    }

    /// Whether it reads the picture.
    pub(crate) fn is_stem(&self) -> bool {
        matches!(self.operation, Operation::Dense { .. })
    }

    /// Whether each unit first copies the input that it reads.
    pub(crate) fn copies(&self) -> bool {
        matches!(self.operation, Operation::Conv { .. }) || self.operation == Operation::Pointwise && self.stride > 1
    }

    /// Groups of output channels that can be divided among units: blocks of a depthwise layer, panels of the others.
    pub(crate) fn groups(&self) -> usize {
        self.cout.div_ceil(self.operation.lanes())
    }
}

impl Plan {
    /// Plans a graph. The values in `keep` exist whole at the end of a step, as the network's outputs do.
    ///
    /// # Errors
    /// [`Error::Limit`] if an activation has more elements than `limits` allow.
    pub(crate) fn new(
        graph: &Graph<'_>,
        keep: &[ValueId],
        padding: Padding,
        limits: &Limits,
        threads: usize,
        tuning: &'static Tuning,
    ) -> Result<Plan, Error> {
        let mut builder = PlanBuilder::new(graph, padding, limits, threads, tuning);
        builder.steps(keep)?;
        let picture_steps = builder.steps.iter().filter(|step| !matches!(step.kind, StepKind::Linear(_))).count();
        let mut plan = Plan {
            scratch_bytes: builder.scratch_bytes,
            steps: builder.steps,
            picture_steps,
            workspace_bytes: 0,
            batch: builder.batch,
            outputs: builder.outputs,
        };
        plan.workspace_bytes = builder.layout.place(|slot, offset| plan.move_slot(slot, offset));
        Ok(plan)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Network, Spec};

    fn plan(width: f64, size: (usize, usize), threads: usize) -> Plan {
        plan_of("mobilenext", width, size, threads)
    }

    fn plan_of(family: &str, width: f64, size: (usize, usize), threads: usize) -> Plan {
        let mut spec = Spec::family(family).unwrap();
        spec.width = width;
        let network = Network::new(&spec).unwrap();
        let graph = Graph::new(&network, size);
        Plan::new(&graph, &[], spec.padding, &Limits::default(), threads, &Tuning::DEFAULT).unwrap()
    }

    #[test]
    fn values_that_are_needed_at_once_do_not_overlap() {
        let mobilenexts = [(1.0, (224, 224)), (0.35, (37, 53)), (0.1, (1, 1)), (0.13, (7, 300))];
        let mobilenexts = mobilenexts.map(|(width, size)| plan(width, size, 1));
        let others = ["mobilenetv2", "resnet18", "resnet50"].map(|family| plan_of(family, 1.0, (224, 160), 1));
        for plan in mobilenexts.into_iter().chain(others) {
            for step in &plan.steps {
                let Some(dst) = step.dst.slot() else { continue };
                let used = [step.src.slot(), step.shortcut.map(|shortcut| shortcut.slot)].into_iter().flatten();
                for slot in used {
                    let apart =
                        slot.offset + slot.shape.bytes() <= dst.offset || dst.offset + dst.shape.bytes() <= slot.offset;
                    assert!(apart, "{step:?}");
                }
                assert!(dst.offset + dst.shape.bytes() <= plan.workspace_bytes);
                assert_eq!(dst.offset % 64, 0);
            }
        }
    }

    #[test]
    fn the_arena_is_no_larger_than_what_is_whole_at_once() {
        // The input and the output of the second half of features.2, at 56 x 56.
        let bytes = plan(1.0, (224, 224), 1).workspace_bytes;
        let pair = 4 * (32 + 144) * 56 * 56;
        assert!((pair..pair + pair / 100).contains(&bytes), "{bytes} bytes, the pair has {pair}");
    }

    #[test]
    fn units_cover_each_step_once() {
        let threads = [1, 2, 3, 4, 7, 16];
        for (threads, size) in threads.into_iter().flat_map(|t| [(t, (64, 48)), (t, (224, 224)), (t, (1, 9))]) {
            let others = ["mobilenetv2", "resnet18", "resnet50"].map(|family| plan_of(family, 1.0, size, threads));
            for step in others.into_iter().chain([plan(0.35, size, threads)]).flat_map(|plan| plan.steps) {
                let (mut pixels, mut channels) = (0, 0);
                for (p, c) in step.split.all() {
                    (pixels, channels) = (pixels.max(p.end), channels.max(c.end));
                }
                let mut seen = vec![0; pixels * channels];
                for (p, c) in step.split.all() {
                    for pixel in p.start..p.end {
                        (c.start..c.end).for_each(|channel| seen[pixel * channels + channel] += 1);
                    }
                }
                assert!(seen.iter().all(|&times| times == 1), "{step:?}");
                assert_eq!(pixels, step.dst.slot().map_or(1, |slot| slot.shape.height * slot.shape.width));
            }
        }
    }

    #[test]
    fn strips_between_fused_layers_fit_the_scratch() {
        let sizes = [(224, 224), (37, 53), (1, 1), (7, 300), (300, 7), (1, 2000)];
        for (threads, size) in [1, 2, 5].into_iter().flat_map(|t| sizes.map(|size| (t, size))) {
            let plan = plan(1.0, size, threads);
            let mut fused = 0;
            for step in &plan.steps {
                for (pixels, channels) in step.split.all() {
                    match &step.kind {
                        StepKind::Chain(Chain { links, window, .. }) => {
                            let mut pixels = pixels;
                            let mut end = *window;
                            for pair in links.windows(2).rev() {
                                pixels = pair[1].conv.reads(pixels);
                                let Link { conv, offset, plane } = pair[0];
                                assert!(pixels.len() * 32 <= plane, "{step:?}");
                                assert!(offset + conv.layer.cout.div_ceil(8) * plane <= plan.scratch_bytes);
                                end = end.min(offset);
                                fused += 1;
                            }
                            assert_eq!(end, 0);
                        }
                        StepKind::Channels([_, dw], plane) => {
                            assert!(dw.reads(pixels).len() * 32 <= *plane, "{step:?}");
                            assert!(channels.len() * 2 * plane <= plan.scratch_bytes, "{step:?}");
                            fused += 1;
                        }
                        StepKind::MaxPool(_) | StepKind::Pool(_) | StepKind::Linear(_) => {}
                    }
                }
            }
            assert!(fused > 0);
        }
    }

    #[test]
    fn copies_fit_the_scratch() {
        let sizes = [(224, 224), (37, 53), (1, 1), (7, 300), (300, 7), (1, 2000)];
        for (threads, size) in [1, 2, 5].into_iter().flat_map(|t| sizes.map(|size| (t, size))) {
            for plan in ["resnet18", "resnet50"].map(|family| plan_of(family, 1.0, size, threads)) {
                let mut copies = 0;
                for step in &plan.steps {
                    let StepKind::Chain(Chain { links, window, window_plane }) = &step.kind else { continue };
                    let conv = links[0].conv;
                    if !conv.layer.copies() {
                        continue;
                    }
                    for (pixels, _) in step.split.all() {
                        let Geometry { out_width, .. } = conv.geometry;
                        let (rows, stride) = (conv.rows(pixels).len(), conv.layer.stride);
                        let read = match conv.layer.operation.kernel() {
                            1 => rows * out_width,
                            kernel => ((rows - 1) * stride + kernel) * ((out_width - 1) * stride + kernel),
                        };
                        assert!(read * 32 <= *window_plane, "{step:?}");
                        assert!(window + conv.layer.cin.div_ceil(8) * window_plane <= plan.scratch_bytes, "{step:?}");
                        copies += 1;
                    }
                }
                assert!(copies > 0);
            }
        }
    }
}
