//! Layers as text: names in tables, and what `--shape` takes.

use std::fmt;
use std::str::FromStr;

use mnx_tensor::{Arithmetic, BLOCK, Isa, Operation, table};

use crate::Shape;

/// More than any layer of a network on pictures has.
const MOST_CHANNELS: usize = 1 << 16;
const MOST_SIZE: usize = 1024;
/// Input, weights and output together.
const MOST_MIB: usize = 1024;

const RELU6: &str = "+relu6";

/// Why a text is no layer that can be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Not of the form.
    #[error("expected KERNEL:CIN-COUT@SIZE or KERNEL:CIN-COUT@SIZE+relu6, such as pw:96-192@56+relu6")]
    Form,
    /// No kernel of that name.
    #[error("expected a kernel ({}), found {found:?}", kernels().collect::<Vec<_>>().join(", "))]
    Kernel {
        /// The name.
        found: String,
    },
    /// A number outside its range.
    #[error("{what}: expected {least} to {most}, found {found}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The least that is measured.
        least: usize,
        /// The most that is measured.
        most: usize,
        /// The number.
        found: String,
    },
    /// A layer that works channel by channel, with different numbers of them.
    #[error("{kernel} works channel by channel: expected as many channels out as in, {cin}, found {cout}")]
    Channels {
        /// The kernel.
        kernel: &'static str,
        /// Input channels.
        cin: usize,
        /// Output channels.
        cout: usize,
    },
    /// A clamp where there is no choice.
    #[error("{kernel} does not come with a ReLU6 and without: expected no +relu6")]
    Clamp {
        /// The kernel.
        kernel: &'static str,
    },
    /// More memory than a bench should take.
    #[error("input, weights and output: expected at most {MOST_MIB} MiB together, found {found} MiB")]
    Memory {
        /// MiB.
        found: usize,
    },
}

/// Names of the kernels, in the order of the table.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    table::rows().filter(|row| row.isa == Isa::Scalar).map(|row| row.name)
}

fn number(what: &'static str, text: &str, most: usize) -> Result<usize, ShapeError> {
    let range = || ShapeError::Range { what, least: 1, most, found: text.to_owned() };
    text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(range)
}

impl Shape {
    /// Whether there are such layers with a ReLU6 and without.
    fn has_choice(&self) -> bool {
        let either = matches!(self.operation, Operation::Depthwise { .. } | Operation::Pointwise);
        either && self.arithmetic == Arithmetic::F32
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Shape, ShapeError> {
        let (name, sizes) = text.split_once(':').ok_or(ShapeError::Form)?;
        let (sizes, clamps) = sizes.strip_suffix(RELU6).map_or((sizes, false), |sizes| (sizes, true));
        let (channels, size) = sizes.split_once('@').ok_or(ShapeError::Form)?;
        let (cin, cout) = channels.split_once('-').ok_or(ShapeError::Form)?;
        let row = table::rows().find(|row| row.name == name);
        let row = row.ok_or_else(|| ShapeError::Kernel { found: name.to_owned() })?;
        let kernel = row.name;
        // Pointwise layers of few channels choose the kernel for half a panel.
        let (operation, most_out) = match row.operation {
            Operation::PointwiseHalf => (Operation::Pointwise, BLOCK),
            operation => (operation, MOST_CHANNELS),
        };
        let most_size = if operation == Operation::Linear { 1 } else { MOST_SIZE };
        let (cin, cout) = (number("input channels", cin, MOST_CHANNELS)?, number("output channels", cout, most_out)?);
        let size = number("height and width", size, most_size)?;
        if operation.is_per_channel() && cin != cout {
            return Err(ShapeError::Channels { kernel, cin, cout });
        }
        let mut shape = Shape { arithmetic: row.arithmetic, weights: row.weights, operation, size, cin, cout, clamps };
        if clamps && !shape.has_choice() {
            return Err(ShapeError::Clamp { kernel });
        }
        // In f32 these come with a ReLU6 only.
        let dense = matches!(operation, Operation::Dense { .. } | Operation::Conv { .. });
        shape.clamps |= dense && shape.arithmetic == Arithmetic::F32;
        let mib = shape.bytes() >> 20;
        if mib > MOST_MIB { Err(ShapeError::Memory { found: mib }) } else { Ok(shape) }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.has_choice() && self.clamps { RELU6 } else { "" };
        write!(f, "{}-{}@{}{suffix}", self.cin, self.cout, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SIDE, shapes};

    #[test]
    fn every_name_is_read_again() {
        for shape in shapes(&[0.35, 1.4], SIDE) {
            let text = format!("{}:{shape}", shape.kernel());
            assert_eq!(text.parse(), Ok(shape), "{text}");
        }
    }

    #[test]
    fn what_is_no_layer_is_said() {
        let range = |what, most, found: &str| ShapeError::Range { what, least: 1, most, found: found.into() };
        for (text, error) in [
            ("pw", ShapeError::Form),
            ("pw:96@56", ShapeError::Form),
            ("pw/96-192@56", ShapeError::Form),
            ("dw9x9s1:96-96@56", ShapeError::Kernel { found: "dw9x9s1".into() }),
            ("pw:0-192@56", range("input channels", MOST_CHANNELS, "0")),
            ("pw:96-192@56+relu", range("height and width", MOST_SIZE, "56+relu")),
            ("pw:96-99999999999999999999@56", range("output channels", MOST_CHANNELS, "99999999999999999999")),
            ("pw8:96-16@56", range("output channels", 8, "16")),
            ("linear:1280-1000@7", range("height and width", 1, "7")),
            ("dw3x3s1:96-192@56", ShapeError::Channels { kernel: "dw3x3s1", cin: 96, cout: 192 }),
            ("pw-int8:96-192@56+relu6", ShapeError::Clamp { kernel: "pw-int8" }),
            ("pw:65536-65536@1024", ShapeError::Memory { found: 540_672 }),
        ] {
            assert_eq!(text.parse::<Shape>(), Err(error), "{text}");
        }
        assert_eq!("pw:96-8@56".parse::<Shape>().map(|shape| shape.kernel()), Ok("pw8"));
    }
}
