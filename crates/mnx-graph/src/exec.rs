//! Running a plan: from a step and a chunk to the kernel call.

use mnx_conv::{Dense3x3, Depthwise3x3, Linear, Pointwise};
use mnx_tensor::args::{Planes, PlanesMut, Pool, Residual, Span};
use mnx_tensor::table::Kernels;
use mnx_tensor::{AlignedBuf, TensorView};

use crate::Model;
use crate::arena::Slot;
use crate::plan::{LayerRef, Plan, Step, StepKind};

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
/// one picture, to chunks of a step, which the plan made disjoint. A step reads what earlier steps wrote.
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

    /// Chunk `chunk` of step `step` of picture `picture`, whose activations are in lane `lane`.
    ///
    /// # Safety
    /// Earlier steps of the picture are complete; nobody else runs this chunk, or uses this lane for
    /// another picture, or this worker's scratch, at the same time.
    pub(crate) unsafe fn step(&self, step: usize, chunk: usize, picture: usize, lane: usize, worker: usize) {
        let step = &self.plan.steps[step];
        let (rows, channels) = step.split.part(chunk);
        let Regions { lane: lane_len, scratch, scratch_start, .. } = self.regions;
        let lane = self.memory.wrapping_add(lane * lane_len);
        // SAFETY: slots of one step do not overlap where one is written; parts of a step are disjoint; the rest is the caller's promise.
        unsafe {
            match step.kind {
                StepKind::Dense(layer) => {
                    let scratch = self.memory.wrapping_add(scratch_start + worker * scratch);
                    let src = self.input.picture(picture).as_ptr();
                    self.dense(layer).run_part(self.kernels, &step.geometry, src, out(lane, step.dst), scratch, rows);
                }
                StepKind::Depthwise(layer) => {
                    let (src, dst) = (planes(lane, step.src), out(lane, step.dst));
                    let residual = residual(lane, step);
                    self.depthwise(layer).run_part(self.kernels, &step.geometry, src, dst, residual, rows, channels);
                }
                StepKind::Pointwise(layer) => {
                    let (src, dst) = (planes(lane, step.src), out(lane, step.dst));
                    let width = step.geometry.out_width;
                    let pixels = (rows.start * width..rows.end * width).into();
                    self.pointwise(layer).run_part(self.kernels, src, dst, residual(lane, step), pixels, channels);
                }
                StepKind::Pool => self.pool(step, lane, picture, channels),
            }
        }
    }

    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn pool(&self, step: &Step, lane: *mut f32, picture: usize, blocks: Span) {
        let args = Pool {
            src: planes(lane, step.src),
            dst: self.memory.wrapping_add(self.regions.features_start + picture * self.plan.features_stride),
            height: step.geometry.height,
            width: step.geometry.width,
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

    /// How many chunks step `step` has.
    #[cfg(feature = "rayon")]
    pub(crate) fn chunks(&self, step: usize) -> usize {
        self.plan.steps[step].split.chunks
    }

    /// Chunk `chunk` of the classifier, for all pictures.
    ///
    /// # Safety
    /// All pictures are pooled; nobody else runs this chunk at the same time.
    pub(crate) unsafe fn classify(&self, chunk: usize) {
        let layer = self.plan.classifier;
        let (_, panels) = self.plan.classifier_split.part(chunk);
        let features = self.memory.wrapping_add(self.regions.features_start);
        let output = self.memory.wrapping_add(self.regions.output_start);
        let (weights, bias) = self.model.weights(layer.index);
        let linear = Linear::new(weights, bias, layer.cin, layer.cout).expect(CHECKED);
        let [batch, ..] = self.input.shape();
        // SAFETY: features and output have a row per picture; chunks are disjoint panels.
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

    fn depthwise(&self, l: LayerRef) -> Depthwise3x3<'_> {
        let (weights, bias) = self.model.weights(l.index);
        Depthwise3x3::new(weights, bias, l.cout, l.stride, l.clamp).expect(CHECKED)
    }

    fn pointwise(&self, l: LayerRef) -> Pointwise<'_> {
        let (weights, bias) = self.model.weights(l.index);
        Pointwise::new(weights, bias, l.cin, l.cout, l.clamp).expect(CHECKED)
    }
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
