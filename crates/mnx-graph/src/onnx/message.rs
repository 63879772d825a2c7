//! The protobuf messages of an ONNX file, with only the fields that a network needs; the others are skipped. Names and
//! numbers are those of the format's definition, `onnx.proto`.

use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::{Error, OnnxError};

/// The file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int64, tag = "1")]
    pub(crate) ir_version: i64,
    #[prost(string, tag = "2")]
    pub(crate) producer_name: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) opset_import: Vec<OperatorSet>,
}

/// A version of a set of operations.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperatorSet {
    /// Empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
}

/// Operations in an order in which each comes after those whose values it takes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) output: Vec<ValueInfo>,
}

/// An operation.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    /// Names of values; empty where an optional one is not given.
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

/// A parameter of an operation. Which of the fields holds follows from its name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(float, tag = "2")]
    pub(crate) f: f32,
    #[prost(int64, tag = "3")]
    pub(crate) i: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) s: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(crate) t: Option<Tensor>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub(crate) floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(crate) ints: Vec<i64>,
}

/// A constant. Its values lie in one of the fields that end in `data`, or in another file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub(crate) dims: Vec<i64>,
    /// One of [`data_type`].
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    // Packed numbers, left as they lie in the file: nothing is allocated for them.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) float_data: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) int32_data: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) int64_data: Bytes,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub(crate) raw_data: Bytes,
    #[prost(bytes = "bytes", tag = "10")]
    pub(crate) double_data: Bytes,
    /// Where the values are that lie in another file.
    #[prost(message, repeated, tag = "13")]
    pub(crate) external_data: Vec<Entry>,
    /// 1: in another file.
    #[prost(int32, tag = "14")]
    pub(crate) data_location: i32,
}

/// Types of a tensor's values.
pub(crate) mod data_type {
    pub(crate) const FLOAT: i32 = 1;
    pub(crate) const INT32: i32 = 6;
    pub(crate) const INT64: i32 = 7;
    pub(crate) const BOOL: i32 = 9;
    pub(crate) const FLOAT16: i32 = 10;
    pub(crate) const DOUBLE: i32 = 11;
    pub(crate) const BFLOAT16: i32 = 16;

    /// What ONNX calls types, from 1 on.
    const NAMES: [&str; 16] = [
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];

    /// As messages say it: a number where there is no name.
    pub(crate) fn name(data_type: i64) -> String {
        let place = usize::try_from(data_type).ok().and_then(|number| number.checked_sub(1));
        place
            .and_then(|place| NAMES.get(place))
            .map_or_else(|| format!("ONNX's data type {data_type}"), ToString::to_string)
    }
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// An input or output of the graph.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) r#type: Option<Type>,
}

/// What kind of value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor_type: Option<TensorType>,
}

/// A tensor of some type and shape.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorType {
    /// One of [`data_type`].
    #[prost(int32, tag = "1")]
    pub(crate) elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
}

/// A tensor's dimensions.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(crate) dim: Vec<Dimension>,
}

/// A number, or a name for one that is known when the graph runs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dimension {
    /// Absent, or not above 0, where it is not known.
    #[prost(int64, optional, tag = "1")]
    pub(crate) dim_value: Option<i64>,
}

/// What decoding a file may allocate: a file of many empty messages takes much more memory than it has bytes.
const LARGEST_STRUCTURE: u64 = 256 << 20;

/// What decoding allocates for a field.
enum Cost {
    /// Its struct, and what its fields cost.
    Message(usize, &'static [(u32, Cost)]),
    /// A string: its bytes.
    Text,
    /// Numbers of eight bytes, alone or packed.
    Numbers,
}

const TENSOR: &[(u32, Cost)] = &[
    (1, Cost::Numbers),
    (8, Cost::Text),
    (13, Cost::Message(size_of::<Entry>(), &[(1, Cost::Text), (2, Cost::Text)])),
];
const ATTRIBUTE: &[(u32, Cost)] =
    &[(1, Cost::Text), (5, Cost::Message(size_of::<Tensor>(), TENSOR)), (7, Cost::Numbers), (8, Cost::Numbers)];
const NODE: &[(u32, Cost)] = &[
    (1, Cost::Text),
    (2, Cost::Text),
    (3, Cost::Text),
    (4, Cost::Text),
    (5, Cost::Message(size_of::<Attribute>(), ATTRIBUTE)),
    (7, Cost::Text),
];
const VALUE_INFO: &[(u32, Cost)] = &[(1, Cost::Text), (2, Cost::Message(size_of::<Type>(), TYPE))];
const TYPE: &[(u32, Cost)] = &[(1, Cost::Message(size_of::<TensorType>(), TENSOR_TYPE))];
const TENSOR_TYPE: &[(u32, Cost)] = &[(2, Cost::Message(size_of::<Shape>(), SHAPE))];
const SHAPE: &[(u32, Cost)] = &[(1, Cost::Message(size_of::<Dimension>(), &[]))];
const GRAPH: &[(u32, Cost)] = &[
    (1, Cost::Message(size_of::<Node>(), NODE)),
    (5, Cost::Message(size_of::<Tensor>(), TENSOR)),
    (11, Cost::Message(size_of::<ValueInfo>(), VALUE_INFO)),
    (12, Cost::Message(size_of::<ValueInfo>(), VALUE_INFO)),
];
const MODEL: &[(u32, Cost)] = &[
    (2, Cost::Text),
    (7, Cost::Message(size_of::<Graph>(), GRAPH)),
    (8, Cost::Message(size_of::<OperatorSet>(), &[(1, Cost::Text)])),
];

/// Decodes a file. Large tensors are not copied.
///
/// # Errors
/// [`OnnxError::Format`]; [`Error::Limit`] for a file whose messages would take too much memory.
pub(crate) fn decode(file: Bytes) -> Result<Model, Error> {
    let mut left = LARGEST_STRUCTURE;
    charge(&file, MODEL, &mut left)?;
    Model::decode(file).map_err(|e| Error::Onnx(OnnxError::Format { message: e.to_string() }))
}

/// Takes from `left` what decoding these fields of a message will allocate.
fn charge(mut message: &[u8], fields: &[(u32, Cost)], left: &mut u64) -> Result<(), Error> {
    let malformed = |e: prost::DecodeError| Error::Onnx(OnnxError::Format { message: e.to_string() });
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message).map_err(malformed)?;
        let cost = fields.iter().find(|(known, _)| *known == tag).map(|(_, cost)| cost);
        let value = if wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut message).map_err(malformed)?;
            let length = usize::try_from(length).ok().filter(|&n| n <= message.len());
            let length =
                length.ok_or_else(|| Error::Onnx(OnnxError::Format { message: "a field goes past the end".into() }))?;
            message.split_off(..length).unwrap_or_default()
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default()).map_err(malformed)?;
            &[]
        };
        let bytes = match cost {
            None => 0,
            Some(Cost::Message(size, _)) => *size,
            Some(Cost::Text) => size_of::<String>() + value.len(),
            Some(Cost::Numbers) => 8 * value.len().max(1),
        };
        *left = left.checked_sub(bytes as u64).ok_or(Error::Limit {
            what: "bytes of memory for an ONNX graph without its tensors".into(),
            limit: LARGEST_STRUCTURE,
            found: LARGEST_STRUCTURE - *left + bytes as u64,
        })?;
        if let Some(Cost::Message(_, fields)) = cost {
            charge(value, fields, left)?;
        }
    }
    Ok(())
}
