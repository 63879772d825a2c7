//! `mobilenext.Detector`.

use mnx::DetectOptions;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::classifier::type_named;
use crate::errors::Failure;
use crate::model::Model;
use crate::pictures::Pictures;
use crate::session::{Options, pickled};
use crate::shared::Shared;

/// Boxes around what is in pictures.
///
/// ``model`` is a Model, the path of a weight file, or ``None`` for the detector of blood cells inside the wheel. ``threads`` and
/// ``isa`` are as for Session, pictures as for Classifier.
#[pyclass(module = "mobilenext", frozen, weakref)]
pub(crate) struct Detector {
    shared: Shared<mnx::Detector>,
    model: Py<Model>,
    library: mnx::Model,
    options: Options,
}

/// A detection as numbers; the label is the model's.
struct Found {
    class: usize,
    score: f32,
    corners: [f32; 4],
}

impl Found {
    fn new(detection: mnx::Detection) -> Found {
        let mnx::Detection { index, score, xmin, ymin, xmax, ymax, .. } = detection;
        Found { class: index, score, corners: [xmin, ymin, xmax, ymax] }
    }
}

impl Detector {
    fn make(&self) -> Result<mnx::Detector, Failure> {
        Ok(mnx::Detector::with(&self.library, self.options.library())?)
    }
}

#[pymethods]
impl Detector {
    #[new]
    #[pyo3(signature = (model = None, threads = None, *, isa = None))]
    fn new(
        py: Python<'_>,
        model: Option<&Bound<'_, PyAny>>,
        threads: Option<i64>,
        isa: Option<&str>,
    ) -> PyResult<Detector> {
        let model = Model::of(py, model, "bccd")?;
        let (library, options) = (model.get().get()?, Options::new(threads, isa)?);
        let detector = py.detach(|| mnx::Detector::with(&library, options.library())).map_err(Failure::from)?;
        Ok(Detector { shared: Shared::new("detector", detector), model: model.unbind(), library, options })
    }

    /// What is in a picture, the highest score first: a list of Detection. Of a list of pictures, a list of such lists.
    ///
    /// Boxes count if their score is above ``score`` (0 to 1). A box is dropped if its intersection over union with a better
    /// one of its class is above ``iou`` (0 to 1). At most ``top`` boxes are kept. ``clip`` says whether boxes are cut off at the
    /// picture's edges. What is ``None`` is the model's own.
    ///
    /// Coordinates are pixels from the upper left corner on: of an array or an image as it is, of a file turned upright.
    ///
    /// Raises as ``Classifier.classify``; and InvalidInputError for a threshold out of range.
    #[pyo3(signature = (picture, *, score = None, iou = None, top = None, clip = None))]
    fn detect<'py>(
        &self,
        py: Python<'py>,
        picture: &Bound<'py, PyAny>,
        score: Option<f32>,
        iou: Option<f32>,
        top: Option<i64>,
        clip: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = options(score, iou, top, clip)?;
        let mut pictures = Pictures::new(picture)?;
        // They are judged even if there is no picture.
        let mut call = self.shared.begin(|| self.make())?;
        call.with(py, |detector| Ok(detector.set_options(options)?))?;
        let mut found = Vec::new();
        while let Some(picture) = pictures.next()? {
            let picture = picture.detached();
            let detect = |detector: &mut mnx::Detector| {
                // Another call may have had a turn.
                detector.set_options(options)?;
                picture.with(|frame| Ok(detector.detect(frame)?.map(Found::new).collect::<Vec<_>>()))
            };
            found.push(call.with(py, detect)?);
        }
        let labels = self.library.spec().labels.as_deref();
        let lists = found.iter().map(|found| detections(py, found, labels)).collect::<PyResult<Vec<_>>>()?;
        match (pictures.several(), lists) {
            (false, lists) if lists.len() == 1 => Ok(lists.into_iter().next().into_pyobject(py)?),
            (_, lists) => Ok(PyList::new(py, lists)?.into_any()),
        }
    }

    /// The model.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// The classes' names in their order, or ``None``. The first is the background, which no detection has.
    #[getter]
    fn labels(&self) -> Option<Vec<String>> {
        self.library.spec().labels.clone()
    }

    /// Whether ``close`` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Lets go of the detector's memory. Calls that other threads have begun end as they would.
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
        Ok(format!("<mobilenext.Detector of {}>", self.model.bind(py).repr()?))
    }
}

fn options(
    score: Option<f32>,
    iou: Option<f32>,
    top: Option<i64>,
    clip: Option<bool>,
) -> Result<DetectOptions, Failure> {
    let mut options = DetectOptions::new();
    if let Some(score) = score {
        options = options.score(score);
    }
    if let Some(iou) = iou {
        options = options.iou(iou);
    }
    if let Some(top) = top {
        let top = usize::try_from(top).map_err(|_| Failure::input(format!("top: expected at least 1, found {top}")))?;
        options = options.top(top);
    }
    if let Some(clip) = clip {
        options = options.clip(clip);
    }
    Ok(options)
}

fn detections<'py>(py: Python<'py>, found: &[Found], labels: Option<&[String]>) -> PyResult<Bound<'py, PyAny>> {
    static DETECTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static BOX: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (detection, corners) = (type_named(py, &DETECTION, "Detection")?, type_named(py, &BOX, "Box")?);
    let list = PyList::empty(py);
    for found in found {
        let label = labels.and_then(|labels| labels.get(found.class));
        let [xmin, ymin, xmax, ymax] = found.corners;
        let corners = corners.call1((xmin, ymin, xmax, ymax))?;
        list.append(detection.call1((label, found.score, corners, found.class))?)?;
    }
    Ok(list.into_any())
}
