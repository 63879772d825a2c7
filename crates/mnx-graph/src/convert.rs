//! Checkpoints (safetensors with the authors' names) into weight files.

mod detect;

use std::collections::BTreeMap;

use mnx_conv::{BatchNorm, Fault, FaultList, Folded, Parameter, fold};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::file::{LayerWeights, write_model};
use crate::half::{bf16_to_f64, f16_to_f64};
use crate::{Error, Layer, Limits, Network, Spec};

pub use detect::{Detected, detect};

/// One reason why a checkpoint does not fit a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The spec says otherwise than the names and shapes of the checkpoint.
    #[error("{field}: expected {expected}, found {found} by names and shapes")]
    Spec {
        /// `family`, `width` or `classes`.
        field: &'static str,
        /// The spec's.
        expected: String,
        /// The checkpoint's, as [`detect`] reads it.
        found: String,
    },
    /// A tensor of the network is not in the checkpoint.
    #[error("{name}: missing, expected shape {expected:?}")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor of the checkpoint is not in the network.
    #[error("{name}: unexpected, found with shape {found:?}")]
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A name that is there twice, with and without the prefix `module.`.
    #[error("{name}: expected once, found with and without the prefix `module.`")]
    Twice {
        /// The name without the prefix.
        name: String,
    },
    /// A tensor has another shape than the network asks for.
    #[error("{name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape that the spec asks for.
        expected: Vec<usize>,
        /// The shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor of values that are no floating-point numbers of 16 to 64 bits.
    #[error("{name}: expected dtype F16, BF16, F32 or F64, found {found}")]
    Dtype {
        /// Its name.
        name: String,
        /// The dtype in the checkpoint.
        found: String,
    },
    /// Values that cannot be folded: not finite, or negative variances.
    #[error("{name}: {fault}")]
    Values {
        /// Name of the tensor, or of what folding makes of it.
        name: String,
        /// Which values.
        fault: Fault,
    },
    /// A layer that cannot be folded for another reason.
    #[error("{name}: {error}")]
    Fold {
        /// Name of the layer.
        name: String,
        /// Why not.
        error: mnx_conv::Error,
    },
}

/// A line per problem, each after a line break.
pub(crate) fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |mut text, problem| {
        // A tensor can have any name: a problem stays on its line.
        let line = problem.to_string();
        let shown = line.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
        text.push_str("\n  ");
        text.extend(shown);
        text
    })
}

/// Makes a weight file of the bytes of a safetensors checkpoint: folds the batch norms, whose epsilon is `bn_eps` (1e-5 in PyTorch),
/// in f64, and rounds once. The same checkpoint and spec give the same bytes.
///
/// Names are the authors', e.g. `features.1.conv.0.weight`, or torchvision's for MobileNetV2 and ResNet, with or without the
/// prefix `module.`; `num_batches_tracked` is ignored. Tensors are F16, BF16, F32 or F64.
///
/// # Errors
/// [`Error::Checkpoint`] lists what of the spec the names and shapes contradict, every missing, unexpected or misshapen
/// tensor and every tensor with values that are not finite or variances that are negative; [`Error::CheckpointFormat`]; [`Error::Epsilon`]; and as [`write_model`].
pub fn convert(checkpoint: &[u8], spec: &Spec, bn_eps: f64) -> Result<Vec<u8>, Error> {
    if !(bn_eps.is_finite() && bn_eps >= 0.0) {
        return Err(Error::Epsilon { found: bn_eps });
    }
    let limits = Limits::default();
    let network = Network::new_with(spec, &limits)?;
    let tensors = parse(checkpoint)?;

    let mut unused = Checkpoint::new(&tensors);
    let folded: Vec<_> = network.layers().filter_map(|layer| unused.layer(layer, bn_eps)).collect();
    let mut problems = unused.finish();
    if !problems.is_empty() {
        if let Ok(detected) = detect(checkpoint) {
            problems.splice(..0, detected.disagreements(spec));
        }
        return Err(Error::Checkpoint { problems });
    }
    let mut folded = folded.into_iter();
    let source = |_: &Layer| match folded.next() {
        Some(Folded { weight, bias }) => LayerWeights { weight, bias },
        None => LayerWeights::default(),
    };
    let mut file = Vec::new();
    write_model(spec, &limits, source, &mut file)?;
    Ok(file)
}

fn parse(checkpoint: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(checkpoint).map_err(|e| Error::CheckpointFormat { message: e.to_string() })
}

