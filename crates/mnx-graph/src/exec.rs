//! Running a plan: from a step and a unit to the kernel calls.

use mnx_conv::{Conv3x3, Dense, Depthwise3x3, Linear, Pointwise};
use mnx_tensor::args::{Geometry, MaxPool, Planes, PlanesMut, Pool, Residual, Span};
use mnx_tensor::strip::{pad_rows, sample_rows};
use mnx_tensor::table::Kernels;
use mnx_tensor::{AlignedBuf, BLOCK, PANEL, TensorView};

use crate::arena::Slot;
use crate::plan::{Conv, LayerRef, Link, Plan, Shortcut, Step, StepKind};
use crate::{LayerKind, Model};

/// How a session's memory is divided, in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regions {
    lane: usize,
    scratch: usize,
    /// Where the scratch of worker 0, the features and the output of picture 0 begin.
    scratch_start: usize,
    pub(crate) features_start: usize,
    pub(crate) output_start: usize,
    pub(crate) end: usize,
}

impl Regions {
    /// For `lanes` pictures at a time, `workers` threads and `batch` pictures in all; `None` if that overflows.
    pub(crate) fn new(plan: &Plan, lanes: usize, workers: usize, batch: usize) -> Option<Regions> {
        let lane = plan.lane_len.next_multiple_of(16);
        let scratch = plan.scratch_len.next_multiple_of(16);
        let scratch_start = lane.checked_mul(lanes)?;
        let features_start = scratch_start.checked_add(scratch.checked_mul(workers)?)?;
        let output_start = features_start.checked_add(plan.features_stride.checked_mul(batch)?)?;
        let end = output_start.checked_add(plan.classifier.cout.checked_mul(batch)?)?;
        Some(Regions { lane, scratch, scratch_start, features_start, output_start, end })
    }
}

/// Everything that the threads of one inference share.
///
/// What they write is disjoint: a lane and a worker's scratch belong to one worker or, where all work on
/// one picture, to units of a step, which the plan made disjoint. A step reads what earlier steps wrote.
pub(crate) struct Exec<'a> {
    model: &'a Model,
    plan: &'a Plan,
    kernels: &'a Kernels,
    input: TensorView<'a>,
    memory: *mut f32,
    regions: Regions,
}

// SAFETY: see the type: writes through `memory` are disjoint, and phases order them before their reads.
unsafe impl Sync for Exec<'_> {}

impl<'a> Exec<'a> {
    /// # Safety
    /// `kernels` are of an ISA that the CPU has; `plan` and `regions` fit the model and the input.
    pub(crate) unsafe fn new(
        model: &'a Model,
        plan: &'a Plan,
        kernels: &'a Kernels,
        input: TensorView<'a>,
        memory: &'a mut AlignedBuf,
        regions: Regions,
    ) -> Self {
        assert!(memory.len() >= regions.end, "the session's memory holds all regions");
        Exec { model, plan, kernels, input, memory: memory.as_mut_ptr(), regions }
    }

