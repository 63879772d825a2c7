//! `mobilenext.Classifier`.

use mnx::{Preprocessor, Session, TensorView, top_k};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::errors::Failure;
use crate::model::Model;
use crate::pictures::{Detached, Pictures};
use crate::session::{Options, pickled};
use crate::shared::Shared;

/// Most pictures of a list that go through the network at once, and most bytes of them.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 64 << 20;

/// What it has of its own.
struct Engine {
    session: Session,
    preprocessor: Preprocessor,
}

impl Engine {
    fn new(model: &mnx::Model, options: &Options) -> Result<Engine, Failure> {
        // It judges what is wanted: a network that classifies, at a size that limits allow.
        drop(mnx::Classifier::with(model, options.library())?);
        let spec = model.spec();
        let session = Session::with(model, options.library())?;
        let preprocessor = Preprocessor::new(spec.resolution, &spec.preprocessing)?;
        Ok(Engine { session, preprocessor })
    }

    /// Pictures that go through the network at once.
    fn most(model: &mnx::Model) -> usize {
        // Three colours of a square.
        let bytes = model.spec().resolution.saturating_pow(2).saturating_mul(3 * size_of::<f32>());
        (BATCH_BYTES / bytes.max(1)).clamp(1, BATCH)
    }

    /// Prepares a picture and puts it behind the others in `input`.
    fn prepare(&mut self, picture: &Detached<'_>, input: &mut Vec<f32>) -> Result<(), Failure> {
        let (filled, each) = (input.len(), self.preprocessor.elements());
        reserve(input, each)?;
        input.resize(filled + each, 0.0);
        picture.with(|frame| self.preprocessor.process_into(frame, &mut input[filled..]))
    }

    /// Hands prepared pictures to `run`, all in one batch.
    fn batch(
        &mut self,
        input: &[f32],
        run: impl FnOnce(&mut Session, TensorView<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (side, each) = (self.preprocessor.resolution(), self.preprocessor.elements());
        run(&mut self.session, TensorView::new([input.len() / each, 3, side, side], input)?)
    }
}

/// Makes room for more numbers.
fn reserve(numbers: &mut Vec<f32>, more: usize) -> Result<(), Failure> {
    numbers.try_reserve(more).map_err(|_| {
        let bytes = (numbers.len().saturating_add(more)).saturating_mul(size_of::<f32>()) as u64;
        mnx::Error::OutOfMemory { name: "pictures".into(), bytes }.into()
    })
}

/// Which numbers are wanted of each picture.
#[derive(Clone, Copy)]
enum Wanted {
    Logits,
    Features,
    Input,
}

/// Labels of pictures.
///
/// ``model`` is a Model, the path of a weight file, or ``None`` for the network inside the wheel. ``threads`` and ``isa`` are as
/// for Session.
///
/// A picture is a path (``str`` or ``os.PathLike``), the bytes of a picture file, a PIL image, or a uint8 array of shape
/// (H, W, 3) in the order red, green, blue; (H, W, 4) with an alpha that is ignored; or (H, W) and (H, W, 1) in grey. Arrays are
/// read in place where colours of a pixel and pixels of a row lie side by side, as in a crop; else they are copied. PIL images
/// are taken as they are, without their EXIF orientation; files are turned upright.
///
/// Every method takes one picture or a list of pictures (or an array of shape (N, H, W, 3)), and releases the GIL.
#[pyclass(module = "mobilenext", frozen, weakref)]
pub(crate) struct Classifier {
    shared: Shared<Engine>,
    model: Py<Model>,
    library: mnx::Model,
    options: Options,
    threads: usize,
}

impl Classifier {
    /// Hands all pictures to `run`, a prepared batch at a time. Signals are looked for after each picture.
    fn batches(
        &self,
        py: Python<'_>,
        pictures: &mut Pictures<'_>,
        mut run: impl FnMut(&mut Session, TensorView<'_>) -> Result<(), Failure> + Send,
    ) -> PyResult<()> {
        let mut call = self.shared.begin(|| Engine::new(&self.library, &self.options))?;
        let (most, mut input, mut count) = (Engine::most(&self.library), Vec::new(), 0);
        loop {
            let picture = pictures.next()?;
            if let Some(picture) = &picture {
                let picture = picture.detached();
                call.with(py, |engine| engine.prepare(&picture, &mut input))?;
                count += 1;
            }
            if count == most || picture.is_none() && count > 0 {
                call.with(py, |engine| engine.batch(&input, &mut run))?;
                input.clear();
                count = 0;
            }
            if picture.is_none() {
                return Ok(());
            }
        }
    }

    /// So many numbers of each picture.
    fn numbers<'py>(
        &self,
        py: Python<'py>,
        argument: &Bound<'py, PyAny>,
        wanted: Wanted,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut pictures = Pictures::new(argument)?;
        let (resolution, classifier) = (self.library.spec().resolution, self.library.network().classifier());
        let mut shape = match (wanted, classifier) {
            (Wanted::Logits, Some(layer)) => vec![layer.cout],
            (Wanted::Features, Some(layer)) => vec![layer.cin],
            _ => vec![3, resolution, resolution],
        };
        let each: usize = shape.iter().product();
        let mut values = Vec::new();
        reserve(&mut values, each.saturating_mul(pictures.hint()))?;
        self.batches(py, &mut pictures, |session, input| {
            let found = match wanted {
                Wanted::Logits => *session.run(input)?,
                Wanted::Features => session.features(input)?,
                Wanted::Input => input,
            };
            reserve(&mut values, found.data().len())?;
            values.extend_from_slice(found.data());
            Ok(())
        })?;
        if pictures.several() {
            shape.insert(0, values.len() / each);
        }
        Ok(values.into_pyarray(py).reshape(shape)?.into_any())
    }
}

#[pymethods]
impl Classifier {
    #[new]
    #[pyo3(signature = (model = None, threads = None, *, isa = None))]
    fn new(
        py: Python<'_>,
        model: Option<&Bound<'_, PyAny>>,
        threads: Option<i64>,
        isa: Option<&str>,
    ) -> PyResult<Classifier> {
        let model = Model::of(py, model, "cifar")?;
        let (library, options) = (model.get().get()?, Options::new(threads, isa)?);
        let engine = py.detach(|| Engine::new(&library, &options))?;
        let threads = engine.session.threads();
        Ok(Classifier { shared: Shared::new("classifier", engine), model: model.unbind(), library, options, threads })
    }

