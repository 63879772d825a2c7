//! Writes a weight file. The same spec and weights give the same bytes.

use std::io::{self, Write};

use bytemuck::Pod;
use mnx_tensor::{AlignedBuf, Arithmetic};

use super::layout::QuantizedValue;
use super::layout::Role;
use super::{ALIGNMENT, Header, Layout, MAGIC, PREFIX_LEN, VERSION_1, VERSION_2};
use crate::{ClassifierDtype, Error, FileError, Layer, Limits, Network, Spec};

/// A layer's weights before packing, batch norm folded in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerWeights {
    /// Row-major in the order of [`Layer::weight_dims`].
    pub weight: Vec<f32>,
    /// One value per output channel.
    pub bias: Vec<f32>,
}

/// An int8 layer's weights before packing, batch norm folded in.
///
/// For output channel `c` they stand for these real numbers: a weight is `scale[c] · weight`, and the bias is
/// `input scale · scale[c] · bias[c]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Int8Weights {
    /// −127…127, row-major in the order of [`Layer::weight_dims`].
    pub weight: Vec<i8>,
    /// One per output channel, 2⁻¹²⁶…2⁶⁴.
    pub scale: Vec<f32>,
    /// One per output channel. What the input's zero point adds to the sums is not taken off here.
    pub bias: Vec<i32>,
}

/// A layer's weights in the arithmetic of the layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Weights {
    /// f32 throughout.
    F32(LayerWeights),
    /// i8 weights for u8 activations.
    Int8(Int8Weights),
}

/// How a value's u8 numbers `q` stand for real numbers: `scale · (q − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// The step from one u8 to the next, 2⁻¹²⁶…2⁶⁴.
    pub scale: f32,
    /// The u8 that stands for 0.
    pub zero_point: u8,
}

/// Writes the weight file of an f32 network, in version 1 of the format; detectors are of version 2. `source` is called for each
/// layer's weights, in order of execution. The whole payload is held in memory, and nothing is written before all of it is right.
///
/// ```
/// # use mnx_graph as mnx;
/// use mnx::{Layer, LayerWeights, Limits, Model, Spec, write_model};
///
/// # fn main() -> Result<(), mnx_graph::Error> {
/// let mut spec = Spec::family("mobilenext").expect("a known family");
/// spec.width = 0.1;
/// let zeros = |layer: &Layer| LayerWeights {
///     weight: vec![0.0; layer.weight_elements() as usize],
///     bias: vec![0.0; layer.cout],
/// };
/// let mut file = Vec::new();
/// write_model(&spec, &Limits::default(), zeros, &mut file)?;
/// assert_eq!(Model::from_bytes(file)?.spec(), &spec);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// - As [`Network::new_with`] for the spec.
/// - [`Error::Conv`] with the tensor's name if `source` returns a slice of the wrong length.
/// - [`FileError::NotFinite`] if it returns a value that is not finite.
/// - [`Error::Limit`] for a header or tensor that could not be read back within `limits`.
/// - [`Error::Memory`] if there is no memory for the payload; [`Error::Io`] from `out`.
pub fn write_model(
    spec: &Spec,
    limits: &Limits,
    source: impl FnMut(&Layer) -> LayerWeights,
    out: impl Write,
) -> Result<(), Error> {
    write_model_with(spec, limits, ClassifierDtype::F32, source, out)
}

/// As [`write_model`], with the classifier's weights in this type: those of 16 bits make it a file of version 2.
///
/// # Errors
/// As [`write_model`]; [`FileError::Value`] with the first weight that is too large for the type; [`Error::Spec`] for a
/// detector, which has no classifier, and a type other than f32.
pub fn write_model_with(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    mut source: impl FnMut(&Layer) -> LayerWeights,
    out: impl Write,
) -> Result<(), Error> {
    try_write_model(spec, limits, classifier, |layer| Ok(source(layer)), out)
}

