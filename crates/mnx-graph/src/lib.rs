//! Networks for mnx: specs, the `.mnx` weight file, conversion, int8 quantisation, plans and sessions.

#[cfg(not(target_endian = "little"))]
compile_error!("mnx reads its weight files in place: little-endian targets only");

// The tests in `tests/` read `testing.rs` as well, which therefore calls the crate by its name.
#[cfg(test)]
extern crate self as mnx_graph;

mod arena;
mod arithmetic;
mod blocks;
mod border;
#[cfg(feature = "convert")]
mod convert;
#[cfg(any(feature = "convert", feature = "onnx"))]
mod converted;
mod crew;
mod dtype;
mod error;
mod exec;
mod families;
mod file;
#[cfg(any(feature = "convert", feature = "onnx"))]
mod float;
mod graph;
#[cfg(feature = "guarded")]
#[doc(hidden)]
pub mod guarded;
#[cfg(all(feature = "memmap2", target_os = "linux"))]
mod huge;
mod include;
mod init;
mod int8;
mod kind;
mod layers;
mod limits;
#[cfg(feature = "memmap2")]
mod mmap;
mod model;
mod network;
#[cfg(feature = "onnx")]
mod onnx;
mod outputs;
mod placed;
mod plan;
mod profile;
pub mod quantize;
mod rows;
mod run;
mod session;
mod spec;
#[cfg(test)]
mod testing;
mod text;
mod threads;
mod wiring;

#[cfg(feature = "convert")]
pub use convert::{
    Assumption, ConvertOptions, Dialect, Identified, Naming, Problem, convert, convert_with, identify, identify_with,
    naming,
};
#[cfg(any(feature = "convert", feature = "onnx"))]
pub use converted::Converted;
pub use dtype::ClassifierDtype;
#[cfg(feature = "convert")]
pub use error::CheckpointError;
#[cfg(feature = "onnx")]
pub use error::OnnxError;
pub use error::{Error, FileError, InFile, QuantizeError};
pub use families::families;
pub use file::{
    Int8Weights, LayerWeights, PackedInt8, Quantization, Weights, try_write_model, write_model, write_model_with,
    write_quantized,
};
#[doc(hidden)]
pub use include::Aligned;
pub use init::{init, init_with};
pub use kind::{FileKind, Wanted};
pub use limits::Limits;
pub use mnx_conv::{Error as ConvError, Fault, FaultList, Packing, Parameter, Rule};
pub use mnx_tensor::{Arithmetic, Element, Error as TensorError, ErrorKind, PackedWeights, Tensor, TensorView};
pub use model::{Model, OpenOptions, StoredTensor};
pub use network::{Activation, Block, End, Layer, LayerKind, Level, Network};
#[cfg(feature = "onnx")]
pub use onnx::Onnx;
pub use outputs::Outputs;
pub use placed::PlacedLayer;
pub use profile::{LayerInfo, Profile, StepInfo, StepProfile};
pub use session::{BlockOutput, MAX_THREADS, Session, SessionOptions, Stopper, ValueOutput};
pub use spec::{
    BlockKind, BoxCoder, BoxOrder, DetectorSpec, Extra, ExtraKind, Fit, HeadKind, Interpolation, Padding,
    Preprocessing, PriorBoxes, ScoreKind, Spec, Stage, Stem, Tap, TapPoint,
};
pub use threads::{ThreadPool, default_threads};

/// What is not promised: any release may change it.
pub mod unstable {
    pub use crate::arithmetic::arithmetic_name;
    pub use crate::session::tuned;
    pub use crate::text::{is_treacherous, shown};
    #[cfg(feature = "rayon")]
    pub use crate::threads::thread_pool;
}