    /// Unit `unit` of step `step` of picture `picture`, whose activations are in lane `lane`.
    ///
    /// # Safety
    /// Earlier steps of the picture are complete; nobody else runs this unit, or uses this lane for
    /// another picture, or this hand's scratch, at the same time.
    pub(crate) unsafe fn step(&self, step: usize, unit: usize, picture: usize, lane: usize, hand: &mut Hand) {
        let place = (picture, step, unit);
        let before = hand.last.replace(place).filter(|&(p, s, u)| (p, s, u + 1) == place).map(|(.., unit)| unit);
        let step = &self.plan.steps[step];
        let Regions { lane: lane_len, scratch, scratch_start, .. } = self.regions;
        let lane = self.memory.wrapping_add(lane * lane_len);
        let scratch = self.memory.wrapping_add(scratch_start + hand.worker * scratch);
        let (pixels, channels) = step.split.unit(unit);
        let (src, dst, residual) = (planes(lane, step.src), out(lane, step.dst), residual(lane, step));
        let part = Part { src, dst, residual, pixels, channels };
        // SAFETY: units of a step write to different places, slots of one step do not overlap where one is written; the
        // plan made room in scratch for what fused layers hand over; the rest is the caller's promise.
        unsafe {
            match &step.kind {
                StepKind::Chain(chain) => {
                    let input = self.input.picture(picture).as_ptr();
                    let held = before.map(|unit| step.split.unit(unit).0);
                    self.chain(
                        &chain.links,
                        part,
                        held,
                        &Scratch {
                            input,
                            strips: scratch,
                            window: scratch.wrapping_add(chain.window),
                            window_plane: chain.window_plane,
                        },
                    );
                }
                StepKind::Channels([pw, dw], plane) => {
                    const BLOCKS: usize = PANEL / BLOCK;
                    let between = dw.reads(pixels);
                    let end = (channels.end * BLOCKS).min(dw.layer.cout.div_ceil(BLOCK));
                    let blocks = Span { start: channels.start * BLOCKS, end };
                    let strip = strip(scratch, *plane, blocks.start, between.start);
                    self.pointwise(pw, Part { dst: strip, residual: None, pixels: between, ..part });
                    self.depthwise(dw, Part { src: strip.read(), channels: blocks, ..part });
                }
                StepKind::MaxPool(geometry) => self.max_pool(step, geometry, part),
                StepKind::Pool(geometry) => self.pool(step, geometry, lane, picture, channels),
            }
        }
    }

