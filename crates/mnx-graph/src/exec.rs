//! Runs a plan: turns a step and a unit into kernel calls.

use std::sync::atomic::{AtomicBool, Ordering};

use mnx_tensor::part::{Geometry, Planes, PlanesMut, Residual, Span};
use mnx_tensor::strip::{pad_rows, sample_rows};
use mnx_tensor::{Blocking, Operation, Part, TensorView};

use crate::arena::{LINE, Slot};
use crate::border;
use crate::int8::dequantize;
use crate::layers::Layers;
use crate::plan::{BatchValue, Conv, Head, Home, LayerRef, Link, Pair, Plan, Shortcut, Step, StepKind};
use crate::{Error, Stopper, rows};

/// How a session's memory is divided, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    workspace: usize,
    scratch: usize,
    /// Where worker 0's scratch begins.
    scratch_start: usize,
    /// Where each value of [`Plan::batch`] begins.
    pub(crate) batch: Vec<usize>,
    pub(crate) end: usize,
    /// Where each step's scratch begins in that of a worker.
    #[cfg(feature = "guarded")]
    step_scratch: Vec<usize>,
    /// What may be used of it all.
    #[cfg(feature = "guarded")]
    pub(crate) open: Vec<std::ops::Range<usize>>,
}

impl Regions {
    /// Regions for `workspaces` pictures at a time, `workers` threads and `batch` pictures in all. `None` if the sizes
    /// overflow.
    #[cfg(not(feature = "guarded"))]
    pub(crate) fn new(plan: &Plan, workspaces: usize, workers: usize, batch: usize) -> Option<Regions> {
        let workspace = plan.workspace_bytes.checked_next_multiple_of(LINE)?;
        let scratch = plan.scratch_bytes.checked_next_multiple_of(LINE)?;
        let scratch_start = workspace.checked_mul(workspaces)?;
        let mut end = scratch_start.checked_add(scratch.checked_mul(workers)?)?;
        let mut starts = Vec::with_capacity(plan.batch.len());
        for value in &plan.batch {
            end = end.checked_next_multiple_of(LINE)?;
            starts.push(end);
            end = end.checked_add(value.stride.checked_mul(batch)?)?;
        }
        Some(Regions { workspace, scratch, scratch_start, batch: starts, end })
    }

    /// The same with pages that fault around each value, each step's scratch, and the rows of each output.
    #[cfg(feature = "guarded")]
    pub(crate) fn new(plan: &Plan, workspaces: usize, workers: usize, batch: usize) -> Option<Regions> {
        use crate::guarded::Places;

        let mut open = Vec::new();
        let mut end = 0_usize;
        let mut add = |ranges: &[std::ops::Range<usize>], bytes: usize| {
            let start = end;
            open.extend(ranges.iter().map(|range| start + range.start..start + range.end));
            end = end.checked_add(bytes)?;
            Some(start)
        };
        for _ in 0..workspaces {
            add(&plan.open, plan.workspace_bytes)?;
        }
        let mut scratch = Places::new();
        let of_step = |step: &Step| scratch.add(step.scratch, LINE);
        let step_scratch = plan.steps.iter().map(of_step).collect::<Option<Vec<_>>>()?;
        for _ in 0..workers {
            add(&scratch.open, scratch.bytes()?)?;
        }
        let mut rows = Places::new();
        // Rows need no more than the alignment of their numbers.
        let of_value = |value: &BatchValue| rows.add(value.stride.checked_mul(batch)?, size_of::<f32>());
        let starts = plan.batch.iter().map(of_value).collect::<Option<Vec<_>>>()?;
        let start = add(&rows.open, rows.bytes()?)?;
        let scratch_start = plan.workspace_bytes.checked_mul(workspaces)?;
        Some(Regions {
            workspace: plan.workspace_bytes,
            scratch: scratch.bytes()?,
            scratch_start,
            batch: starts.iter().map(|at| start + at).collect(),
            end,
            step_scratch,
            open,
        })
    }

    /// The memory for them, all zeros.
    pub(crate) fn memory(&self) -> Result<Memory, crate::Error> {
        #[cfg(not(feature = "guarded"))]
        return Ok(Memory::try_zeroed(self.end)?);
        #[cfg(feature = "guarded")]
        return Memory::new(self.end, &self.open);
    }
}

