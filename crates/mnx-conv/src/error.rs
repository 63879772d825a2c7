//! What can be wrong with a layer's weights.

use std::fmt;

use mnx_tensor::ErrorKind;

/// Errors of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor of the caller's, or a choice of ISA.
    #[error(transparent)]
    Tensor(#[from] mnx_tensor::Error),
    /// Values that no batch norm can be folded with: one entry per parameter and rule.
    #[error("weights to fold: {0}")]
    Fold(FaultList),
    /// A slice of weights does not hold what the number of output channels asks for.
    #[error("{parameter}: expected {expected}, found {found} values")]
    Length {
        /// Which slice.
        parameter: Parameter,
        /// How many values it may have.
        expected: String,
        /// How many it has.
        found: usize,
    },
    /// The epsilon of a batch norm.
    #[error("batch norm: expected an epsilon that is finite and not negative, found {found}")]
    Epsilon {
        /// The epsilon.
        found: f64,
    },
    /// Dimensions that no tensor of this packing has, or so many elements that they cannot be counted.
    #[error("packing {packing}: expected dimensions {expected}, found {found:?}")]
    Dims {
        /// Name of the packing.
        packing: &'static str,
        /// The form of dimensions it is for.
        expected: &'static str,
        /// The dimensions.
        found: Vec<usize>,
    },
}

impl Error {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Tensor(error) => error.kind(),
            Error::Fold(_) | Error::Length { .. } | Error::Epsilon { .. } | Error::Dims { .. } => {
                ErrorKind::InvalidInput
            }
        }
    }
}

/// A parameter of a convolution and its batch norm, under its name in a PyTorch module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parameter {
    /// `weight` of the convolution.
    Weight,
    /// `bias` of the convolution.
    Bias,
    /// `weight` of the batch norm.
    Gamma,
    /// `bias` of the batch norm.
    Beta,
    /// `running_mean` of the batch norm.
    Mean,
    /// `running_var` of the batch norm.
    Variance,
    /// What folding made of the weight.
    FoldedWeight,
    /// What folding made of the bias.
    FoldedBias,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Parameter::Weight => "weight",
            Parameter::Bias => "bias",
            Parameter::Gamma => "batch norm's weight",
            Parameter::Beta => "batch norm's bias",
            Parameter::Mean => "running mean",
            Parameter::Variance => "running variance",
            Parameter::FoldedWeight => "folded weight",
            Parameter::FoldedBias => "folded bias",
        })
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Neither infinite nor NaN, also after rounding to f32.
    Finite,
    /// Zero or above.
    NotNegative,
}

/// One parameter's values that break one rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// Which parameter.
    pub parameter: Parameter,
    /// Which rule.
    pub rule: Rule,
    /// How many values break it.
    pub count: usize,
    /// How many values there are.
    pub of: usize,
    /// Index of the first that breaks it.
    pub index: usize,
    /// Its value.
    pub value: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Finite => "finite values",
            Rule::NotNegative => "no negative values",
        };
        let Fault { count, of, index, value, .. } = self;
        write!(f, "expected {rule}, found {value} at index {index} ({count} of {of} values)")
    }
}

/// All faults of a layer, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultList(pub Vec<Fault>);

impl fmt::Display for FaultList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {fault}", fault.parameter)?;
        }
        Ok(())
    }
}
