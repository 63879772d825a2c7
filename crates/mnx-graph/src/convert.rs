//! Converts checkpoints into weight files. A checkpoint is a safetensors file with the tensor names of a dialect.

mod assumption;
mod beside;
mod dialects;
mod identify;
mod modules;
mod naming;

use std::collections::{BTreeMap, BTreeSet};

use mnx_conv::{BatchNorm, Fault, FaultList, Folded, Parameter, fold};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::converted::{Converted, write};
use crate::float::Float;
use crate::kind::{FileKind, Wanted};
use crate::text::{SENTENCE, shown};
use crate::{CheckpointError, ClassifierDtype, Error, Layer, Limits, Network, Spec};

pub use assumption::Assumption;
pub use dialects::Dialect;
pub use identify::{Identified, identify, identify_with};
use modules::{Modules, NORM};
use naming::{Found, Names, is_counter, shapes};
pub use naming::{Naming, naming};

/// One reason why a checkpoint does not fit a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The spec contradicts the names and shapes of the checkpoint.
    #[error("{field}: expected {expected}, found {found} by names and shapes")]
    Spec {
        /// `family`, `width` or `classes`.
        field: &'static str,
        /// The spec's.
        expected: String,
        /// The checkpoint's, as [`identify`] reads it.
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
    /// A tensor of the network is there twice, behind two prefixes.
    #[error("{name}: expected once, found {}", twice(prefixes))]
    Twice {
        /// The name without a prefix.
        name: String,
        /// The prefix of the network's other tensors, and the second prefix. One of them may be empty.
        prefixes: [String; 2],
    },
    /// More than one layer could be the classifier.
    #[error("classifier: expected one, found `{}`", found.join("` and `"))]
    Classifiers {
        /// Their names.
        found: Vec<String>,
    },
    /// Tensors beside the classifier seem to be layers before or after it. They are listed as unexpected.
    #[error(
        "classifier: expected `{classifier}` alone after the network's features, found more layers, which mnx does not have"
    )]
    LayersBeside {
        /// The classifier's name.
        classifier: String,
    },
    /// A tensor has a shape that the network does not expect.
    #[error("{name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape that follows from the spec.
        expected: Vec<usize>,
        /// The shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor's values are not floating-point numbers of 16 to 64 bits.
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

fn twice([first, second]: &[String; 2]) -> String {
    match (first.as_str(), second.as_str()) {
        ("", prefix) | (prefix, "") => format!("with and without the prefix `{prefix}`"),
        (first, second) => format!("with the prefixes `{first}` and `{second}`"),
    }
}

/// One line per problem, each after a line break.
pub(crate) fn lines(problems: &[Problem]) -> String {
    // Tensors can have any name.
    problems.iter().map(|problem| format!("\n  {}", shown(&problem.to_string(), SENTENCE))).collect()
}

/// How a checkpoint is read.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// What batch norms add to variances. `None`: [`Naming::bn_eps`].
    pub bn_eps: Option<f64>,
    /// The prefix in front of the names of the network's tensors. Its last dot may be left out. Tensors without the prefix are
    /// ignored, except a classifier that is needed, and what may be more layers beside it, which is refused.
    ///
    /// `None`: the prefix that most of the network's tensors have. Then every tensor of the checkpoint must have it.
    pub strip_prefix: Option<String>,
    /// The type in which the classifier's weights are stored: f32 unless something else is said.
    pub classifier_dtype: ClassifierDtype,
}

impl ConvertOptions {
    /// Options that take the dialect's epsilon, find the prefix and store everything as f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the epsilon of batch norms.
    #[must_use]
    pub fn bn_eps(mut self, bn_eps: f64) -> Self {
        self.bn_eps = Some(bn_eps);
        self
    }

    /// Sets the prefix to strip.
    #[must_use]
    pub fn strip_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.strip_prefix = Some(prefix.into());
        self
    }

    /// Sets the type in which the classifier's weights are stored.
    #[must_use]
    pub fn classifier_dtype(mut self, dtype: ClassifierDtype) -> Self {
        self.classifier_dtype = dtype;
        self
    }
}