#[cfg(feature = "guarded")]
pub(crate) use crate::guarded::Memory;
/// The memory of a session.
#[cfg(not(feature = "guarded"))]
pub(crate) type Memory = mnx_tensor::AlignedBytes;

/// Everything that the threads of one inference share.
///
/// Their writes are disjoint. A worker's scratch is its own. A workspace belongs to one worker, or, when all workers compute
/// one picture together, is divided among the units of a step, which the plan keeps apart. A step reads only what earlier
/// steps wrote.
pub(crate) struct Exec<'a> {
    layers: &'a Layers,
    plan: &'a Plan,
    input: TensorView<'a>,
    memory: *mut u8,
    regions: &'a Regions,
    stopper: &'a Stopper,
    /// Something was left out, so that there is no result.
    stopped: AtomicBool,
}

// SAFETY: see the type: writes through `memory` are disjoint, and phases order them before their reads.
unsafe impl Sync for Exec<'_> {}

impl<'a> Exec<'a> {
    /// # Safety
    /// `plan` and `regions` fit the layers and the input.
    pub(crate) unsafe fn new(
        layers: &'a Layers,
        plan: &'a Plan,
        input: TensorView<'a>,
        memory: &'a mut Memory,
        regions: &'a Regions,
        stopper: &'a Stopper,
    ) -> Self {
        assert!(memory.len() >= regions.end, "the session's memory holds all regions");
        Exec { layers, plan, input, memory: memory.as_mut_ptr(), regions, stopper, stopped: AtomicBool::new(false) }
    }

