//! Image classification and object detection on hand-written SIMD kernels: MobileNeXt, MobileNetV2, ResNet and SSDLite.
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
//!     println!("{:>5.1} %  {}", found.probability * 100.0, found.label.as_deref().unwrap_or("?"));
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "image"))]
//! # fn main() {}
//! ```
//!
//! Build it with `--release`: kernels that are not optimised are slower by orders of magnitude. To have fast ones in debug builds,
//! too, add to `Cargo.toml`:
//!
//! ```toml
//! [profile.dev.package.mnx-tensor]
//! opt-level = 2
//! debug-assertions = false
//! overflow-checks = false
//! ```
//!
//! # The pieces
//!
//! - [`Model`]: an immutable weight file (`.mnx`), read, memory-mapped or [embedded](include_model!); `Send + Sync` and cheap to clone.
//! - [`Session`]: the memory of one stream of inferences; raw tensors `[N, 3, H, W]` in, logits out. Any N, H and W from 1 on.
//! - [`Preprocessor`]: a [`Picture`] or a raw [`Frame`] (RGB, BGR, grey, NV12) resized, cropped and normalised as torchvision does.
//! - [`Classifier`]: the three together. [`Detector`]: the same for networks that say where things are, with a
//!   [`PostProcessor`], which makes boxes of raw outputs.
//! - [`Pool`]: a fixed number of these for the threads of a service.
//! - [`ops`]: single layers on plain tensors, without any network; [`unstable::pack`] orders their weights once for many calls.
//! - [`Spec`], [`Network`]: what a model is made of; [`init`], `convert` (feature `convert`) and `Onnx` (feature `onnx`) make
//!   weight files.
//! - [`quantize`]: an int8 network of an f32 network and pictures, a quarter the size.
//!
//! Short programs to start from are in `examples/`: `classify`, `embed` (a model inside the program, raw frames),
//! `service` (many sessions on one model), `features` (embeddings), `one_kernel` (layers on plain tensors).
//!
//! # Shapes, units, order
//!
//! Tensors are f32, contiguous, in the order NCHW: `[pictures, channels, rows, columns]`. A session takes `[N, 3, H, W]`
//! with any N, H and W from 1 on (odd ones too; the network halves sizes rounding up) and gives logits `[N, classes, 1, 1]`;
//! [`softmax`] makes probabilities of them, [`top_k`] the best classes with theirs. Pixels are red, green, blue, 8 bits each,
//! rows from top to bottom. All sizes of memory are bytes, where not "elements" is said.
//!
//! # Own tensors, batches, embeddings
//!
//! ```
//! use mnx::{Model, Session, SessionOptions, Spec, Tensor};
//!
//! # fn main() -> Result<(), mnx::Error> {
//! // Random weights; a real program opens a file.
//! let mut spec = Spec::family("mobilenext").expect("a known family");
//! spec.width = 0.1;
//! let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
//!
//! let mut session = Session::with(&model, SessionOptions::new().threads(1))?;
//! let batch = Tensor::zeros([4, 3, 96, 128])?;
//! let logits = session.run(batch.view())?;
//! assert_eq!(logits.shape(), [4, 1000, 1, 1]);
//! assert_eq!(mnx::top_k(&logits.data()[..1000], 5).len(), 5);
//!
//! // What the classifier sees, instead of what it says.
//! let features = session.features(batch.view())?;
//! assert_eq!(features.shape(), [4, 1280, 1, 1]);
//!
//! // Every block's output on the way.
//! session.run_observed(batch.view(), |block| {
//!     println!("picture {}: {} {:?}", block.picture, block.name, block.shape);
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! A [`Model`] never changes: clones share it, any number of threads can use it. A [`Session`] is one stream of inferences;
//! give each thread its own. `SessionOptions::threads` says how many threads work on *one* inference (default: as many as
//! there are physical cores): good for latency. For throughput, run one session of one thread per core, as the example
//! `service` does. A [`Pool`] lends sessions to threads that come and go; where these are more than the cores, let the threads
//! of a [`ThreadPool`] run them ([`ThreadPool::run`]). A [`Stopper`] ends an inference from another thread.
//!
//! Helpers come from a pool that sessions share or from one of your own (`SessionOptions::pool`); the calling thread never
//! waits for a helper that has not started, so sessions can share a pool, and a busy one costs time only.
//!
//! The result has the same bits for every number of threads, every batch and every FMA instruction set: each output
//! element is one chain of fused multiply-adds in a fixed order. Only [`Isa::Scalar`], and simd128 on WebAssembly, round twice.
//! That holds for a network's outputs and for detectors' scores; [`softmax`] and the sizes of boxes use the system's `exp`.
//!
//! # int8
//!
//! A weight file's layers compute in f32 or in int8, each as the file says ([`Model::arithmetic`]); nothing else changes: tensors
//! in and out are f32, [`Session::run_observed`] gives blocks' outputs as f32, [`include_model!`] embeds either kind. An int8
//! network, which [`quantize`] makes, is a quarter the size and has the same bits on every instruction set, scalar included.
//! [`SessionOptions::dot_products`] and [`SessionOptions::amx`] choose whether kernels use the CPU's dot products of bytes, and AMX.
//!
//! ```
//! use mnx::quantize::{Calibration, Options, quantize};
//! use mnx::{Arithmetic, Model, Session, SessionOptions, Spec, Tensor};
//!
//! # fn main() -> Result<(), mnx::Error> {
//! # let mut spec = Spec::family("mobilenext-cifar").expect("a known family");
//! # spec.width = 0.1;
//! # let f32_model = Model::from_bytes(mnx::init(&spec, 1)?)?;
//! # let pictures = Tensor::from_slice([1, 3, 8, 8], &[0.5; 192])?;
//! let mut calibration = Calibration::new(&f32_model)?;
//! calibration.observe(&mut Session::new(&f32_model)?, pictures.view())?;
//! let int8_file = quantize(&f32_model, &calibration, &Options::new())?.file;
//!
//! let model = Model::from_bytes(int8_file)?;
//! assert!(model.arithmetic().iter().all(|&of| of == Arithmetic::Int8));
//! let logits = Session::new(&model)?.run(pictures.view())?.data().to_vec();
//! let without = SessionOptions::new().dot_products(false);
//! assert_eq!(Session::with(&model, without)?.run(pictures.view())?.data(), logits);
//! # Ok(())
//! # }
//! ```
//!
//! # Memory
//!
//! A session lays its memory out when an input's shape first comes ([`Session::prepare`] does it beforehand,
//! [`Session::arena_bytes`] says how much) and keeps it for the last four shapes. A warm run on one thread allocates nothing; on
//! several, only rayon does. Weights are used in place: mapped, embedded or read once.
//!
//! # Errors
//!
//! Nothing panics on bad input. Opening a model checks every rule of the weight file before anything is allocated on its
//! word ([`Limits`], adjustable by [`OpenOptions`]), and the checksums of all weights. [`Error`] and the errors inside it
//! say what is wrong, where, what was expected and what was found.
//!
//! # Where the time goes
//!
//! [`Session::steps`] tells what a session does for an input's shape: layers, kernels, multiply-adds, bytes.
//! [`Session::profile`] times it, beside [`fma_peak`], [`dot_peak`] (of int8) and [`copy_bandwidth`], the machine's limits;
//! [`kernels`] lists all kernels. `mnx-infer bench --per-block` prints the same as a table.
//!
//! # Source
//!
//! MobileNeXt is Zhou et al., *Rethinking Bottleneck Structure for Efficient Mobile Network Design*, ECCV 2020,
//! section 3 (the SandGlass block) and table 2 (the stages); its layer names are those of the authors' checkpoints.
//! MobileNetV2 and SSDLite are Sandler et al., CVPR 2018; ResNet is He et al., CVPR 2016; layer names are torchvision's.
//! Preprocessing is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize` on a Pillow picture.
//!
//! # Features
//!
//! | feature | default | what |
//! | --- | --- | --- |
//! | `rayon` | yes | several threads in one inference |
//! | `memmap2` | yes | `Model::open_mmap`: weight files mapped, not read; on Linux huge pages for those that are read |
//! | `image` | no | [`Picture`]s from PNG, JPEG, WebP, BMP, GIF, TIFF and PNM files |
//! | `convert` | no | safetensors checkpoints into weight files |
//! | `onnx` | no | ONNX models into weight files |
//! | `plot` | no | pictures of profiles, comparisons and quantisation's losses (SVG) |

