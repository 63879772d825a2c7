//! Running a plan: from a step and a unit to the kernel calls.

use mnx_tensor::part::{Geometry, Planes, PlanesMut, Residual, Span};
use mnx_tensor::strip::{pad_rows, sample_rows};
use mnx_tensor::{AlignedBytes, BLOCK, Blocking, Operation, PANEL, Part, TensorView};

use crate::arena::{LINE, Slot};
use crate::layers::Layers;
use crate::plan::{Conv, Home, LayerRef, Link, Plan, Shortcut, Step, StepKind};

/// Bytes of a pixel of a block.
const PIXEL: usize = Blocking::F32.pixel_bytes();

/// How a session's memory is divided, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    workspace: usize,
    scratch: usize,
    /// Where the scratch of worker 0 begins.
    scratch_start: usize,
    /// Where each value of the batch begins, as in [`Plan::batch`].
    pub(crate) batch: Vec<usize>,
    pub(crate) end: usize,
}

impl Regions {
    /// For `workspaces` pictures at a time, `workers` threads and `batch` pictures in all; `None` if that overflows.
    pub(crate) fn new(plan: &Plan, workspaces: usize, workers: usize, batch: usize) -> Option<Regions> {
        let workspace = plan.workspace_bytes.next_multiple_of(LINE);
        let scratch = plan.scratch_bytes.next_multiple_of(LINE);
        let scratch_start = workspace.checked_mul(workspaces)?;
        let mut end = scratch_start.checked_add(scratch.checked_mul(workers)?)?;
        let mut starts = Vec::with_capacity(plan.batch.len());
        for value in &plan.batch {
            starts.push(end);
            end = end.checked_add(value.stride.checked_mul(batch)?)?;
        }
        Some(Regions { workspace, scratch, scratch_start, batch: starts, end })
    }
}

