//! What can be wrong with a spec, a weight file or a plan.

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape, or a choice of ISA.
    #[error(transparent)]
    Tensor(#[from] mnx_tensor::Error),
    /// An input that the network does not take.
    #[error("input: expected N x {channels} x H x W with N, H and W at least 1, found {}", shape(*found))]
    Input {
        /// Channels of the network's input.
        channels: usize,
        /// The shape.
        found: [usize; 4],
    },
    /// A session's number of threads.
    #[error("threads: expected 1 to {most}, found {found}")]
    Threads {
        /// The largest number, 1 without the feature `rayon`.
        most: usize,
        /// The number.
        found: usize,
    },
    /// The system starts no more threads.
    #[cfg(feature = "rayon")]
    #[error("threads: cannot start {helpers} helpers: {error}")]
    Pool {
        /// Threads besides the calling one.
        helpers: usize,
        /// Why not.
        error: rayon::ThreadPoolBuildError,
    },
    /// A field of a network spec has a value that no network can have.
    #[error("spec: expected `{field}` to be {expected}, found {found}")]
    Spec {
        /// Path of the field, e.g. `stages[2].stride`.
        field: String,
        /// Which values are allowed.
        expected: String,
        /// The value.
        found: String,
    },
    /// Mean and deviation of pixels of 0…255, where those of pixels in 0…1 belong.
    #[error(
        "preprocessing: expected mean and std of pixels in 0…1, found {}; divided by 255 they are {}",
        pair(found),
        pair(meant)
    )]
    PixelRange {
        /// Mean and deviation, per channel R, G, B.
        found: [[f32; 3]; 2],
        /// What they are for pixels in 0…1.
        meant: [[f32; 3]; 2],
    },
    /// Something would be larger than [`Limits`](crate::Limits) allows.
    #[error("{what}: expected at most {limit}, found {found}")]
    Limit {
        /// What was counted, and where.
        what: String,
        /// The largest count that is allowed.
        limit: u64,
        /// The count, or a lower bound of it where counting stopped early.
        found: u64,
    },
    /// A stage table is no JSON, or lacks a field, or has one that is unknown or of the wrong type.
    #[error("stage table{}: {message}", .field.as_ref().map(|f| format!(", field `{f}`")).unwrap_or_default())]
    StageTable {
        /// Key of the value that could not be read, where the message does not name it.
        field: Option<String>,
        /// What is wrong, with its line and column.
        message: String,
    },
    /// A weight file at this path; what is wrong with it is inside.
    #[error("{}: {error}", .path.display())]
    InFile {
        /// Where the file is.
        path: std::path::PathBuf,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// The operating system could not open, read or write.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file that does not start with the magic number of a weight file.
    #[error("weight file: expected it to start with \"MNXW\", found \"{}\"", .found.escape_ascii())]
    Foreign {
        /// Its first bytes, up to four.
        found: Vec<u8>,
    },
    /// A file that is known, but of another kind.
    #[error("{expected}: expected {}, found {found}: {}", .expected.form(), found.advice(*expected))]
    WrongKind {
        /// What was wanted.
        expected: crate::Wanted,
        /// What it is.
        found: crate::FileKind,
    },
    /// A weight file of another version of the format.
    #[error(
        "weight file: expected a version that this program understands, {}, found version {found}",
        one_of(understood)
    )]
    Version {
        /// The versions that are understood.
        understood: &'static [u32],
        /// The file's version.
        found: u32,
    },
    /// A weight file ends too early.
    #[error("weight file: expected {expected} bytes up to the end of {what}, found {found}: it is truncated")]
    Truncated {
        /// What is incomplete.
        what: &'static str,
        /// Bytes up to its end.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A weight file goes on after its last tensor.
    #[error("weight file: expected it to end after {expected} bytes, found at least {found}")]
    TrailingBytes {
        /// Bytes that belong to it.
        expected: u64,
        /// Bytes that are there, or a lower bound.
        found: u64,
    },
    /// A padding byte of a weight file is not zero.
    #[error("weight file: expected zeros after {after}, found {found:#04x} at byte {offset}")]
    NotZero {
        /// What the padding follows.
        after: String,
        /// Where in the file.
        offset: u64,
        /// The byte.
        found: u8,
    },
    /// Bytes of a weight file are not those that were written.
    #[error("weight file: expected the CRC-32 of {what} to be {expected:08x}, found {found:08x}: it is damaged")]
    Checksum {
        /// The header, or a tensor.
        what: String,
        /// The checksum in the file.
        expected: u32,
        /// The checksum of the bytes in the file.
        found: u32,
    },
    /// A header that is no JSON, or lacks a field, or has one that is unknown or of the wrong type.
    #[error("weight file: header: {message}")]
    Header {
        /// What is wrong, with its line and column.
        message: String,
    },
    /// An arithmetic that no kernel of this program has.
    #[error(
        "weight file: layer {layer}: expected an arithmetic that this program runs, {}, found {found:?}",
        one_of(understood)
    )]
    Arithmetic {
        /// Name of the first such layer.
        layer: String,
        /// Those that there are kernels for.
        understood: &'static [mnx_tensor::Arithmetic],
        /// The name in the file.
        found: String,
    },
    /// Weights or names of arithmetics for more or fewer layers than the spec has.
    #[error("weight file: expected {expected} layers, as its spec says, found {found}")]
    LayerCount {
        /// Layers of the network.
        expected: usize,
        /// Layers that were given.
        found: usize,
    },
    /// A weight file's tensor table has more or fewer rows than its spec asks for.
    #[error("weight file: expected {expected} tensors, as its spec says, found {found}")]
    TensorCount {
        /// Two per f32 layer; those of quantised layers and values besides.
        expected: usize,
        /// Rows of the table.
        found: usize,
    },
    /// A row of a weight file's tensor table is not what its spec asks for.
    #[error("weight file: tensor {index}, {tensor}: expected {field} {expected}, as its spec says, found {found}")]
    TensorEntry {
        /// Row of the table, from 0.
        index: usize,
        /// Name of the tensor that belongs there.
        tensor: String,
        /// Key of the first value that differs.
        field: &'static str,
        /// The value that follows from the spec.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// An element type that this program does not know.
    #[error(
        "weight file: tensor {index}, {tensor}: expected an element type that this program understands, {}, found {found:?}",
        one_of(understood)
    )]
    Element {
        /// Row of the table, from 0.
        index: usize,
        /// Name of the tensor that belongs there.
        tensor: String,
        /// Those that are understood.
        understood: &'static [mnx_tensor::Element],
        /// The name in the file.
        found: String,
    },
    /// A lane past the last channel of a packed tensor is not zero.
    #[error("tensor {tensor}: expected zeros in lanes past the last channel, found {value} at packed index {index}")]
    UnusedLane {
        /// Name of the tensor.
        tensor: String,
        /// Index in the packed tensor.
        index: usize,
        /// The value there.
        value: String,
    },
    /// A weight is infinite or NaN.
    #[error("tensor {tensor}: expected finite values, found {value} at index {index}")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A scale or a quantised weight outside its range.
    #[error("tensor {tensor}: expected {expected}, found {found} at index {index}")]
    Value {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such value.
        index: usize,
        /// Which values are allowed.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Weights that do not fit their layer.
    #[error("tensor {tensor}: {error}")]
    Conv {
        /// Name of the tensor.
        tensor: String,
        /// What does not fit.
        error: mnx_conv::Error,
    },
    /// The machine did not give this much memory.
    #[error("expected {bytes} bytes of memory for {what}, found less")]
    Memory {
        /// What was to be held.
        what: &'static str,
        /// How many bytes.
        bytes: u64,
    },
    /// A checkpoint that is not in the safetensors format.
    #[cfg(feature = "convert")]
    #[error("checkpoint: expected a safetensors file, found something else: {message}")]
    CheckpointFormat {
        /// What is wrong with it.
        message: String,
    },
    /// A checkpoint whose network does not show in its names and shapes.
    #[cfg(feature = "convert")]
    #[error("checkpoint: expected {expected}, found {found}")]
    UnknownCheckpoint {
        /// What was looked for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A checkpoint that has the network's tensors more than once.
    #[cfg(feature = "convert")]
    #[error("checkpoint: expected the network once, found it behind {}", behind(prefixes))]
    SeveralNetworks {
        /// What the names of each begin with.
        prefixes: Vec<String>,
    },
    /// A checkpoint whose tensors are not those of the network: every problem, one line each.
    #[cfg(feature = "convert")]
    #[error("checkpoint: found {} problems:{}", .problems.len(), crate::convert::lines(problems))]
    Checkpoint {
        /// At least one: what the spec has otherwise, then tensors in the order of the network's layers, unexpected ones last.
        problems: Vec<crate::convert::Problem>,
    },
    /// Bytes that are no ONNX model.
    #[cfg(feature = "onnx")]
    #[error("ONNX: expected a model, found something else: {message}")]
    OnnxFormat {
        /// What is wrong with them.
        message: String,
    },
    /// An ONNX model that is no network of mnx as a whole.
    #[cfg(feature = "onnx")]
    #[error("ONNX: expected {expected}, found {found}")]
    OnnxGraph {
        /// What networks have.
        expected: String,
        /// What the model has.
        found: String,
    },
    /// The first operation of an ONNX model that does not fit.
    #[cfg(feature = "onnx")]
    #[error("ONNX: operation {index}, {operation} `{name}`: expected {expected}, found {found}")]
    OnnxOperation {
        /// Its place in the file, from 0.
        index: usize,
        /// What it is, e.g. `Conv`.
        operation: String,
        /// The name that the model gives it.
        name: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The epsilon of the batch norms.
    #[cfg(feature = "convert")]
    #[error("batch norm: expected an epsilon that is finite and not negative, found {found}")]
    Epsilon {
        /// The epsilon.
        found: f64,
    },
}

/// `1`, `1 or 2`, `1, 2 or 3`.
fn one_of(items: &[impl std::fmt::Display]) -> String {
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        let before = match i {
            0 => "",
            _ if i + 1 == items.len() => " or ",
            _ => ", ",
        };
        text.push_str(before);
        text.push_str(&item.to_string());
    }
    text
}

#[cfg(feature = "convert")]
fn behind(prefixes: &[String]) -> String {
    let named = |prefix: &String| if prefix.is_empty() { "no prefix".into() } else { format!("`{prefix}`") };
    prefixes.iter().map(named).collect::<Vec<_>>().join(" and ")
}

fn shape([n, c, h, w]: [usize; 4]) -> String {
    format!("{n} x {c} x {h} x {w}")
}

/// Mean and deviation as flags take them.
fn pair([mean, std]: &[[f32; 3]; 2]) -> String {
    let three = |values: &[f32; 3]| values.map(|v| v.to_string()).join(",");
    format!("{} and {}", three(mean), three(std))
}