/// Converts the bytes of a safetensors checkpoint into a weight file. The same checkpoint and spec give the same bytes.
///
/// Batch norms are folded in f64 and rounded once. `bn_eps` is their epsilon: 1e-5 in PyTorch, 1e-3 in TensorFlow. Zeros
/// replace values that are then almost zero.
///
/// Tensors are F16, BF16, F32 or F64. Their names are those of a [`Dialect`], behind any [prefix](Naming::prefix) that all
/// of them share. The classifier may also be called `fc`, `head` and the like. Counters such as `num_batches_tracked` are
/// ignored. A classifier of another name is taken if it is the only matrix beside the network; without a bias, its bias is zero.
///
/// # Errors
/// - [`CheckpointError::Problems`] lists where names and shapes contradict the spec; every missing, unexpected or misshapen tensor;
///   and every tensor with values that are not finite or variances that are negative.
/// - [`CheckpointError::Format`] or [`Error::WrongKind`] if it is not a safetensors file.
/// - [`CheckpointError::SeveralNetworks`] if it has several networks.
/// - [`CheckpointError::Epsilon`] for an epsilon that is negative or not finite.
/// - [`Error::PixelRange`] for a mean or deviation that is meant for pixels in 0…255.
/// - [`Error::Tensor`] if there is no memory for folded weights.
/// - As [`write_model`](crate::write_model).
pub fn convert(checkpoint: &[u8], spec: &Spec, bn_eps: f64) -> Result<Converted, Error> {
    convert_with(checkpoint, spec, &ConvertOptions::new().bn_eps(bn_eps))
}

/// As [`convert`], with options: epsilon and prefix may be left to be found. Padding and preprocessing are the spec's;
/// [`Dialect::apply`] sets them to the dialect's.
///
/// # Errors
/// As [`convert`]; and [`CheckpointError::Unknown`] if no tensor has the prefix to strip.
pub fn convert_with(checkpoint: &[u8], spec: &Spec, options: &ConvertOptions) -> Result<Converted, Error> {
    if let Some(found) = options.bn_eps.filter(|eps| !(eps.is_finite() && *eps >= 0.0)) {
        return Err(Error::Checkpoint(CheckpointError::Epsilon { found }));
    }
    let limits = Limits::default();
    let network = Network::new_with(spec, &limits)?;
    spec.preprocessing.check_range()?;
    let tensors = parse(checkpoint)?;
    let names = Names::new(shapes(&tensors), options)?;
    let found = names.of(spec, &network)?;
    let bn_eps = options.bn_eps.unwrap_or_else(|| found.naming.bn_eps(spec));

    let mut unused = Checkpoint::new(&tensors, &found);
    let mut folded = Vec::new();
    for (layer, modules) in network.layers().zip(&found.modules) {
        folded.extend(unused.layer(layer, modules, bn_eps)?);
    }
    let mut problems = unused.finish(found);
    if !problems.is_empty() {
        if let Ok(identified) = identify_with(checkpoint, options) {
            problems.splice(..0, identified.disagreements(spec));
        }
        return Err(Error::Checkpoint(CheckpointError::Problems { problems }));
    }
    write(spec, &limits, options.classifier_dtype, folded)
}

fn parse(checkpoint: &[u8]) -> Result<SafeTensors<'_>, Error> {
    let tensors = SafeTensors::deserialize(checkpoint).map_err(|e| match FileKind::of(checkpoint) {
        None | Some(FileKind::Safetensors) => {
            Error::Checkpoint(CheckpointError::Format { message: shown(&e.to_string(), SENTENCE) })
        }
        Some(found) => Error::WrongKind { expected: Wanted::Checkpoint, found },
    })?;
    let (limit, found) = (MOST_TENSORS as u64, tensors.len() as u64);
    if found > limit {
        return Err(Error::Limit { what: "tensors of a checkpoint".into(), limit, found });
    }
    let (limit, found) = (LONGEST_NAME, tensors.iter().map(|(name, _)| name.len()).max().unwrap_or(0));
    if found > limit {
        let what = "bytes of the longest name of a tensor".into();
        return Err(Error::Limit { what, limit: limit as u64, found: found as u64 });
    }
    Ok(tensors)
}

/// Most tensors of a checkpoint: the largest network's and what an optimiser keeps for each. Names are compared with each
/// other, which takes long for many more.
const MOST_TENSORS: usize = 20_000;

/// Bytes of the longest name. Its beginning is tried as a prefix of all layers' names, and its ends as names themselves.
const LONGEST_NAME: usize = 256;

