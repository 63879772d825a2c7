//! Which tensors a weight file has, and where they lie. The network and the arithmetic of its layers determine all of it.

use std::ops::Range;

use bytemuck::cast_slice;
use mnx_conv::Packing;
use mnx_tensor::{Arithmetic, Element, PANEL};

use super::{ALIGNMENT, Entry};
use crate::wiring::{Source, Values, Wiring};
use crate::{ClassifierDtype, Error, FileError, Layer, LayerKind, Limits, Network, Quantization};

/// The largest scale, 2⁶⁴. Scales are normal numbers up to this one, so that products of a few of them do not become
/// infinite or denormal by accident.
pub(crate) const LARGEST_SCALE: f32 = 18_446_744_073_709_551_616.0;

/// What a tensor holds, and so which values it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Weights or biases of an f32 layer.
    Real,
    /// Weights of an f32 layer in a type of 16 bits.
    Weight16(ClassifierDtype),
    /// Weights of an int8 layer.
    Weight8,
    /// Biases of an int8 layer.
    Bias32,
    /// Scales: one per output channel for an int8 weight, a single one for a value.
    Scale,
    /// The u8 that stands for 0 in a value.
    ZeroPoint,
}

impl Role {
    pub(crate) fn element(self) -> Element {
        match self {
            Role::Real | Role::Scale => Element::F32,
            Role::Weight16(dtype) => dtype.element(),
            Role::Weight8 => Element::I8,
            Role::Bias32 => Element::I32,
            Role::ZeroPoint => Element::U8,
        }
    }

    /// Element `index` of a tensor as text, for messages.
    fn show(self, bytes: &[u8], index: usize) -> String {
        match self {
            Role::Real | Role::Scale => format!("{:?}", cast_slice::<u8, f32>(bytes)[index]),
            Role::Weight16(dtype) => format!("{:?}", dtype.widen(cast_slice::<u8, u16>(bytes)[index])),
            Role::Weight8 => (bytes[index] as i8).to_string(),
            Role::Bias32 => cast_slice::<u8, i32>(bytes)[index].to_string(),
            Role::ZeroPoint => bytes[index].to_string(),
        }
    }
}

/// A tensor, and where it lies in the payload.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) dims: Vec<usize>,
    pub(crate) packing: Packing,
    /// Its bytes in the payload.
    pub(crate) range: Range<usize>,
    pub(super) crc32: u32,
}

impl Tensor {
    /// Its row of the tensor table.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            dtype: self.role.element().name().into(),
            dims: self.dims.clone(),
            packing: self.packing.name().into(),
            offset: self.range.start as u64,
            length: self.range.len() as u64,
            crc32: self.crc32,
        }
    }

    /// Refuses a value that no tensor of this role may have. `bytes` may be packed.
    pub(super) fn check_values(&self, bytes: &[u8]) -> Result<(), Error> {
        let (bad, expected) = match self.role {
            Role::Real => {
                let values: &[f32] = cast_slice(bytes);
                if all_finite(values) {
                    return Ok(());
                }
                let index = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
                return Err(self.not_finite(index, values[index]));
            }
            Role::Weight16(dtype) => {
                let values: &[u16] = cast_slice(bytes);
                let bad = first_infinite(values, dtype);
                return bad.map_or(Ok(()), |index| Err(self.not_finite(index, dtype.widen(values[index]))));
            }
            Role::Scale => {
                // Packing keeps their order and adds zeros at the end. Those are no scales.
                let scales = cast_slice::<u8, f32>(bytes).iter().take(self.dims.iter().product());
                let mut scales = scales.enumerate();
                let allowed = f32::MIN_POSITIVE..=LARGEST_SCALE;
                (scales.find(|(_, scale)| !allowed.contains(scale)).map(|(i, _)| i), "scales from 2^-126 to 2^64")
            }
            Role::Weight8 => {
                let found = has_least(bytes).then(|| bytes.iter().position(|&b| b as i8 == i8::MIN));
                (found.flatten(), "weights from -127 to 127")
            }
            Role::Bias32 | Role::ZeroPoint => return Ok(()),
        };
        bad.map_or(Ok(()), |index| {
            let found = self.role.show(bytes, index);
            Err(Error::File(FileError::Value { tensor: self.name.clone(), index, expected, found }))
        })
    }

    /// The bits of an f32 layer's weights in a type of 16 bits, each rounded once. Refuses what does not stay finite.
    pub(super) fn narrowed(&self, dtype: ClassifierDtype, weights: &[f32]) -> Result<Option<Vec<u16>>, Error> {
        let Some(bits) = dtype.narrowed(weights).transpose()? else { return Ok(None) };
        let Some(index) = first_infinite(&bits, dtype) else { return Ok(Some(bits)) };
        let weight = weights[index];
        if !weight.is_finite() {
            return Err(self.not_finite(index, weight));
        }
        let expected = match dtype {
            ClassifierDtype::F16 => "weights up to 65504, the largest f16",
            _ => "weights up to 3.3895e38, the largest bf16",
        };
        let found = format!("{weight:?}");
        Err(Error::File(FileError::Value { tensor: self.name.clone(), index, expected, found }))
    }

    fn not_finite(&self, index: usize, value: f32) -> Error {
        Error::File(FileError::NotFinite { tensor: self.name.clone(), index, value })
    }

    /// Refuses packed bytes if an unused lane is not zero.
    pub(super) fn check_unused_lanes(&self, bytes: &[u8]) -> Result<(), Error> {
        let used = match self.role.element().size() {
            1 => self.packing.used_padding(bytes, &self.dims),
            2 => self.packing.used_padding(cast_slice::<u8, u16>(bytes), &self.dims),
            _ => self.packing.used_padding(cast_slice::<u8, u32>(bytes), &self.dims),
        };
        match used.map_err(|error| self.misfit(error))? {
            None => Ok(()),
            Some(index) => {
                let value = self.role.show(bytes, index);
                Err(Error::File(FileError::UnusedLane { tensor: self.name.clone(), index, value }))
            }
        }
    }

    pub(super) fn misfit(&self, error: mnx_conv::Error) -> Error {
        Error::Conv { tensor: self.name.clone(), error }
    }
}

