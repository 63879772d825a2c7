//! What can be wrong with a checkpoint.

use mnx_tensor::ErrorKind;

use crate::text::{NAME, shown};

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A checkpoint that is not in the safetensors format.
    #[error("checkpoint: expected a safetensors file, found something else: {message}")]
    Format {
        /// What is wrong with it.
        message: String,
    },
    /// A checkpoint whose network does not show in its names and shapes.
    #[error("checkpoint: expected {expected}, found {found}")]
    Unknown {
        /// What was looked for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A checkpoint that has the network's tensors more than once.
    #[error("checkpoint: expected the network once, found it behind {}", behind(prefixes))]
    SeveralNetworks {
        /// What the names of each begin with.
        prefixes: Vec<String>,
    },
    /// A checkpoint whose tensors are not those of the network: every problem, one line each.
    #[error("checkpoint: found {} problem{}:{}", .problems.len(), if problems.len() == 1 { "" } else { "s" }, crate::convert::lines(problems))]
    Problems {
        /// At least one: what the spec has otherwise, then tensors in the order of the network's layers, unexpected ones last.
        problems: Vec<crate::convert::Problem>,
    },
    /// The epsilon of the batch norms.
    #[error("batch norm: expected an epsilon that is finite and not negative, found {found}")]
    Epsilon {
        /// The epsilon.
        found: f64,
    },
}

impl CheckpointError {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CheckpointError::Format { .. } | CheckpointError::Problems { .. } => ErrorKind::InvalidFile,
            CheckpointError::Unknown { .. } => ErrorKind::Unsupported,
            CheckpointError::SeveralNetworks { .. } | CheckpointError::Epsilon { .. } => ErrorKind::InvalidInput,
        }
    }
}

fn behind(prefixes: &[String]) -> String {
    let named = |prefix: &String| match prefix.as_str() {
        "" => "no prefix".into(),
        prefix => format!("`{}`", shown(prefix, NAME)),
    };
    prefixes.iter().map(named).collect::<Vec<_>>().join(" and ")
}
