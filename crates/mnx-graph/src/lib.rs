//! SandGlass graphs: network specs, the `.mnx` weight file, plans and sessions.

#[cfg(not(target_endian = "little"))]
compile_error!("mnx reads its weight files in place: little-endian targets only");

mod error;
mod families;
mod limits;
mod network;
mod spec;

pub use error::Error;
pub use families::families;
pub use limits::Limits;
pub use network::{Activation, Block, Layer, LayerKind, Network, PlacedLayer};
pub use spec::{BlockKind, Padding, Preprocessing, Spec, Stage, Stem};