/// As [`write_model_with`], with weights that may be missing: the first error of `source` ends it, and nothing is written.
///
/// ```
/// # use mnx_graph as mnx;
/// use mnx::{ClassifierDtype, Layer, LayerWeights, Limits, Spec, try_write_model};
///
/// let spec = Spec::family("mobilenext").expect("a known family");
/// let read = |layer: &Layer| -> Result<LayerWeights, Box<dyn std::error::Error>> {
///     let values = |part: &str, count: usize| -> std::io::Result<Vec<f32>> {
///         let bytes = std::fs::read(format!("weights/{}.{part}", layer.name))?;
///         Ok(bytes.as_chunks().0.iter().take(count).map(|&value| f32::from_le_bytes(value)).collect())
///     };
///     Ok(LayerWeights { weight: values("weight", layer.weight_elements() as usize)?, bias: values("bias", layer.cout)? })
/// };
/// let result = try_write_model(&spec, &Limits::default(), ClassifierDtype::F32, read, Vec::new());
/// // There is no such folder.
/// assert!(result.unwrap_err().is::<std::io::Error>());
/// ```
///
/// # Errors
/// As [`write_model_with`] and `source`.
pub fn try_write_model<E: From<Error>>(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    source: impl FnMut(&Layer) -> Result<LayerWeights, E>,
    out: impl Write,
) -> Result<(), E> {
    Ok(Draft::of(spec, limits, classifier, source)?.write(spec, limits, out)?)
}

/// The bytes of the weight file that [`write_model_with`] writes. `source` may fail.
///
/// # Errors
/// As [`write_model_with`] and `source`.
pub(crate) fn model_file(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    source: impl FnMut(&Layer) -> Result<LayerWeights, Error>,
) -> Result<Vec<u8>, Error> {
    Draft::of(spec, limits, classifier, source)?.file(spec, limits)
}

/// Writes the weight file of a network with int8 layers, in version 2 of the format. Without int8 layers it writes the same
/// file as [`write_model`].
///
/// `layers` are in order of execution. `value` is called with the name of each value that an int8 layer makes or reads, and
/// returns its quantisation. Names are `input`, `pool.output`, or a layer's name and `.output`. The logits are f32.
///
/// # Errors
/// - As [`write_model`].
/// - [`FileError::LayerCount`] if `layers` are too many or too few.
/// - [`FileError::Value`] with the tensor's name for a scale or an i8 weight out of range.
pub fn write_quantized(
    spec: &Spec,
    limits: &Limits,
    layers: &[Weights],
    value: impl FnMut(&str) -> Quantization,
    out: impl Write,
) -> Result<(), Error> {
    quantized(spec, limits, ClassifierDtype::F32, layers, value)?.write(spec, limits, out)
}

/// The bytes of the weight file that [`write_quantized`] writes, with the weights of a classifier in f32 in this type.
///
/// # Errors
/// As [`write_quantized`].
pub(crate) fn quantized_file(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    layers: &[Weights],
    value: impl FnMut(&str) -> Quantization,
) -> Result<Vec<u8>, Error> {
    quantized(spec, limits, classifier, layers, value)?.file(spec, limits)
}

fn quantized(
    spec: &Spec,
    limits: &Limits,
    classifier: ClassifierDtype,
    layers: &[Weights],
    mut value: impl FnMut(&str) -> Quantization,
) -> Result<Draft, Error> {
    let network = Network::new_with(spec, limits)?;
    let count = network.layers().count();
    if layers.len() != count {
        return Err(Error::File(FileError::LayerCount { expected: count, found: layers.len() }));
    }
    let arithmetic = layers.iter().map(|weights| match weights {
        Weights::F32(_) => Arithmetic::F32,
        Weights::Int8(_) => Arithmetic::Int8,
    });
    let mut draft = Draft::new(&network, arithmetic.collect(), classifier, limits)?;
    for (index, weights) in layers.iter().enumerate() {
        match weights {
            Weights::F32(weights) => draft.put_f32(index, weights)?,
            Weights::Int8(weights) => draft.put_int8(index, weights)?,
        }
    }
    for QuantizedValue { name, first, .. } in std::mem::take(&mut draft.layout.values) {
        let Quantization { scale, zero_point } = value(&name);
        draft.put(first, &[scale])?;
        draft.put(first + 1, &[zero_point])?;
    }
    Ok(draft)
}

/// A file whose payload is being filled.
struct Draft {
    arithmetic: Vec<Arithmetic>,
    layout: Layout,
    payload: AlignedBuf,
}

impl Draft {
    /// Of an f32 network.
    fn of<E: From<Error>>(
        spec: &Spec,
        limits: &Limits,
        classifier: ClassifierDtype,
        mut source: impl FnMut(&Layer) -> Result<LayerWeights, E>,
    ) -> Result<Draft, E> {
        let network = Network::new_with(spec, limits)?;
        if classifier != ClassifierDtype::F32 && network.classifier().is_none() {
            let expected = "f32, as a detector has no classifier".into();
            let found = classifier.name().into();
            return Err(Error::Spec { field: "classifier dtype".into(), expected, found }.into());
        }
        let arithmetic = vec![Arithmetic::F32; network.layers().count()];
        let mut draft = Draft::new(&network, arithmetic, classifier, limits)?;
        for (index, layer) in network.layers().enumerate() {
            draft.put_f32(index, &source(layer)?)?;
        }
        Ok(draft)
    }

