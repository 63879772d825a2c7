//! Pictures as Python programs have them: paths, bytes of files, open files, PIL images, uint8 arrays, and lists of these.

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{Frame, Picture, PictureLimits};
use numpy::{
    PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyIterator, PyList, PyMemoryView, PyTuple};

use crate::arrays::{shown, type_name};
use crate::errors::{Failure, named};

/// What a picture can be, for messages.
const EXPECTED: &str = "a path, the bytes of a picture file, an open file, a PIL image or a uint8 array (H, W, 3)";

/// One picture, or several, which are taken one after the other: what a generator makes of them need not be there all at once.
pub(crate) struct Pictures<'py> {
    items: Items<'py>,
    taken: usize,
}

enum Items<'py> {
    One(Option<Source<'py>>),
    Several { iterator: Bound<'py, PyIterator>, length: usize },
}

/// A picture and what errors call it.
pub(crate) struct Placed<'py> {
    place: String,
    source: Source<'py>,
}

impl<'py> Pictures<'py> {
    /// # Errors
    /// For what is neither a picture nor an iterable, and what `__iter__` and PIL raise.
    pub(crate) fn new(argument: &Bound<'py, PyAny>) -> Result<Pictures<'py>, Failure> {
        let one = |source| Ok(Pictures { items: Items::One(Some(source)), taken: 0 });
        let mut list = argument.clone();
        if !argument.is_instance_of::<PyList>() && !argument.is_instance_of::<PyTuple>() {
            if let Some(source) = Source::of_file(argument)? {
                return one(source);
            }
            match as_array(argument)? {
                Some(array) if is_several(&array) => list = array.into_any(),
                Some(array) => return one(Source::Pixels(Pixels::new(&array)?)),
                None if argument.is_none() || argument.try_iter().is_err() => return Err(unknown(argument)),
                None => {}
            }
        }
        // Generators have no length.
        let length = list.len().unwrap_or(0);
        Ok(Pictures { items: Items::Several { iterator: list.try_iter()?, length }, taken: 0 })
    }

    /// Whether they came as a list: results are then one, too.
    pub(crate) fn several(&self) -> bool {
        matches!(self.items, Items::Several { .. })
    }

    /// How many there are, where that is known, or else 0.
    pub(crate) fn hint(&self) -> usize {
        if let Items::Several { length, .. } = self.items { length } else { 1 }
    }

    /// The next one.
    ///
    /// # Errors
    /// For what is no picture, by its place in the list, and what the iterator and PIL raise.
    pub(crate) fn next(&mut self) -> Result<Option<Placed<'py>>, Failure> {
        let iterator = match &mut self.items {
            Items::One(source) => return Ok(source.take().map(|source| Placed { place: String::new(), source })),
            Items::Several { iterator, .. } => iterator,
        };
        let Some(item) = iterator.next().transpose()? else { return Ok(None) };
        let place = format!("pictures[{}]", self.taken);
        self.taken += 1;
        let source = Source::new(&item).and_then(|source| source.ok_or_else(|| unknown(&item)));
        Ok(Some(Placed { source: source.map_err(|failure| failure.within("picture: ", &place))?, place }))
    }
}

impl Placed<'_> {
    /// The same for a thread that is detached.
    pub(crate) fn detached(&self) -> Detached<'_> {
        Detached { place: &self.place, source: self.source.detached() }
    }
}

/// Whether an array is one of pictures: a batch of equal sizes, or an array of arrays, paths or bytes, as tables hand them over.
fn is_several(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.ndim() == 4 || array.ndim() == 1 && b"OUST".contains(&array.dtype().kind())
}

fn unknown(found: &Bound<'_, PyAny>) -> Failure {
    Failure::of_type(format!("picture: expected {EXPECTED}, found {}", type_name(found)))
}

/// One picture.
enum Source<'py> {
    Path(PathBuf),
    Encoded(PyBackedBytes),
    /// What a file gave in parts.
    Read(Vec<u8>),
    /// What a pipe gave, whose path this is.
    Piped(PathBuf, Vec<u8>),
    Pixels(Pixels<'py>),
}

/// Pixels of a uint8 array.
struct Pixels<'py> {
    /// Keeps the memory, and others from writing to it.
    array: PyReadonlyArrayDyn<'py, u8>,
    width: usize,
    height: usize,
    /// Bytes from row to row.
    stride: usize,
    /// Bytes of a pixel: 1, 3 or 4.
    channels: usize,
}