/// Whether all values are finite. Every f32 weight goes through this at every start, so it works in groups without a branch:
/// the compiler turns them into vectors.
fn all_finite(values: &[f32]) -> bool {
    values.chunks(4 * PANEL).all(|group| group.iter().fold(true, |finite, v| finite & v.is_finite()))
}

/// The first number of 16 bits that is not finite. In groups, for the same reason.
fn first_infinite(values: &[u16], dtype: ClassifierDtype) -> Option<usize> {
    let infinity = dtype.infinity();
    let is_infinite = |bits: &u16| bits & infinity == infinity;
    let none = values.chunks(8 * PANEL).all(|group| !group.iter().fold(false, |found, bits| found | is_infinite(bits)));
    if none { None } else { values.iter().position(is_infinite) }
}

/// Whether one of these weights is -128. In groups without a branch, for the same reason.
fn has_least(weights: &[u8]) -> bool {
    weights.chunks(16 * PANEL).any(|group| group.iter().fold(false, |found, &w| found | (w as i8 == i8::MIN)))
}

/// The tensors of a weight file in order. Their checksums are 0 until somebody sets them.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) tensors: Vec<Tensor>,
    /// The index of each layer's first tensor. A layer has weight, bias and, if int8, the weight's scales.
    pub(crate) layers: Vec<usize>,
    pub(crate) values: Vec<QuantizedValue>,
    pub(crate) payload_len: usize,
}

/// A value that is kept as u8. It has a scale and a zero point.
#[derive(Debug)]
pub(crate) struct QuantizedValue {
    pub(crate) source: Source,
    /// Its name, e.g. `features.0.0.output`.
    pub(crate) name: String,
    /// The index of its first tensor.
    pub(crate) first: usize,
}

impl Layout {
    /// `arithmetic` has one entry per layer; `classifier` is how a classifier in f32 has its weights.
    pub(super) fn new(
        network: &Network,
        arithmetic: &[Arithmetic],
        classifier: ClassifierDtype,
        limits: &Limits,
    ) -> Result<Layout, Error> {
        let mut layout = Layout { tensors: Vec::new(), layers: Vec::new(), values: Vec::new(), payload_len: 0 };
        let quantized = quantized(network, arithmetic);
        let value = |layout: &mut Layout, source, name: &str| {
            if quantized[source] { layout.value(source, name, limits) } else { Ok(()) }
        };
        value(&mut layout, Source::Input, "input")?;
        for (index, (layer, &arithmetic)) in network.layers().zip(arithmetic).enumerate() {
            if layer.kind == LayerKind::Linear {
                value(&mut layout, Source::Pool, "pool.output")?;
            }
            layout.layer(layer, arithmetic, classifier, limits)?;
            value(&mut layout, Source::Layer(index), &format!("{}.output", layer.name))?;
        }
        Ok(layout)
    }

