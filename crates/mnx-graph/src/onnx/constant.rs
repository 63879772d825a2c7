//! Tensors that are known before the graph runs. Weights stay where they lie in the file. Small tensors, with which exporters
//! compute shapes, are evaluated here.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use mnx_tensor::{half, memory};
use prost::bytes::{Buf, Bytes};
use prost::encoding::decode_varint;

use super::message::{self, data_type};
use crate::float::Float;

/// What is wrong with a constant or an operation, for which the caller knows the place.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Misfit {
    pub(crate) fn new(expected: impl Into<String>, found: impl Into<String>) -> Misfit {
        Misfit { expected: expected.into(), found: found.into() }
    }
}

pub(crate) fn misfit<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit::new(expected, found))
}

/// Elements of the largest tensor whose values are taken one by one: a classifier's weight of 4,096 by 1,024.
pub(crate) const LARGEST_SMALL: usize = 1 << 22;

/// Dimensions that a tensor has at most. Those of networks have four.
pub(crate) const MOST_DIMENSIONS: usize = 8;

/// One value of a small tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar {
    Float(f64),
    Int(i64),
    /// How many pictures there are, which is known when the graph runs.
    Batch,
    /// Another number that is.
    Unknown,
}

/// A tensor that is known.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    pub(crate) dims: Vec<usize>,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// Little-endian numbers of this type.
    Raw(i32, Bytes),
    /// Numbers of this type as protobuf's integers: the bits of those of two bytes.
    Varints(i32, Bytes),
    /// Little-endian numbers of this type in another file.
    File { data_type: i32, path: PathBuf, offset: u64 },
    /// Evaluated. Any number of operations may take a value, so a clone costs nothing. (Making an `Arc<[Scalar]>` of the vector
    /// would take memory without asking for it.)
    Small(Arc<Vec<Scalar>>),
}

/// Elements of a tensor of these dimensions. `None` if they are too many to count, if there are too many dimensions, or if a tensor
/// without elements has a huge dimension, which loops would go along.
pub(crate) fn elements(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim))?;
    let countable = count > 0 || dims.iter().all(|&dim| dim <= LARGEST_SMALL);
    (dims.len() <= MOST_DIMENSIONS && countable).then_some(count)
}

/// Whether values of a type are floating-point numbers that are taken.
pub(crate) fn is_float(data_type: i64) -> bool {
    let types = [data_type::FLOAT, data_type::FLOAT16, data_type::DOUBLE, data_type::BFLOAT16];
    types.iter().any(|&float| i64::from(float) == data_type)
}

fn size_of_element(data_type: i32) -> Option<usize> {
    Some(match data_type {
        data_type::FLOAT | data_type::INT32 => 4,
        data_type::DOUBLE | data_type::INT64 => 8,
        data_type::FLOAT16 | data_type::BFLOAT16 => 2,
        data_type::BOOL => 1,
        _ => return None,
    })
}

