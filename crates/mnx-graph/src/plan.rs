//! What is computed once per model, input size and thread count: steps, their extents, how they are split, arena offsets.

use mnx_tensor::args::{Dense, Geometry, Span};
use mnx_tensor::{BlockedShape, Clamp, PANEL};

use crate::arena::{Layout, Slot};
use crate::{Activation, Error, Layer, LayerKind, Limits, Network, Spec};

/// Multiply-adds below which a part of a step is not worth handing to another thread: some 2 µs.
const MIN_UNIT_MACS: u64 = 100_000;

/// From this height on, a step is split by rows: what one thread writes it mostly reads in the next step.
const MIN_HEIGHT_FOR_ROWS: usize = 28;

/// Bytes that a unit of some channels may put between two fused layers: they should still be near when the second layer
/// reads them. Of planes of which one panel is larger, a unit takes some rows, up to [`ROWS_BYTES`].
const CHANNELS_BYTES: usize = 48 << 10;

/// Bytes that a unit of rows may put between two fused layers: with what is read and written beside them they fit
/// into an L2 cache of 512 KiB.
const ROWS_BYTES: usize = 192 << 10;

/// Steps for one picture of a certain size, then the classifier for the batch.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Convolutions in order, then the pool.
    pub(crate) steps: Vec<Step>,
    /// Floats of one picture's activations.
    pub(crate) lane_len: usize,
    /// Floats of scratch that each thread needs.
    pub(crate) scratch_len: usize,
    /// Floats from one picture's pooled features to the next.
    pub(crate) features_stride: usize,
    /// The classifier, and how it is split.
    pub(crate) classifier: LayerRef,
    pub(crate) classifier_split: Split,
}

/// One layer, or two that are fused, for one picture.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    /// The stem reads the caller's tensor instead.
    pub(crate) src: Slot,
    /// The pool writes the features instead.
    pub(crate) dst: Slot,
    /// A shortcut: where it lies and how many channels it covers.
    pub(crate) residual: Option<(Slot, usize)>,
    /// How it is split among threads.
    pub(crate) split: Split,
    /// If a block ends here, its index.
    pub(crate) ends_block: Option<usize>,
}

/// What a step computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StepKind {
    Dense(Conv),
    Depthwise(Conv),
    Pointwise(Conv),
    /// A pointwise layer and the depthwise one that reads it. What lies between never exists whole: each unit
    /// computes some channels of some rows into its thread's scratch, blocks that many floats apart.
    PointwiseDepthwise(Conv, Conv, usize),
    /// The same the other way round; a unit has all channels of some rows.
    DepthwisePointwise(Conv, Conv, usize),
    Pool(Geometry),
}

/// A layer at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) layer: LayerRef,
    pub(crate) geometry: Geometry,
    macs: u64,
}

impl Conv {
    /// Input rows that output rows `rows` of a 3x3 layer read.
    pub(crate) fn input_rows(&self, rows: Span) -> Span {
        let Geometry { height, pad_top, .. } = self.geometry;
        let stride = self.layer.stride;
        let start = (rows.start * stride).saturating_sub(pad_top);
        // Three taps from the last output row's first on.
        let end = (rows.end * stride + 3 - stride).saturating_sub(pad_top);
        Span { start, end: end.min(height) }
    }
}

/// What of a layer does not depend on the input's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerRef {
    /// In order of execution.
    pub(crate) index: usize,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) stride: usize,
    pub(crate) clamp: Clamp,
}

impl LayerRef {
    fn new(layer: &Layer, index: usize) -> Self {
        let clamp = match layer.activation {
            Activation::Linear => Clamp::NONE,
            Activation::Relu6 => Clamp::RELU6,
        };
        LayerRef { index, cin: layer.cin, cout: layer.cout, stride: layer.stride, clamp }
    }
}

/// A step in units that can run in any order on any thread. Neighbours go to the same one as far as possible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// Output rows.
    rows: Cut,
    /// Blocks or panels of channels.
    channels: Cut,
}

/// A number of things in almost equal parts.
#[derive(Clone, Copy, Debug)]
struct Cut {
    total: usize,
    parts: usize,
}

impl Cut {
    fn part(self, index: usize) -> Span {
        (self.total * index / self.parts..self.total * (index + 1) / self.parts).into()
    }

    fn largest(self) -> usize {
        self.total.div_ceil(self.parts)
    }