    /// Whether the inference was stopped, and the rest is to be left out.
    pub(crate) fn is_stopped(&self) -> bool {
        // Resuming does not bring back what was left out.
        if self.stopped.load(Ordering::Relaxed) {
            return true;
        }
        if self.stopper.is_stopped() {
            self.stopped.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// When all threads are through.
    ///
    /// # Errors
    /// [`Error::Stopped`] if something was left out.
    pub(crate) fn finished(self) -> Result<(), Error> {
        if self.stopped.into_inner() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Runs unit `unit` of step `step` for picture `picture`, unless the inference was stopped. The picture's activations are in
    /// workspace number `workspace`. For a step of the batch, picture and workspace do not matter.
    ///
    /// # Safety
    /// - Earlier steps are complete: those of the picture, or, for a step of the batch, those of all pictures.
    /// - At the same time nobody else runs this unit, uses this workspace for another picture, or uses this hand's scratch.
    pub(crate) unsafe fn step(&self, step: usize, unit: usize, picture: usize, workspace: usize, hand: &mut Hand) {
        if self.is_stopped() {
            return;
        }
        let place = (picture, step, unit);
        let before = hand.last.replace(place).filter(|&(p, s, u)| (p, s, u + 1) == place).map(|(.., unit)| unit);
        let Regions { workspace: workspace_bytes, scratch, scratch_start, .. } = *self.regions;
        #[cfg(feature = "guarded")]
        let scratch_start = scratch_start + self.regions.step_scratch[step];
        let step = &self.plan.steps[step];
        let workspace = self.memory.wrapping_add(workspace * workspace_bytes);
        let scratch = self.memory.wrapping_add(scratch_start + hand.worker * scratch);
        let (pixels, channels) = step.split.unit(unit);
        let (src, dst) = (self.at(step.src, picture, workspace).read(), self.at(step.dst, picture, workspace));
        let residual = residual(workspace, step);
        let part = Part { src, dst, residual, geometry: Geometry::POINT, scratch, pixels, channels };
        // SAFETY: units of a step write to different memory, and the slot that a step writes overlaps none that it reads. The
        // plan made room in scratch for what fused layers hand over. The rest is the caller's promise.
        unsafe {
            match &step.kind {
                StepKind::Chain(chain) => {
                    let held = before.map(|unit| step.split.unit(unit).0);
                    self.chain(
                        &chain.links,
                        part,
                        held,
                        &Scratch {
                            strips: scratch,
                            window: scratch.wrapping_add(chain.window),
                            window_plane: chain.window_plane,
                            kernels: scratch.wrapping_add(chain.kernels),
                        },
                    );
                }
                StepKind::Channels(pair) => self.pair(pair, part),
                StepKind::QuantizeInput => {
                    if let Some(layer) = self.layers.quantize() {
                        layer.run(&part);
                    }
                }
                StepKind::Quantize(quantization) => {
                    let (src, dst) = self.rows(step, picture, src, dst);
                    border::quantize(src, dst, self.channels(step), *quantization, pixels, channels);
                }
                StepKind::Dequantize(quantization) => {
                    let (src, dst) = self.rows(step, picture, src, dst);
                    border::dequantize(src, dst, self.channels(step), *quantization, pixels, channels);
                }
                StepKind::MaxPool(geometry) => {
                    if let Some(layer) = self.layers.max_pool() {
                        layer.run(&Part { geometry: *geometry, ..part });
                    }
                }
                StepKind::Pool(geometry) => {
                    let (_, row) = self.rows(step, picture, src, dst);
                    if let Some(layer) = self.layers.pool() {
                        layer.run(&Part { dst: row, geometry: *geometry, ..part });
                    }
                }
                StepKind::Rows { offset, channels: numbers } => {
                    let row = dst.block::<u8>(picture).wrapping_add(*offset);
                    rows::write(src, row.cast(), *numbers, pixels, channels);
                }
                StepKind::Head(head) => {
                    let row = dst.block::<u8>(picture).wrapping_add(head.offset);
                    self.head(head, Part { dst: PlanesMut { ptr: row, ..dst }, ..part });
                }
                StepKind::Linear(layer) => {
                    let pixels = (0..self.input.shape()[0]).into();
                    self.layers.get(layer.index).run(&Part { pixels, ..part });
                }
            }
        }
    }

    /// Runs a pair's depthwise layer, some rows at a time, after its pointwise layer has computed what these rows read.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn pair(&self, pair: &Pair, part: Part) {
        let Pair { convs: [pw, dw], plane, window, kernels } = pair;
        let Part { pixels, channels, scratch, .. } = part;
        let between = dw.reads(pixels);
        // A panel of the pointwise layer is so many groups of the depthwise one.
        let groups = pw.layer.lanes / dw.layer.lanes;
        let end = (channels.end * groups).min(dw.layer.groups());
        let blocks = Span { start: channels.start * groups, end };
        let strip = strip(scratch, *plane, blocks.start, between.start * pw.pixel_bytes());
        let part = Part { scratch: scratch.wrapping_add(*kernels), ..part };
        let mut written = between.start;
        for pixels in dw.windows(pixels, *window) {
            let next = Span { start: written, end: dw.reads(pixels).end.max(written) };
            // SAFETY: the strip, at the start of scratch, has room for what a unit needs. The rest is the caller's promise.
            unsafe {
                if !next.is_empty() {
                    self.layer(pw, Part { dst: strip, residual: None, pixels: next, ..part });
                }
                self.layer(dw, Part { src: strip.read(), channels: blocks, pixels, ..part });
            }
            written = next.end;
        }
    }

    /// Runs the last of `links`, after the links before it have computed what it reads. `held` are the pixels of the last
    /// link that this hand computed just before: input rows that both need are still in the strips.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn chain(&self, links: &[Link], part: Part, held: Option<Span>, scratch: &Scratch) {
        let Some((Link { conv, .. }, before)) = links.split_last() else { return };
        let mut part = part;
        // SAFETY: strips and the first layer's copy lie side by side in scratch, each with room for what a unit needs. The rest
        // is the caller's promise.
        unsafe {
            if let Some(Link { conv: first, offset, plane }) = before.last() {
                let channels = (0..first.layer.groups()).into();
                let strips = scratch.strips.wrapping_add(*offset);
                let mut pixels = conv.reads(part.pixels);
                let dst = strip(strips, *plane, 0, pixels.start * first.pixel_bytes());
                let mut held = held.map(|pixels| conv.reads(pixels));
                if let Some(old) = held.filter(|old| (old.start..old.end).contains(&pixels.start)) {
                    let bytes = |pixels: usize| pixels * first.pixel_bytes();
                    let (by, len) = (bytes(pixels.start - old.start), bytes(old.end - pixels.start));
                    shift(strips, *plane, first.layer.blocks(), by, len);
                    pixels.start = old.end;
                    // Last time, too, only the missing rows may have been computed. So what the strips before this one
                    // hold is not known here.
                    held = None;
                }
                let inner = Part { dst, residual: None, pixels, channels, ..part };
                self.chain(before, inner, held, scratch);
                part.src = dst.read();
            }
            if conv.layer.copies() {
                part.src = copied(conv, part, scratch);
            }
            self.layer(conv, Part { scratch: scratch.kernels, ..part });
        }
    }

    /// Runs the last layer of a head on a part of its pixels. The output begins at `part.dst`.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn head(&self, head: &Head, part: Part) {
        let layer = self.layers.get(head.layer.index);
        let (cin, cout) = (head.blocks() * Blocking::U8.pixel_bytes(), head.layer.cout * size_of::<f32>());
        let src = Planes { ptr: part.scratch, stride: cin };
        let scratch = part.scratch.wrapping_add(head.kernels);
        let channels = (0..head.layer.groups()).into();
        for start in (part.pixels.start..part.pixels.end).step_by(Head::PIXELS) {
            let count = (part.pixels.end - start).min(Head::PIXELS);
            let dst = PlanesMut { ptr: part.dst.ptr.wrapping_add(start * cout), stride: cout };
            let pixels = (0..count).into();
            // SAFETY: the plan made room in scratch for so many pixels and for the kernel. The rest is the caller's promise.
            unsafe {
                rows::gather(part.src, (start..start + count).into(), head.blocks(), part.scratch);
                layer.run(&Part { src, dst, residual: None, geometry: Geometry::POINT, scratch, pixels, channels });
            }
        }
    }

