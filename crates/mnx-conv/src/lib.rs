//! Convolution, batch norm and ReLU6 as one: [folding](fold()) batch norms into weights, the [order](Packing) in which
//! weights are stored, and one type per kind of layer.
//!
//! ```
//! use mnx_conv::{BatchNorm, Packing, Pointwise, fold};
//! use mnx_tensor::{Clamp, Tensor, ops::Conv};
//!
//! # fn main() -> Result<(), mnx_conv::Error> {
//! // Two outputs of one input channel, and a batch norm that doubles the first and halves the second.
//! let norm = BatchNorm { gamma: &[2.0, 0.5], beta: &[0.0, 1.0], mean: &[0.0, 0.0], var: &[1.0, 1.0], eps: 0.0 };
//! let folded = fold(&[3.0, 3.0], None, Some(&norm))?;
//! let weight = Packing::Pointwise16.pack(&folded.weight, &[2, 1, 1, 1])?;
//! let bias = Packing::Bias16.pack(&folded.bias, &[2])?;
//! let layer = Pointwise::new(&weight[..], &bias[..], 1, 2, Clamp::NONE)?;
//! let input = Tensor::from_slice([1, 1, 1, 1], &[10.0])?;
//! assert_eq!(layer.forward(input.view(), &Conv::default())?.data(), [60.0, 16.0]);
//! # Ok(())
//! # }
//! ```

mod error;
mod flush;
mod fold;
mod layers;
mod pack;

pub use error::{Error, Fault, FaultList, Parameter, Rule};
pub use flush::{LEAST_CHANNEL, LEAST_VALUE, flush};
pub use fold::{BatchNorm, Folded, fold};
pub use layers::{Conv3x3, Dense, Depthwise3x3, Linear, Pointwise};
pub use pack::Packing;