    /// In at least `parts` parts, as far as there is something for each.
    fn at_least(self, parts: usize) -> Cut {
        Cut { parts: self.parts.max(parts).min(self.total).max(1), ..self }
    }
}

impl Split {
    /// By rows or by groups of channels, a unit per thread, none too small.
    fn new(rows: usize, channels: usize, macs: u64, threads: usize, rows_only: bool) -> Split {
        let (mut rows, mut channels) = (Cut { total: rows, parts: 1 }, Cut { total: channels, parts: 1 });
        let threads = worth(macs, threads);
        if rows_only || rows.total >= MIN_HEIGHT_FOR_ROWS {
            rows = rows.at_least(threads);
        } else {
            channels = channels.at_least(threads);
        }
        Split { rows, channels }
    }

    /// In units of given size at most, as many for each thread as far as that is possible.
    fn in_units(rows: Cut, channels: Cut, macs: u64, threads: usize) -> Split {
        let threads = worth(macs, threads);
        let channels = channels.at_least(channels.parts.next_multiple_of(threads.div_ceil(rows.parts)));
        let rows = rows.at_least(rows.parts.next_multiple_of(threads.div_ceil(channels.parts)));
        Split { rows, channels }
    }

    /// How many units.
    pub(crate) fn units(self) -> usize {
        self.rows.parts * self.channels.parts
    }

    /// Output rows and groups of channels of unit `unit`. Units of the same rows follow each other:
    /// what they read is still in the cache.
    pub(crate) fn unit(self, unit: usize) -> (Span, Span) {
        (self.rows.part(unit / self.channels.parts), self.channels.part(unit % self.channels.parts))
    }
}

/// Among how many threads so many multiply-adds are divided.
fn worth(macs: u64, threads: usize) -> usize {
    usize::try_from(macs / MIN_UNIT_MACS).unwrap_or(usize::MAX).clamp(1, threads)
}

impl Plan {
    /// Plans pictures of `height` x `width`.
    ///
    /// # Errors
    /// [`Error::Limit`] when an activation has more elements than `limits` allow.
    pub(crate) fn new(
        spec: &Spec,
        network: &Network,
        limits: &Limits,
        (height, width): (usize, usize),
        threads: usize,
    ) -> Result<Plan, Error> {
        check_elements(limits, || "the network's input".into(), spec.channels, height, width)?;
        let mut builder =
            Builder { spec, limits, threads, layer: 0, steps: Vec::new(), layout: Layout::default(), scratch_len: 0 };
        let mut value = None;
        let (mut h, mut w) = (height, width);
        for (index, block) in network.blocks.iter().enumerate() {
            let input = value;
            let mut layers = block.layers.as_slice();
            while let Some((first, rest)) = layers.split_first() {
                let second = rest.first().filter(|second| is_pair(first, second));
                layers = if second.is_some() { &rest[1..] } else { rest };
                let shortcut = if layers.is_empty() && block.identity_channels > 0 { input } else { None };
                let residual = shortcut.map(|slot| (slot, block.identity_channels));
                value = Some(builder.convolutions(first, second, (h, w), value, residual)?);
                for layer in [Some(first), second].into_iter().flatten() {
                    (h, w) = layer.output_size(h, w);
                }
            }
            if let Some(step) = builder.steps.last_mut() {
                step.ends_block = Some(index);
            }
        }
        let features = network.classifier.cin;
        builder.pool(value, (h, w));
        let panels = network.classifier.cout.div_ceil(PANEL);
        let Builder { steps, layout, scratch_len, layer: layers, .. } = builder;
        let mut plan = Plan {
            steps,
            lane_len: 0,
            scratch_len,
            features_stride: features.next_multiple_of(PANEL),
            classifier: LayerRef::new(&network.classifier, layers),
            classifier_split: Split::new(1, panels, network.classifier.macs(1, 1), threads, false),
        };
        plan.lane_len = layout.place(|slot, offset| plan.move_slot(slot, offset));
        Ok(plan)
    }

    /// Sets the offset of every mention of a slot.
    fn move_slot(&mut self, id: usize, offset: usize) {
        for step in &mut self.steps {
            let residual = step.residual.as_mut().map(|(slot, _)| slot);
            for slot in [&mut step.src, &mut step.dst].into_iter().chain(residual) {
                if slot.id == id {
                    slot.offset = offset;
                }
            }
        }
    }
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

/// Appends steps and keeps book of how long each value is needed.
struct Builder<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    threads: usize,
    layer: usize,
    steps: Vec<Step>,
    layout: Layout,
    scratch_len: usize,
}