    /// The memory of a home. The caller's input is never written to, though the type would allow it.
    fn at(&self, home: Home, picture: usize, workspace: *mut u8) -> PlanesMut {
        match home {
            Home::Input => {
                let [.., height, width] = self.input.shape();
                let values = self.input.picture(picture).as_ptr();
                PlanesMut { ptr: values.cast_mut().cast(), stride: height * width * size_of::<f32>() }
            }
            Home::Workspace(slot) => PlanesMut { ptr: workspace.wrapping_add(slot.offset), stride: slot.shape.plane },
            Home::Batch(index) => {
                let start = self.regions.batch[index];
                PlanesMut { ptr: self.memory.wrapping_add(start), stride: self.plan.batch[index].stride }
            }
        }
    }

    /// Source and target of a step that reads or writes a row of the batch, as planes of one pixel: in a row blocks follow each
    /// other, and there is room for whole blocks. Others stay as they are.
    fn rows(&self, step: &Step, picture: usize, src: Planes, dst: PlanesMut) -> (Planes, PlanesMut) {
        let pixel_bytes = |index: usize| self.plan.batch[index].blocking().pixel_bytes();
        let src = match step.src {
            Home::Batch(index) => Planes { ptr: src.block(picture), stride: pixel_bytes(index) },
            _ => src,
        };
        let dst = match step.dst {
            Home::Batch(index) => PlanesMut { ptr: dst.block(picture), stride: pixel_bytes(index) },
            _ => dst,
        };
        (src, dst)
    }

    /// Channels of what a step writes.
    fn channels(&self, step: &Step) -> usize {
        match step.dst {
            Home::Input => self.input.shape()[1],
            Home::Workspace(slot) => slot.shape.channels,
            Home::Batch(index) => self.plan.batch[index].elements(),
        }
    }

