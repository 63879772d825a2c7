//! From layers to steps: which are fused, how they are split, what they need between them.

use mnx_tensor::part::{Geometry, Span};
use mnx_tensor::{BlockedShape, Operation, PANEL, Tuning};

use super::split::{Work, keeps_rows};
use super::{Chain, Conv, LayerRef, Link, Shortcut, Split, Step, StepKind};
use crate::arena::{LINE, Layout, Slot};
use crate::network::max_pool_size;
use crate::{Error, LayerKind, Limits, Network, PlacedLayer, Spec};

/// Appends steps and keeps book of how long each value is needed.
pub(super) struct Builder<'a> {
    spec: &'a Spec,
    limits: &'a Limits,
    threads: usize,
    tuning: &'static Tuning,
    pub(super) steps: Vec<Step>,
    pub(super) layout: Layout,
    pub(super) scratch_bytes: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(spec: &'a Spec, limits: &'a Limits, threads: usize, tuning: &'static Tuning) -> Self {
        Builder { spec, limits, threads, tuning, steps: Vec::new(), layout: Layout::default(), scratch_bytes: 0 }
    }

    /// The steps of all blocks, and the pool.
    pub(super) fn blocks(&mut self, network: &Network, size: (usize, usize), whole_blocks: bool) -> Result<(), Error> {
        let placed = network.place(size.0, size.1).filter(|l| l.block < network.blocks.len());
        let (projections, layers): (Vec<_>, Vec<_>) = placed.partition(|l| l.projection);
        let (mut rest, mut value, mut size) = (&*layers, None, size);
        let (mut block, mut block_input) = (None, None);
        while let [first, ..] = rest {
            let (now, later) = rest.split_at(fused(network, rest, whole_blocks, self.threads, self.tuning));
            if block != Some(first.block) {
                block_input = value;
            }
            let last = &now[now.len() - 1];
            let ends = later.first().is_none_or(|next| next.block != last.block);
            block = Some(last.block);
            let current = &network.blocks[last.block];
            let mut shortcut = None;
            if ends && current.identity_channels > 0 {
                let on_it = projections.iter().find(|l| l.block == last.block);
                let slot = on_it.map_or(Ok(block_input), |l| self.step(&[*l], block_input, None).map(Some))?;
                let (channels, clamp) = (current.identity_channels, current.activation.clamp());
                shortcut = slot.map(|slot| Shortcut { slot, channels, clamp });
            }
            value = Some(self.step(now, value, shortcut)?);
            (rest, size) = (later, last.output);
            if ends && current.max_pool {
                (value, size) = self.max_pool(value, size)?;
            }
            if let Some(step) = self.steps.last_mut() {
                step.ends_block = ends.then_some(last.block);
            }
        }
        self.pool(value, size);
        Ok(())
    }

    fn step(
        &mut self,
        layers: &[PlacedLayer<'_>],
        src: Option<Slot>,
        shortcut: Option<Shortcut>,
    ) -> Result<Slot, Error> {
        let convs = layers.iter().map(|layer| self.conv(layer)).collect::<Result<Vec<_>, _>>()?;
        let shape = convs[convs.len() - 1].output()?;
        let dst = self.layout.value(shape, self.steps.len());
        let (kind, split) = match *convs {
            [first, second] if first.layer.operation == Operation::Pointwise => self.by_channels(first, second)?,
            _ => self.chain(&convs)?,
        };
        for slot in src.iter().chain(shortcut.iter().map(|shortcut| &shortcut.slot)) {
            self.layout.used(*slot, self.steps.len());
        }
        self.steps.push(Step { kind, src: src.unwrap_or_default(), dst, shortcut, split, ends_block: None });
        Ok(dst)
    }

    fn conv(&self, placed: &PlacedLayer<'_>) -> Result<Conv, Error> {
        let PlacedLayer { index, layer, input: (height, width), output: (out_height, out_width), .. } = *placed;
        check_elements(self.limits, || format!("the output of `{}`", layer.name), layer.cout, out_height, out_width)?;
        let (layer, macs) = (LayerRef::new(layer, index), placed.macs());
        let pad = |size| self.spec.padding.of(layer.operation.kernel(), size, layer.stride).0;
        let (pad_top, pad_left) = (pad(height), pad(width));
        let geometry = Geometry { height, width, out_height, out_width, pad_top, pad_left };
        Ok(Conv { layer, geometry, macs })
    }

    fn work(&self, convs: &[Conv], channels: usize) -> Work {
        let Geometry { out_height: height, out_width: width, .. } = convs[convs.len() - 1].geometry;
        let macs = convs.iter().map(|conv| conv.macs).fold(0, u64::saturating_add);
        Work { height, width, channels, macs, threads: self.threads, tuning: self.tuning }
    }

    /// Layers one after the other; a unit has all channels of some pixels, unless it is one layer.
    fn chain(&mut self, convs: &[Conv]) -> Result<(StepKind, Split), Error> {
        let between = &convs[..convs.len() - 1];
        let bytes = between.iter().map(|conv| Ok(conv.output()?.bytes())).sum::<Result<usize, Error>>()?;
        let parts = bytes.div_ceil(self.tuning.rows_bytes);
        let last = convs[convs.len() - 1].layer;
        let work = self.work(convs, last.groups());
        let first = &convs[0];
        let split = match convs.len() {
            1 if last.is_stem() => work.by_rows(1),
            1 if last.copies() => {
                let bytes = first.copied(first.geometry.out_height)?.bytes();
                work.by_channels(bytes.div_ceil(self.tuning.copy_bytes), last.groups())
            }
            1 => work.by_size(),
            _ if first.layer.is_stem() => work.by_rows(parts),
            // Pixels of the last layer; the depthwise one gives the rows that they are in.
            _ => work.by_pixels(parts),
        };
        // From the last layer to the first: the most pixels of each that a unit needs.
        let mut pixels: Vec<Span> = split.all().map(|(pixels, _)| pixels).collect();
        let mut links = vec![Link { conv: convs[convs.len() - 1], offset: 0, plane: 0 }];
        let mut scratch_bytes = 0;
        for (conv, next) in between.iter().zip(&convs[1..]).rev() {
            pixels.iter_mut().for_each(|pixels| *pixels = next.reads(*pixels));
            let rows = pixels.iter().map(|&pixels| conv.rows(pixels).len()).max().unwrap_or(0);
            let strip = BlockedShape::new(conv.layer.cout, rows, conv.geometry.out_width)?;
            links.push(Link { conv: *conv, offset: scratch_bytes, plane: strip.plane });
            scratch_bytes += strip.bytes().next_multiple_of(LINE);
        }
        links.reverse();
        let window = scratch_bytes;
        let mut window_plane = 0;
        if first.layer.is_stem() {
            scratch_bytes = scratch_bytes.saturating_add(first.layer.operation.scratch_bytes(first.layer.cin));
        } else if first.layer.copies() {
            let rows = split.all().map(|(pixels, _)| first.rows(pixels).len()).max().unwrap_or(0);
            let copy = first.copied(rows)?;
            (window_plane, scratch_bytes) = (copy.plane, scratch_bytes.saturating_add(copy.bytes()));
        }
        self.scratch_bytes = self.scratch_bytes.max(scratch_bytes);
        Ok((StepKind::Chain(Chain { links, window, window_plane }), split))
    }

    /// Pointwise, then depthwise: a unit is some panels of some rows.
    fn by_channels(&mut self, first: Conv, second: Conv) -> Result<(StepKind, Split), Error> {
        let Geometry { height, width, .. } = second.geometry;
        let panels = first.layer.cout.div_ceil(PANEL);
        let panel_bytes = height * width * PANEL * 4;
        let group = (self.tuning.channels_bytes / panel_bytes).clamp(1, panels);
        let split =
            self.work(&[first, second], panels).by_channels(panel_bytes.div_ceil(self.tuning.rows_bytes), group);
        let mut most = (0, 0);
        for (pixels, panels) in split.all() {
            most = (most.0.max(panels.len()), most.1.max(first.rows(second.reads(pixels)).len()));
        }
        let strip = BlockedShape::new(most.0 * PANEL, most.1, width)?;
        self.scratch_bytes = self.scratch_bytes.max(strip.bytes());
        Ok((StepKind::Channels([first, second], strip.plane), split))
    }

    /// The value and the size that it leaves.
    fn max_pool(&mut self, src: Option<Slot>, size: (usize, usize)) -> Result<(Option<Slot>, (usize, usize)), Error> {
        let src = src.unwrap_or_default();
        let ((height, width), (out_height, out_width)) = (size, max_pool_size(size));
        let dst = self.layout.value(BlockedShape::new(src.shape.channels, out_height, out_width)?, self.steps.len());
        self.layout.used(src, self.steps.len());
        let geometry = Geometry { height, width, out_height, out_width, pad_top: 1, pad_left: 1 };
        let (channels, macs) = (dst.shape.blocks(), (dst.shape.len() * 9 / 2) as u64);
        let work =
            Work { height: out_height, width: out_width, channels, macs, threads: self.threads, tuning: self.tuning };
        let (kind, split) = (StepKind::MaxPool(geometry), work.by_size());
        self.steps.push(Step { kind, src, dst, shortcut: None, split, ends_block: None });
        Ok((Some(dst), (out_height, out_width)))
    }

    fn pool(&mut self, src: Option<Slot>, (height, width): (usize, usize)) {
        let src = src.unwrap_or_default();
        self.layout.used(src, self.steps.len());
        let geometry = Geometry { height, width, out_height: 1, out_width: 1, pad_top: 0, pad_left: 0 };
        let macs = (src.shape.len() / 2) as u64;
        let work = Work {
            height: 1,
            width: 1,
            channels: src.shape.blocks(),
            macs,
            threads: self.threads,
            tuning: self.tuning,
        };
        let (kind, split) = (StepKind::Pool(geometry), work.by_size());
        self.steps.push(Step { kind, src, dst: Slot::default(), shortcut: None, split, ends_block: None });
    }
}