impl Builder<'_> {
    /// A layer, and the one that is fused with it.
    fn convolutions(
        &mut self,
        first: &Layer,
        second: Option<&Layer>,
        (height, width): (usize, usize),
        src: Option<Slot>,
        residual: Option<(Slot, usize)>,
    ) -> Result<Slot, Error> {
        let conv = self.conv(first, (height, width))?;
        let size = (conv.geometry.out_height, conv.geometry.out_width);
        let pair = second.map(|layer| self.conv(layer, size)).transpose()?;
        let Conv { layer, geometry, .. } = pair.unwrap_or(conv);
        let shape = BlockedShape::new(layer.cout, geometry.out_height, geometry.out_width)?;
        let dst = self.layout.value(shape, self.steps.len());
        let (kind, split) = match pair {
            None => self.single(first, conv, shape),
            Some(second) if first.kind == LayerKind::Pointwise => self.by_channels(conv, second)?,
            Some(second) => self.by_rows(conv, second)?,
        };
        for slot in src.iter().chain(residual.iter().map(|(slot, _)| slot)) {
            self.layout.used(*slot, self.steps.len());
        }
        let src = src.unwrap_or_default();
        self.steps.push(Step { kind, src, dst, residual, split, ends_block: None });
        Ok(dst)
    }

    fn conv(&mut self, layer: &Layer, (height, width): (usize, usize)) -> Result<Conv, Error> {
        let (out_height, out_width) = layer.output_size(height, width);
        check_elements(self.limits, || format!("the output of `{}`", layer.name), layer.cout, out_height, out_width)?;
        // A pointwise layer pads nothing and ignores this.
        let pad = |size| self.spec.padding.of(size, layer.stride).0;
        let (pad_top, pad_left) = (pad(height), pad(width));
        let geometry = Geometry { height, width, out_height, out_width, pad_top, pad_left };
        let macs = layer.macs(out_height, out_width);
        self.layer += 1;
        Ok(Conv { layer: LayerRef::new(layer, self.layer - 1), geometry, macs })
    }

    fn single(&mut self, layer: &Layer, conv: Conv, shape: BlockedShape) -> (StepKind, Split) {
        let (blocks, panels) = (shape.blocks(), layer.cout.div_ceil(PANEL));
        let (kind, channels) = match layer.kind {
            LayerKind::Dense3x3 => (StepKind::Dense(conv), panels),
            LayerKind::Depthwise3x3 => (StepKind::Depthwise(conv), blocks),
            LayerKind::Pointwise | LayerKind::Linear => (StepKind::Pointwise(conv), panels),
        };
        let rows_only = layer.kind == LayerKind::Dense3x3;
        if rows_only {
            self.scratch_len = self.scratch_len.max(Dense::scratch_len(layer.cin, layer.stride));
        }
        (kind, Split::new(shape.height, channels, conv.macs, self.threads, rows_only))
    }

    /// Pointwise, then depthwise: a unit is some panels of some rows.
    fn by_channels(&mut self, first: Conv, second: Conv) -> Result<(StepKind, Split), Error> {
        let Geometry { height, width, out_height, .. } = second.geometry;
        let panels = first.layer.cout.div_ceil(PANEL);
        let row_bytes = width * PANEL * 4;
        let group = (CHANNELS_BYTES / (height * row_bytes)).clamp(1, panels);
        let rows = Cut { total: out_height, parts: 1 }.at_least((height * row_bytes).div_ceil(ROWS_BYTES));
        let channels = Cut { total: panels, parts: panels.div_ceil(group) };
        let split = Split::in_units(rows, channels, first.macs + second.macs, self.threads);
        // Strides and the neighbours on both sides.
        let most = out_height.div_ceil(split.rows.parts) * second.layer.stride + 2;
        let strip = BlockedShape::new(split.channels.largest() * PANEL, most.min(height), width)?;
        self.scratch_len = self.scratch_len.max(strip.len());
        Ok((StepKind::PointwiseDepthwise(first, second, strip.plane), split))
    }

    /// Depthwise, then pointwise: a unit is some rows.
    fn by_rows(&mut self, first: Conv, second: Conv) -> Result<(StepKind, Split), Error> {
        let Geometry { out_height, out_width, .. } = first.geometry;
        let bytes = BlockedShape::new(first.layer.cout, out_height, out_width)?.len() * 4;
        let rows = Cut { total: out_height, parts: 1 }.at_least(bytes.div_ceil(ROWS_BYTES));
        let split = Split::in_units(rows, Cut { total: 1, parts: 1 }, first.macs + second.macs, self.threads);
        let strip = BlockedShape::new(first.layer.cout, split.rows.largest(), out_width)?;
        self.scratch_len = self.scratch_len.max(strip.len());
        Ok((StepKind::DepthwisePointwise(first, second, strip.plane), split))
    }

    fn pool(&mut self, src: Option<Slot>, (height, width): (usize, usize)) {
        let src = src.unwrap_or_default();
        self.layout.used(src, self.steps.len());
        let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let macs = (src.shape.len() / 2) as u64;
        let split = Split::new(1, src.shape.blocks(), macs, self.threads, false);
        let kind = StepKind::Pool(geometry);
        self.steps.push(Step { kind, src, dst: Slot::default(), residual: None, split, ends_block: None });
    }
}