impl Constant {
    /// `folder` is where the files are that tensors may lie in.
    pub(crate) fn stored(tensor: &message::Tensor, folder: Option<&Path>) -> Result<Constant, Misfit> {
        let name = &tensor.name;
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| dim.try_into().ok()).collect();
        let data_type = tensor.data_type;
        let Some(size) = size_of_element(data_type) else {
            return misfit(format!("tensor `{name}` of a floating-point type"), data_type::name(data_type.into()));
        };
        let bytes = dims.as_deref().and_then(elements).and_then(|n| n.checked_mul(size));
        let (Some(dims), Some(bytes)) = (dims, bytes) else {
            return misfit(
                format!("tensor `{name}` of up to {MOST_DIMENSIONS} dimensions and a countable size"),
                format!("dimensions {:?}", tensor.dims),
            );
        };
        if tensor.data_location == 1 {
            let values = external(tensor, bytes as u64, folder)?;
            return Ok(Constant { dims, values });
        }
        let fields = [&tensor.raw_data, &tensor.float_data, &tensor.double_data];
        let varints = if data_type == data_type::INT64 { &tensor.int64_data } else { &tensor.int32_data };
        let values = match fields.into_iter().find(|field| !field.is_empty()) {
            None if !varints.is_empty() => Values::Varints(data_type, varints.clone()),
            raw => Values::Raw(data_type, raw.cloned().unwrap_or_default()),
        };
        match &values {
            Values::Raw(_, raw) if raw.len() != bytes => misfit(
                format!("tensor `{name}` of dimensions {dims:?} with {bytes} bytes of values"),
                format!("{} bytes", raw.len()),
            ),
            _ => Ok(Constant { dims, values }),
        }
    }

    /// A vector.
    pub(crate) fn vector(values: Vec<Scalar>) -> Constant {
        Constant::small(vec![values.len()], values)
    }

    pub(crate) fn scalar(value: Scalar) -> Constant {
        Constant::small(Vec::new(), vec![value])
    }

    /// `values` in row-major order.
    pub(crate) fn small(dims: Vec<usize>, values: Vec<Scalar>) -> Constant {
        Constant { dims, values: Values::Small(Arc::new(values)) }
    }

    /// The same values in other dimensions.
    pub(crate) fn reshaped(&self, dims: Vec<usize>) -> Option<Constant> {
        elements(&dims).filter(|&count| Some(count) == self.len())?;
        Some(Constant { dims, values: self.values.clone() })
    }

    /// Elements that were made for it: none of a tensor that is stored.
    pub(crate) fn made(&self) -> usize {
        if let Values::Small(scalars) = &self.values { scalars.len() } else { 0 }
    }

    /// Whether its values are floating-point numbers.
    pub(crate) fn is_float(&self) -> bool {
        match &self.values {
            Values::Raw(data_type, _) | Values::Varints(data_type, _) | Values::File { data_type, .. } => {
                is_float(i64::from(*data_type))
            }
            Values::Small(scalars) => scalars.iter().all(|scalar| matches!(scalar, Scalar::Float(_))),
        }
    }

    pub(crate) fn len(&self) -> Option<usize> {
        elements(&self.dims)
    }

    /// All values, each exactly.
    ///
    /// # Errors
    /// Where they are not there, or are no floating-point numbers, or too many for the memory.
    pub(crate) fn floats(&self) -> Result<Vec<f64>, Unread> {
        let float = |scalar| if let Scalar::Float(v) = scalar { Some(v) } else { None };
        let values = match &self.values {
            Values::Small(scalars) => all(scalars, float).transpose()?,
            Values::Raw(data_type, raw) => raw_floats(*data_type, raw).transpose()?,
            Values::File { data_type, path, offset } => {
                let size = size_of_element(*data_type).unwrap_or(0);
                raw_floats(*data_type, &read(path, *offset, self.len().unwrap_or(0) * size)?).transpose()?
            }
            Values::Varints(..) => self.scalars().and_then(|scalars| all(&scalars, float)).transpose()?,
        };
        values.map_or_else(|| Ok(misfit("floating-point values", "others")?), Ok)
    }

    /// The values of a small tensor.
    pub(crate) fn scalars(&self) -> Option<Cow<'_, [Scalar]>> {
        self.len().filter(|&n| n <= LARGEST_SMALL)?;
        let scalars = match &self.values {
            Values::Small(scalars) => return Some(Cow::Borrowed(scalars)),
            Values::Varints(data_type, bytes) => {
                let mut bytes = &bytes[..];
                let mut scalars = Vec::new();
                scalars.try_reserve_exact(self.len()?.min(bytes.len())).ok()?;
                while bytes.has_remaining() && scalars.len() < self.len()? {
                    let bits = decode_varint(&mut bytes).ok()?;
                    scalars.push(match *data_type {
                        data_type::FLOAT16 => Scalar::Float(half::f16_to_f32(bits as u16).into()),
                        data_type::BFLOAT16 => Scalar::Float(half::bf16_to_f32(bits as u16).into()),
                        _ => Scalar::Int(bits.cast_signed()),
                    });
                }
                (!bytes.has_remaining() && Some(scalars.len()) == self.len()).then_some(scalars)
            }
            Values::Raw(data_type, raw) => raw_scalars(*data_type, raw),
            Values::File { data_type, path, offset } => {
                raw_scalars(*data_type, &read(path, *offset, self.len()? * size_of_element(*data_type)?).ok()?)
            }
        };
        scalars.map(Cow::Owned)
    }

    /// The values of a tensor of integers.
    pub(crate) fn ints(&self) -> Option<Vec<i64>> {
        ints(&self.scalars()?)
    }

    /// The only value.
    pub(crate) fn one_float(&self) -> Option<f64> {
        if self.len() != Some(1) {
            return None;
        }
        self.floats().ok().map(|values| values[0])
    }
}

/// Integers, if all are some that are known.
pub(crate) fn ints(scalars: &[Scalar]) -> Option<Vec<i64>> {
    all(scalars, |scalar| if let Scalar::Int(v) = scalar { Some(v) } else { None })?.ok()
}