impl Conv {
    fn output(&self) -> Result<BlockedShape, Error> {
        Ok(BlockedShape::new(self.layer.cout, self.geometry.out_height, self.geometry.out_width)?)
    }

    /// The copy of what `rows` output rows read, for a layer that reads a copy.
    fn copied(&self, rows: usize) -> Result<BlockedShape, Error> {
        let LayerRef { cin, stride, .. } = self.layer;
        // A pointwise layer's has just the pixels that it reads.
        let padded = |size: usize| match self.layer.operation.kernel() {
            1 => size,
            kernel => size.saturating_sub(1).saturating_mul(stride).saturating_add(kernel),
        };
        Ok(BlockedShape::new(cin, padded(rows), padded(self.geometry.out_width))?)
    }
}

/// How many of these layers, the first ones, are fused.
fn fused(network: &Network, layers: &[PlacedLayer<'_>], whole_blocks: bool, threads: usize, tuning: &Tuning) -> usize {
    use LayerKind::{Dense3x3, Depthwise3x3, Pointwise};
    let kind = |index: usize| layers.get(index).map(|l: &PlacedLayer<'_>| l.layer.kind);
    let same_block = |a: usize, b: usize| layers[a].block == layers[b].block;
    let reads_kept_rows = |index: usize| {
        let kept = |l: &PlacedLayer<'_>| {
            l.layer.kind == Depthwise3x3 && l.layer.stride == 1 && keeps_rows(l.input.0, threads, tuning)
        };
        layers.get(index).is_some_and(kept)
    };
    match [kind(0), kind(1), kind(2)] {
        // The stem and the next block's beginning, unless that block needs the stem's output for its shortcut.
        [Some(Dense3x3), Some(Depthwise3x3), Some(Pointwise)]
            if !whole_blocks
                && same_block(1, 2)
                && !network.blocks[layers[0].block].max_pool
                && network.blocks[layers[1].block].identity_channels == 0 =>
        {
            3
        }
        // Threads that keep rows meet before depthwise layers only, which read across the seams.
        [Some(Depthwise3x3), Some(Pointwise), Some(Pointwise)] if same_block(0, 2) && reads_kept_rows(3) => 3,
        [Some(Pointwise), Some(Depthwise3x3), _] if reads_kept_rows(1) => 1,
        [Some(Pointwise), Some(Depthwise3x3), _] | [Some(Depthwise3x3), Some(Pointwise), _] if same_block(0, 1) => 2,
        _ => 1,
    }
}

pub(super) fn check_elements(
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
