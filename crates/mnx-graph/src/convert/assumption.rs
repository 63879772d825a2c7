//! What a checkpoint does not tell about its network.

use std::fmt;

use super::Identified;
use crate::{Activation, BlockKind, Error, Interpolation, Padding, Spec, families};

/// Something that changes what a network computes and no shape: a wrong one is no error anywhere, only a wrong answer.
///
/// It displays as, e.g., `ImageNet's strides, not those of mobilenetv2-cifar`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Assumption {
    /// The strides are those of the family, ImageNet's.
    Strides {
        /// The family with the same tensors and CIFAR's strides, if there is one. [`Identified::spec_as`] takes it.
        other: Option<&'static str>,
    },
    /// What follows the convolutions.
    Activation(Activation),
    /// Whether a max pool follows the stem. Variants of ResNet have none after the stem, or pools that blur.
    Pools {
        /// Whether there is a max pool after the stem.
        max_pool: bool,
    },
    /// Side of the input in pixels.
    Resolution(usize),
    /// Where convolutions with a stride put their zeros.
    Padding(Padding),
    /// The identity tensor multiplier.
    Identity(f64),
    /// What pixels in 0…1 are normalised with, per channel.
    MeanStd {
        /// Subtracted.
        mean: [f32; 3],
        /// Then divided by.
        std: [f32; 3],
    },
    /// What batch norms add to variances.
    BnEps(f64),
    /// How pictures are resized.
    Interpolation(Interpolation),
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Assumption::Strides { other: Some(other) } => write!(f, "ImageNet's strides, not those of {other}"),
            Assumption::Strides { other: None } => write!(f, "ImageNet's strides"),
            Assumption::Activation(Activation::Relu6) => write!(f, "activation ReLU6"),
            Assumption::Activation(Activation::Relu) => write!(f, "activation ReLU"),
            Assumption::Activation(Activation::Linear) => write!(f, "no activation"),
            Assumption::Pools { max_pool: true } => write!(f, "max pool after the stem"),
            Assumption::Pools { max_pool: false } => write!(f, "no max pool"),
            Assumption::Resolution(side) => write!(f, "resolution {side}"),
            Assumption::Padding(padding) => write!(f, "padding {}", padding.name()),
            Assumption::Identity(identity) => write!(f, "identity {identity}"),
            Assumption::MeanStd { mean, std } => write!(f, "mean {mean:?} and std {std:?}"),
            Assumption::BnEps(eps) => write!(f, "batch-norm epsilon {eps:e}"),
            Assumption::Interpolation(Interpolation::Bicubic) => write!(f, "bicubic resizing"),
            Assumption::Interpolation(Interpolation::Bilinear) => write!(f, "bilinear resizing without antialiasing"),
            Assumption::Interpolation(_) => write!(f, "bilinear resizing"),
        }
    }
}

impl Identified {
    /// The family with the same tensors at CIFAR's strides.
    fn cifar(&self) -> Option<&'static str> {
        families().find(|family| family.strip_suffix("-cifar") == Some(self.family))
    }

    /// As [`spec`](Identified::spec), of a family with the same tensors: `mobilenext-cifar` for a checkpoint that is found to be
    /// `mobilenext`. Strides, resolution and preprocessing are that family's.
    ///
    /// # Errors
    /// [`Error::Spec`] for another family.
    pub fn spec_as(&self, family: &str) -> Result<Spec, Error> {
        if family == self.family {
            return Ok(self.spec());
        }
        let Some(cifar) = self.cifar().filter(|&cifar| cifar == family) else {
            let or = self.cifar().map(|cifar| format!(" or {cifar}")).unwrap_or_default();
            let expected = format!("{}{or}, as the checkpoint's names and shapes are", self.family);
            return Err(Error::Spec { field: "family".into(), expected, found: family.into() });
        };
        Ok(self.spec_of(cifar))
    }

    /// What `spec`, which [`spec`](Identified::spec) or [`spec_as`](Identified::spec_as) made, has that names and shapes do not
    /// tell. Worth showing to whoever knows how the network was trained.
    pub fn assumptions(&self, spec: &Spec) -> Vec<Assumption> {
        // Another family was named for its strides.
        let named = spec.family != self.family;
        let mut assumptions = if named { Vec::new() } else { vec![Assumption::Strides { other: self.cifar() }] };
        assumptions.extend([
            Assumption::Activation(spec.activation),
            Assumption::Pools { max_pool: spec.stem.max_pool },
            Assumption::Resolution(spec.resolution),
        ]);
        // ResNets pad their max pool on both sides, and no implementation does otherwise.
        if !spec.stem.max_pool {
            assumptions.push(Assumption::Padding(spec.padding));
        }
        if spec.stages.iter().any(|stage| stage.block == BlockKind::Sandglass) {
            assumptions.push(Assumption::Identity(spec.identity));
        }
        let preprocessing = &spec.preprocessing;
        assumptions.extend([
            Assumption::MeanStd { mean: preprocessing.mean, std: preprocessing.std },
            Assumption::BnEps(self.naming.bn_eps(spec)),
            Assumption::Interpolation(preprocessing.interpolation),
        ]);
        assumptions
    }
}