/// What `one` makes of each, if it makes something of all.
fn all<T>(scalars: &[Scalar], one: impl Fn(Scalar) -> Option<T>) -> Option<Result<Vec<T>, mnx_tensor::Error>> {
    let mut values = match memory::room(scalars.len()) {
        Ok(values) => values,
        Err(error) => return Some(Err(error)),
    };
    for &scalar in scalars {
        values.push(one(scalar)?);
    }
    Some(Ok(values))
}

/// Why the values of a constant are not there.
#[derive(Debug)]
pub(crate) enum Unread {
    /// They are not what they must be.
    Misfit(Misfit),
    /// There is no memory for them.
    Memory(mnx_tensor::Error),
}

impl From<Misfit> for Unread {
    fn from(misfit: Misfit) -> Unread {
        Unread::Misfit(misfit)
    }
}

impl From<mnx_tensor::Error> for Unread {
    fn from(error: mnx_tensor::Error) -> Unread {
        Unread::Memory(error)
    }
}

/// The files of this folder in which tensors lie, each once.
pub(super) fn files(graph: &message::Graph, folder: Option<&Path>) -> Vec<PathBuf> {
    let nodes = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    let tensors = graph.initializer.iter().chain(nodes).filter(|tensor| tensor.data_location == 1);
    let entries = tensors.flat_map(|tensor| &tensor.external_data).filter(|entry| entry.key == "location");
    let inside = entries.filter_map(|entry| inside(&entry.value));
    let mut files: Vec<_> =
        folder.into_iter().flat_map(|folder| inside.clone().map(|file| folder.join(file))).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Where a file lies in the model's folder, if it lies there.
fn inside(location: &str) -> Option<&Path> {
    let path = Path::new(location);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !location.is_empty()).then_some(path)
}

/// Where a tensor lies in another file, as the keys of its entry say.
fn external(tensor: &message::Tensor, bytes: u64, folder: Option<&Path>) -> Result<Values, Misfit> {
    let key = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let name = &tensor.name;
    let location = key("location").unwrap_or_default();
    let found = format!("it in another file, `{location}`");
    let Some(folder) = folder else {
        return misfit(format!("tensor `{name}` in the model's own bytes"), found);
    };
    let Some(location) = inside(location) else {
        return misfit(format!("tensor `{name}` in a file of the model's folder"), found);
    };
    let number = |name| key(name).map_or(Some(0), |text| text.parse::<u64>().ok());
    let (Some(offset), Some(length)) = (number("offset"), number("length")) else {
        return misfit(format!("numbers as offset and length of tensor `{name}`"), "something else");
    };
    let path = folder.join(location);
    let there = match path.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len().saturating_sub(offset),
        Ok(_) => return misfit(format!("file `{}` with tensor `{name}`", path.display()), "no regular file"),
        Err(e) => return misfit(format!("file `{}` with tensor `{name}`", path.display()), e.to_string()),
    };
    if there < bytes || (key("length").is_some() && length != bytes) {
        let found = if there < bytes { there } else { length };
        return misfit(format!("{bytes} bytes of tensor `{name}` in file `{}`", path.display()), found.to_string());
    }
    Ok(Values::File { data_type: tensor.data_type, path, offset })
}

fn read(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Unread> {
    let mut bytes = memory::zeros(length)?;
    let mut read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)
    };
    match read() {
        Ok(()) => Ok(bytes),
        Err(e) => Ok(misfit(format!("{length} bytes in file `{}`", path.display()), e.to_string())?),
    }
}

fn raw_floats(data_type: i32, raw: &[u8]) -> Option<Result<Vec<f64>, mnx_tensor::Error>> {
    let float = match data_type {
        data_type::FLOAT16 => Float::F16,
        data_type::BFLOAT16 => Float::Bf16,
        data_type::FLOAT => Float::F32,
        data_type::DOUBLE => Float::F64,
        _ => return None,
    };
    Some(float.exact(raw))
}

fn raw_scalars(data_type: i32, raw: &[u8]) -> Option<Vec<Scalar>> {
    let (fours, eights) = (raw.as_chunks::<4>().0, raw.as_chunks::<8>().0);
    let scalars = match data_type {
        data_type::INT64 => memory::collect(eights.iter().map(|&b| Scalar::Int(i64::from_le_bytes(b))), eights.len()),
        data_type::INT32 => {
            memory::collect(fours.iter().map(|&b| Scalar::Int(i32::from_le_bytes(b).into())), fours.len())
        }
        data_type::BOOL => memory::collect(raw.iter().map(|&b| Scalar::Int(b.into())), raw.len()),
        _ => {
            let floats = raw_floats(data_type, raw)?.ok()?;
            memory::collect(floats.iter().map(|&v| Scalar::Float(v)), floats.len())
        }
    };
    scalars.ok()
}
