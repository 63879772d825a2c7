//! Converts ONNX models into weight files. Networks are recognised by the graph's shape, because names tell nothing.
//!
//! 1. `message` reads the file.
//! 2. `trace` groups operations into steps: a convolution with its batch norm and activation, a shortcut, the classifier.
//! 3. `sequence` puts the steps in a row and compares them with a network.
//! 4. `recognise` finds the network to compare with.

mod constant;
mod message;
mod operation;
mod own;
mod recognise;
mod sequence;
mod step;
mod trace;
mod weights;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use prost::bytes::Bytes;

use crate::converted::{Converted, write};
use crate::model::in_file;
use crate::{ClassifierDtype, Error, FileKind, Limits, Network, OnnxError, Padding, Spec};

use constant::Misfit;
use message::Graph;
use operation::Operation;
use sequence::{Event, fit, sequence};
use step::{Paddings, What};
use trace::Trace;

/// Versions of ONNX's operations that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=23;
/// As large as protobuf's messages get.
const LARGEST_FILE: u64 = i32::MAX as u64;

/// An ONNX model of a network that mnx has: MobileNetV2, MobileNeXt, or a ResNet, as PyTorch's exporters and tf2onnx write
/// them.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = mnx::Onnx::open("model.onnx")?;
/// let mut spec = model.spec().clone();
/// spec.preprocessing.mean = [0.5; 3]; // if pixels from -1 to 1 go in
/// spec.preprocessing.std = [0.5; 3];
/// std::fs::write("weights.mnx", model.convert(&spec)?.file)?;
/// # Ok(())
/// # }
/// ```
pub struct Onnx {
    graph: Graph,
    trace: Trace,
    events: Vec<Event>,
    spec: Spec,
    paddings: Paddings,
    files: Vec<PathBuf>,
}

impl Onnx {
    /// How many first bytes of a file [`begins`](Self::begins) looks at.
    pub const BYTES: usize = 16;

    /// Whether bytes begin as those of an ONNX model: whether they are of that [`FileKind`].
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// assert!(mnx::Onnx::begins(b"\x08\x08\x12\x07pytorch\x1a"));
    /// ```
    pub fn begins(bytes: &[u8]) -> bool {
        FileKind::of(bytes) == Some(FileKind::Onnx)
    }