    /// Runs one convolution on a part of its pixels and channels.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn layer(&self, conv: &Conv, part: Part) {
        // Only pointwise kernels take any pixels. All others compute whole rows, even if the unit is a run of pixels.
        let pixels =
            if conv.layer.operation == Operation::Pointwise { part.pixels } else { conv.whole_rows(part.pixels) };
        // SAFETY: the caller's promise.
        unsafe { self.layers.get(conv.layer.index).run(&Part { geometry: conv.geometry, pixels, ..part }) }
    }

    /// The number of steps for each picture.
    pub(crate) fn picture_steps(&self) -> usize {
        self.plan.picture_steps
    }

    /// The number of units of step `step`.
    pub(crate) fn units(&self, step: usize) -> usize {
        self.plan.steps[step].split.units()
    }

    /// Copies the output of step `step` for picture `picture`, which is in workspace number `workspace`, as NCHW values. u8
    /// becomes what it stands for. Returns `[C, H, W]`.
    ///
    /// # Safety
    /// The step is complete and nobody writes to what it wrote.
    pub(crate) unsafe fn read(&self, step: usize, workspace: usize, picture: usize, nchw: &mut Vec<f32>) -> [usize; 3] {
        // SAFETY: slots and rows lie inside the memory.
        let bytes = |start, len| unsafe { std::slice::from_raw_parts(self.memory.wrapping_add(start), len) };
        match self.plan.steps[step].dst {
            Home::Input => [0; 3],
            Home::Workspace(Slot { offset, shape, .. }) => {
                nchw.resize(shape.channels * shape.height * shape.width, 0.0);
                let bytes = bytes(workspace * self.regions.workspace + offset, shape.bytes());
                match self.plan.steps[step].quantization {
                    None => shape.unblock(bytemuck::cast_slice(bytes), nchw),
                    Some(quantization) => border::unblock(&shape, bytes, quantization, nchw),
                }
                [shape.channels, shape.height, shape.width]
            }
            Home::Batch(index) => {
                let value @ BatchValue { shape, stride, quantization } = self.plan.batch[index];
                let start = self.regions.batch[index] + picture * stride;
                let numbers = value.elements();
                nchw.clear();
                match quantization {
                    None => nchw.extend_from_slice(bytemuck::cast_slice(bytes(start, numbers * size_of::<f32>()))),
                    Some(of) => nchw.extend(bytes(start, numbers).iter().map(|&byte| dequantize(byte, of))),
                }
                shape
            }
        }
    }
}

/// One thread's hand in an inference: which scratch it uses, and what it computed last.
#[derive(Debug)]
pub(crate) struct Hand {
    /// From 0 to threads − 1; says which scratch is its own.
    pub(crate) worker: usize,
    /// The picture, step and unit that it computed last.
    last: Option<(usize, usize, usize)>,
}

impl Hand {
    pub(crate) fn new(worker: usize) -> Hand {
        Hand { worker, last: None }
    }
}

/// A thread's scratch as a chain divides it.
struct Scratch {
    strips: *mut u8,
    /// For the copy of a layer's input.
    window: *mut u8,
    /// Bytes from one block's plane of the copy to the next.
    window_plane: usize,
    /// For the kernels' own use.
    kernels: *mut u8,
}

fn residual(workspace: *mut u8, step: &Step) -> Option<Residual> {
    step.shortcut.map(|Shortcut { slot, channels, clamp }| {
        let planes = Planes { ptr: workspace.wrapping_add(slot.offset), stride: slot.shape.plane };
        Residual { planes, channels, clamp }
    })
}

/// Scratch as planes whose first block is number `block`, and which begin `before` bytes after pixel 0.
fn strip(scratch: *mut u8, plane: usize, block: usize, before: usize) -> PlanesMut {
    PlanesMut { ptr: scratch.wrapping_sub(block * plane + before), stride: plane }
}

/// Copies the input that a unit of a layer reads. A dense layer's copy includes the zeros around the picture. A strided
/// pointwise layer's copy has the pixels that it reads side by side, so that no stride is left.
///
/// # Safety
/// As [`Exec::step`].
unsafe fn copied(conv: &Conv, part: Part, scratch: &Scratch) -> Planes {
    let Conv { layer: LayerRef { operation, cin, stride, input, .. }, geometry, .. } = conv;
    let (rows, blocks) = (conv.rows(part.pixels), (cin.div_ceil(input.lanes), *input));
    let copy = PlanesMut { ptr: scratch.window, stride: scratch.window_plane };
    // SAFETY: the window has room for the rows that the unit's pixels read.
    let before = unsafe {
        if *operation == Operation::Pointwise {
            sample_rows(part.src, geometry, *stride, rows, blocks, copy);
            rows.start * geometry.out_width
        } else {
            pad_rows(part.src, geometry, *operation, rows, blocks, copy);
            rows.start * stride * geometry.padded_row(*operation)
        }
    };
    Planes { ptr: copy.ptr.wrapping_sub(before * input.pixel_bytes()), stride: copy.stride }
}

/// Moves `len` bytes of each block from byte `by` of its plane to the plane's start.
///
/// # Safety
/// Bytes `by..by + len` lie inside each plane.
unsafe fn shift(strips: *mut u8, plane: usize, blocks: usize, by: usize, len: usize) {
    for block in 0..blocks {
        let to = strips.wrapping_add(block * plane);
        // SAFETY: the caller's promise; source and target may overlap.
        unsafe { std::ptr::copy(to.wrapping_add(by), to, len) }
    }
}