/// Whether two layers in a row of one block are fused.
fn is_pair(first: &Layer, second: &Layer) -> bool {
    matches!(
        (first.kind, second.kind),
        (LayerKind::Pointwise, LayerKind::Depthwise3x3) | (LayerKind::Depthwise3x3, LayerKind::Pointwise)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(width: f64, size: (usize, usize), threads: usize) -> Plan {
        let mut spec = Spec::family("mobilenext").unwrap();
        spec.width = width;
        let network = Network::new(&spec).unwrap();
        Plan::new(&spec, &network, &Limits::default(), size, threads).unwrap()
    }

    #[test]
    fn values_that_are_needed_at_once_do_not_overlap() {
        for (width, size) in [(1.0, (224, 224)), (0.35, (37, 53)), (0.1, (1, 1)), (0.13, (7, 300))] {
            let plan = plan(width, size, 1);
            for step in &plan.steps {
                let used = [Some(step.src), step.residual.map(|r| r.0)].into_iter().flatten();
                for slot in used.filter(|s| !s.shape.is_empty()) {
                    let apart = slot.offset + slot.shape.len() <= step.dst.offset
                        || step.dst.offset + step.dst.shape.len() <= slot.offset;
                    assert!(apart || step.dst.shape.is_empty(), "{step:?}");
                }
                assert!(step.dst.offset + step.dst.shape.len() <= plan.lane_len);
                assert_eq!(step.dst.offset % 16, 0);
            }
        }
    }

    #[test]
    fn the_arena_is_no_larger_than_what_is_whole_at_once() {
        // The stem's 32 channels and the 16 that features.1 narrows them to, both at 112 x 112.
        let floats = plan(1.0, (224, 224), 1).lane_len;
        let pair = (32 + 16) * 112 * 112;
        assert!((pair..pair + pair / 100).contains(&floats), "{floats} floats, the pair has {pair}");
    }

    #[test]
    fn units_cover_each_step_once() {
        for (threads, size) in [1, 2, 3, 4, 7].into_iter().flat_map(|t| [(t, (64, 48)), (t, (224, 224)), (t, (1, 9))]) {
            for step in plan(0.35, size, threads).steps {
                let Split { rows, channels } = step.split;
                let mut seen = vec![0; rows.total * channels.total];
                for (r, c) in (0..step.split.units()).map(|unit| step.split.unit(unit)) {
                    for row in r.start..r.end {
                        (c.start..c.end).for_each(|channel| seen[row * channels.total + channel] += 1);
                    }
                }
                assert!(seen.iter().all(|&times| times == 1), "{step:?}");
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
                for (rows, channels) in (0..step.split.units()).map(|unit| step.split.unit(unit)) {
                    let (blocks, rows, width, plane) = match step.kind {
                        StepKind::PointwiseDepthwise(_, dw, plane) => {
                            (channels.len() * 2, dw.input_rows(rows), dw.geometry.width, plane)
                        }
                        StepKind::DepthwisePointwise(dw, _, plane) => {
                            (dw.layer.cout.div_ceil(8), rows, dw.geometry.out_width, plane)
                        }
                        _ => continue,
                    };
                    fused += 1;
                    assert!(rows.len() * width * 8 <= plane && blocks * plane <= plan.scratch_len, "{step:?}");
                }
            }
            assert!(fused > 0);
        }
    }
}
