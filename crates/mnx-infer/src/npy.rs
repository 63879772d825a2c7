//! Reads and writes raw tensors as NumPy's `.npy` files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mnx::Tensor;
use npyz::{DType, WriteOptions, WriterBuilder};
use py_literal::Value;

use crate::error::{Error, printable};
use crate::output::{OutputFile, is_standard};

/// NumPy itself refuses to read a longer header.
const LONGEST_HEADER: usize = 10_000;

/// Where an array comes from.
enum Origin {
    File(File),
    Stdin(io::StdinLock<'static>),
}

impl Read for Origin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Origin::File(file) => file.read(buffer),
            Origin::Stdin(stdin) => stdin.read(buffer),
        }
    }
}

/// An array whose header has been checked: f32, C order, four dimensions. A file is as long as that says.
pub(crate) struct NpyInput {
    path: PathBuf,
    origin: Origin,
    shape: [usize; 4],
}

impl NpyInput {
    /// Checks the header against what a network of `channels` input channels takes. `-` is standard input.
    ///
    /// A file's length is to be what its header says. Standard input has a length only when it ends: its header may
    /// claim at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::File`] says what was expected and what was found.
    pub(crate) fn open(path: &Path, channels: usize, limit: u64) -> Result<NpyInput, Error> {
        if is_standard(path) {
            return NpyInput::of_stdin(channels, limit);
        }
        let cannot = |e: io::Error| Error::file(path, format_args!("cannot be read: {e}"));
        let mut file = File::open(path).map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        if !found.is_file() {
            return Err(Error::expected(path, "a .npy file", "something that is no plain file"));
        }
        let (header, header_bytes) =
            read_header(&mut file, &format!("a file of {} bytes", found.len())).map_err(|e| e.at(path))?;
        let shape = header.nchw(channels).map_err(|e| e.at(path))?;
        let there = found.len() - header_bytes;
        if bytes_of(shape) != Some(there) {
            return Err(Error::expected(path, expected_bytes(shape), there));
        }
        Ok(NpyInput { path: path.into(), origin: Origin::File(file), shape })
    }

    fn of_stdin(channels: usize, limit: u64) -> Result<NpyInput, Error> {
        let path = PathBuf::from("standard input");
        let mut stdin = io::stdin().lock();
        let (header, _) = read_header(&mut stdin, "an input").map_err(|e| e.at(&path))?;
        let shape = header.nchw(channels).map_err(|e| e.at(&path))?;
        if bytes_of(shape).is_none_or(|bytes| bytes > limit) {
            return Err(Error::expected(&path, format_args!("at most {limit} bytes"), expected_bytes(shape)));
        }
        Ok(NpyInput { path, origin: Origin::Stdin(stdin), shape })
    }

    /// The name under which it appears in messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// N, C, H, W.
    pub(crate) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Reads the values.
    ///
    /// # Errors
    /// [`Error::File`] when they cannot be read, are fewer than the header says, or are followed by something.
    pub(crate) fn read(mut self) -> Result<Tensor, Error> {
        let mut tensor = Tensor::zeros(self.shape).map_err(|e| Error::file(&self.path, e))?;
        let cannot = |e: io::Error| Error::file(&self.path, format_args!("cannot be read: {e}"));
        // f32 is stored little-endian, as it is in memory on every target of this program.
        let mut rest: &mut [u8] = bytemuck::cast_slice_mut(tensor.data_mut());
        let expected = rest.len() as u64;
        let there = io::copy(&mut (&mut self.origin).take(expected), &mut rest).map_err(cannot)?;
        if there < expected {
            return Err(Error::expected(&self.path, expected_bytes(self.shape), there));
        }
        if self.origin.read(&mut [0]).map_err(cannot)? > 0 {
            return Err(Error::expected(&self.path, expected_bytes(self.shape), "more"));
        }
        Ok(tensor)
    }
}

/// The length of an array's values, unless that cannot be counted.
fn bytes_of(shape: [usize; 4]) -> Option<u64> {
    shape.iter().try_fold(4, |n: u64, &d| n.checked_mul(d as u64))
}

fn expected_bytes(shape: [usize; 4]) -> String {
    let bytes = bytes_of(shape).map_or("more bytes than there are".into(), |n| n.to_string());
    format!("{bytes} bytes of f32 for {}", shape.map(|d| d.to_string()).join(" x "))
}

/// What is wrong with a header.
struct Mismatch {
    expected: String,
    found: String,
}

impl Mismatch {
    fn new(expected: &str, found: impl ToString) -> Mismatch {
        Mismatch { expected: expected.into(), found: found.to_string() }
    }

    fn at(self, path: &Path) -> Error {
        Error::expected(path, self.expected, printable(&self.found))
    }
}

