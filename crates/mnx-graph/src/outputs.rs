//! What an inference gives.

use std::ops::Deref;

use mnx_tensor::TensorView;

use crate::run::Prepared;
use crate::{Error, Session};

/// The outputs of a run, by name. They are views into the session's memory.
///
/// - A classifier has `logits`, `[N, classes, 1, 1]`.
/// - A detector has `scores`, `[N, priors, classes, 1]`, and `boxes`, `[N, priors, 4, 1]`. Both are as the heads make them:
///   before softmax or sigmoid, and before boxes are decoded. Priors are those of
///   [`DetectorSpec::priors`](crate::DetectorSpec::priors).
///
/// It stands for its first output, so that a network with one needs no name:
///
/// ```
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), mnx_graph::Error> {
/// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
/// # spec.width = 0.1;
/// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
/// let mut session = mnx::Session::new(&model)?;
/// let input = mnx::Tensor::zeros([1, 3, 64, 64])?;
/// let outputs = session.run(input.view())?;
/// assert_eq!(outputs.shape(), [1, 1000, 1, 1]);
/// assert_eq!(outputs.get("logits").unwrap().data(), outputs.data());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Outputs<'s> {
    prepared: &'s Prepared,
    first: TensorView<'s>,
}

impl<'s> Outputs<'s> {
    pub(crate) fn new(prepared: &'s Prepared) -> Result<Outputs<'s>, Error> {
        Ok(Outputs { prepared, first: view(prepared, 0)? })
    }

    /// The output of that name, if the network has one.
    pub fn get(&self, name: &str) -> Option<TensorView<'s>> {
        self.iter().find(|output| output.0 == name).map(|output| output.1)
    }

    /// Names and values, in the network's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'s str, TensorView<'s>)> + use<'s> {
        let prepared = self.prepared;
        let named = prepared.plan.outputs.iter().enumerate();
        named.filter_map(move |(index, output)| Some((output.0, view(prepared, index).ok()?)))
    }
}

impl Session {
    /// Names and shapes of what a [`run`](Session::run) with an input of this shape, `[N, 3, H, W]`, gives, in the network's
    /// order. Lays out memory for it as [`prepare`](Session::prepare) does, and computes nothing.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut session = mnx::Session::new(&model)?;
    /// assert!(session.output_shapes([2, 3, 64, 64])?.eq([("logits", [2, 1000, 1, 1])]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`prepare`](Session::prepare).
    pub fn output_shapes(
        &mut self,
        shape: [usize; 4],
    ) -> Result<impl ExactSizeIterator<Item = (&'static str, [usize; 4])> + use<'_>, Error> {
        self.prepare(shape)?;
        let prepared = self.prepared().expect("it was prepared");
        Ok(prepared.plan.outputs.iter().map(move |&(name, value)| {
            let [channels, height, width] = prepared.plan.batch[value].shape;
            (name, [shape[0], channels, height, width])
        }))
    }
}

/// Output number `index` of the plan.
fn view(prepared: &Prepared, index: usize) -> Result<TensorView<'_>, Error> {
    let (batch, (_, value)) = (prepared.shape[0], prepared.plan.outputs[index]);
    let (value, start) = (prepared.plan.batch[value], prepared.regions.batch[value]);
    // Rows of outputs follow each other without a gap.
    let bytes = &prepared.memory[start..start + batch * value.elements() * size_of::<f32>()];
    let [channels, height, width] = value.shape;
    Ok(TensorView::new([batch, channels, height, width], bytemuck::cast_slice(bytes))?)
}

impl<'s> Deref for Outputs<'s> {
    type Target = TensorView<'s>;

    /// The first output.
    fn deref(&self) -> &TensorView<'s> {
        &self.first
    }
}

impl std::fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, view)| (name, view.shape()))).finish()
    }
}