impl<'py> Source<'py> {
    /// `None` for what is no picture.
    fn new(argument: &Bound<'py, PyAny>) -> Result<Option<Source<'py>>, Failure> {
        if let Some(source) = Source::of_file(argument)? {
            return Ok(Some(source));
        }
        match as_array(argument)? {
            Some(array) => Ok(Some(Source::Pixels(Pixels::new(&array)?))),
            None => Ok(None),
        }
    }

    /// A picture file: its path, its bytes, or an open one. `None` for everything else.
    fn of_file(argument: &Bound<'py, PyAny>) -> Result<Option<Source<'py>>, Failure> {
        if let Ok(bytes) = argument.extract::<PyBackedBytes>() {
            return Ok(Some(Source::Encoded(bytes)));
        }
        if argument.is_instance_of::<PyMemoryView>() || argument.is_instance_of::<PyByteArray>() {
            let bytes = argument.py().get_type::<PyBytes>().call1((argument,))?;
            return Ok(Some(Source::Encoded(bytes.extract().map_err(PyErr::from)?)));
        }
        if let Some(path) = path(argument)? {
            let Some(pipe) = opened_pipe(argument.py(), &path)? else { return Ok(Some(Source::Path(path))) };
            let read = Source::of_open(&pipe);
            pipe.call_method0("close")?;
            return Ok(Some(Source::Piped(path, read?.bytes().to_vec())));
        }
        if argument.hasattr("read")? {
            return Ok(Some(Source::of_open(argument)?));
        }
        Ok(buffer(argument)?.map(Source::Encoded))
    }

    /// What was read.
    fn bytes(&self) -> &[u8] {
        match self {
            Source::Encoded(bytes) => bytes,
            Source::Read(bytes) | Source::Piped(_, bytes) => bytes,
            Source::Path(_) | Source::Pixels(_) => &[],
        }
    }

    /// What is left in an open file. One without a buffer may give less than it is asked for.
    fn of_open(file: &Bound<'py, PyAny>) -> Result<Source<'py>, Failure> {
        // The library refuses what is longer.
        let most = PictureLimits::default().file_bytes.saturating_add(1);
        let read = |most: u64| {
            let content = file.call_method1("read", (most,))?;
            let expected = "picture: expected a file that is open in binary mode, found one that reads";
            let bytes = content.extract::<PyBackedBytes>();
            bytes.map_err(|_| Failure::of_type(format!("{expected} {}", type_name(&content))))
        };
        let first = read(most)?;
        let mut rest = read(most.saturating_sub(first.len() as u64).max(1))?;
        if first.is_empty() || rest.is_empty() {
            return Ok(Source::Encoded(first));
        }
        let mut all = first.to_vec();
        while !rest.is_empty() && all.len() as u64 <= most {
            all.extend_from_slice(&rest);
            rest = read(most.saturating_sub(all.len() as u64).max(1))?;
        }
        Ok(Source::Read(all))
    }

    fn detached(&self) -> Kind<'_> {
        match self {
            Source::Path(path) => Kind::Path(path),
            Source::Encoded(_) | Source::Read(_) => Kind::Encoded(self.bytes(), None),
            Source::Piped(path, bytes) => Kind::Encoded(bytes, Some(path)),
            Source::Pixels(pixels) => Kind::Frame(pixels.frame()),
        }
    }
}

/// The path that an object is. `None` if it is none.
///
/// # Errors
/// What its `__fspath__` raises, and a Ctrl-C meanwhile.
pub(crate) fn path(argument: &Bound<'_, PyAny>) -> PyResult<Option<PathBuf>> {
    match argument.extract::<PathBuf>() {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.is_instance_of::<PyTypeError>(argument.py()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a path names, opened, if that is neither a file nor a folder: a pipe may give nothing for ever. While Python waits for it,
/// Ctrl-C is seen.
///
/// # Errors
/// What signal handlers raise. What the system says is left to whoever opens the path next.
fn opened_pipe<'py>(py: Python<'py>, path: &Path) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !py.detach(|| fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())) {
        return Ok(None);
    }
    match py.import("io")?.call_method1("open", (path.as_os_str(), "rb")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bytes in an object's buffer: of an `array.array`, or of Arrow's. Where NumPy makes an array of it, they are pixels.
fn buffer(argument: &Bound<'_, PyAny>) -> PyResult<Option<PyBackedBytes>> {
    let py = argument.py();
    // A PIL image would be read now, if it were asked itself.
    let class = argument.get_type();
    if class.hasattr("__array__")? || class.hasattr("__array_interface__")? {
        return Ok(None);
    }
    let view = match py.get_type::<PyMemoryView>().call1((argument,)) {
        Ok(view) => view,
        Err(error) if error.is_instance_of::<PyTypeError>(py) => return Ok(None),
        Err(error) => return Err(error),
    };
    if view.getattr("itemsize")?.extract::<usize>()? != 1 || view.getattr("ndim")?.extract::<usize>()? != 1 {
        return Ok(None);
    }
    Ok(Some(py.get_type::<PyBytes>().call1((view,))?.extract().map_err(PyErr::from)?))
}

/// The array that an object is or can be made into: PIL images are, in a mode that networks take.
fn as_array<'py>(argument: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyUntypedArray>>, Failure> {
    if let Ok(array) = argument.cast::<PyUntypedArray>() {
        return Ok(Some(array.clone()));
    }
    let py = argument.py();
    let numpy = py.import("numpy")?;
    // A program that has PIL images has imported it.
    let pil = py.import("sys")?.getattr("modules")?.call_method1("get", ("PIL.Image",))?;
    let array = if !pil.is_none() && argument.is_instance(&pil.getattr("Image")?)? {
        let mode: String = argument.getattr("mode")?.extract()?;
        // It may not have been read yet. What is wrong with its file is told by its place in a list.
        argument.call_method0("load").map_err(|error| {
            let is_file = error.is_instance_of::<PyOSError>(py);
            if is_file { Failure::bad_file(format!("picture: {}", error.value(py))) } else { error.into() }
        })?;
        let array = |image| numpy.call_method1("asarray", (image,));
        match &*mode {
            "RGB" | "RGBA" | "L" => array(argument)?,
            // The high byte, as of a file. Pillow would make white of all that is above 255.
            mode if mode.starts_with("I;16") => {
                array(argument)?.rshift(8)?.call_method1("astype", (dtype::<u8>(py),))?
            }
            "I" | "F" => {
                let message = format!("picture: expected a PIL image of 8 or 16 bits, found one of mode {mode}");
                return Err(Failure::of_type(message));
            }
            mode => {
                // Pillow does not know the way from every mode.
                let converted = argument.call_method1("convert", ("RGB",)).map_err(|error| {
                    let message =
                        format!("picture: expected a PIL image that RGB can be made of, found one of mode {mode}");
                    if error.is_instance_of::<PyValueError>(py) { Failure::of_type(message) } else { error.into() }
                })?;
                array(&converted)?
            }
        }
    } else if argument.hasattr("__array__")? || argument.hasattr("__array_interface__")? {
        numpy.call_method1("asarray", (argument,))?
    } else {
        return Ok(None);
    };
    Ok(array.cast_into().ok())
}

impl<'py> Pixels<'py> {
    fn new(array: &Bound<'py, PyUntypedArray>) -> Result<Pixels<'py>, Failure> {
        const EXPECTED: &str = "picture: expected a uint8 array of shape (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)";
        if !array.dtype().is_equiv_to(&dtype::<u8>(array.py())) {
            return Err(Failure::of_type(format!("{EXPECTED}, found one of {}", array.dtype())));
        }
        let (height, width, channels) = match *array.shape() {
            [height, width] => (height, width, 1),
            [height, width, channels @ (1 | 3 | 4)] => (height, width, channels),
            ref shape => {
                let hint = match shape {
                    [3, _, _] => " (channels come last: array.transpose(1, 2, 0))",
                    [_] => " (the bytes of a picture file are: array.tobytes())",
                    _ => "",
                };
                return Err(Failure::input(format!("{EXPECTED}, found {}{hint}", shown(shape))));
            }
        };
        if height == 0 || width == 0 {
            return Err(Failure::input(format!("{EXPECTED}, found {}, which has no pixels", shown(array.shape()))));
        }
        let array = array.cast::<PyArrayDyn<u8>>().map_err(|_| Failure::of_type(EXPECTED))?;
        let in_use = |_| Failure::input("picture: expected memory that nobody writes to, found an `out`");
        let array = array.try_readonly().map_err(in_use)?;
        let pixels = Pixels { array, width, height, stride: 0, channels };
        match pixels.stride_in_place() {
            Some(stride) => Ok(Pixels { stride, ..pixels }),
            None => pixels.copied(),
        }
    }

    /// Bytes from row to row, if colours of a pixel and pixels of a row lie side by side.
    fn stride_in_place(&self) -> Option<usize> {
        let (row, pixel, colour) = match *self.array.strides() {
            [row, pixel] => (row, pixel, 1),
            [row, pixel, colour] => (row, pixel, colour),
            _ => return None,
        };
        let row = usize::try_from(row).ok()?;
        let in_place = (colour == 1 || self.channels == 1)
            && usize::try_from(pixel).ok()? == self.channels
            && (row >= self.width * self.channels || self.height == 1);
        in_place.then(|| row.max(self.width * self.channels))
    }

    /// The same in memory of its own.
    fn copied(self) -> Result<Pixels<'py>, Failure> {
        let Pixels { width, height, channels, .. } = self;
        // An array of a few bytes can have any shape.
        let limit = PictureLimits::default().decoded_bytes;
        let bytes = (width as u64).saturating_mul(height as u64).saturating_mul(channels as u64);
        if bytes > limit {
            let message = format!("picture: expected at most {limit} bytes to copy, found {width} x {height} pixels");
            return Err(Failure::limit(message));
        }
        let py = self.array.py();
        let copy = py.import("numpy")?.call_method1("ascontiguousarray", (&*self.array,))?;
        let copy =
            copy.cast_into::<PyArrayDyn<u8>>().map_err(|_| Failure::of_type("picture: expected a uint8 array"))?;
        let array = copy.try_readonly().map_err(|_| Failure::input("picture: expected a copy of its own"))?;
        Ok(Pixels { array, stride: width * channels, ..self })
    }

    fn frame(&self) -> Result<Frame<'_>, mnx::Error> {
        let row = self.width * self.channels;
        // SAFETY: the array's first byte is where its data begin, its last byte is at the end of the last row, and rows are
        // not less than `stride` apart: what lies between is of the array or in a gap of the same memory. The array is
        // alive, and its borrow keeps those that ask NumPy's borrows from writing.
        let bytes = unsafe { std::slice::from_raw_parts(self.array.data(), (self.height - 1) * self.stride + row) };
        match self.channels {
            1 => Frame::grey8(bytes, self.width, self.height, self.stride),
            4 => Frame::rgba8(bytes, self.width, self.height, self.stride),
            _ => Frame::rgb8(bytes, self.width, self.height, self.stride),
        }
    }
}

/// A picture without anything of the interpreter's.
pub(crate) struct Detached<'a> {
    place: &'a str,
    source: Kind<'a>,
}

enum Kind<'a> {
    Path(&'a PathBuf),
    /// With the path of the pipe that they came from.
    Encoded(&'a [u8], Option<&'a Path>),
    Frame(Result<Frame<'a>, mnx::Error>),
}

impl Detached<'_> {
    /// Reads the picture if it is to be read, and calls `work` with its pixels.
    ///
    /// # Errors
    /// For a picture that cannot be read, and as `work`; with the picture's place in the list.
    pub(crate) fn with<R>(&self, work: impl FnOnce(Frame<'_>) -> Result<R, mnx::Error>) -> Result<R, Failure> {
        let result = match &self.source {
            Kind::Path(path) => Picture::open(path).and_then(|picture| work(picture.frame())),
            Kind::Encoded(bytes, pipe) => {
                let result = Picture::decode(bytes).and_then(|picture| work(picture.frame()));
                return result.map_err(|error| {
                    let failure = Failure::from(error);
                    self.placed(match pipe {
                        Some(path) => failure.within("picture: ", &named(path)),
                        None => failure,
                    })
                });
            }
            Kind::Frame(Ok(frame)) => work(*frame),
            Kind::Frame(Err(error)) => return Err(self.placed(Failure::input(error.to_string()))),
        };
        result.map_err(|error| self.placed(error.into()))
    }

    fn placed(&self, failure: Failure) -> Failure {
        if self.place.is_empty() { failure } else { failure.within("picture: ", self.place) }
    }
}
