//! A network with its weights, ready to be run.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use mnx_conv::Packing;
use mnx_tensor::{Arithmetic, Element, PackedWeights, memory};

use crate::file::{ALIGNMENT, Front, Layout, check_payload, front};
#[cfg(all(feature = "memmap2", target_os = "linux"))]
use crate::huge::HugePages;
use crate::int8::Numbers;
use crate::{
    ClassifierDtype, Error, FileError, InFile, Layer, LayerWeights, Limits, Network, PackedInt8, Quantization, Spec,
};

/// How a weight file is opened.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), mnx_graph::Error> {
/// // A file that was verified when it was installed, and that may be larger than usual.
/// let mut limits = mnx::Limits::default();
/// limits.arena_bytes = 8 << 30;
/// let options = mnx::OpenOptions::new().limits(limits);
/// let model = mnx::Model::open_with("large.mnx", &options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// What is refused before it is allocated.
    pub limits: Limits,
    /// Whether every tensor is compared with its checksum, and every weight is to be finite. That reads the whole file,
    /// 1 to 2 ms for 14 MB. Everything else is checked in any case, the header's checksum too.
    pub verify_checksums: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { limits: Limits::default(), verify_checksums: true }
    }
}

impl OpenOptions {
    /// Default limits, checksums verified.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With the payload's checksums verified or not. Without, a damaged file gives wrong results instead of an error
    /// (never undefined behaviour).
    #[must_use]
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.verify_checksums = verify;
        self
    }
}

/// A network and its weights. It never changes; clones share it, and so do sessions on any number of threads.
///
/// Opening checks everything by the rules of the weight file, and that there are kernels for every layer's arithmetic: a
/// model that opened can be run.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), mnx_graph::Error> {
/// let model = mnx::Model::open("mobilenext.mnx")?;
/// println!("{} classes, {} parameters", model.spec().classes, model.network().parameters());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    spec: Spec,
    network: Network,
    limits: Limits,
    storage: Storage,
    layout: Layout,
    numbers: Numbers,
}

/// A tensor of a weight file, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredTensor<'m> {
    /// Its name, e.g. `features.0.0.weight`.
    pub name: &'m str,
    /// Type of its elements.
    pub element: Element,
    /// Dimensions before packing; output channels first.
    pub dims: &'m [usize],
    /// In which order it is stored.
    pub packing: Packing,
    /// The packed elements, aligned to 64 bytes.
    pub bytes: &'m [u8],
}

/// Where the bytes are. The payload, which starts at the given byte, is aligned to 64 bytes.
pub(crate) enum Storage {
    /// In memory, or in the program. Not to be cloned: a copy need not be aligned.
    Bytes(Cow<'static, [u8]>, usize),
    /// In memory, on huge pages.
    #[cfg(all(feature = "memmap2", target_os = "linux"))]
    Huge(HugePages),
    /// In a file that is mapped into memory.
    #[cfg(feature = "memmap2")]
    Mapped(memmap2::Mmap, usize),
}

impl Storage {
    fn payload(&self) -> &[u8] {
        match self {
            Storage::Bytes(bytes, start) => &bytes[*start..],
            #[cfg(all(feature = "memmap2", target_os = "linux"))]
            Storage::Huge(pages) => pages.bytes(),
            #[cfg(feature = "memmap2")]
            Storage::Mapped(map, start) => &map[*start..],
        }
    }
}

impl Model {
    /// Reads a weight file into memory: on Linux with the feature `memmap2` on huge pages, if there are any.
    ///
    /// [`Model::open_mmap`] reaches its first logits sooner, this one is faster from then on: an inference walks through
    /// all weights, and a CPU finds them by fewer addresses.
    ///
    /// # Errors
    /// [`Error::InFile`] with the path and what is wrong with the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::open_with(path, &OpenOptions::default())
    }

