//! From layers to steps: how a step is split, how much memory lies between fused layers.

use std::collections::HashMap;
use std::slice::from_ref;

use mnx_tensor::part::{Geometry, Span};
use mnx_tensor::{BlockedShape, Blocking, Operation, PANEL, Tuning, memory};

use super::fused::fused;
use super::split::Task;
use super::{BatchValue, Chain, Conv, Head, Home, LayerRef, Link, Pair, Shortcut, Split, Step, StepKind};
use crate::arena::{LINE, Layout};
use crate::graph::{Graph, Node, ValueId, Work};
use crate::int8::check_average;
use crate::layers::Layers;
use crate::wiring::Addend;
use crate::{Error, LayerKind, Limits, Padding, PlacedLayer, Quantization};

/// Appends steps, and records from which step to which each value is needed.
pub(super) struct PlanBuilder<'a> {
    graph: &'a Graph<'a>,
    made: &'a Layers,
    padding: Padding,
    limits: &'a Limits,
    threads: usize,
    tuning: &'a Tuning,
    /// The home of every value that exists whole.
    homes: HashMap<ValueId, Home>,
    pub(super) steps: Vec<Step>,
    pub(super) layout: Layout,
    pub(super) scratch_bytes: usize,
    /// Bytes of scratch that the next step needs.
    #[cfg(feature = "guarded")]
    step_scratch: usize,
    pub(super) batch: Vec<BatchValue>,
    pub(super) outputs: Vec<(&'static str, usize)>,
}