    /// Reads a model, and later its tensors where they lie in other files of its folder.
    ///
    /// # Errors
    /// [`Error::InFile`] with what [`Onnx::from_bytes`] finds wrong, or [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Onnx, Error> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        all_of(path).and_then(|bytes| Onnx::read(bytes, Some(folder))).map_err(|error| in_file(path, error))
    }

    /// Reads a model that is all in these bytes.
    ///
    /// # Errors
    /// [`OnnxError::Format`] for bytes that are no model; [`OnnxError::Graph`] and [`OnnxError::Operation`] for one of another
    /// network, the latter with the first operation that does not fit; [`Error::Limit`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Onnx, Error> {
        Onnx::read(bytes, None)
    }

    fn read(bytes: Vec<u8>, folder: Option<&Path>) -> Result<Onnx, Error> {
        let model = message::decode(Bytes::from(bytes))?;
        let own = |domain: &str| matches!(domain, "" | "ai.onnx");
        let opset = model.opset_import.iter().find(|set| own(&set.domain)).map_or(0, |set| set.version);
        let Some(graph) = model.graph else {
            return Err(Error::Onnx(OnnxError::Format { message: "it has no graph".into() }));
        };
        if !OPSETS.contains(&opset) {
            let expected = format!("an opset from {} to {}", OPSETS.start(), OPSETS.end());
            return Err(Error::Onnx(OnnxError::Graph { expected, found: opset.to_string() }));
        }
        let trace = trace::trace(&graph, opset, folder)?;
        let events = sequence(&graph, &trace)?;
        let mut spec = recognise::recognise(&graph, &trace, &events)?;
        let paddings = paddings(&graph, &trace, spec.stem.max_pool)?;
        spec.padding = if paddings.torch { Padding::Torch } else { Padding::Tf };
        if let [Some(height), Some(width)] = trace.steps[0].size
            && height == width
        {
            spec.set_resolution(height);
        }
        let files = constant::files(&graph, folder);
        Ok(Onnx { graph, trace, events, spec, paddings, files })
    }

    /// What the graph tells: blocks, channels, identity tensor multiplier, padding, number of classes, and where
    /// [`input_size`](Onnx::input_size) is a square the resolution. The rest is the family's: preprocessing, and a resolution
    /// that the graph leaves open. A network that is no family's is called `custom`.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// [`spec`](Onnx::spec), if it is of this family. Else the family's own, with the classes and the padding of the graph:
    /// [`convert`](Onnx::convert) then names the first operation that is not the family's. `None` for an unknown family.
    pub fn spec_as(&self, family: &str) -> Option<Spec> {
        let named = Spec::family(family)?;
        let Spec { classes, padding, .. } = self.spec;
        Some(if named.family == self.spec.family { self.spec.clone() } else { Spec { classes, padding, ..named } })
    }

    /// Height and width of the graph's input, where it fixes them. They bind the graph alone, not what is made of it.
    pub fn input_size(&self) -> [Option<usize>; 2] {
        self.trace.steps[0].size
    }

    /// The other files that hold tensors of the model, each once. [`convert`](Onnx::convert) reads them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Whether a softmax ends the graph. What is made of it gives the logits.
    pub fn has_softmax(&self) -> bool {
        self.trace.softmax
    }

    /// Makes a weight file: batch norms that are left in the graph are folded in f64, with their own epsilon, and all is
    /// rounded once. The same model and spec give the same bytes.
    ///
    /// # Errors
    /// [`OnnxError::Operation`] with the first operation that is not as `spec` says; [`Error::Conv`] for weights that are not
    /// finite and negative variances; and as [`write_model`](crate::write_model).
    pub fn convert(&self, spec: &Spec) -> Result<Converted, Error> {
        self.convert_with(spec, ClassifierDtype::F32)
    }

    /// As [`convert`](Onnx::convert), with the classifier's weights in this type.
    ///
    /// # Errors
    /// As [`convert`](Onnx::convert); [`FileError::Value`](crate::FileError::Value) for a weight that is too large for the type.
    pub fn convert_with(&self, spec: &Spec, dtype: ClassifierDtype) -> Result<Converted, Error> {
        let limits = Limits::default();
        let network = Network::new_with(spec, &limits)?;
        let steps = fit(&self.trace, &self.events, &network, 0).map_err(|mismatch| mismatch.error(&self.graph))?;
        self.check_padding(spec, &network)?;
        let mut folded = Vec::with_capacity(steps.len() + 1);
        for step in steps {
            let step = &self.trace.steps[step];
            let What::Convolution(convolution) = &step.what else { continue };
            folded.push(weights::convolution(Operation::at(&self.graph, step.at), convolution, step.channels)?);
        }
        let classifier = &self.trace.classifier;
        folded.push(weights::classifier(Operation::at(&self.graph, classifier.at), classifier)?);
        write(spec, &limits, dtype, folded)
    }

    /// Zeros that the graph has at fixed places are TensorFlow's on even sizes only.
    fn check_padding(&self, spec: &Spec, network: &Network) -> Result<(), Error> {
        let Paddings { torch, tf, even } = self.paddings;
        let refuse = |field: &str, expected: &str, found: String| {
            Err(Error::Spec { field: field.into(), expected: expected.into(), found })
        };
        match spec.padding {
            Padding::Torch if !torch => return refuse("padding", "tf, as in the ONNX graph", "torch".into()),
            Padding::Tf if !tf => return refuse("padding", "torch, as in the ONNX graph", "tf".into()),
            _ => (),
        }
        let odd = network.place(spec.resolution, spec.resolution).any(|placed| {
            let padded = placed.layer.weight_dims().get(2).is_some_and(|&kernel| kernel > 1);
            placed.layer.stride == 2 && padded && !placed.input.0.is_multiple_of(2)
        });
        if even && spec.padding == Padding::Tf && odd {
            let expected = "one that is even wherever a layer halves it, as the ONNX graph pads even sizes only";
            return refuse("resolution", expected, spec.resolution.to_string());
        }
        Ok(())
    }
}

impl fmt::Debug for Onnx {
    /// Without its weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onnx").field("spec", &self.spec).field("input_size", &self.input_size()).finish_non_exhaustive()
    }
}

/// A file's bytes, if they are not too many. Pipes and devices do not say how many they have.
fn all_of(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let expected = file.metadata()?.len().min(LARGEST_FILE);
    let no_memory = |_| Error::Memory { what: "an ONNX model", bytes: expected };
    bytes.try_reserve_exact(expected as usize).map_err(no_memory)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    let found = bytes.len() as u64;
    if found > LARGEST_FILE {
        return Err(Error::Limit { what: "bytes of an ONNX model".into(), limit: LARGEST_FILE, found });
    }
    Ok(bytes)
}

/// The padding of all convolutions together.
fn paddings(graph: &Graph, trace: &Trace, max_pool: bool) -> Result<Paddings, Error> {
    // TensorFlow's is not there for networks with a max pool.
    let mut all = Paddings { torch: true, tf: !max_pool, even: false };
    for step in &trace.steps {
        let What::Convolution(convolution) = &step.what else { continue };
        let own = convolution.paddings(trace.steps[convolution.input].size);
        let both = Paddings { torch: all.torch && own.torch, tf: all.tf && own.tf, even: all.even || own.even };
        if !(both.torch || both.tf) {
            let expected = match (all.torch, all.tf) {
                (true, true) => "zeros on all sides, as PyTorch or TensorFlow's SAME puts them",
                (true, false) => "as many zeros on each side, as PyTorch puts them",
                _ => "zeros as TensorFlow's SAME puts them",
            };
            let found = format!("{} along height, {} along width", convolution.pads[0], convolution.pads[1]);
            return Err(Operation::at(graph, step.at).error(Misfit::new(expected, found)));
        }
        all = both;
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