    /// Reads a weight file into memory, with options.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Model, Error> {
        let path = path.as_ref();
        Model::read(path, options).map_err(|error| in_file(path, error))
    }

    fn read(path: &Path, options: &OpenOptions) -> Result<Model, Error> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        Model::read_from(&mut file, metadata.is_file().then_some(metadata.len()), options)
    }

    /// Reads a weight file to its end, from a pipe, a socket, an archive or a decompressor, say. Many small reads are slow: give
    /// it a [`BufReader`](std::io::BufReader) where each of them asks the system.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let file: Vec<u8> = mnx::init(&spec, 1)?;
    /// let model = mnx::Model::from_reader(&file[..])?;
    /// assert_eq!(model.spec().classes, 1000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, else what is wrong with the file.
    pub fn from_reader(reader: impl Read) -> Result<Model, Error> {
        Model::from_reader_with(reader, &OpenOptions::default())
    }

    /// Reads a weight file to its end, with options.
    ///
    /// # Errors
    /// As [`Model::from_reader`].
    pub fn from_reader_with(mut reader: impl Read, options: &OpenOptions) -> Result<Model, Error> {
        Model::read_from(&mut reader, None, options)
    }

    /// `len`: of the whole file, where it is known.
    fn read_from(reader: &mut dyn Read, len: Option<u64>, options: &OpenOptions) -> Result<Model, Error> {
        let front = front(&options.limits, |n| {
            let mut bytes = Vec::new();
            reader.take(n as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        })?;
        #[cfg(all(feature = "memmap2", target_os = "linux"))]
        if let Some(len) = len {
            check_len(&front, len)?;
            if let Some(mut pages) = HugePages::zeroed(front.layout.payload_len) {
                let mut read = fill(reader, pages.bytes_mut())?;
                read += fill(reader, &mut [0])?;
                check_len(&front, (front.payload_start + read) as u64)?;
                return Model::new(front, Storage::Huge(pages), options);
            }
        }
        // A pipe's length shows only at its end: nothing is reserved on the word of its header.
        let reserved = match len {
            Some(len) => {
                check_len(&front, len)?;
                front.layout.payload_len
            }
            None => 0,
        };
        let (mut bytes, mut start) = aligned(reserved)?;
        reader.take(front.layout.payload_len as u64 + 1).read_to_end(&mut bytes)?;
        check_len(&front, (front.payload_start + bytes.len() - start) as u64)?;
        if !is_aligned(&bytes[start..]) {
            (bytes, start) = aligned_copy(&bytes[start..])?;
        }
        Model::new(front, Storage::Bytes(Cow::Owned(bytes), start), options)
    }

    /// Opens a weight file that is in somebody else's memory: what the model needs of it is copied.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_slice(bytes: &[u8]) -> Result<Model, Error> {
        Model::from_slice_with(bytes, &OpenOptions::default())
    }

    /// As [`Model::from_slice`], with options.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_slice_with(bytes: &[u8], options: &OpenOptions) -> Result<Model, Error> {
        let front = front_of(bytes, options)?;
        let (payload, start) = aligned_copy(&bytes[front.payload_start..])?;
        Model::new(front, Storage::Bytes(Cow::Owned(payload), start), options)
    }

    /// Opens a weight file that is in memory or, as [`include_model!`](crate::include_model) gives it, in the program.
    /// Bytes that are aligned to 64 bytes are used in place, others copied. [`Model::from_slice`] takes bytes that do not live
    /// as long.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Model, Error> {
        Model::from_bytes_with(bytes, &OpenOptions::default())
    }

    /// Opens a weight file that is in memory, with options.
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn from_bytes_with(bytes: impl Into<Cow<'static, [u8]>>, options: &OpenOptions) -> Result<Model, Error> {
        let bytes = bytes.into();
        let front = front_of(&bytes, options)?;
        let payload = &bytes[front.payload_start..];
        let storage = if is_aligned(payload) {
            Storage::Bytes(bytes, front.payload_start)
        } else {
            let (copy, start) = aligned_copy(payload)?;
            Storage::Bytes(Cow::Owned(copy), start)
        };
        Model::new(front, storage, options)
    }

    /// From a payload of the right length.
    pub(crate) fn new(front: Front, storage: Storage, options: &OpenOptions) -> Result<Model, Error> {
        check_payload(&front, storage.payload(), options.verify_checksums)?;
        let Front { spec, network, arithmetic, layout, .. } = front;
        // Last: a damaged file is damaged first.
        let numbers = Numbers::new(&network, &arithmetic, &layout, storage.payload())?;
        Ok(Model { inner: Arc::new(Inner { spec, network, limits: options.limits.clone(), storage, layout, numbers }) })
    }

    /// What the file says of the network.
    pub fn spec(&self) -> &Spec {
        &self.inner.spec
    }

    /// The network's layers.
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// The limits it was opened with; those that concern sessions hold for its sessions.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What each layer computes with, in order of execution.
    pub fn arithmetic(&self) -> &[Arithmetic] {
        &self.inner.numbers.arithmetic
    }

    /// Packed weight and bias (up to a multiple of 16) of an f32 layer, counted in order of execution. Both are aligned to 64
    /// bytes. In which order the weight is packed, its layer's kind says.
    ///
    /// `None` if there is no such layer, it is in int8 ([`int8_weights`](Model::int8_weights) has those), or it is a classifier
    /// whose weights are stored in 16 bits ([`f32_weights`](Model::f32_weights) has those, too).
    pub fn weights(&self, layer_index: usize) -> Option<(&[f32], &[f32])> {
        match self.f32_weights(layer_index)? {
            (PackedWeights::F32(weights), bias) => Some((weights, bias)),
            _ => None,
        }
    }

    /// As [`weights`](Model::weights), of a classifier too whose weights are stored in 16 bits.
    pub fn f32_weights(&self, layer_index: usize) -> Option<(PackedWeights<'_>, &[f32])> {
        let Inner { layout, storage, .. } = &*self.inner;
        if *self.arithmetic().get(layer_index)? != Arithmetic::F32 {
            return None;
        }
        let first = layout.layers[layer_index];
        let bytes = |index: usize| &storage.payload()[layout.tensors[index].range.clone()];
        let weights = PackedWeights::of(layout.tensors[first].role.element(), bytes(first));
        Some((weights.unwrap_or(PackedWeights::F32(&[])), bytemuck::cast_slice(bytes(first + 1))))
    }

    /// The type in which the weights of a classifier in f32 are stored. f32 where there is none.
    pub fn classifier_dtype(&self) -> ClassifierDtype {
        self.inner.layout.classifier()
    }

    /// The packed tensors of an int8 layer. `None` if it is not in int8, or there is no such layer.
    pub fn int8_weights(&self, layer_index: usize) -> Option<PackedInt8<'_>> {
        let Inner { layout, storage, .. } = &*self.inner;
        let arithmetic = self.arithmetic().get(layer_index)?;
        (*arithmetic == Arithmetic::Int8).then(|| layout.int8(layer_index, storage.payload()))
    }

    /// How a value is kept as u8: `input`, `pool.output`, or a layer's name and `.output`. `None` if it is kept as f32, or
    /// there is no such value.
    pub fn quantization(&self, value: &str) -> Option<Quantization> {
        let Inner { layout, storage, .. } = &*self.inner;
        let found = layout.values.iter().find(|known| known.name == value)?;
        Some(layout.quantization(found.first, storage.payload()))
    }

    pub(crate) fn numbers(&self) -> &Numbers {
        &self.inner.numbers
    }

    /// Every tensor of the weight file, in the file's order.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// # fn main() -> Result<(), mnx_graph::Error> {
    /// # let mut spec = mnx_graph::Spec::family("mobilenext").unwrap();
    /// # spec.width = 0.1;
    /// let model = mnx::Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let first = model.tensors().next().expect("a network has layers");
    /// assert_eq!((first.name, first.element.name()), ("features.0.0.weight", "f32"));
    /// assert_eq!(first.bytes.len(), 4 * first.packing.packed_len(first.dims).unwrap());
    /// # Ok(())
    /// # }
    /// ```
    pub fn tensors(&self) -> impl Iterator<Item = StoredTensor<'_>> {
        let payload = self.inner.storage.payload();
        self.inner.layout.tensors.iter().map(|tensor| StoredTensor {
            name: &tensor.name,
            element: tensor.role.element(),
            dims: &tensor.dims,
            packing: tensor.packing,
            bytes: &payload[tensor.range.clone()],
        })
    }

    /// How many weights and biases are not zero, but so near to it that they change no result and can make the network many
    /// times slower: below 2⁻⁴⁰, or in an output channel that stays below 2⁻²⁸. `convert` stores
    /// zeros in their place; where this is not 0, an earlier release made the file, and it is worth converting again.
    ///
    /// Products of such values are denormal numbers, on which a CPU takes about a hundred times as long. Layers in int8 have
    /// none.
    ///
    /// # Errors
    /// [`Error::Tensor`] and [`Error::Conv`] when there is no memory for a layer's weights.
    pub fn almost_zero(&self) -> Result<u64, Error> {
        let mut count = 0;
        for (index, layer) in self.network().layers().enumerate() {
            if let Some(LayerWeights { mut weight, mut bias }) = self.unpacked(index, layer)? {
                count += mnx_conv::flush(&mut weight, &mut bias) as u64;
            }
        }
        Ok(count)
    }

    /// Weights of layer number `index`, widened if they are stored in 16 bits, in the order of [`Layer::weight_dims`]. `None` if
    /// it is in int8.
    ///
    /// # Errors
    /// Where there is no memory for them: they have the right size, as was checked when the model was opened.
    pub(crate) fn unpacked(&self, index: usize, layer: &Layer) -> Result<Option<LayerWeights>, Error> {
        let Some((weight, bias)) = self.f32_weights(index) else { return Ok(None) };
        let weight = layer.packing().unpack(&weight.widened()?, &layer.weight_dims());
        let weight = weight.map_err(|error| Error::Conv { tensor: format!("{}.weight", layer.name), error })?;
        Ok(Some(LayerWeights { weight, bias: memory::copy(&bias[..layer.cout])? }))
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { spec, layout, .. } = &*self.inner;
        let mut s = f.debug_struct("Model");
        s.field("family", &spec.family).field("width", &spec.width).field("layers", &layout.layers.len());
        s.finish_non_exhaustive()
    }
}

