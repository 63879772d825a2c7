//! What is computed once per model, input size and thread count: steps, their extents, how they are split, arena offsets.

use mnx_tensor::args::{Dense, Geometry, Span};
use mnx_tensor::{BlockedShape, Clamp, PANEL};

use crate::arena::{Layout, Slot};
use crate::{Activation, Error, Layer, LayerKind, Limits, Network, Spec};

/// Multiply-adds below which a chunk of a step is not worth handing to another thread: some 2 µs.
const MIN_CHUNK_MACS: u64 = 100_000;

/// Chunks per thread: more than one lets a thread that starts late, or is held up, leave its share to the others.
const CHUNKS_PER_THREAD: usize = 2;

/// From this height on, a step is split by rows: what one thread writes it mostly reads in the next step.
const MIN_HEIGHT_FOR_ROWS: usize = 28;

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

/// One layer for one picture.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) geometry: Geometry,
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
    Dense(LayerRef),
    Depthwise(LayerRef),
    Pointwise(LayerRef),
    Pool,
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

/// A step in chunks that can run in any order, on any thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub(crate) chunks: usize,
    axis: Axis,
    /// Output rows, and blocks or panels of channels.
    rows: usize,
    channels: usize,
}

#[derive(Clone, Copy, Debug)]
enum Axis {
    Rows,
    Channels,
}

impl Split {
    /// At most as many chunks as there are rows or groups of channels, none too small.
    fn new(rows: usize, channels: usize, macs: u64, threads: usize, rows_only: bool) -> Split {
        let axis = if rows_only || rows >= MIN_HEIGHT_FOR_ROWS { Axis::Rows } else { Axis::Channels };
        let units = match axis {
            Axis::Rows => rows,
            Axis::Channels => channels,
        };
        let worth = usize::try_from(macs / MIN_CHUNK_MACS).unwrap_or(usize::MAX);
        let wanted = if threads == 1 { 1 } else { threads.saturating_mul(CHUNKS_PER_THREAD) };
        Split { chunks: wanted.min(units).min(worth).max(1), axis, rows, channels }
    }

    /// Output rows and groups of channels of chunk `index`.
    pub(crate) fn part(&self, index: usize) -> (Span, Span) {
        let share = |units: usize| (units * index / self.chunks..units * (index + 1) / self.chunks).into();
        let all = |units: usize| (0..units).into();
        match self.axis {
            Axis::Rows => (share(self.rows), all(self.channels)),
            Axis::Channels => (all(self.rows), share(self.channels)),
        }
    }
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
        check_elements(limits, "the network's input", spec.channels, height, width)?;
        let mut builder =
            Builder { spec, limits, threads, layer: 0, steps: Vec::new(), layout: Layout::default(), scratch_len: 0 };
        let mut value = None;
        let (mut h, mut w) = (height, width);
        for (index, block) in network.blocks.iter().enumerate() {
            let input = value;
            let last = block.layers.len().saturating_sub(1);
            for (i, layer) in block.layers.iter().enumerate() {
                let shortcut = if i == last && block.identity_channels > 0 { input } else { None };
                let residual = shortcut.map(|slot| (slot, block.identity_channels));
                value = Some(builder.convolution(layer, (h, w), value, residual)?);
                (h, w) = layer.output_size(h, w);
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

fn check_elements(limits: &Limits, what: &str, channels: usize, h: usize, w: usize) -> Result<(), Error> {
    let found = (channels as u64).saturating_mul(h as u64).saturating_mul(w as u64);
    if found <= limits.elements {
        return Ok(());
    }
    Err(Error::Limit { what: format!("elements of {what}, {channels} x {h} x {w}"), limit: limits.elements, found })
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
    fn convolution(
        &mut self,
        layer: &Layer,
        (height, width): (usize, usize),
        src: Option<Slot>,
        residual: Option<(Slot, usize)>,
    ) -> Result<Slot, Error> {
        let (out_height, out_width) = layer.output_size(height, width);
        check_elements(self.limits, &format!("the output of `{}`", layer.name), layer.cout, out_height, out_width)?;
        let step = self.steps.len();
        let dst = self.layout.value(BlockedShape::new(layer.cout, out_height, out_width)?, step);
        // A pointwise layer pads nothing and ignores this.
        let pad = |size| self.spec.padding.of(size, layer.stride).0;
        let (pad_top, pad_left) = (pad(height), pad(width));
        let geometry = Geometry { height, width, out_height, out_width, pad_top, pad_left };
        let (blocks, panels) = (dst.shape.blocks(), layer.cout.div_ceil(PANEL));
        let reference = LayerRef::new(layer, self.layer);
        let (kind, channels) = match layer.kind {
            LayerKind::Dense3x3 => (StepKind::Dense(reference), panels),
            LayerKind::Depthwise3x3 => (StepKind::Depthwise(reference), blocks),
            LayerKind::Pointwise | LayerKind::Linear => (StepKind::Pointwise(reference), panels),
        };
        let rows_only = layer.kind == LayerKind::Dense3x3;
        if rows_only {
            self.scratch_len = self.scratch_len.max(Dense::scratch_len(layer.cin, layer.stride));
        }
        let macs = layer.macs(out_height, out_width);
        let split = Split::new(out_height, channels, macs, self.threads, rows_only);
        for slot in src.iter().chain(residual.iter().map(|(slot, _)| slot)) {
            self.layout.used(*slot, step);
        }
        let src = src.unwrap_or_default();
        self.steps.push(Step { kind, geometry, src, dst, residual, split, ends_block: None });
        self.layer += 1;
        Ok(dst)
    }

    fn pool(&mut self, src: Option<Slot>, (height, width): (usize, usize)) {
        let src = src.unwrap_or_default();
        self.layout.used(src, self.steps.len());
        let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let macs = (src.shape.len() / 2) as u64;
        let split = Split::new(1, src.shape.blocks(), macs, self.threads, false);
        let dst = Slot::default();
        self.steps.push(Step { kind: StepKind::Pool, geometry, src, dst, residual: None, split, ends_block: None });
    }
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
    fn the_arena_is_no_larger_than_the_largest_pair_of_layers() {
        // 96 channels at 112 x 112 and at 56 x 56, and what padded planes add.
        let floats = plan(1.0, (224, 224), 1).lane_len;
        let pair = 96 * (112 * 112 + 56 * 56);
        assert!((pair..pair + pair / 100).contains(&floats), "{floats} floats, the pair has {pair}");
    }

    #[test]
    fn chunks_cover_each_step_once() {
        for threads in [1, 2, 3, 4, 7] {
            for step in plan(0.35, (64, 48), threads).steps {
                let Split { chunks, rows, channels, .. } = step.split;
                assert!(threads > 1 || chunks == 1);
                let cells = |(r, c): (Span, Span)| r.len() * c.len();
                let total: usize = (0..chunks).map(|i| cells(step.split.part(i))).sum();
                assert_eq!(total, rows * channels);
                for i in 1..chunks {
                    let (before, after) = (step.split.part(i - 1), step.split.part(i));
                    assert!(before.0.end == after.0.start || before.1.end == after.1.start);
                }
            }
        }
    }
}
