//! `mobilenext.Model`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mnx::unstable::arithmetic_name;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple};

use crate::errors::Failure;

/// A network and its weights. It never changes; sessions, classifiers and detectors share it.
///
/// ``Model.open(path)`` reads a weight file, ``Model.embedded(name)`` opens a network inside the wheel,
/// ``Model.from_bytes(data)`` one in memory. Models are pickled by path, name or bytes, so that processes of a pool open
/// them themselves.
///
/// A model is also a context manager that closes itself. What was made of it before goes on.
#[pyclass(module = "mobilenext", frozen, weakref)]
pub(crate) struct Model {
    inner: Mutex<Option<Inner>>,
    origin: Origin,
}

/// What it lets go of when it is closed.
struct Inner {
    library: mnx::Model,
    /// The weight file, if the model was made of bytes.
    bytes: Option<Py<PyBytes>>,
}

/// Where a model comes from, and another process gets it from.
enum Origin {
    File { path: PathBuf, mmap: bool },
    Embedded(&'static str),
    Bytes,
}

impl Model {
    fn new(library: mnx::Model, origin: Origin) -> Model {
        Model { inner: Mutex::new(Some(Inner { library, bytes: None })), origin }
    }

    /// Looks at what it is as long as it is open.
    fn inner<R>(&self, look: impl FnOnce(&Inner) -> R) -> Result<R, Failure> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map(look).ok_or_else(|| Failure::closed("model"))
    }

    /// The library's model.
    pub(crate) fn get(&self) -> Result<mnx::Model, Failure> {
        self.inner(|inner| inner.library.clone())
    }

    /// The model that an argument names: a model, or the path of a weight file. `None`: the one inside the wheel.
    pub(crate) fn of<'py>(
        py: Python<'py>,
        argument: Option<&Bound<'py, PyAny>>,
        default: &str,
    ) -> PyResult<Bound<'py, Model>> {
        match argument {
            None => Bound::new(py, Model::embedded(py, default)?),
            Some(argument) => match argument.cast::<Model>() {
                Ok(model) => Ok(model.clone()),
                Err(_) => match crate::pictures::path(argument)? {
                    Some(path) => Bound::new(py, Model::open(py, path, false)?),
                    None => {
                        let found = argument.get_type().name()?;
                        let message = format!("model: expected a Model or the path of a weight file, found {found}");
                        Err(Failure::of_type(message).into())
                    }
                },
            },
        }
    }

    /// The weight file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// What it is, for `repr`.
    fn summary(model: &mnx::Model) -> String {
        let spec = model.spec();
        format!("{} {:?}, {} classes, {}", spec.family, spec.width, spec.classes, arithmetic(model))
    }
}

#[pymethods]
impl Model {
    /// Reads a weight file (``.mnx``).
    ///
    /// With ``mmap=True`` the file is mapped instead: it opens sooner, and processes share its memory; the file must then not
    /// change while it is in use.
    ///
    /// Raises NotFoundError, IoError, InvalidFileError or LimitError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap = false))]
    fn open(py: Python<'_>, path: PathBuf, mmap: bool) -> PyResult<Model> {
        // Another process may be in another folder.
        let path = std::path::absolute(&path).unwrap_or(path);
        let opened = py.detach(|| open(&path, mmap));
        Ok(Model::new(opened.map_err(Failure::from)?, Origin::File { path, mmap }))
    }

    /// Opens a network inside the wheel: ``"cifar"`` (MobileNeXt for the ten classes of CIFAR-10), ``"cifar-mobilenetv2"``
    /// (MobileNetV2 for the same), ``"imagenet"`` (MobileNetV2 in int8 for ImageNet's thousand) or ``"bccd"`` (a detector of
    /// blood cells). ``embedded_models()`` lists them.
    #[staticmethod]
    #[pyo3(signature = (name = "cifar"))]
    fn embedded(py: Python<'_>, name: &str) -> PyResult<Model> {
        let Some(known) = mnx_infer::embedded_models().find(|&known| known == name) else {
            let known = mnx_infer::embedded_models().collect::<Vec<_>>().join(", ");
            return Err(Failure::input(format!("name: expected one of {known}, found {name}")).into());
        };
        let bytes = mnx_infer::embedded_model(known).unwrap_or_default();
        let opened = py.detach(|| mnx::Model::from_bytes(bytes));
        Ok(Model::new(opened.map_err(Failure::from)?, Origin::Embedded(known)))
    }

