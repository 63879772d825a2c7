//! Running a plan: from a step and a chunk to the kernel call.

use mnx_conv::{Dense3x3, Depthwise3x3, Linear, Pointwise};
use mnx_tensor::args::{Geometry, Planes, PlanesMut, Pool, Residual, Span};
use mnx_tensor::table::Kernels;
use mnx_tensor::{AlignedBuf, BLOCK, PANEL, TensorView};

use crate::Model;
use crate::arena::Slot;
use crate::plan::{Conv, LayerRef, Plan, Step, StepKind};

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
    /// another picture, or this worker's scratch, at the same time.
    pub(crate) unsafe fn step(&self, step: usize, unit: usize, picture: usize, lane: usize, worker: usize) {
        let step = &self.plan.steps[step];
        let Regions { lane: lane_len, scratch, scratch_start, .. } = self.regions;
        let lane = self.memory.wrapping_add(lane * lane_len);
        let scratch = self.memory.wrapping_add(scratch_start + worker * scratch);
        let (rows, channels) = step.split.unit(unit);
        // SAFETY: units of a step write to different places; the rest is the caller's promise.
        unsafe { self.unit(step, lane, picture, scratch, rows, channels) }
    }

    /// Output rows `rows` of blocks or panels `channels` of a step.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn unit(&self, step: &Step, lane: *mut f32, picture: usize, scratch: *mut f32, rows: Span, channels: Span) {
        let (src, dst, residual) = (planes(lane, step.src), out(lane, step.dst), residual(lane, step));
        let whole = Part { src, dst, residual, rows, channels };
        // SAFETY: slots of one step do not overlap where one is written; the plan made room in scratch for what
        // fused layers hand over; the rest is the caller's promise.
        unsafe {
            match step.kind {
                StepKind::Dense(conv) => {
                    let src = self.input.picture(picture).as_ptr();
                    self.dense(conv.layer).run_part(self.kernels, &conv.geometry, src, dst, scratch, rows);
                }
                StepKind::Depthwise(conv) => self.depthwise(conv, whole),
                StepKind::Pointwise(conv) => self.pointwise(conv, whole),
                StepKind::PointwiseDepthwise(pw, dw, plane) => {
                    const BLOCKS: usize = PANEL / BLOCK;
                    let between = dw.input_rows(rows);
                    let end = (channels.end * BLOCKS).min(dw.layer.cout.div_ceil(BLOCK));
                    let blocks = Span { start: channels.start * BLOCKS, end };
                    let strip = strip(scratch, plane, blocks.start, between.start * dw.geometry.width);
                    self.pointwise(pw, Part { dst: strip, residual: None, rows: between, ..whole });
                    self.depthwise(dw, Part { src: strip.read(), channels: blocks, ..whole });
                }
                StepKind::DepthwisePointwise(dw, pw, plane) => {
                    let strip = strip(scratch, plane, 0, rows.start * dw.geometry.out_width);
                    let all = |channels: usize, group: usize| (0..channels.div_ceil(group)).into();
                    let blocks = all(dw.layer.cout, BLOCK);
                    self.depthwise(dw, Part { dst: strip, residual: None, channels: blocks, ..whole });
                    self.pointwise(pw, Part { src: strip.read(), channels: all(pw.layer.cout, PANEL), ..whole });
                }
                StepKind::Pool(geometry) => self.pool(step, &geometry, lane, picture, channels),
            }
        }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn depthwise(&self, Conv { layer: l, geometry, .. }: Conv, part: Part) {
        let (weights, bias) = self.model.weights(l.index);
        let layer = Depthwise3x3::new(weights, bias, l.cout, l.stride, l.clamp).expect(CHECKED);
        let Part { src, dst, residual, rows, channels } = part;
        // SAFETY: the caller's promise.
        unsafe { layer.run_part(self.kernels, &geometry, src, dst, residual, rows, channels) }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn pointwise(&self, Conv { layer: l, geometry, .. }: Conv, part: Part) {
        let (weights, bias) = self.model.weights(l.index);
        let layer = Pointwise::new(weights, bias, l.cin, l.cout, l.clamp).expect(CHECKED);
        let Part { src, dst, residual, rows, channels } = part;
        let pixels = (rows.start * geometry.out_width..rows.end * geometry.out_width).into();
        // SAFETY: the caller's promise.
        unsafe { layer.run_part(self.kernels, src, dst, residual, pixels, channels) }
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

    fn dense(&self, l: LayerRef) -> Dense3x3<'_> {
        let (weights, bias) = self.model.weights(l.index);
        Dense3x3::new(weights, bias, l.cin, l.cout, l.stride, l.clamp).expect(CHECKED)
    }
}

/// What one call of a depthwise or pointwise layer reads and writes.
#[derive(Clone, Copy)]
struct Part {
    src: Planes,
    dst: PlanesMut,
    residual: Option<Residual>,
    /// Output rows.
    rows: Span,
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
    step.residual.map(|(slot, channels)| Residual { planes: planes(lane, slot), channels })
}

/// Scratch as planes of which block `block` and pixel `pixel` come first.
fn strip(scratch: *mut f32, plane: usize, block: usize, pixel: usize) -> PlanesMut {
    PlanesMut { ptr: scratch.wrapping_sub(block * plane + pixel * BLOCK), stride: plane }
}