mod batch;
mod classifier;
mod detect;
mod error;
mod label;
mod labels;
mod picture;
#[cfg(feature = "plot")]
pub mod plot;
mod pool;
mod preprocess;
mod resize;
mod topk;

pub use classifier::{Classifier, Prediction};
pub use detect::{DetectOptions, Detection, Detections, Detector, PostProcessor, ScoredBox};
pub use error::Error;
pub use label::Label;
pub use labels::parse_labels;
#[cfg(any(feature = "convert", feature = "onnx"))]
pub use mnx_graph::Converted;
pub use mnx_graph::{
    Activation, Arithmetic, Block, BlockKind, BlockOutput, BoxCoder, BoxOrder, ClassifierDtype, ConvError,
    DetectorSpec, Element, End, Error as GraphError, ErrorKind, Extra, ExtraKind, Fault, FaultList, FileError,
    FileKind, Fit, HeadKind, InFile, Int8Weights, Interpolation, Layer, LayerInfo, LayerKind, LayerWeights, Level,
    Limits, MAX_THREADS, Model, Network, OpenOptions, Outputs, PackedInt8, PackedWeights, Packing, Padding, Parameter,
    PlacedLayer, Preprocessing, PriorBoxes, Profile, Quantization, QuantizeError, Rule, ScoreKind, Session,
    SessionOptions, Spec, Stage, Stem, StepInfo, StepProfile, Stopper, StoredTensor, Tap, TapPoint, ThreadPool,
    ValueOutput, Wanted, Weights, default_threads, families, include_model, init, init_with, quantize, try_write_model,
    write_model, write_model_with, write_quantized,
};
#[cfg(feature = "convert")]
pub use mnx_graph::{
    Assumption, CheckpointError, ConvertOptions, Dialect, Identified, Naming, Problem, convert, convert_with, identify,
    identify_with, naming,
};
#[cfg(feature = "onnx")]
pub use mnx_graph::{Onnx, OnnxError};
pub use mnx_tensor::peak::{copy_bandwidth, dot_peak, fma_peak};
pub use mnx_tensor::table::{KernelInfo, all as kernels};
pub use mnx_tensor::{Clamp, Cpu, Error as TensorError, Isa, Operation, Tensor, TensorView, TunedFor, ops};
pub use picture::{Frame, Picture, PictureLimits, Yuv};
#[cfg(feature = "image")]
pub use picture::{PictureFormat, PictureReader};
pub use pool::{Borrowed, Pool};
pub use preprocess::{Placement, Preprocessor};
pub use topk::{softmax, top_k};

/// What is not promised, and may change with any release: kernels and what they are called with.
///
/// [`ops`] runs single layers on plain tensors with names that stay. Behind this door one packs weights once, chooses the
/// kernel's row and calls it on memory of one's own, as plans do.
pub mod unstable {
    #[cfg(feature = "image")]
    pub use crate::picture::silence_decoders;
    #[cfg(feature = "rayon")]
    pub use mnx_graph::unstable::thread_pool;
    pub use mnx_graph::unstable::{arithmetic_name, is_treacherous, shown, tuned};
    pub use mnx_tensor::{
        AlignedBuf, AlignedBytes, BlockedShape, Blocking, Layer, Part, PreparedInt8, Requantize, Tuning, pack, part,
        strip, table,
    };
}

/// The README's example compiles.
#[cfg(all(doctest, feature = "image"))]
#[doc = include_str!("../README.md")]
struct Readme;
