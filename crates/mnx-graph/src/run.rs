//! What an inference needs, and its order on one thread.

use mnx_tensor::TensorView;

use crate::exec::{Exec, Hand, Memory, Regions};
use crate::graph::ValueId;
use crate::layers::Layers;
use crate::plan::Plan;
use crate::threads::Shares;
use crate::{Error, Stopper};

/// Everything that depends on the input's shape.
pub(crate) struct Prepared {
    pub(crate) shape: [usize; 4],
    pub(crate) observed: Observed,
    /// Values that exist whole at the end of a step.
    pub(crate) keep: Vec<ValueId>,
    pub(crate) plan: Plan,
    pub(crate) memory: Memory,
    pub(crate) regions: Regions,
    pub(crate) shares: Shares,
    /// Bytes of memory and shares.
    pub(crate) held: u64,
}

/// Which values exist whole besides the outputs, because somebody looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Nothing,
    /// The output of each block.
    Blocks,
    /// The output of each layer and pool.
    Values,
}

/// How far an inference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Up to the last step of every picture.
    Features,
    /// Through the steps of the batch.
    Outputs,
}

/// Somebody who looks on from the thread that called. The default looks at nothing and costs nothing.
#[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "alone nobody waits"))]
pub(crate) trait Watch {
    /// This step of this picture is complete; a step of the batch comes with picture 0.
    fn step(&mut self, _exec: &Exec, _step: usize, _picture: usize) {}
    /// Nothing is left to do here of the current step, or of the whole pictures; others may be at it still.
    fn waiting(&mut self) {}
    /// All whole pictures are complete.
    fn gathered(&mut self) {}
}

impl Watch for () {}

impl Prepared {
    /// Picture by picture on this thread, then the steps of the batch.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it was stopped before its end.
    pub(crate) fn run_alone(
        &mut self,
        layers: &Layers,
        input: TensorView<'_>,
        until: Until,
        stopper: &Stopper,
        watch: &mut impl Watch,
    ) -> Result<(), Error> {
        // SAFETY: plan and regions were made for these layers and this shape of input.
        let exec = unsafe { Exec::new(layers, &self.plan, input, &mut self.memory, &self.regions, stopper) };
        let mut hand = Hand::new(0);
        let mut run = |steps: std::ops::Range<usize>, picture: usize| {
            for step in steps {
                for unit in 0..exec.units(step) {
                    // SAFETY: one thread does everything in order. Workspace 0 and worker 0's scratch exist.
                    unsafe { exec.step(step, unit, picture, 0, &mut hand) }
                }
                if exec.is_stopped() {
                    return;
                }
                watch.step(&exec, step, picture);
            }
        };
        (0..self.shape[0]).for_each(|picture| run(0..exec.picture_steps(), picture));
        if until == Until::Outputs {
            run(exec.picture_steps()..self.plan.steps.len(), 0);
        }
        exec.finished()
    }
}