    /// Opens a weight file in memory: ``bytes``, or what a ``memoryview`` can be made of. The weights are copied; the bytes are kept
    /// for pickling until the model is closed.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Model> {
        let bytes = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            Err(_) => py.get_type::<PyMemoryView>().call1((data,))?.call_method0("tobytes")?.cast_into::<PyBytes>()?,
        };
        let content = PyBackedBytes::from(bytes.clone());
        let library = py.detach(|| mnx::Model::from_slice(&content)).map_err(Failure::from)?;
        let bytes = Some(bytes.unbind());
        Ok(Model { inner: Mutex::new(Some(Inner { library, bytes })), origin: Origin::Bytes })
    }

    /// What the weight file says of the network: stages, width, classes, preprocessing and so on, as a new ``dict``.
    #[getter]
    fn spec<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, self.get()?.spec())
    }

    /// The classes' names in their order, or ``None``. A detector's first class is the background.
    #[getter]
    fn labels(&self) -> PyResult<Option<Vec<String>>> {
        Ok(self.get()?.spec().labels.clone())
    }

    /// ``"f32"``, ``"int8"``, or ``"mixed"`` if some layers compute in each.
    #[getter]
    fn arithmetic(&self) -> PyResult<&'static str> {
        Ok(arithmetic(&self.get()?))
    }

    /// How the classifier's weights are stored: ``"f32"``, ``"bf16"`` or ``"f16"``.
    #[getter]
    fn classifier_dtype(&self) -> PyResult<&'static str> {
        Ok(self.get()?.classifier_dtype().name())
    }

    /// Side of the square that pictures become, in pixels. A session takes any height and width.
    #[getter]
    fn resolution(&self) -> PyResult<usize> {
        Ok(self.get()?.spec().resolution)
    }

    /// Number of classes. A detector's count the background.
    #[getter]
    fn classes(&self) -> PyResult<usize> {
        Ok(self.get()?.spec().classes)
    }

    /// The network's family, e.g. ``"mobilenext"``.
    #[getter]
    fn family(&self) -> PyResult<String> {
        Ok(self.get()?.spec().family.clone())
    }

    /// Whether it says where things are: a ``Detector`` runs it then, else a ``Classifier``.
    #[getter]
    fn is_detector(&self) -> PyResult<bool> {
        Ok(self.get()?.spec().detector.is_some())
    }

    /// Trained parameters, before batch norms are folded.
    #[getter]
    fn parameters(&self) -> PyResult<u64> {
        Ok(self.get()?.network().parameters())
    }

    /// Multiply-adds of one picture at the model's resolution.
    #[getter]
    fn macs(&self) -> PyResult<u64> {
        let model = self.get()?;
        let side = model.spec().resolution;
        Ok(model.network().macs(side, side))
    }

    /// The absolute path of the weight file, or ``None``.
    #[getter]
    fn path(&self) -> Option<&Path> {
        self.file()
    }

    /// Whether ``close`` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Lets go of the weights. What was made of the model before goes on; nothing new can be made of it.
    fn close(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        slf.get().get()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.close();
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, class) = (slf.py(), slf.get_type());
        let bytes = slf.get().inner(|inner| inner.bytes.as_ref().map(|bytes| bytes.clone_ref(py)))?;
        match &slf.get().origin {
            Origin::File { path, mmap: false } => Ok((class.getattr("open")?, (path,).into_pyobject(py)?)),
            Origin::File { path, mmap: true } => {
                let keywords = PyDict::new(py);
                keywords.set_item("mmap", true)?;
                let partial = py.import("functools")?.getattr("partial")?;
                Ok((partial.call((class.getattr("open")?,), Some(&keywords))?, (path,).into_pyobject(py)?))
            }
            Origin::Embedded(name) => Ok((class.getattr("embedded")?, (*name,).into_pyobject(py)?)),
            Origin::Bytes => Ok((class.getattr("from_bytes")?, (bytes,).into_pyobject(py)?)),
        }
    }

    fn __repr__(&self) -> String {
        match self.get() {
            Ok(model) => format!("<mobilenext.Model {}>", Model::summary(&model)),
            Err(_) => "<mobilenext.Model, closed>".into(),
        }
    }
}

fn open(path: &Path, mmap: bool) -> Result<mnx::Model, mnx::GraphError> {
    if mmap {
        // SAFETY: whoever says `mmap=True` was told that the file must not change.
        unsafe { mnx::Model::open_mmap(path) }
    } else {
        mnx::Model::open(path)
    }
}

/// What a network computes with.
fn arithmetic(model: &mnx::Model) -> &'static str {
    arithmetic_name(model.arithmetic().iter().copied()).expect("a network has layers")
}

/// A value as `json.loads` makes it.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).map_err(|e| Failure::input(e.to_string()))?;
    py.import("json")?.getattr("loads")?.call1((text,))
}