    /// The last of `links`, for which those before it compute what it reads. `held`: the pixels of it that this hand
    /// computed just before, so that what both read is still there.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn chain(&self, links: &[Link], part: Part, held: Option<Span>, scratch: &Scratch) {
        let Some((Link { conv, .. }, before)) = links.split_last() else { return };
        let mut part = part;
        // SAFETY: strips lie side by side in scratch, each with room for what a unit needs of it; the rest is the
        // caller's promise.
        unsafe {
            if let Some(Link { conv: first, offset, plane }) = before.last() {
                let channels = (0..first.layer.groups()).into();
                let strips = scratch.strips.wrapping_add(*offset);
                let mut pixels = conv.reads(part.pixels);
                let dst = strip(strips, *plane, 0, pixels.start);
                let mut held = held.map(|pixels| conv.reads(pixels));
                if let Some(old) = held.filter(|old| (old.start..old.end).contains(&pixels.start)) {
                    let blocks = first.layer.cout.div_ceil(BLOCK);
                    shift(strips, *plane, blocks, pixels.start - old.start, old.end - pixels.start);
                    pixels.start = old.end;
                    // Less was computed then than was read: what is in the strips before this one is not known here.
                    held = None;
                }
                let inner = Part { src: part.src, dst, residual: None, pixels, channels };
                self.chain(before, inner, held, scratch);
                part.src = dst.read();
            }
            match conv.layer.kind {
                LayerKind::Dense3x3 | LayerKind::Dense7x7 => {
                    let rows = conv.rows(part.pixels);
                    self.dense(conv.layer).run_part(
                        self.kernels,
                        &conv.geometry,
                        scratch.input,
                        part.dst,
                        scratch.window,
                        rows,
                    );
                }
                LayerKind::Depthwise3x3 => self.depthwise(conv, part),
                LayerKind::Conv3x3 => self.conv3x3(conv, part, scratch),
                LayerKind::Pointwise | LayerKind::Linear => {
                    if conv.layer.copies() {
                        part.src = sampled(conv, part, scratch);
                    }
                    self.pointwise(conv, part);
                }
            }
        }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn conv3x3(&self, conv: &Conv, part: Part, scratch: &Scratch) {
        let Conv { layer: l, geometry, .. } = conv;
        let (weights, bias) = self.model.weights(l.index);
        let layer = Conv3x3::new(weights, bias, l.cin, l.cout, l.stride, l.clamp).expect(CHECKED);
        let Part { src, dst, residual, pixels, channels } = part;
        let (rows, width) = (conv.rows(pixels), geometry.out_width);
        let padded = PlanesMut { ptr: scratch.window, stride: scratch.window_plane };
        let row = (width - 1) * l.stride + 3;
        // SAFETY: the window has room for the rows that the unit's pixels read; the rest is the caller's promise.
        unsafe {
            pad_rows(src, geometry, l.stride, rows, l.cin.div_ceil(BLOCK), padded);
            let first = padded.ptr.wrapping_sub(rows.start * l.stride * row * BLOCK);
            let padded = Planes { ptr: first, stride: padded.stride };
            layer.run_part(self.kernels, padded, row, dst, residual, width, rows, channels);
        }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn depthwise(&self, conv: &Conv, part: Part) {
        let Conv { layer: l, geometry, .. } = conv;
        let (weights, bias) = self.model.weights(l.index);
        let layer = Depthwise3x3::new(weights, bias, l.cout, l.stride, l.clamp).expect(CHECKED);
        let Part { src, dst, residual, pixels, channels } = part;
        // SAFETY: the caller's promise.
        unsafe { layer.run_part(self.kernels, geometry, src, dst, residual, conv.rows(pixels), channels) }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn pointwise(&self, Conv { layer: l, .. }: &Conv, part: Part) {
        let (weights, bias) = self.model.weights(l.index);
        let layer = Pointwise::new(weights, bias, l.cin, l.cout, l.clamp).expect(CHECKED);
        let Part { src, dst, residual, pixels, channels } = part;
        // SAFETY: the caller's promise.
        unsafe { layer.run_part(self.kernels, src, dst, residual, pixels, channels) }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn max_pool(&self, step: &Step, geometry: &Geometry, part: Part) {
        let Part { src, dst, pixels, channels: blocks, .. } = part;
        let width = step.dst.shape.width;
        let rows = (pixels.start / width..pixels.end / width).into();
        // SAFETY: the caller's promise.
        unsafe { (self.kernels.maxpool3x3s2.run)(&MaxPool { src, dst, geometry: *geometry, rows, blocks }) }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn pool(&self, step: &Step, geometry: &Geometry, lane: *mut f32, picture: usize, blocks: Span) {
        let args = Pool {
            src: planes(lane, step.src),
            dst: self.memory.wrapping_add(self.regions.features_start + picture * self.plan.features_stride),
            height: geometry.height,
            width: geometry.width,
            blocks,
        };
        // SAFETY: the features of a picture have room for whole blocks; the rest is the caller's promise.
        unsafe { (self.kernels.pool.run)(&args) }
    }

    /// How many steps a picture takes.
    #[cfg(feature = "rayon")]
    pub(crate) fn steps(&self) -> usize {
        self.plan.steps.len()
    }

    /// How many units step `step` has.
    #[cfg(feature = "rayon")]
    pub(crate) fn units(&self, step: usize) -> usize {
        self.plan.steps[step].split.units()
    }

    /// Unit `unit` of the classifier, for all pictures.
    ///
    /// # Safety
    /// All pictures are pooled; nobody else runs this unit at the same time.
    pub(crate) unsafe fn classify(&self, unit: usize) {
        let layer = self.plan.classifier;
        let features = self.memory.wrapping_add(self.regions.features_start);
        let output = self.memory.wrapping_add(self.regions.output_start);
        let (weights, bias) = self.model.weights(layer.index);
        let linear = Linear::new(weights, bias, layer.cin, layer.cout).expect(CHECKED);
        let [batch, ..] = self.input.shape();
        let (_, panels) = self.plan.classifier_split.unit(unit);
        // SAFETY: features and output have a row per picture; units are disjoint panels.
        unsafe { linear.run_part(self.kernels, features, self.plan.features_stride, output, batch, panels) }
    }

    /// The output of step `step` in lane `lane` as NCHW values of one picture; returns `[C, H, W]`.
    ///
    /// # Safety
    /// The step is complete and nobody writes to the lane.
    pub(crate) unsafe fn read(&self, step: usize, lane: usize, nchw: &mut Vec<f32>) -> [usize; 3] {
        let Slot { offset, shape, .. } = self.plan.steps[step].dst;
        nchw.resize(shape.channels * shape.height * shape.width, 0.0);
        let start = lane * self.regions.lane + offset;
        // SAFETY: the slot lies inside the lane.
        let values = unsafe { std::slice::from_raw_parts(self.memory.wrapping_add(start), shape.len()) };
        shape.unblock(values, nchw);
        [shape.channels, shape.height, shape.width]
    }

    fn dense(&self, l: LayerRef) -> Dense<'_> {
        let (weights, bias) = self.model.weights(l.index);
        Dense::new(weights, bias, l.cin, l.cout, l.kernel(), l.stride, l.clamp).expect(CHECKED)
    }
}

/// One thread's part in an inference: its scratch, and what is in it.
#[derive(Debug)]
pub(crate) struct Hand {
    /// 0 to threads − 1.
    pub(crate) worker: usize,
    /// Picture, step and unit that it computed last.
    last: Option<(usize, usize, usize)>,
}

impl Hand {
    pub(crate) fn new(worker: usize) -> Hand {
        Hand { worker, last: None }
    }
}

/// What a chain needs beside its strips.
struct Scratch {
    /// The caller's picture.
    input: *const f32,
    strips: *mut f32,
    /// For what a layer reads, copied.
    window: *mut f32,
    /// Floats from one block of a copy to the next.
    window_plane: usize,
}

/// What one call of a layer reads and writes.
#[derive(Clone, Copy)]
struct Part {
    src: Planes,
    dst: PlanesMut,
    residual: Option<Residual>,
    /// Output pixels; whole rows where the layer is not pointwise.
    pixels: Span,
    /// Blocks of a depthwise layer, panels of a pointwise one.
    channels: Span,
}

/// Why a layer of a model can always be made from its weights.
const CHECKED: &str = "opening the model checked that each tensor has the length that its layer needs";

fn planes(lane: *mut f32, slot: Slot) -> Planes {
    Planes { ptr: lane.wrapping_add(slot.offset), stride: slot.shape.plane }
}

fn out(lane: *mut f32, slot: Slot) -> PlanesMut {
    PlanesMut { ptr: lane.wrapping_add(slot.offset), stride: slot.shape.plane }
}

fn residual(lane: *mut f32, step: &Step) -> Option<Residual> {
    step.shortcut.map(|Shortcut { slot, channels, clamp }| Residual { planes: planes(lane, slot), channels, clamp })
}

/// Scratch as planes of which block `block` and pixel `pixel` come first.
fn strip(scratch: *mut f32, plane: usize, block: usize, pixel: usize) -> PlanesMut {
    PlanesMut { ptr: scratch.wrapping_sub(block * plane + pixel * BLOCK), stride: plane }
}

/// The pixels that a strided pointwise layer reads, side by side, so that it has no stride any more.
///
/// # Safety
/// As [`Exec::step`].
unsafe fn sampled(conv: &Conv, part: Part, scratch: &Scratch) -> Planes {
    let (rows, LayerRef { cin, stride, .. }) = (conv.rows(part.pixels), conv.layer);
    let copy = PlanesMut { ptr: scratch.window, stride: scratch.window_plane };
    // SAFETY: the window has room for the unit's pixels.
    unsafe { sample_rows(part.src, &conv.geometry, stride, rows, cin.div_ceil(BLOCK), copy) };
    let first = copy.ptr.wrapping_sub(rows.start * conv.geometry.out_width * BLOCK);
    Planes { ptr: first, stride: copy.stride }
}

/// Moves `len` pixels of each block from pixel `by` of its plane to the plane's beginning.
///
/// # Safety
/// They lie inside their planes.
unsafe fn shift(strips: *mut f32, plane: usize, blocks: usize, by: usize, len: usize) {
    for block in 0..blocks {
        let to = strips.wrapping_add(block * plane);
        // SAFETY: the caller's promise; source and target may overlap.
        unsafe { std::ptr::copy(to.wrapping_add(by * BLOCK), to, len * BLOCK) }
    }
}