/// The tensors of a checkpoint that have not been used yet, and the problems so far.
struct Checkpoint<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    /// Names of tensors that have been used.
    used: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'a> Checkpoint<'a> {
    fn new(file: &SafeTensors<'a>, found: &Found) -> Self {
        let mut tensors: BTreeMap<_, _> = file.tensors().into_iter().filter(|(name, _)| !is_counter(name)).collect();
        found.naming.left_out.iter().for_each(|name| drop(tensors.remove(name)));
        Checkpoint { tensors, used: BTreeSet::new(), problems: Vec::new() }
    }

    /// A layer's folded weight and bias. `None` after a problem, which is noted; an error where there is no memory.
    fn layer(&mut self, layer: &Layer, modules: &Modules, eps: f64) -> Result<Option<Folded>, Error> {
        let channels = [layer.cout];
        let weight = self.take(&modules.conv, "weight", &layer.weight_dims())?;
        let result = match &modules.norm {
            Some(norm) => {
                let with_bias = layer.bias;
                let bias = if with_bias { self.take(&modules.conv, "bias", &channels)? } else { None };
                // All four are looked up first, so that every missing one is noted.
                let mut part = |index: usize| self.take(norm, NORM[index], &channels);
                let norm = [part(0)?, part(1)?, part(2)?, part(3)?];
                let [Some(gamma), Some(beta), Some(mean), Some(var)] = &norm else { return Ok(None) };
                let (Some(weight), true) = (weight, bias.is_some() || !with_bias) else { return Ok(None) };
                fold(&weight, bias.as_deref(), Some(&BatchNorm { gamma, beta, mean, var, eps }))
            }
            None => {
                let zeros = || mnx_tensor::memory::zeros(layer.cout).map(Some);
                let bias = if modules.bias { self.take(&modules.conv, "bias", &channels)? } else { zeros()? };
                let (Some(weight), Some(bias)) = (weight, bias) else { return Ok(None) };
                fold(&weight, Some(&bias), None)
            }
        };
        match result {
            Ok(folded) => Ok(Some(folded)),
            Err(mnx_conv::Error::Tensor(error)) => Err(error.into()),
            Err(error) => {
                self.refuse(modules, error);
                Ok(None)
            }
        }
    }

    /// The exact values of a tensor. `None` after a problem, which is noted; an error where there is no memory.
    fn take(&mut self, module: &str, part: &str, expected: &[usize]) -> Result<Option<Vec<f64>>, Error> {
        let name = format!("{module}.{part}");
        let Some(tensor) = self.tensors.remove(&name) else {
            self.problems.push(Problem::Missing { name, expected: expected.to_vec() });
            return Ok(None);
        };
        self.used.insert(name.clone());
        if tensor.shape() != expected {
            let (expected, found) = (expected.to_vec(), tensor.shape().to_vec());
            self.problems.push(Problem::Shape { name, expected, found });
            return Ok(None);
        }
        let values = exact(tensor.dtype(), tensor.data()).transpose()?;
        if values.is_none() {
            self.problems.push(Problem::Dtype { name, found: format!("{:?}", tensor.dtype()) });
        }
        Ok(values)
    }

    fn refuse(&mut self, modules: &Modules, error: mnx_conv::Error) {
        match error {
            mnx_conv::Error::Fold(FaultList(faults)) => {
                let problem = |fault: Fault| Problem::Values { name: tensor_name(modules, fault.parameter), fault };
                self.problems.extend(faults.into_iter().map(problem));
            }
            error => self.problems.push(Problem::Fold { name: modules.conv.clone(), error }),
        }
    }

    /// All problems: first names that are there twice, last unexpected tensors.
    fn finish(self, found: Found) -> Vec<Problem> {
        let unused = self.tensors.into_iter();
        let left_over = unused.map(|(name, tensor)| found.naming.left_over(&name, tensor.shape().to_vec(), &self.used));
        let (mut problems, unexpected): (Vec<_>, Vec<_>) =
            left_over.partition(|problem| matches!(problem, Problem::Twice { .. }));
        problems.extend(found.rivals);
        problems.extend(found.layers_beside);
        problems.extend(self.problems);
        problems.extend(unexpected);
        problems
    }
}

/// The name of a layer's parameter in the checkpoint.
fn tensor_name(modules: &Modules, parameter: Parameter) -> String {
    let (conv, norm) = (&modules.conv, modules.norm.as_ref().unwrap_or(&modules.conv));
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

/// A tensor's values. `None` for other dtypes.
fn exact(dtype: Dtype, bytes: &[u8]) -> Option<Result<Vec<f64>, mnx_tensor::Error>> {
    let float = match dtype {
        Dtype::F16 => Float::F16,
        Dtype::BF16 => Float::Bf16,
        Dtype::F32 => Float::F32,
        Dtype::F64 => Float::F64,
        _ => return None,
    };
    Some(float.exact(bytes))
}

#[cfg(test)]
mod tests;
