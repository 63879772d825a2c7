//! The order of an inference: alone, or together with helpers of a pool.

use mnx_tensor::{AlignedBytes, TensorView};

use crate::exec::{Exec, Hand, Regions};
use crate::layers::Layers;
use crate::plan::Plan;
#[cfg(feature = "rayon")]
use crate::team::{Job, Phase, work_through};

/// What depends on the input's shape.
pub(crate) struct Prepared {
    pub(crate) shape: [usize; 4],
    /// Every block's output exists at the end of its last step.
    pub(crate) whole_blocks: bool,
    pub(crate) plan: Plan,
    pub(crate) memory: AlignedBytes,
    pub(crate) regions: Regions,
    /// Pictures that one thread computes whole.
    #[cfg(feature = "rayon")]
    pub(crate) whole: usize,
    #[cfg(feature = "rayon")]
    pub(crate) phases: Vec<Phase>,
}

/// Somebody who looks on from the thread that called. The default looks at nothing and costs nothing.
#[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "alone nobody waits"))]
pub(crate) trait Watch {
    /// This step of this picture is complete; the number of steps stands for the classifier.
    fn step(&mut self, _exec: &Exec, _step: usize, _picture: usize) {}
    /// Nothing is left to do here of the current step, or of the whole pictures; others may be at it still.
    fn waiting(&mut self) {}
    /// All whole pictures are complete.
    fn gathered(&mut self) {}
}

impl Watch for () {}

impl Prepared {
    /// Picture by picture on this thread. The classifier too, unless `features` are what is wanted.
    pub(crate) fn run_alone(&mut self, layers: &Layers, input: TensorView<'_>, features: bool, watch: &mut impl Watch) {
        // SAFETY: plan and regions were made for these layers and the input's shape.
        let exec = unsafe { Exec::new(layers, &self.plan, input, &mut self.memory, self.regions) };
        let mut hand = Hand::new(0);
        // SAFETY: one thread does everything, in order; worker 0 has lane 0 and scratch.
        unsafe {
            for picture in 0..self.shape[0] {
                for (index, step) in self.plan.steps.iter().enumerate() {
                    for unit in 0..step.split.units() {
                        exec.step(index, unit, picture, 0, &mut hand);
                    }
                    watch.step(&exec, index, picture);
                }
            }
            if features {
                return;
            }
            for unit in 0..self.plan.classifier_split.units() {
                exec.classify(unit);
            }
        }
        watch.step(&exec, self.plan.steps.len(), 0);
    }

    /// Makes the phases of one inference ready: whole pictures first, each by whoever takes it; then the
    /// remaining ones step by step, all threads on each; then the classifier, which reads its weights once for the batch.
    #[cfg(feature = "rayon")]
    pub(crate) fn reset_phases(&mut self, features: bool) {
        let (steps, last) = (self.plan.steps.len(), self.phases.len() - 1);
        for (index, phase) in self.phases.iter_mut().enumerate() {
            phase.reset(match index {
                0 => self.whole,
                _ if index == last && features => 0,
                _ if index == last => self.plan.classifier_split.units(),
                _ => self.plan.steps[(index - 1) % steps].split.units(),
            });
        }
    }
}

/// One thread's part in an inference on several.
#[cfg(feature = "rayon")]
pub(crate) struct Worker<'a, W> {
    pub(crate) exec: &'a Exec<'a>,
    /// Number 0 is the one that called.
    pub(crate) hand: Hand,
    /// Pictures that one thread computes whole.
    pub(crate) whole: usize,
    pub(crate) watch: &'a mut W,
}

#[cfg(feature = "rayon")]
impl<W: Watch> Worker<'_, W> {
    pub(crate) fn work(mut self, phases: &[Phase]) {
        work_through(phases, self.hand.worker, &mut self);
    }

    /// The step of a phase after the first, and its picture.
    fn place(&self, phase: usize) -> (usize, usize) {
        let steps = self.exec.steps();
        ((phase - 1) % steps, self.whole + (phase - 1) / steps)
    }
}

#[cfg(feature = "rayon")]
impl<W: Watch> Job for Worker<'_, W> {
    fn unit(&mut self, phase: usize, last: bool, unit: usize) {
        // SAFETY: each unit of a phase is claimed once, and a phase starts when the one before
        // is complete. Whole pictures use the lane of the worker that claimed them, others lane
        // 0, in which nothing else is left; workers have different numbers.
        unsafe {
            if last {
                self.exec.classify(unit);
            } else if phase > 0 {
                let (step, picture) = self.place(phase);
                self.exec.step(step, unit, picture, 0, &mut self.hand);
            } else {
                for step in 0..self.exec.steps() {
                    for part in 0..self.exec.units(step) {
                        let lane = self.hand.worker;
                        self.exec.step(step, part, unit, lane, &mut self.hand);
                    }
                    self.watch.step(self.exec, step, unit);
                }
            }
        }
    }

    fn waiting(&mut self) {
        self.watch.waiting();
    }

    fn complete(&mut self, phase: usize, last: bool) {
        if last {
            self.watch.step(self.exec, self.exec.steps(), 0);
        } else if phase > 0 {
            let (step, picture) = self.place(phase);
            self.watch.step(self.exec, step, picture);
        } else {
            self.watch.gathered();
        }
    }
}
