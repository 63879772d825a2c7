//! Runs on which somebody looks.

use mnx_tensor::{TensorView, memory};

use super::Session;
use crate::exec::Exec;
use crate::graph::{Graph, ValueId};
use crate::run::{Observed, Until, Watch};
use crate::{Error, Outputs};

/// One picture's output of one block.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BlockOutput<'a> {
    /// Index in [`Network::blocks`](crate::Network::blocks).
    pub block: usize,
    /// The block's name in a checkpoint, e.g. `features.3`.
    pub name: &'a str,
    /// Which picture of the batch.
    pub picture: usize,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// The values in that order. Of a block that ends in int8: what its u8 numbers stand for.
    pub values: &'a [f32],
}

/// One picture's values between two layers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ValueOutput<'a> {
    /// Its name in a weight file: that of the layer (or `maxpool`, or `pool`) which makes it, and `.output`; or `input`, if
    /// that is quantised.
    pub name: &'a str,
    /// Which picture of the batch.
    pub picture: usize,
    /// `[C, H, W]`.
    pub shape: [usize; 3],
    /// The values in that order.
    pub values: &'a [f32],
}

impl Session {
    /// As [`run`](Session::run), and calls `observe` with the output of every block of every picture: the same
    /// bits that `run` computes. Runs on the calling thread alone, and takes more memory, which is kept as that of another
    /// shape.
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn run_observed(
        &mut self,
        input: TensorView<'_>,
        mut observe: impl FnMut(BlockOutput<'_>),
    ) -> Result<Outputs<'_>, Error> {
        self.prepare_for(input.shape(), Observed::Blocks)?;
        if let Some(p) = self.layouts.current_mut() {
            let blocks = &self.model.network().blocks;
            let block_of = |value: ValueId| p.keep.iter().position(|&kept| kept == value);
            let steps = p.plan.steps.iter().map(|step| block_of(step.value)).collect();
            let observe = |&block: &usize, picture: usize, shape: [usize; 3], values: &[f32]| {
                observe(BlockOutput { block, name: &blocks[block].name, picture, shape, values });
            };
            let mut watch = Observer { steps, values: memory::room(p.plan.largest_value())?, observe };
            p.run_alone(&self.layers, input, Until::Outputs, &self.stopper, &mut watch)?;
        }
        self.outputs()
    }

    /// As [`run_observed`](Session::run_observed), for every value of the network instead of every block's output: the output
    /// of each layer after its activation and shortcut, and those of the pools. A value that is kept as u8 is what its u8 stand
    /// for. The outputs are what it returns.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut session = mnx::Session::new(&model)?;
    /// let input = mnx::Tensor::zeros([1, 3, 64, 64])?;
    /// let mut names = Vec::new();
    /// session.run_observing_values(input.view(), |value| names.push(value.name.to_owned()))?;
    /// assert_eq!((&*names[0], &*names[names.len() - 1]), ("features.0.0.output", "pool.output"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn run_observing_values(
        &mut self,
        input: TensorView<'_>,
        mut observe: impl FnMut(ValueOutput<'_>),
    ) -> Result<Outputs<'_>, Error> {
        let [.., height, width] = input.shape();
        self.prepare_for(input.shape(), Observed::Values)?;
        if let Some(p) = self.layouts.current_mut() {
            let graph = Graph::new(self.model.network(), self.model.numbers(), (height, width));
            let steps = p.plan.steps.iter().map(|step| graph.file_name(step.value)).collect();
            let observe = |name: &String, picture: usize, shape: [usize; 3], values: &[f32]| {
                observe(ValueOutput { name, picture, shape, values });
            };
            let mut watch = Observer { steps, values: memory::room(p.plan.largest_value())?, observe };
            p.run_alone(&self.layers, input, Until::Outputs, &self.stopper, &mut watch)?;
        }
        self.outputs()
    }
}

/// Hands on what steps have written.
struct Observer<L, F> {
    /// What each step's output is, if it is wanted.
    steps: Vec<Option<L>>,
    values: Vec<f32>,
    /// Gets what it is, the picture, `[C, H, W]` and the values.
    observe: F,
}

impl<L, F: FnMut(&L, usize, [usize; 3], &[f32])> Watch for Observer<L, F> {
    fn step(&mut self, exec: &Exec, step: usize, picture: usize) {
        let Some(Some(output)) = self.steps.get(step) else { return };
        // SAFETY: the step has run, on this thread, which is the only one.
        let shape = unsafe { exec.read(step, 0, picture, &mut self.values) };
        (self.observe)(output, picture, shape, &self.values);
    }
}