/// The name without the prefix that PyTorch's `DataParallel` gives.
fn stripped(name: &str) -> &str {
    name.strip_prefix("module.").unwrap_or(name)
}

/// What of a checkpoint has not been used yet, and what is wrong so far.
struct Checkpoint<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    problems: Vec<Problem>,
}

impl<'a> Checkpoint<'a> {
    fn new(file: &SafeTensors<'a>) -> Self {
        let mut checkpoint = Checkpoint { tensors: BTreeMap::new(), problems: Vec::new() };
        for (name, tensor) in file.tensors() {
            let name = stripped(&name);
            if name.ends_with(".num_batches_tracked") {
                continue;
            }
            if checkpoint.tensors.insert(name.into(), tensor).is_some() {
                checkpoint.problems.push(Problem::Twice { name: name.into() });
            }
        }
        // The file's own order is that of a hash map.
        checkpoint.problems.sort_by_key(ToString::to_string);
        checkpoint
    }

    /// A layer's weight and bias, unless there is a problem.
    fn layer(&mut self, layer: &Layer, eps: f64) -> Option<Folded> {
        let channels = [layer.cout];
        let weight = self.take(&layer.name, "weight", &layer.weight_dims());
        let result = match &layer.norm {
            Some(norm) => {
                // All are looked up before the first that is missing ends it.
                let norm =
                    ["weight", "bias", "running_mean", "running_var"].map(|part| self.take(norm, part, &channels));
                let [Some(gamma), Some(beta), Some(mean), Some(var)] = &norm else { return None };
                fold(&weight?, None, Some(&BatchNorm { gamma, beta, mean, var, eps }))
            }
            None => {
                let bias = self.take(&layer.name, "bias", &channels);
                fold(&weight?, Some(&bias?), None)
            }
        };
        result.map_err(|error| self.refuse(layer, error)).ok()
    }

    /// Values of a tensor, exactly, unless there is a problem.
    fn take(&mut self, module: &str, part: &str, expected: &[usize]) -> Option<Vec<f64>> {
        let name = format!("{module}.{part}");
        let Some(tensor) = self.tensors.remove(&name) else {
            self.problems.push(Problem::Missing { name, expected: expected.to_vec() });
            return None;
        };
        if tensor.shape() != expected {
            let (expected, found) = (expected.to_vec(), tensor.shape().to_vec());
            self.problems.push(Problem::Shape { name, expected, found });
            return None;
        }
        let values = exact(tensor.dtype(), tensor.data());
        if values.is_none() {
            self.problems.push(Problem::Dtype { name, found: format!("{:?}", tensor.dtype()) });
        }
        values
    }

    fn refuse(&mut self, layer: &Layer, error: mnx_conv::Error) {
        match error {
            mnx_conv::Error::Fold(FaultList(faults)) => {
                let problem = |fault: Fault| Problem::Values { name: tensor_name(layer, fault.parameter), fault };
                self.problems.extend(faults.into_iter().map(problem));
            }
            error => self.problems.push(Problem::Fold { name: layer.name.clone(), error }),
        }
    }

    fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems;
        let unused = self.tensors.into_iter();
        problems.extend(unused.map(|(name, tensor)| Problem::Unexpected { name, found: tensor.shape().to_vec() }));
        problems
    }
}

/// What a parameter of a layer is called in a checkpoint.
fn tensor_name(layer: &Layer, parameter: Parameter) -> String {
    let (conv, norm) = (&layer.name, layer.norm.as_ref().unwrap_or(&layer.name));
    match parameter {
        Parameter::Weight => format!("{conv}.weight"),
        Parameter::Bias => format!("{conv}.bias"),
        Parameter::Gamma => format!("{norm}.weight"),
        Parameter::Beta => format!("{norm}.bias"),
        Parameter::Mean => format!("{norm}.running_mean"),
        Parameter::Variance => format!("{norm}.running_var"),
        other => format!("{conv}, {other}"),
    }
}

/// Little-endian numbers as f64, which holds each of them exactly; `None` for dtypes that are not taken.
fn exact(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    let (pairs, fours, eights) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0, bytes.as_chunks::<8>().0);
    Some(match dtype {
        Dtype::F16 => pairs.iter().map(|&b| f16_to_f64(u16::from_le_bytes(b))).collect(),
        Dtype::BF16 => pairs.iter().map(|&b| bf16_to_f64(u16::from_le_bytes(b))).collect(),
        Dtype::F32 => fours.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        Dtype::F64 => eights.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