/// Everything that the threads of one inference share.
///
/// What they write is disjoint: a workspace and a worker's scratch belong to one worker or, where all work on
/// one picture, to units of a step, which the plan made disjoint. A step reads what earlier steps wrote.
pub(crate) struct Exec<'a> {
    layers: &'a Layers,
    plan: &'a Plan,
    input: TensorView<'a>,
    memory: *mut u8,
    regions: &'a Regions,
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
        memory: &'a mut AlignedBytes,
        regions: &'a Regions,
    ) -> Self {
        assert!(memory.len() >= regions.end, "the session's memory holds all regions");
        Exec { layers, plan, input, memory: memory.as_mut_ptr(), regions }
    }

    /// Unit `unit` of step `step` of picture `picture`, whose activations are in workspace `workspace`; a step of the batch takes any picture and workspace.
    ///
    /// # Safety
    /// Earlier steps of the picture, or of all pictures, are complete; nobody else runs this unit, or uses this workspace for
    /// another picture, or this hand's scratch, at the same time.
    pub(crate) unsafe fn step(&self, step: usize, unit: usize, picture: usize, workspace: usize, hand: &mut Hand) {
        let place = (picture, step, unit);
        let before = hand.last.replace(place).filter(|&(p, s, u)| (p, s, u + 1) == place).map(|(.., unit)| unit);
        let step = &self.plan.steps[step];
        let Regions { workspace: workspace_bytes, scratch, scratch_start, .. } = *self.regions;
        let workspace = self.memory.wrapping_add(workspace * workspace_bytes);
        let scratch = self.memory.wrapping_add(scratch_start + hand.worker * scratch);
        let (pixels, channels) = step.split.unit(unit);
        let (src, dst) = (self.at(step.src, picture, workspace).read(), self.at(step.dst, picture, workspace));
        let residual = residual(workspace, step);
        let part =
            Part { src, dst, residual, geometry: Geometry::POINT, scratch: std::ptr::null_mut(), pixels, channels };
        // SAFETY: units of a step write to different places, slots of one step do not overlap where one is written; the
        // plan made room in scratch for what fused layers hand over; the rest is the caller's promise.
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
                        },
                    );
                }
                StepKind::Channels([pw, dw], plane) => {
                    const BLOCKS: usize = PANEL / BLOCK;
                    let between = dw.reads(pixels);
                    let end = (channels.end * BLOCKS).min(dw.layer.cout.div_ceil(BLOCK));
                    let blocks = Span { start: channels.start * BLOCKS, end };
                    let strip = strip(scratch, *plane, blocks.start, between.start);
                    self.layer(pw, Part { dst: strip, residual: None, pixels: between, ..part });
                    self.layer(dw, Part { src: strip.read(), channels: blocks, ..part });
                }
                StepKind::MaxPool(geometry) => {
                    if let Some(layer) = self.layers.max_pool() {
                        layer.run(&Part { geometry: *geometry, ..part });
                    }
                }
                StepKind::Pool(geometry) => {
                    // A row of the batch has a block after the other, and room for whole blocks.
                    let row = PlanesMut { ptr: dst.block(picture), stride: PIXEL };
                    self.layers.pool().run(&Part { dst: row, geometry: *geometry, ..part });
                }
                StepKind::Linear(layer) => {
                    let pixels = (0..self.input.shape()[0]).into();
                    self.layers.get(layer.index).run(&Part { pixels, ..part });
                }
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
        // SAFETY: strips lie side by side in scratch, each with room for what a unit needs of it, and so does the copy that
        // the first layer reads; the rest is the caller's promise.
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
                let inner = Part { dst, residual: None, pixels, channels, ..part };
                self.chain(before, inner, held, scratch);
                part.src = dst.read();
            }
            if conv.layer.is_stem() {
                part.scratch = scratch.window;
            } else if conv.layer.copies() {
                part.src = copied(conv, part, scratch);
            }
            self.layer(conv, part);
        }
    }

    /// Memory at a place; that of the caller is not written to.
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

    /// A layer at its place.
    ///
    /// # Safety
    /// As [`step`](Exec::step).
    unsafe fn layer(&self, conv: &Conv, part: Part) {
        // Rows of windows are computed whole, though pixels may be what a later layer of the chain is divided by.
        let pixels =
            if conv.layer.operation == Operation::Pointwise { part.pixels } else { conv.whole_rows(part.pixels) };
        // SAFETY: the caller's promise.
        unsafe { self.layers.get(conv.layer.index).run(&Part { geometry: conv.geometry, pixels, ..part }) }
    }

    /// How many steps a picture takes.
    pub(crate) fn picture_steps(&self) -> usize {
        self.plan.picture_steps
    }

    /// How many units step `step` has.
    pub(crate) fn units(&self, step: usize) -> usize {
        self.plan.steps[step].split.units()
    }

    /// The output of step `step` in workspace `workspace` as NCHW values of one picture; returns `[C, H, W]`.
    ///
    /// # Safety
    /// The step is complete and nobody writes to the workspace.
    pub(crate) unsafe fn read(&self, step: usize, workspace: usize, nchw: &mut Vec<f32>) -> [usize; 3] {
        let Some(Slot { offset, shape, .. }) = self.plan.steps[step].dst.slot() else { return [0; 3] };
        nchw.resize(shape.channels * shape.height * shape.width, 0.0);
        let start = workspace * self.regions.workspace + offset;
        // SAFETY: the slot lies inside the workspace.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.wrapping_add(start), shape.bytes()) };
        shape.unblock(bytemuck::cast_slice(bytes), nchw);
        [shape.channels, shape.height, shape.width]
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
    strips: *mut u8,
    /// For what a layer reads, copied.
    window: *mut u8,
    /// Bytes from one block of a copy to the next.
    window_plane: usize,
}

fn residual(workspace: *mut u8, step: &Step) -> Option<Residual> {
    step.shortcut.map(|Shortcut { slot, channels, clamp }| {
        let planes = Planes { ptr: workspace.wrapping_add(slot.offset), stride: slot.shape.plane };
        Residual { planes, channels, clamp }
    })
}

/// Scratch as planes of which block `block` and pixel `pixel` come first.
fn strip(scratch: *mut u8, plane: usize, block: usize, pixel: usize) -> PlanesMut {
    PlanesMut { ptr: scratch.wrapping_sub(block * plane + pixel * PIXEL), stride: plane }
}

/// What a unit of a layer reads, copied: with the zeros around it or, for a strided pointwise layer, side by side, so that
/// it has no stride any more.
///
/// # Safety
/// As [`Exec::step`].
unsafe fn copied(conv: &Conv, part: Part, scratch: &Scratch) -> Planes {
    let Conv { layer: LayerRef { operation, cin, stride, .. }, geometry, .. } = conv;
    let (rows, blocks) = (conv.rows(part.pixels), (cin.div_ceil(BLOCK), Blocking::F32));
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
    Planes { ptr: copy.ptr.wrapping_sub(before * PIXEL), stride: copy.stride }
}

/// Moves `len` pixels of each block from pixel `by` of its plane to the plane's beginning.
///
/// # Safety
/// They lie inside their planes.
unsafe fn shift(strips: *mut u8, plane: usize, blocks: usize, by: usize, len: usize) {
    for block in 0..blocks {
        let to = strips.wrapping_add(block * plane);
        // SAFETY: the caller's promise; source and target may overlap.
        unsafe { std::ptr::copy(to.wrapping_add(by * PIXEL), to, len * PIXEL) }
    }
}
