//! From folded layers to a weight file.

use mnx_conv::Folded;

use crate::file::{LayerWeights, model_file};
use crate::{ClassifierDtype, Error, Limits, Spec};

/// What a checkpoint or an ONNX model is made into.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// Bytes of the weight file.
    pub file: Vec<u8>,
    /// How many weights and biases were so near to zero that zeros took their place: see
    /// [`Model::almost_zero`](crate::Model::almost_zero).
    pub flushed: u64,
}

/// The weight file of a network whose layers are `folded`, in the order of the file, with the classifier's weights in this type.
pub(crate) fn write(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    folded: Vec<Folded>,
) -> Result<Converted, Error> {
    let flushed = folded.iter().map(|layer| layer.flushed as u64).sum();
    let mut folded = folded.into_iter();
    let source = |_: &crate::Layer| match folded.next() {
        Some(Folded { weight, bias, .. }) => Ok(LayerWeights { weight, bias }),
        None => Ok(LayerWeights::default()),
    };
    Ok(Converted { file: model_file(spec, limits, classifier, source)?, flushed })
}
