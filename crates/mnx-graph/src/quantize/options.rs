//! How a network is quantised.

use super::Method;
use crate::{Error, Network, QuantizeError};

/// Whether biases are corrected unless somebody says otherwise.
const BIAS_CORRECTION: bool = true;

/// What may be chosen. [`Options::default`] is a good choice for the networks here.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How ranges are chosen.
    pub method: Method,
    /// Whether what rounding the weights adds to the mean of each channel is taken off its bias.
    pub bias_correction: bool,
    /// Layers that stay f32: names of layers or blocks, or the first parts of such names. `features.1` means all layers of
    /// that block, but none of `features.10`; `classifier` means `classifier.1`.
    pub keep: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options { method: Method::default(), bias_correction: BIAS_CORRECTION, keep: Vec::new() }
    }
}

impl Options {
    /// The default.
    pub fn new() -> Options {
        Options::default()
    }

    /// With ranges chosen this way.
    #[must_use]
    pub fn method(mut self, method: Method) -> Options {
        self.method = method;
        self
    }

    /// With biases corrected or not.
    #[must_use]
    pub fn bias_correction(mut self, correct: bool) -> Options {
        self.bias_correction = correct;
        self
    }

    /// With these layers in f32.
    #[must_use]
    pub fn keep<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Options {
        self.keep = names.into_iter().map(Into::into).collect();
        self
    }

    /// For each layer of the network whether it is kept.
    ///
    /// # Errors
    /// - [`QuantizeError::Keep`] for a name that no layer has.
    /// - [`QuantizeError::NothingLeft`] if every layer is kept.
    pub fn kept(&self, network: &Network) -> Result<Vec<bool>, Error> {
        let layers: Vec<&str> = network.layers().map(|layer| &*layer.name).collect();
        let mut kept = vec![false; layers.len()];
        for name in &self.keep {
            let mut found = false;
            for (kept, layer) in kept.iter_mut().zip(&layers) {
                let rest = layer.strip_prefix(name.as_str());
                let matches = !name.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
                *kept |= matches;
                found |= matches;
            }
            if !found {
                return Err(QuantizeError::Keep { name: name.clone() }.into());
            }
        }
        if kept.iter().all(|&kept| kept) { Err(QuantizeError::NothingLeft.into()) } else { Ok(kept) }
    }
}