/// The three entries of a header as they stand there.
struct Header {
    descr: Value,
    fortran_order: Value,
    shape: Value,
}

/// The header, and how many bytes stand before the values. `all` says what there is. (npyz, which writes files here, multiplies the
/// dimensions of a stranger's header unchecked.)
fn read_header(file: &mut impl Read, all: &str) -> Result<(Header, u64), Mismatch> {
    let truncated = |_| Mismatch::new("a .npy header", format!("{all} that ends before it does"));
    let mut magic = [0; 8];
    let is_npy = file.read_exact(&mut magic).is_ok() && magic.starts_with(b"\x93NUMPY");
    if !is_npy {
        return Err(Mismatch::new("a .npy file", format!("{all} that does not start as one")));
    }
    let (length, prefix) = match (magic[6], magic[7]) {
        (1, 0) => {
            let mut bytes = [0; 2];
            file.read_exact(&mut bytes).map_err(truncated)?;
            (usize::from(u16::from_le_bytes(bytes)), 10)
        }
        (2 | 3, 0) => {
            let mut bytes = [0; 4];
            file.read_exact(&mut bytes).map_err(truncated)?;
            (u32::from_le_bytes(bytes) as usize, 12)
        }
        (major, minor) => {
            return Err(Mismatch::new(".npy format version 1.0, 2.0 or 3.0", format!("{major}.{minor}")));
        }
    };
    if length > LONGEST_HEADER {
        return Err(Mismatch::new(&format!("a .npy header of at most {LONGEST_HEADER} bytes"), length));
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).map_err(truncated)?;
    let header = Header::parse(&text)
        .ok_or_else(|| Mismatch::new("a .npy header with descr, fortran_order and shape", "another text"))?;
    Ok((header, prefix + length as u64))
}

impl Header {
    fn parse(text: &[u8]) -> Option<Header> {
        let text = std::str::from_utf8(text).ok()?.trim_end();
        // A header has one dictionary and one tuple. The parser takes three times as long for each dictionary in another one.
        let count = |brackets: &[u8]| text.bytes().filter(|byte| brackets.contains(byte)).count();
        if count(b"{") > 1 || count(b"([") > 7 {
            return None;
        }
        let Ok(Value::Dict(entries)) = text.parse() else {
            return None;
        };
        let get =
            |key: &str| entries.iter().find(|(k, _)| matches!(k, Value::String(s) if s == key)).map(|e| e.1.clone());
        Some(Header { descr: get("descr")?, fortran_order: get("fortran_order")?, shape: get("shape")? })
    }

    /// The shape, if it is one that a network takes.
    fn nchw(&self, channels: usize) -> Result<[usize; 4], Mismatch> {
        if self.descr != Value::String("<f4".into()) {
            return Err(Mismatch::new("dtype '<f4' (f32)", literal(&self.descr)));
        }
        if self.fortran_order != Value::Boolean(false) {
            return Err(Mismatch::new("C order (fortran_order False)", literal(&self.fortran_order)));
        }
        let dims = match &self.shape {
            Value::Tuple(dims) => dims.iter().map(dimension).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        match dims.as_deref() {
            Some(&[n, c, h, w]) if n > 0 && c == channels && h > 0 && w > 0 => Ok([n, c, h, w]),
            _ => {
                let expected = format!("shape (N, {channels}, H, W) with N, H and W from 1 on");
                Err(Mismatch::new(&expected, literal(&self.shape)))
            }
        }
    }
}

fn dimension(value: &Value) -> Option<usize> {
    match value {
        Value::Integer(dim) => dim.try_into().ok(),
        _ => None,
    }
}

/// The value in Python's notation, cut where it is long.
fn literal(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Writes the header of an f32 array in C order; its values follow by [`append`].
///
/// # Errors
/// [`Error::File`] when it cannot be written.
pub(crate) fn start(output: &mut OutputFile, shape: &[usize]) -> Result<(), Error> {
    let mut header = Vec::new();
    let dtype = "<f4".parse().map_err(Error::failed)?;
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    let options = WriteOptions::new_header_only().dtype(DType::new_scalar(dtype)).shape(&shape);
    options.writer(&mut header).write_header_only().map_err(Error::failed)?;
    output.write(&header)
}

/// Writes some of the array's values.
///
/// # Errors
/// [`Error::File`] when they cannot be written.
pub(crate) fn append(output: &mut OutputFile, values: &[f32]) -> Result<(), Error> {
    output.write(bytemuck::cast_slice(values))
}

/// Writes a whole array to a file that was created before, and makes it appear.
///
/// # Errors
/// [`Error::File`] when it cannot be written.
pub(crate) fn write(mut output: OutputFile, shape: &[usize], values: &[f32]) -> Result<(), Error> {
    start(&mut output, shape)?;
    append(&mut output, values)?;
    output.finish()
}