    fn new(
        network: &Network,
        arithmetic: Vec<Arithmetic>,
        classifier: ClassifierDtype,
        limits: &Limits,
    ) -> Result<Draft, Error> {
        let layout = Layout::new(network, &arithmetic, classifier, limits)?;
        let bytes = layout.payload_len;
        let payload = AlignedBuf::try_zeroed(bytes / size_of::<f32>());
        let payload = payload.map_err(|_| Error::Memory { what: "the weights", bytes: bytes as u64 })?;
        Ok(Draft { arithmetic, layout, payload })
    }

    fn put_f32(&mut self, layer: usize, weights: &LayerWeights) -> Result<(), Error> {
        let first = self.layout.layers[layer];
        let tensor = &self.layout.tensors[first];
        let narrowed = match tensor.role {
            Role::Weight16(dtype) => tensor.narrowed(dtype, &weights.weight)?,
            _ => None,
        };
        match narrowed {
            Some(bits) => self.put(first, &bits)?,
            None => self.put(first, &weights.weight)?,
        }
        self.put(first + 1, &weights.bias)
    }

    fn put_int8(&mut self, layer: usize, weights: &Int8Weights) -> Result<(), Error> {
        let first = self.layout.layers[layer];
        self.put(first, &weights.weight)?;
        self.put(first + 1, &weights.bias)?;
        self.put(first + 2, &weights.scale)
    }

    /// Packs tensor `index` into the payload.
    fn put<T: Pod>(&mut self, index: usize, values: &[T]) -> Result<(), Error> {
        let tensor = &mut self.layout.tensors[index];
        tensor.check_values(bytemuck::cast_slice(values))?;
        let bytes = &mut self.payload.as_bytes_mut()[tensor.range.clone()];
        let packed = tensor.packing.pack_into(values, &tensor.dims, bytemuck::cast_slice_mut(bytes));
        packed.map_err(|error| tensor.misfit(error))?;
        tensor.crc32 = crc32fast::hash(bytes);
        Ok(())
    }

    fn write(self, spec: &Spec, limits: &Limits, out: impl Write) -> Result<(), Error> {
        let (version, header) = self.header(spec, limits)?;
        write(version, &header, self.payload.as_bytes(), out).map_err(Error::Io)
    }

    fn file(self, spec: &Spec, limits: &Limits) -> Result<Vec<u8>, Error> {
        let (version, header) = self.header(spec, limits)?;
        let payload = self.payload.as_bytes();
        let bytes = (PREFIX_LEN + header.len()).next_multiple_of(ALIGNMENT) + payload.len();
        let mut file = Vec::new();
        let room = file.try_reserve_exact(bytes);
        room.map_err(|_| Error::Memory { what: "the weight file", bytes: bytes as u64 })?;
        write(version, &header, payload, &mut file)?;
        Ok(file)
    }

    /// The version of the format and the header.
    fn header(&self, spec: &Spec, limits: &Limits) -> Result<(u32, Vec<u8>), Error> {
        let names = || self.arithmetic.iter().map(|arithmetic| arithmetic.name().into()).collect();
        let all_f32 = self.arithmetic.iter().all(|&a| a == Arithmetic::F32);
        let fits_version_1 = spec.detector.is_none() && all_f32 && self.layout.classifier() == ClassifierDtype::F32;
        let (version, arithmetic) = if fits_version_1 { (VERSION_1, None) } else { (VERSION_2, Some(names())) };
        let tensors = self.layout.tensors.iter().map(|tensor| tensor.entry()).collect();
        let header = Header { spec: spec.clone(), arithmetic, tensors };
        let header =
            serde_json::to_vec(&header).map_err(|e| Error::File(FileError::Header { message: e.to_string() }))?;
        if header.len() as u64 > limits.header_bytes {
            return Err(Error::Limit {
                what: "bytes of the weight file's header (labels included)".into(),
                limit: limits.header_bytes,
                found: header.len() as u64,
            });
        }
        Ok((version, header))
    }
}

fn write(version: u32, header: &[u8], payload: &[u8], mut out: impl Write) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&version.to_le_bytes())?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&crc32fast::hash(header).to_le_bytes())?;
    out.write_all(&[0; 4])?;
    out.write_all(header)?;
    let end = PREFIX_LEN + header.len();
    out.write_all(&[0; ALIGNMENT][..end.next_multiple_of(ALIGNMENT) - end])?;
    out.write_all(payload)
}
