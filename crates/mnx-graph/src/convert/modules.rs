//! The names of one layer's tensors in a checkpoint.

use crate::Layer;

/// The names of a layer's convolution and batch norm in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Modules {
    pub(super) conv: String,
    pub(super) norm: Option<String>,
    /// Whether the convolution has a bias.
    pub(super) bias: bool,
}

impl Modules {
    /// The names of a layer's convolution and of its batch norm, if it has one, both behind `start`.
    pub(super) fn of(layer: &Layer, conv: &str, norm: &str, start: &str) -> Modules {
        let norm = layer.norm.as_ref().map(|_| format!("{start}{norm}"));
        Modules { conv: format!("{start}{conv}"), norm, bias: layer.bias }
    }

    pub(super) fn behind(&self, prefix: &str) -> Modules {
        let name = |name: &String| format!("{prefix}{name}");
        Modules { conv: name(&self.conv), norm: self.norm.as_ref().map(name), bias: self.bias }
    }

    /// The names of its tensors, the weight's first.
    pub(super) fn tensors(&self) -> impl Iterator<Item = String> {
        let bias = self.bias.then(|| format!("{}.bias", self.conv));
        let norm = self.norm.as_ref().map(|norm| NORM.map(|part| format!("{norm}.{part}")));
        std::iter::once(format!("{}.weight", self.conv)).chain(bias).chain(norm.into_iter().flatten())
    }
}

/// Tensors of a batch norm.
pub(super) const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];
