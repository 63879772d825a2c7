//! The calling thread alone.

use mnx_tensor::TensorView;

use crate::layers::Layers;
use crate::run::{Prepared, Until, Watch};
use crate::threads::{Shares, ThreadPool};
use crate::{Error, Stopper};

/// Who runs a session's inferences.
pub(crate) struct Crew;

impl Crew {
    pub(crate) fn new(_threads: usize, _pool: Option<ThreadPool>) -> Result<Crew, Error> {
        Ok(Crew)
    }

    pub(crate) fn run(
        &mut self,
        prepared: &mut Prepared,
        layers: &Layers,
        input: TensorView<'_>,
        until: Until,
        stopper: &Stopper,
        watch: &mut impl Watch,
    ) -> Result<(), Error> {
        let Shares = prepared.shares;
        prepared.run_alone(layers, input, until, stopper, watch)
    }
}
