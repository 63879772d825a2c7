//! Inference of MobileNeXt in Rust, on hand-written SIMD kernels: a picture in, labels out.
//!
//! ```no_run
//! use mnx::{Classifier, Model};
//!
//! # #[cfg(feature = "image")]
//! # fn main() -> Result<(), mnx::Error> {
//! let model = Model::open("mobilenext.mnx")?;
//! let mut classifier = Classifier::new(&model)?;
//! let picture = mnx::Picture::open("cat.jpg")?;
//! for found in classifier.classify(&picture, 5)? {
//!     println!("{:>5.1} %  {}", found.probability * 100.0, found.label.unwrap_or("?"));
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "image"))]
//! # fn main() {}
//! ```
//!
//! # The pieces
//!
//! - [`Model`]: an immutable weight file (`.mnx`), read, memory-mapped or [embedded](include_model!); `Send + Sync` and cheap to clone.
//! - [`Session`]: the memory of one stream of inferences; raw tensors `[N, 3, H, W]` in, logits out. Any N, H and W from 1 on.
//! - [`Preprocessor`]: a [`Picture`] or a raw [`Frame`] (RGB8, RGBA8) resized, cropped and normalised as torchvision does.
//! - [`Classifier`]: the three together.
//! - [`ops`]: single layers on plain tensors, without any network; [`pack`] orders their weights once for many calls.
//! - [`Spec`], [`Network`]: what a model is made of; [`init`] and `convert` (feature `convert`) make weight files.
//!
//! Short programs to start from are in `examples/`: `classify`, `embed` (a model inside the program, raw frames),
//! `service` (many sessions on one model), `features` (embeddings), `one_kernel` (layers on plain tensors).
//!
//! # Features
//!
//! `rayon` (several threads) and `memmap2` (mapped weight files) are on by default; `image` adds decoding of picture
//! files, `convert` the conversion of safetensors checkpoints, `plot` pictures of profiles (SVG).

mod classifier;
mod error;
mod labels;
mod picture;
#[cfg(feature = "plot")]
pub mod plot;
mod preprocess;
mod resize;
mod topk;

pub use classifier::{Classifier, Prediction};
pub use error::Error;
pub use labels::parse_labels;
pub use mnx_graph::{
    Activation, Block, BlockKind, BlockOutput, Error as GraphError, Layer, LayerInfo, LayerKind, LayerWeights, Limits,
    MAX_THREADS, Model, Network, OpenOptions, Padding, PlacedLayer, Preprocessing, Profile, Session, SessionOptions,
    Spec, Stage, Stem, StepInfo, StepProfile, families, include_model, init, write_model,
};
#[cfg(feature = "convert")]
pub use mnx_graph::{Problem, convert};
pub use mnx_tensor::peak::{copy_bandwidth, fma_peak};
pub use mnx_tensor::table::{KernelInfo, all as kernels};
pub use mnx_tensor::{Clamp, Error as TensorError, Isa, Tensor, TensorView, ops, pack};
pub use picture::{Frame, Picture, PictureLimits};
pub use preprocess::Preprocessor;
pub use topk::{softmax, top_k};

/// The README's example compiles.
#[cfg(all(doctest, feature = "image"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