impl<'a> PlanBuilder<'a> {
    pub(super) fn new(
        graph: &'a Graph<'a>,
        made: &'a Layers,
        padding: Padding,
        limits: &'a Limits,
        threads: usize,
    ) -> Self {
        PlanBuilder {
            graph,
            made,
            padding,
            limits,
            threads,
            tuning: made.tuning(),
            homes: HashMap::new(),
            steps: Vec::new(),
            layout: Layout::default(),
            scratch_bytes: 0,
            #[cfg(feature = "guarded")]
            step_scratch: 0,
            batch: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Turns all nodes into steps. Values in `keep` are never fused away.
    pub(super) fn steps(&mut self, keep: &[ValueId]) -> Result<(), Error> {
        let graph = self.graph;
        let mut first = 0;
        while let Some(node) = graph.nodes.get(first) {
            if first == 0 {
                let [channels, height, width] = graph[node.src].shape;
                check_elements(self.limits, || "the network's input".into(), channels, height, width)?;
                self.homes.insert(node.src, Home::Input);
            }
            // Layers may be fused. Every other node is a step of its own.
            let mut count = 1;
            match node.work {
                Work::Layer(layer) if layer.layer.kind == LayerKind::Linear => self.linear(node, &layer),
                Work::Layer(_) => {
                    count = fused(graph, first, keep, self.threads, self.tuning);
                    self.layers(&graph.nodes[first..first + count])?;
                }
                Work::MaxPool => self.max_pool(node)?,
                Work::Pool => self.pool(node)?,
                Work::Rows { first } => self.rows(node, first)?,
                Work::Head { layer, first } => self.head(node, &layer, first)?,
                Work::Quantize(_) if first == 0 => self.quantize_input(node)?,
                Work::Quantize(quantization) => self.border(node, StepKind::Quantize(quantization))?,
                Work::Dequantize(quantization) => self.border(node, StepKind::Dequantize(quantization))?,
            }
            first += count;
        }
        for &(name, value) in &graph.outputs {
            if let Some(&Home::Batch(index)) = self.homes.get(&value) {
                self.outputs.push((name, index));
            }
        }
        Ok(())
    }

    /// Appends a step that does what these nodes do, writes the value of the last to `dst`, and notes which values it reads.
    fn push(&mut self, kind: StepKind, split: Split, nodes: &[Node<'_>], dst: Home) {
        let (Some(first), Some(node)) = (nodes.first(), nodes.last()) else { return };
        let (step, src) = (self.steps.len(), self.home(first.src));
        let shortcut = node.shortcut.and_then(|Addend { value, channels, activation }| {
            let slot = self.home(value).slot()?;
            Some(Shortcut { slot, channels, clamp: activation.clamp() })
        });
        for slot in src.slot().iter().chain(shortcut.iter().map(|shortcut| &shortcut.slot)) {
            self.layout.used(*slot, step);
        }
        self.homes.insert(node.dst, dst);
        let (value, quantization) = (node.dst, self.graph[node.dst].quantization);
        self.steps.push(Step {
            kind,
            src,
            dst,
            shortcut,
            split,
            value,
            quantization,
            blocks: first.block..=node.block,
            #[cfg(feature = "guarded")]
            scratch: std::mem::take(&mut self.step_scratch),
        });
    }

    fn home(&self, value: ValueId) -> Home {
        *self
            .homes
            .get(&value)
            .expect("nodes are in an order in which they can be computed, fused where nobody else reads")
    }

    /// A slot of the workspace for the output of the next step.
    ///
    /// # Errors
    /// [`Error::Limit`] for one that is larger than an arena may be: nothing that is made for its rows is larger than it is.
    fn workspace(&mut self, shape: BlockedShape) -> Result<Home, Error> {
        let (limit, found) = (self.limits.arena_bytes, shape.bytes() as u64);
        if found > limit {
            let BlockedShape { channels, height, width, .. } = shape;
            let what = format!("bytes of an activation of {channels} x {height} x {width}");
            return Err(Error::Limit { what, limit, found });
        }
        Ok(Home::Workspace(self.layout.value(shape, self.steps.len())))
    }

    /// Rows of the batch: one per picture.
    fn batch(&mut self, shape: [usize; 3], stride: usize, quantization: Option<Quantization>) -> Home {
        self.batch.push(BatchValue { shape, stride, quantization });
        Home::Batch(self.batch.len() - 1)
    }

    /// Rows of features that a linear layer reads: of whole panels.
    fn features(&mut self, value: ValueId) -> Home {
        let (shape, blocking) = (self.graph[value].shape, self.blocking(value));
        let stride = shape[0].next_multiple_of(PANEL) * blocking.element.size();
        self.batch(shape, stride, self.graph[value].quantization)
    }

    /// How the channels of a value lie, if it is not the network's input.
    fn blocking(&self, value: ValueId) -> Blocking {
        if self.graph[value].quantization.is_some() { Blocking::U8 } else { Blocking::F32 }
    }

    /// Notes that a step needs so much of each thread's scratch.
    fn needs_scratch(&mut self, bytes: usize) {
        self.scratch_bytes = self.scratch_bytes.max(bytes);
        #[cfg(feature = "guarded")]
        {
            self.step_scratch = self.step_scratch.max(bytes);
        }
    }

    /// Bytes of scratch that the kernel of one of these layers needs at the most.
    fn kernel_scratch(&self, convs: &[Conv]) -> usize {
        let of = |conv: &Conv| self.made.get(conv.layer.index).scratch_bytes(&conv.geometry);
        convs.iter().map(of).max().unwrap_or(0)
    }

    /// Appends one step for these nodes: a single layer, or several that are fused.
    fn layers(&mut self, nodes: &[Node<'_>]) -> Result<(), Error> {
        let placed = nodes.iter().filter_map(|node| match &node.work {
            Work::Layer(layer) => Some((&*self.graph[node.dst].name, layer)),
            _ => None,
        });
        let convs = placed.map(|(name, layer)| self.conv(name, layer)).collect::<Result<Vec<_>, _>>()?;
        let shape = convs[convs.len() - 1].output()?;
        let dst = self.workspace(shape)?;
        let (kind, split) = match *convs {
            [first, second] if first.layer.operation == Operation::Pointwise => self.by_channels(first, second)?,
            _ => self.chain(&convs)?,
        };
        self.push(kind, split, nodes, dst);
        Ok(())
    }

    fn conv(&self, name: &str, placed: &PlacedLayer<'_>) -> Result<Conv, Error> {
        let PlacedLayer { index, layer, input: (height, width), output: (out_height, out_width), .. } = *placed;
        check_elements(self.limits, || format!("the output of `{name}`"), layer.cout, out_height, out_width)?;
        let (layer, macs) = (LayerRef::new(layer, index, self.made), placed.macs());
        let pad = |size| self.padding.of(layer.operation.kernel(), size, layer.stride).0;
        let (pad_top, pad_left) = (pad(height), pad(width));
        let geometry = Geometry { height, width, out_height, out_width, pad_top, pad_left };
        Ok(Conv { layer, geometry, macs })
    }

    /// Bytes that a unit of rows may put between these layers.
    fn rows_bytes(&self, convs: &[Conv]) -> usize {
        let of_f32 = match convs[0].layer.operation {
            Operation::Depthwise { .. } => self.tuning.depthwise_rows_bytes,
            _ => self.tuning.rows_bytes,
        };
        let is_int8 = convs.iter().all(|conv| conv.layer.is_int8());
        if is_int8 { self.tuning.int8_rows_bytes } else { of_f32 }.max(1)
    }

    fn task(&self, convs: &[Conv], channels: usize) -> Task<'a> {
        let Geometry { out_height: height, out_width: width, .. } = convs[convs.len() - 1].geometry;
        let macs = convs.iter().map(Conv::effort).fold(0, u64::saturating_add);
        Task { height, width, channels, macs, threads: self.threads, tuning: self.tuning }
    }

    /// Layers one after the other. With several layers a unit computes all channels of some pixels; a single layer may be
    /// divided by channels too.
    fn chain(&mut self, convs: &[Conv]) -> Result<(StepKind, Split), Error> {
        let between = &convs[..convs.len() - 1];
        let bytes = between.iter().map(|conv| Ok(conv.output()?.bytes())).sum::<Result<usize, Error>>()?;
        let parts = bytes.div_ceil(self.rows_bytes(convs));
        let last = convs[convs.len() - 1].layer;
        let task = self.task(convs, last.groups());
        let first = &convs[0];
        let split = match convs.len() {
            1 if last.is_stem() => task.by_rows(1),
            // In int8 dense layers copy their input themselves, for each unit.
            1 if last.copies() || matches!(last.operation, Operation::Conv { .. }) => {
                let bytes = first.copied(first.geometry.out_height)?.bytes();
                task.by_channels(bytes.div_ceil(self.tuning.copy_bytes.max(1)), last.groups())
            }
            1 => task.by_size(last.operation == Operation::Pointwise && last.stride == 1),
            _ if first.layer.is_stem() => task.by_rows(parts),
            // The pixels are those of the last layer. The depthwise layer before it computes the rows that contain them.
            _ => task.by_pixels(parts),
        };
        check_units(split, &convs[convs.len() - 1].geometry)?;
        // Strips are sized from the last layer back to the first, for the unit that needs the most pixels of each.
        let mut pixels: Vec<Span> = memory::collect(split.all().map(|(pixels, _)| pixels), split.units())?;
        let mut links = vec![Link { conv: convs[convs.len() - 1], offset: 0, plane: 0 }];
        let mut scratch_bytes = 0;
        for (conv, next) in between.iter().zip(&convs[1..]).rev() {
            pixels.iter_mut().for_each(|pixels| *pixels = next.reads(*pixels));
            let rows = pixels.iter().map(|&pixels| conv.rows(pixels).len()).max().unwrap_or(0);
            let strip = BlockedShape::of(conv.layer.output, conv.layer.cout, rows, conv.geometry.out_width)?;
            links.push(Link { conv: *conv, offset: scratch_bytes, plane: strip.plane });
            scratch_bytes += strip.bytes().next_multiple_of(LINE);
        }
        links.reverse();
        let window = scratch_bytes;
        let mut window_plane = 0;
        if first.layer.copies() {
            let rows = split.all().map(|(pixels, _)| first.rows(pixels).len()).max().unwrap_or(0);
            let copy = first.copied(rows)?;
            (window_plane, scratch_bytes) = (copy.plane, scratch_bytes.saturating_add(copy.bytes()));
        }
        let kernels = scratch_bytes;
        self.needs_scratch(kernels.saturating_add(self.kernel_scratch(convs)));
        Ok((StepKind::Chain(Chain { links, window, window_plane, kernels }), split))
    }

    /// A pointwise layer, then a depthwise one: a unit computes some panels of some rows.
    fn by_channels(&mut self, first: Conv, second: Conv) -> Result<(StepKind, Split), Error> {
        let Geometry { height, width, .. } = second.geometry;
        let LayerRef { lanes, output, .. } = first.layer;
        let panels = first.layer.groups();
        let panel_bytes = (height * width).saturating_mul(lanes * output.element.size());
        let least = if first.layer.is_int8() { 1 } else { self.tuning.min_panels };
        let group = (self.tuning.channels_bytes / panel_bytes).max(least).clamp(1, panels);
        let rows = panel_bytes.saturating_mul(group).div_ceil(self.rows_bytes(&[first, second]));
        let split = self.task(&[first, second], panels).by_channels(rows, group);
        check_units(split, &second.geometry)?;
        let mut most = (0, 0);
        for (pixels, panels) in split.all() {
            most = (most.0.max(panels.len()), most.1.max(first.rows(second.reads(pixels)).len()));
        }
        let strip = BlockedShape::of(output, most.0 * lanes, most.1, width)?;
        let row_bytes = width.saturating_mul(most.0 * lanes * output.element.size() * second.layer.stride).max(1);
        let window = (self.tuning.window_bytes / row_bytes).max(1);
        let convs = [first, second];
        let kernels = strip.bytes().next_multiple_of(LINE);
        let of_kernels = self.kernel_scratch(&convs);
        self.needs_scratch(if of_kernels > 0 { kernels.saturating_add(of_kernels) } else { strip.bytes() });
        let pair = Pair { convs, plane: strip.plane, window, kernels };
        Ok((StepKind::Channels(Box::new(pair)), split))
    }

    fn max_pool(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let ([channels, height, width], [_, out_height, out_width]) =
            (self.graph[node.src].shape, self.graph[node.dst].shape);
        let shape = BlockedShape::of(self.blocking(node.dst), channels, out_height, out_width)?;
        let geometry = Geometry { height, width, out_height, out_width, pad_top: 1, pad_left: 1 };
        self.needs_scratch(self.made.max_pool().map_or(0, |layer| layer.scratch_bytes(&geometry)));
        // Nine comparisons per output; one costs about half a multiply-add.
        let task = self.task_of((out_height, out_width), shape.blocks(), shape.len().saturating_mul(9) / 2);
        let dst = self.workspace(shape)?;
        self.push(StepKind::MaxPool(geometry), task.by_size(false), from_ref(node), dst);
        Ok(())
    }

    fn pool(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let [channels, height, width] = self.graph[node.src].shape;
        if let Some((input, output)) = self.graph[node.src].quantization.zip(self.graph[node.dst].quantization) {
            check_average((height, width), input, output)?;
        }
        let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let (scratch, lanes) = self.made.pool().map_or((0, 1), |layer| (layer.scratch_bytes(&geometry), layer.lanes()));
        self.needs_scratch(scratch);
        let shape = self.home(node.src).slot().map(|slot| slot.shape);
        let groups = channels.div_ceil(lanes);
        let task = self.task_of((1, 1), groups, shape.map_or(0, |shape| shape.len()) / 2);
        let dst = self.features(node.dst);
        self.push(StepKind::Pool(geometry), task.by_size(false), from_ref(node), dst);
        Ok(())
    }

    fn linear(&mut self, node: &Node<'_>, placed: &PlacedLayer<'_>) {
        let layer = LayerRef::new(placed.layer, placed.index, self.made);
        self.needs_scratch(self.made.get(placed.index).scratch_bytes(&Geometry::POINT));
        let macs = usize::try_from(placed.macs()).unwrap_or(usize::MAX);
        let split = self.task_of((1, 1), layer.groups(), macs).by_size(false);
        let dst = self.batch([layer.cout, 1, 1], layer.cout * size_of::<f32>(), None);
        self.push(StepKind::Linear(layer), split, from_ref(node), dst);
    }

    /// A detector's output. The first step that writes to it makes room for all of it.
    fn output(&mut self, value: ValueId) -> Result<Home, Error> {
        if let Some(&home) = self.homes.get(&value) {
            return Ok(home);
        }
        let shape @ [rows, numbers, _] = self.graph[value].shape;
        check_elements(self.limits, || format!("the output `{}`", self.graph[value].name), rows, numbers, 1)?;
        let bytes = rows.saturating_mul(numbers).saturating_mul(size_of::<f32>());
        Ok(self.batch(shape, bytes, None))
    }

    /// Bytes up to row `first` of an output.
    fn offset(&self, value: ValueId, first: usize) -> usize {
        let [_, numbers, _] = self.graph[value].shape;
        first.saturating_mul(numbers).saturating_mul(size_of::<f32>())
    }

    /// A head's planes to their place in an output.
    fn rows(&mut self, node: &Node<'_>, first: usize) -> Result<(), Error> {
        let dst = self.output(node.dst)?;
        let [channels, height, width] = self.graph[node.src].shape;
        let blocks = channels.div_ceil(Blocking::F32.lanes);
        let split = self.task_of((height, width), blocks, channels * height * width).by_size(false);
        let kind = StepKind::Rows { offset: self.offset(node.dst, first), channels };
        self.push(kind, split, from_ref(node), dst);
        Ok(())
    }

    /// The last layer of a head in int8.
    fn head(&mut self, node: &Node<'_>, placed: &PlacedLayer<'_>, first: usize) -> Result<(), Error> {
        let dst = self.output(node.dst)?;
        let offset = self.offset(node.dst, first);
        let mut head = Head { layer: LayerRef::new(placed.layer, placed.index, self.made), offset, kernels: 0 };
        head.kernels = head.blocks().saturating_mul(Blocking::U8.pixel_bytes() * Head::PIXELS).next_multiple_of(LINE);
        let of_kernel = self.made.get(placed.index).scratch_bytes(&Geometry::POINT);
        self.needs_scratch(head.kernels.saturating_add(of_kernel));
        let macs = usize::try_from(placed.macs()).unwrap_or(usize::MAX);
        let split = self.task_of(placed.output, 1, macs).by_pixels(1);
        self.push(StepKind::Head(head), split, from_ref(node), dst);
        Ok(())
    }

    /// The picture as u8.
    fn quantize_input(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let [channels, height, width] = self.graph[node.dst].shape;
        let shape = BlockedShape::of(Blocking::U8_STEM, channels, height, width)?;
        let split = self.task_of((height, width), shape.blocks(), shape.len()).by_rows(1);
        let dst = self.workspace(shape)?;
        self.push(StepKind::QuantizeInput, split, from_ref(node), dst);
        Ok(())
    }

    /// A step between u8 and f32.
    fn border(&mut self, node: &Node<'_>, kind: StepKind) -> Result<(), Error> {
        let [channels, height, width] = self.graph[node.dst].shape;
        let shape = BlockedShape::of(self.blocking(node.dst), channels, height, width)?;
        let split = self.task_of((height, width), shape.blocks(), shape.len()).by_size(false);
        let dst = match self.home(node.src) {
            Home::Batch(_) => self.features(node.dst),
            _ => self.workspace(shape)?,
        };
        self.push(kind, split, from_ref(node), dst);
        Ok(())
    }

    fn task_of(&self, (height, width): (usize, usize), channels: usize, macs: usize) -> Task<'a> {
        Task { height, width, channels, macs: macs as u64, threads: self.threads, tuning: self.tuning }
    }
}

impl Conv {
    fn output(&self) -> Result<BlockedShape, Error> {
        let Geometry { out_height, out_width, .. } = self.geometry;
        Ok(BlockedShape::of(self.layer.output, self.layer.cout, out_height, out_width)?)
    }

    /// How many multiply-adds in f32 take as long, roughly.
    pub(super) fn effort(&self) -> u64 {
        /// Multiply-adds in int8 that take as long as one in f32: at least two.
        const INT8: u64 = 2;
        if self.layer.is_int8() { self.macs / INT8 } else { self.macs }
    }

    /// Shape of the copied input of `rows` output rows, for a layer that reads a copy.
    fn copied(&self, rows: usize) -> Result<BlockedShape, Error> {
        let LayerRef { cin, stride, input, .. } = self.layer;
        // A pointwise layer's copy has only the pixels that it reads: one per output.
        let padded = |size: usize| match self.layer.operation.kernel() {
            1 => size,
            kernel => size.saturating_sub(1).saturating_mul(stride).saturating_add(kernel),
        };
        Ok(BlockedShape::of(input, cin, padded(rows), padded(self.geometry.out_width))?)
    }
}

/// Every unit is looked at, so there must not be too many, even where nothing else is limited. A unit stands for some 100 KB
/// between layers: no plane that fits into a machine's memory has so many.
fn check_units(split: Split, geometry: &Geometry) -> Result<(), Error> {
    const MOST: u64 = 1 << 24;
    let found = split.units() as u64;
    if found <= MOST {
        return Ok(());
    }
    let what = format!("parts of a plane of {} x {}", geometry.out_height, geometry.out_width);
    Err(Error::Limit { what, limit: MOST, found })
}

fn check_elements(
    limits: &Limits,
    what: impl FnOnce() -> String,
    channels: usize,
    h: usize,
    w: usize,
) -> Result<(), Error> {
    let found = (channels as u64).saturating_mul(h as u64).saturating_mul(w as u64);
    if found <= limits.elements {
        return Ok(());
    }
    Err(Error::Limit { what: format!("elements of {}, {channels} x {h} x {w}", what()), limit: limits.elements, found })
}