    /// The ``k`` most probable classes of a picture, most probable first: a list of Prediction. Of a list of pictures, a list
    /// of such lists.
    ///
    /// Raises NotFoundError, IoError, InvalidFileError or LimitError for a picture that cannot be read (a list's says which one:
    /// ``pictures[2]: …``), InvalidTypeError or InvalidInputError for what is no picture.
    #[pyo3(signature = (picture, k = 5))]
    fn classify<'py>(&self, py: Python<'py>, picture: &Bound<'py, PyAny>, k: i64) -> PyResult<Bound<'py, PyAny>> {
        let Some(k) = usize::try_from(k).ok().filter(|&k| k > 0) else {
            return Err(Failure::input(format!("k: expected at least 1, found {k}")).into());
        };
        let mut pictures = Pictures::new(picture)?;
        let classes = self.library.spec().classes;
        let mut best = Vec::new();
        self.batches(py, &mut pictures, |session, input| {
            let logits = session.run(input)?;
            best.extend(logits.data().chunks_exact(classes).map(|logits| top_k(logits, k)));
            Ok(())
        })?;
        let labels = self.library.spec().labels.as_deref();
        let lists = best.iter().map(|best| predictions(py, best, labels)).collect::<PyResult<Vec<_>>>()?;
        match (pictures.several(), lists) {
            (false, lists) if lists.len() == 1 => Ok(lists.into_iter().next().into_pyobject(py)?),
            (_, lists) => Ok(PyList::new(py, lists)?.into_any()),
        }
    }

    /// What the classifier says before softmax: float32 of shape (classes,), or (N, classes) for a list.
    fn logits<'py>(&self, py: Python<'py>, picture: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.numbers(py, picture, Wanted::Logits)
    }

    /// What the classifier sees, for search and clustering: float32 of shape (features,), or (N, features) for a list.
    fn embedding<'py>(&self, py: Python<'py>, picture: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.numbers(py, picture, Wanted::Features)
    }

    /// The network's input, resized, cropped and normalised as torchvision does: float32 of shape (3, R, R), or (N, 3, R, R) for
    /// a list.
    fn preprocess<'py>(&self, py: Python<'py>, picture: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.numbers(py, picture, Wanted::Input)
    }

    /// The model.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// The classes' names in their order, or ``None``.
    #[getter]
    fn labels(&self) -> Option<Vec<String>> {
        self.library.spec().labels.clone()
    }

    /// Threads that work on one inference, the calling one included.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// Whether ``close`` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Lets go of the classifier's memory. Calls that other threads have begun end as they would.
    fn close(&self) {
        self.shared.close();
    }

    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        slf.get().shared.check_open()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.close();
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        slf.get().shared.check_open()?;
        pickled(slf.as_any(), &slf.get().model, &slf.get().options)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<mobilenext.Classifier of {}, {} threads>", self.model.bind(py).repr()?, self.threads))
    }
}

/// A class of the package's `_types`, which Python code makes.
pub(crate) fn type_named<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, "mobilenext._types", name)
}

fn predictions<'py>(py: Python<'py>, best: &[(usize, f32)], labels: Option<&[String]>) -> PyResult<Bound<'py, PyAny>> {
    static PREDICTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = type_named(py, &PREDICTION, "Prediction")?;
    let list = PyList::empty(py);
    for &(index, probability) in best {
        let label = labels.and_then(|labels| labels.get(index));
        list.append(class.call1((label, probability, index))?)?;
    }
    Ok(list.into_any())
}
