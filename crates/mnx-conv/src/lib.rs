//! Convolution, batch norm and ReLU6 as one: [folding](fold()) batch norms into weights, the [order](Packing) in which
//! weights are stored, and [layers](FusedLayer) that are fused.

mod error;
mod flush;
mod fold;
mod layers;
mod pack;

pub use error::{Error, Fault, FaultList, Parameter, Rule};
pub use flush::{LEAST_CHANNEL, LEAST_VALUE, flush};
pub use fold::{BatchNorm, Folded, fold};
pub use layers::FusedLayer;
pub use pack::Packing;
