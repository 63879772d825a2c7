//! What can be wrong with a caller's tensors or choice of ISA.

use crate::{Arithmetic, Element, Isa, Operation, TunedFor};

/// What a caller, in any language, does about an error: every error of mnx has one.
///
/// Any release may add kinds; treat one that you do not know as [`InvalidInput`](ErrorKind::InvalidInput).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, an option or an environment variable has a value that it cannot have. The program is wrong.
    InvalidInput,
    /// There is no such file.
    NotFound,
    /// The system could not open, read or write a file, or start a thread. Another time it may.
    Io,
    /// A file is damaged, of another kind, or contradicts itself or what it is used for. Another copy may help.
    InvalidFile,
    /// All is well formed, but this version, this build or this CPU does not do it.
    Unsupported,
    /// Something is larger than the limits allow. Higher limits help.
    Limit,
    /// The machine did not give enough memory.
    Memory,
    /// Another thread asked for an end.
    Stopped,
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::NotFound => "not found",
            ErrorKind::Io => "input or output failed",
            ErrorKind::InvalidFile => "invalid file",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Limit => "above a limit",
            ErrorKind::Memory => "out of memory",
            ErrorKind::Stopped => "stopped",
        })
    }
}

impl From<&std::io::Error> for ErrorKind {
    fn from(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::OutOfMemory => ErrorKind::Memory,
            _ => ErrorKind::Io,
        }
    }
}

/// Errors of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not hold what its shape says.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// How many values the shape asks for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Two shapes that must agree do not.
    #[error("{what}: expected {expected:?}, found {found:?}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// The shape that fits.
        expected: [usize; 4],
        /// The shape that was given.
        found: [usize; 4],
    },
    /// The number of elements does not fit in memory's address range.
    #[error("a tensor of shape {shape:?} has more elements than this machine can address")]
    TooLarge {
        /// The shape.
        shape: [usize; 4],
    },
    /// The machine did not give this much memory.
    #[error("memory: expected room for {bytes} bytes, found less")]
    Memory {
        /// How many were to be held.
        bytes: usize,
    },
    /// A value outside its range.
    #[error("{what}: expected {expected}, found {found}")]
    Value {
        /// Which parameter.
        what: &'static str,
        /// The values that are allowed.
        expected: &'static str,
        /// The value that was given.
        found: usize,
    },
    /// The CPU (or this build) lacks a requested ISA.
    #[error("ISA {isa}: this CPU lacks it; it has {}", list(available))]
    IsaUnavailable {
        /// The ISA that was asked for.
        isa: Isa,
        /// Those that are there.
        available: Vec<Isa>,
    },
    /// A layer that works channel by channel with another number of outputs than of inputs.
    #[error("output channels: expected as many as input channels, {expected}, found {found}")]
    Channels {
        /// Input channels.
        expected: usize,
        /// Output channels.
        found: usize,
    },
    /// Bounds of an int8 layer's output that are no integers, or outside of what a u8 can hold.
    #[error("bounds of the output: expected integers between {least} and {most}, found {found}")]
    Bounds {
        /// The zero point, negated.
        least: i32,
        /// 255 less the zero point.
        most: i32,
        /// Both bounds.
        found: String,
    },
    /// A weight of an int8 layer that is -128: kernels count on products of two of a pair that fit into an i16.
    #[error("packed weights: expected numbers from -127 to 127, found -128 at index {index}")]
    LeastWeight {
        /// Where the first is.
        index: usize,
    },
    /// A factor of an int8 layer that could make outputs infinite or NaN.
    #[error("{what}: expected a number between -2^64 and 2^64, found {found}")]
    Factor {
        /// Which factor.
        what: &'static str,
        /// The factor.
        found: String,
    },
    /// A sum of an int8 layer that some input would bring past an i32.
    #[error("sum of output channel {channel}: expected at most 2147483647, found up to {found}")]
    Sum {
        /// The output channel.
        channel: usize,
        /// The magnitude that it could have.
        found: u64,
    },
    /// An operation for which there is no kernel.
    #[error(
        "kernel: expected an operation of the kernel table, found {operation:?} in {arithmetic} with {weights} weights on {isa}"
    )]
    Kernel {
        /// The operation.
        operation: Operation,
        /// The numbers that it computes with.
        arithmetic: Arithmetic,
        /// The type of the weights.
        weights: Element,
        /// The ISA.
        isa: Isa,
    },
    /// A layer that another function runs.
    #[error("layer: expected {expected}, found {operation:?} in {arithmetic}")]
    Layer {
        /// What the function runs.
        expected: &'static str,
        /// What the layer computes.
        operation: Operation,
        /// The numbers that it computes with.
        arithmetic: Arithmetic,
    },
    /// A name that is no microarchitecture.
    #[error("{}, found {found:?}", expected_name("tuned for", "MNX_TUNED_FOR", *.from_env, TunedFor::ALL.iter().map(|kind| kind.name())))]
    TunedForUnknown {
        /// The name that was given.
        found: String,
        /// Whether it came from the environment variable `MNX_TUNED_FOR`.
        from_env: bool,
    },
    /// A choice of dot products that is none.
    #[error("MNX_DOT_PRODUCTS: expected auto or off, found {found:?}")]
    DotProductsUnknown {
        /// What was given.
        found: String,
    },
    /// A choice of AMX that is none.
    #[error("MNX_AMX: expected auto or off, found {found:?}")]
    AmxUnknown {
        /// What was given.
        found: String,
    },
    /// A name that is no ISA.
    #[error("{}, found {found:?}", expected_name("ISA", "MNX_ISA", *.from_env, Isa::ALL.iter().map(|isa| isa.name())))]
    IsaUnknown {
        /// The name that was given.
        found: String,
        /// Whether it came from the environment variable `MNX_ISA`.
        from_env: bool,
    },
}

impl Error {
    /// What a caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Length { .. }
            | Error::Shape { .. }
            | Error::Value { .. }
            | Error::Channels { .. }
            | Error::Bounds { .. }
            | Error::LeastWeight { .. }
            | Error::Factor { .. }
            | Error::Sum { .. }
            | Error::Layer { .. }
            | Error::TunedForUnknown { .. }
            | Error::DotProductsUnknown { .. }
            | Error::AmxUnknown { .. }
            | Error::IsaUnknown { .. } => ErrorKind::InvalidInput,
            Error::IsaUnavailable { .. } | Error::Kernel { .. } => ErrorKind::Unsupported,
            Error::TooLarge { .. } | Error::Memory { .. } => ErrorKind::Memory,
        }
    }
}

fn list(isas: &[Isa]) -> String {
    isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ")
}

/// `a, b or c`.
fn alternatives<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What was expected where a name was read: environment variables can be `auto`, too.
fn expected_name<'a>(what: &str, variable: &str, from_env: bool, names: impl Iterator<Item = &'a str>) -> String {
    if from_env {
        format!("{variable}: expected {}", alternatives(["auto"].into_iter().chain(names)))
    } else {
        format!("{what}: expected {}", alternatives(names))
    }
}
