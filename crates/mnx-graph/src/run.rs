//! The order of an inference: on one thread, or together with helpers of a thread pool.

use mnx_tensor::{AlignedBytes, TensorView};

use crate::exec::{Exec, Hand, Regions};
use crate::graph::ValueId;
use crate::layers::Layers;
use crate::plan::Plan;
#[cfg(feature = "rayon")]
use crate::team::{Job, Phase, work_through};

/// Everything that depends on the input's shape.
pub(crate) struct Prepared {
    pub(crate) shape: [usize; 4],
    /// Values that exist whole at the end of a step.
    pub(crate) keep: Vec<ValueId>,
    pub(crate) plan: Plan,
    pub(crate) memory: AlignedBytes,
    pub(crate) regions: Regions,
    /// How many pictures are computed by one thread each.
    #[cfg(feature = "rayon")]
    pub(crate) whole: usize,
    #[cfg(feature = "rayon")]
    pub(crate) phases: Vec<Phase>,
}

/// An observer on the calling thread. `()` observes nothing and costs nothing.
#[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "alone nobody waits"))]
pub(crate) trait Watch {
    /// This step of this picture is complete. A step of the batch comes with picture 0.
    fn step(&mut self, _exec: &Exec, _step: usize, _picture: usize) {}
    /// Nothing of the current step, or of the whole pictures, is left for this thread. Others may still be at it.
    fn waiting(&mut self) {}
    /// All whole pictures are complete.
    fn gathered(&mut self) {}
}

impl Watch for () {}

/// How far an inference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Up to the last step of every picture.
    Features,
    /// Through the steps of the batch.
    Outputs,
}

impl Prepared {
    /// Picture by picture on this thread, then the steps of the batch.
    pub(crate) fn run_alone(&mut self, layers: &Layers, input: TensorView<'_>, until: Until, watch: &mut impl Watch) {
        // SAFETY: plan and regions were made for these layers and this shape of input.
        let exec = unsafe { Exec::new(layers, &self.plan, input, &mut self.memory, &self.regions) };
        let mut hand = Hand::new(0);
        let mut run = |steps: std::ops::Range<usize>, picture: usize| {
            for step in steps {
                for unit in 0..exec.units(step) {
                    // SAFETY: one thread does everything in order. Workspace 0 and worker 0's scratch exist.
                    unsafe { exec.step(step, unit, picture, 0, &mut hand) }
                }
                watch.step(&exec, step, picture);
            }
        };
        (0..self.shape[0]).for_each(|picture| run(0..exec.picture_steps(), picture));
        if until == Until::Outputs {
            run(exec.picture_steps()..self.plan.steps.len(), 0);
        }
    }

    /// Makes the phases of one inference ready, in this order:
    /// 1. whole pictures, each computed by the thread that claims it;
    /// 2. the remaining pictures, step by step, all threads on each step;
    /// 3. the steps of the batch, which read their weights once.
    #[cfg(feature = "rayon")]
    pub(crate) fn reset_phases(&mut self, until: Until) {
        let (of_picture, phases) = (self.plan.picture_steps, self.phases.len());
        let of_batch = self.plan.steps.len() - of_picture;
        for (index, phase) in self.phases.iter_mut().enumerate() {
            phase.reset(match index {
                0 => self.whole,
                _ if index + of_batch < phases => self.plan.steps[(index - 1) % of_picture].split.units(),
                _ if until == Until::Features => 0,
                _ => self.plan.steps[of_picture + index + of_batch - phases].split.units(),
            });
        }
    }
}

/// One thread's part in an inference on several.
#[cfg(feature = "rayon")]
pub(crate) struct Worker<'a, W> {
    pub(crate) exec: &'a Exec<'a>,
    /// Worker 0 is the calling thread.
    pub(crate) hand: Hand,
    /// Pictures of the batch, and how many of them are computed by one thread each.
    pub(crate) pictures: usize,
    pub(crate) whole: usize,
    pub(crate) watch: &'a mut W,
}

/// What a phase computes.
#[cfg(feature = "rayon")]
enum Stage {
    /// A unit is one picture with all its steps.
    WholePictures,
    /// A unit is one unit of this step of this picture.
    Step { step: usize, picture: usize },
}

#[cfg(feature = "rayon")]
impl<W: Watch> Worker<'_, W> {
    pub(crate) fn work(mut self, phases: &[Phase]) {
        work_through(phases, self.hand.worker, &mut self);
    }

    fn stage(&self, phase: usize) -> Stage {
        let (of_picture, rest) = (self.exec.picture_steps(), self.pictures - self.whole);
        match phase.checked_sub(1) {
            None => Stage::WholePictures,
            Some(n) if n < rest * of_picture => {
                Stage::Step { step: n % of_picture, picture: self.whole + n / of_picture }
            }
            // Steps of the batch have no picture.
            Some(n) => Stage::Step { step: of_picture + n - rest * of_picture, picture: 0 },
        }
    }
}

#[cfg(feature = "rayon")]
impl<W: Watch> Job for Worker<'_, W> {
    fn unit(&mut self, phase: usize, unit: usize) {
        // SAFETY: each unit of a phase is claimed once, and a phase starts when the one before is complete. A whole picture
        // uses the workspace of the worker that claimed it. The others use workspace 0, which no whole picture needs any
        // more. Workers have different numbers.
        unsafe {
            match self.stage(phase) {
                Stage::Step { step, picture } => self.exec.step(step, unit, picture, 0, &mut self.hand),
                Stage::WholePictures => {
                    for step in 0..self.exec.picture_steps() {
                        for part in 0..self.exec.units(step) {
                            let workspace = self.hand.worker;
                            self.exec.step(step, part, unit, workspace, &mut self.hand);
                        }
                        self.watch.step(self.exec, step, unit);
                    }
                }
            }
        }
    }

    fn waiting(&mut self) {
        self.watch.waiting();
    }

    fn complete(&mut self, phase: usize) {
        match self.stage(phase) {
            Stage::WholePictures => self.watch.gathered(),
            Stage::Step { step, picture } => self.watch.step(self.exec, step, picture),
        }
    }
}