/// Checks all but the payload of a file in memory.
pub(crate) fn front_of(bytes: &[u8], options: &OpenOptions) -> Result<Front, Error> {
    let mut rest = bytes;
    let front = front(&options.limits, |n| {
        let (head, tail) = rest.split_at(n.min(rest.len()));
        rest = tail;
        Ok(head)
    })?;
    check_len(&front, bytes.len() as u64)?;
    Ok(front)
}

pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    InFile::new(path, error).into()
}

fn check_len(front: &Front, found: u64) -> Result<(), Error> {
    let expected = front.payload_start as u64 + front.layout.payload_len as u64;
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(Error::File(FileError::Truncated { what: "the last tensor", expected, found })),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Error::File(FileError::TrailingBytes { expected, found })),
    }
}

/// Reads until the memory is full or the file at its end; how much that was.
#[cfg(all(feature = "memmap2", target_os = "linux"))]
fn fill(file: &mut dyn Read, mut room: &mut [u8]) -> Result<usize, Error> {
    let all = room.len();
    while !room.is_empty() {
        match file.read(room) {
            Ok(0) => break,
            Ok(n) => room = &mut room[n..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all - room.len())
}

fn is_aligned(bytes: &[u8]) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT)
}

/// A vector to which `len` bytes can be appended without moving it, filled up to where they will be aligned, and its
/// length so far.
fn aligned(len: usize) -> Result<(Vec<u8>, usize), Error> {
    let mut bytes = Vec::new();
    let reserve = len.saturating_add(ALIGNMENT - 1);
    bytes.try_reserve_exact(reserve).map_err(|_| Error::Memory { what: "the weights", bytes: len as u64 })?;
    let start = (bytes.as_ptr() as usize).next_multiple_of(ALIGNMENT) - bytes.as_ptr() as usize;
    bytes.resize(start, 0);
    Ok((bytes, start))
}

fn aligned_copy(payload: &[u8]) -> Result<(Vec<u8>, usize), Error> {
    let (mut bytes, start) = aligned(payload.len())?;
    bytes.extend_from_slice(payload);
    Ok((bytes, start))
}