    /// The tensors of int8 layer number `layer`, as they are in the payload.
    pub(crate) fn int8<'p>(&self, layer: usize, payload: &'p [u8]) -> PackedInt8<'p> {
        let first = self.layers[layer];
        let bytes = |index: usize| &payload[self.tensors[first + index].range.clone()];
        let packing = self.tensors[first].packing;
        PackedInt8 { packing, weight: cast_slice(bytes(0)), bias: cast_slice(bytes(1)), scale: cast_slice(bytes(2)) }
    }

    /// The type of the classifier's weights, where they are an f32 layer's; f32 where they are not.
    pub(crate) fn classifier(&self) -> ClassifierDtype {
        let of_16_bits = self.tensors.iter().find_map(|tensor| match tensor.role {
            Role::Weight16(dtype) => Some(dtype),
            _ => None,
        });
        of_16_bits.unwrap_or_default()
    }

    /// How the value whose first tensor is number `first` is quantised.
    pub(crate) fn quantization(&self, first: usize, payload: &[u8]) -> Quantization {
        let bytes = |index: usize| &payload[self.tensors[index].range.clone()];
        Quantization { scale: cast_slice(bytes(first))[0], zero_point: bytes(first + 1)[0] }
    }

    fn layer(
        &mut self,
        layer: &Layer,
        arithmetic: Arithmetic,
        classifier: ClassifierDtype,
        limits: &Limits,
    ) -> Result<(), Error> {
        self.layers.push(self.tensors.len());
        let int8 = arithmetic == Arithmetic::Int8;
        let (weight_role, bias_role) = match layer.kind {
            _ if int8 => (Role::Weight8, Role::Bias32),
            LayerKind::Linear if classifier != ClassifierDtype::F32 => (Role::Weight16(classifier), Role::Real),
            _ => (Role::Real, Role::Real),
        };
        let packing = if int8 { int8_packing(layer.kind) } else { layer.packing() };
        let (weight, channels) = (format!("{}.weight", layer.name), vec![layer.cout]);
        let scale = format!("{weight}.scale");
        self.push(weight, weight_role, layer.weight_dims(), packing, limits)?;
        self.push(format!("{}.bias", layer.name), bias_role, channels.clone(), Packing::Bias16, limits)?;
        if int8 { self.push(scale, Role::Scale, channels, Packing::Bias16, limits) } else { Ok(()) }
    }

    fn value(&mut self, source: Source, name: &str, limits: &Limits) -> Result<(), Error> {
        self.values.push(QuantizedValue { source, name: name.into(), first: self.tensors.len() });
        self.push(format!("{name}.scale"), Role::Scale, vec![1], Packing::Plain, limits)?;
        self.push(format!("{name}.zero_point"), Role::ZeroPoint, vec![1], Packing::Plain, limits)
    }

    fn push(
        &mut self,
        name: String,
        role: Role,
        dims: Vec<usize>,
        packing: Packing,
        limits: &Limits,
    ) -> Result<(), Error> {
        let limit = |what, limit, found| Error::Limit { what: format!("{what} {name}"), limit, found };
        if self.tensors.len() >= limits.tensors {
            let found = self.tensors.len() as u64 + 1;
            return Err(limit("tensors of the weight file up to", limits.tensors as u64, found));
        }
        let too_large = || limit("bytes up to tensor", isize::MAX as u64, u64::MAX);
        let elements = packing.packed_len(&dims).map_err(|_| too_large())?;
        if elements as u64 > limits.elements {
            return Err(limit("packed elements of tensor", limits.elements, elements as u64));
        }
        // At most isize::MAX: `packed_len` refuses more than a slice of f32 may hold.
        let (start, length) = (self.payload_len, elements * role.element().size());
        let end = start.checked_add(length).and_then(|n| n.checked_next_multiple_of(ALIGNMENT));
        self.payload_len = end.filter(|&n| n <= isize::MAX as usize).ok_or_else(too_large)?;
        self.tensors.push(Tensor { name, role, dims, packing, range: start..start + length, crc32: 0 });
        Ok(())
    }
}

/// How the weight of an int8 layer is stored.
fn int8_packing(kind: LayerKind) -> Packing {
    match kind {
        LayerKind::Dense3x3 | LayerKind::Dense7x7 | LayerKind::Conv3x3 => Packing::Dense16x4,
        LayerKind::Depthwise3x3 => Packing::Depthwise16,
        LayerKind::Pointwise => Packing::Pointwise16x4,
        LayerKind::Linear => Packing::Linear16x4,
    }
}

/// Which values are u8: all that an int8 layer makes or reads, except the network's outputs.
fn quantized(network: &Network, arithmetic: &[Arithmetic]) -> Values<bool> {
    let mut quantized = Values::of_all(arithmetic.len(), false);
    for (index, wire) in Wiring::new(network).layers.iter().enumerate() {
        if arithmetic[index] == Arithmetic::Int8 {
            let output = (!wire.layer.makes_output()).then_some(Source::Layer(index));
            wire.sources().chain(output).for_each(|source| quantized[source] = true);
        }
    }
    quantized
}

/// The tensors of an int8 layer as a weight file has them, each aligned to 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PackedInt8<'m> {
    /// In which order the weight is stored.
    pub packing: Packing,
    /// The weight.
    pub weight: &'m [i8],
    /// A bias per output channel, up to a multiple of 16. What the input's zero point adds to the sums is not in it.
    pub bias: &'m [i32],
    /// The scale of each output channel's weights, up to a multiple of 16.
    pub scale: &'m [f32],
}

impl PackedInt8<'_> {
    /// What the absolute weights of each output channel add up to.
    pub(crate) fn magnitudes(&self) -> Vec<u64> {
        let (lanes, group) = (self.packing.lanes(), self.packing.group());
        let panels = self.scale.len() / lanes;
        let mut sums = vec![0; panels * lanes];
        let of_panels = self.weight.chunks_exact((self.weight.len() / panels.max(1)).max(1));
        for (sums, panel) in sums.chunks_exact_mut(lanes).zip(of_panels) {
            for row in panel.chunks_exact(lanes * group) {
                for (sum, of_lane) in sums.iter_mut().zip(row.chunks_exact(group)) {
                    *sum += of_lane.iter().map(|w| u64::from(w.unsigned_abs())).sum::<u64>();
                }
            }
        }
        sums
    }
}
