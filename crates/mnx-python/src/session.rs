//! `mobilenext.Session`.

use std::time::Instant;

use mnx::SessionOptions;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{Input, Output, outputs, wrong_shape, zeros};
use crate::errors::Failure;
use crate::model::Model;
use crate::profile;
use crate::shared::Shared;

/// How sessions, classifiers and detectors run, as their arguments say.
#[derive(Clone)]
pub(crate) struct Options {
    threads: Option<usize>,
    isa: Option<mnx::Isa>,
}

impl Options {
    /// # Errors
    /// For a negative number of threads (the library judges the others) and an unknown ISA.
    pub(crate) fn new(threads: Option<i64>, isa: Option<&str>) -> Result<Options, Failure> {
        let threads = threads.map(usize::try_from).transpose().map_err(|_| {
            let (most, found) = (mnx::MAX_THREADS, threads.unwrap_or_default());
            Failure::input(format!("threads: expected 1 to {most}, found {found}"))
        })?;
        let isa = isa.map(str::parse).transpose()?;
        Ok(Options { threads, isa })
    }

    pub(crate) fn library(&self) -> SessionOptions {
        let mut options = SessionOptions::new();
        (options.threads, options.isa) = (self.threads, self.isa);
        options
    }

    /// For pickling: the arguments that it was made of.
    pub(crate) fn arguments(&self) -> (Option<usize>, Option<&'static str>) {
        (self.threads, self.isa.map(mnx::Isa::name))
    }
}

/// The memory of one stream of inferences on a model: plain tensors in, logits out.
///
/// ``model`` is a Model or the path of a weight file. ``threads`` work on one inference, the calling one included; ``None``
/// means as many as there are physical cores. ``isa`` names an instruction set (``"avx2"``); ``None`` means the fastest.
/// Results have the same bits for any number of threads, in any batch, on any set that has fused multiply-add, and in int8 on
/// all.
///
/// Calls release the GIL. Calls of several Python threads on one session come one after the other; for throughput give each
/// thread a session of its own with ``threads=1``. After a fork a session goes on in both processes.
#[pyclass(module = "mobilenext", frozen, weakref)]
pub(crate) struct Session {
    shared: Shared<mnx::Session>,
    model: Py<Model>,
    library: mnx::Model,
    options: Options,
    threads: usize,
    isa: mnx::Isa,
}

impl Session {
    fn make(&self) -> Result<mnx::Session, Failure> {
        Ok(mnx::Session::with(&self.library, self.options.library())?)
    }

    /// The shape of a classifier's output, or of its features.
    fn row(&self, features: bool) -> Option<usize> {
        let classifier = self.library.network().classifier()?;
        Some(if features { classifier.cin } else { classifier.cout })
    }

    /// Runs a classifier, or only up to its features, into `out` or a new array.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        (columns, features): (usize, bool),
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = Input::new(array)?;
        let shape = [input.pictures(), columns];
        let result = match out {
            Some(out) => out.clone(),
            None => zeros(py, &shape)?.into_any(),
        };
        let mut output = Output::new(&result, "out", &input)?;
        output.check_shape(&shape)?;
        let (view, values) = (input.view()?, output.values()?);
        self.shared.with(
            py,
            || self.make(),
            |session| {
                let found = if features { session.features(view)? } else { *session.run(view)? };
                values.copy_from_slice(found.data());
                Ok(())
            },
        )?;
        Ok(result)
    }

    /// Runs a detector into the arrays of `out`, or new ones.
    fn heads<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = Input::new(array)?;
        let view = input.view()?;
        let out = match out {
            Some(out) => out.clone(),
            None => self.new_outputs(py, view.shape())?.into_any(),
        };
        let mut outputs = outputs(&out, &input)?;
        let mut wanted = Vec::new();
        for (name, output) in &mut outputs {
            let shape = output.shape().to_vec();
            wanted.push((&**name, shape, output.values()?));
        }
        self.shared.with(
            py,
            || self.make(),
            |session| {
                let found = session.run(view)?;
                for (name, shape, _) in &wanted {
                    let Some(view) = found.get(name) else {
                        let names: Vec<_> = found.iter().map(|output| output.0).collect();
                        let expected = names.join(" and ");
                        return Err(Failure::input(format!("out: expected {expected}, found {name}")));
                    };
                    if view.shape()[..3] != shape[..] {
                        return Err(wrong_shape(&format!("out[{name:?}]"), &view.shape()[..3], shape));
                    }
                }
                for (name, _, values) in &mut wanted {
                    if let Some(view) = found.get(name) {
                        values.copy_from_slice(view.data());
                    }
                }
                Ok(())
            },
        )?;
        Ok(out)
    }

    /// Arrays for what an input of this shape gives.
    fn new_outputs<'py>(&self, py: Python<'py>, input: [usize; 4]) -> PyResult<Bound<'py, PyDict>> {
        let shapes =
            self.shared.with(py, || self.make(), |session| Ok(session.output_shapes(input)?.collect::<Vec<_>>()))?;
        let outputs = PyDict::new(py);
        for (name, [n, priors, numbers, _]) in shapes {
            outputs.set_item(name, zeros(py, &[n, priors, numbers])?)?;
        }
        Ok(outputs)
    }
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (model, threads = None, *, isa = None))]
    fn new(py: Python<'_>, model: &Bound<'_, PyAny>, threads: Option<i64>, isa: Option<&str>) -> PyResult<Session> {
        let model = Model::of(py, Some(model), "")?;
        let (library, options) = (model.get().get()?, Options::new(threads, isa)?);
        let session = py.detach(|| mnx::Session::with(&library, options.library())).map_err(Failure::from)?;
        let (threads, isa) = (session.threads(), session.isa());
        Ok(Session { shared: Shared::new("session", session), model: model.unbind(), library, options, threads, isa })
    }

    /// Runs pictures that are prepared already: a float32 array of shape (N, 3, H, W), C-contiguous, any N, H and W from 1 on.
    /// It is read in place. Read-only arrays are fine.
    ///
    /// A classifier gives logits, a float32 array of shape (N, classes). A detector gives a dict of what its heads make,
    /// before softmax and decoding: ``"scores"`` of shape (N, priors, classes) and ``"boxes"`` of shape (N, priors, 4).
    ///
    /// ``out`` is where the results go, and is returned then: an array of that shape, or for a detector a dict of arrays.
    /// Its memory must not be the input's.
    ///
    /// Raises InvalidTypeError for another type of array or number, InvalidInputError for another shape, strides, an empty
    /// batch, and an ``out`` that is read-only, of another shape or overlaps the input.
    #[pyo3(signature = (array, out = None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.row(false) {
            Some(classes) => self.rows(py, array, out, (classes, false)),
            None => self.heads(py, array, out),
        }
    }

    /// What a classifier sees: embeddings, a float32 array of shape (N, features), of an input as ``run`` takes it.
    ///
    /// Raises InvalidInputError for a detector; else as ``run``.
    #[pyo3(signature = (array, out = None))]
    fn features<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.row(true) {
            Some(columns) => self.rows(py, array, out, (columns, true)),
            None => Err(Failure::from(mnx::GraphError::ExpectedClassifier { wanted: "features" }).into()),
        }
    }

    /// Runs an input so many times and returns what each step does and how long it takes, as ``mobilenext.profile`` wants it.
    fn _profile<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        iterations: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = Input::new(array)?;
        let view = input.view()?;
        let taken = self.shared.with(
            py,
            || self.make(),
            |session| {
                // The first run lays out memory and warms caches.
                session.run(view)?;
                Ok(session.profile(view, iterations)?)
            },
        )?;
        crate::model::to_python(py, &profile::Taken::new(&taken))
    }

    /// How long so many runs of the library take, in nanoseconds, without anything of Python's in between: what calls of `run` are
    /// compared with.
    fn _time<'py>(&self, py: Python<'py>, array: &Bound<'py, PyAny>, runs: usize) -> PyResult<Vec<u64>> {
        let input = Input::new(array)?;
        let view = input.view()?;
        self.shared.with(
            py,
            || self.make(),
            |session| {
                let mut times = Vec::new();
                for _ in 0..runs {
                    let start = Instant::now();
                    session.run(view)?;
                    times.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Ok(times)
            },
        )
    }

    /// The model.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// Threads that work on one inference, the calling one included.
    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    /// The instruction set whose kernels run, e.g. ``"avx512"``.
    #[getter]
    fn isa(&self) -> &'static str {
        self.isa.name()
    }

    /// Whether ``close`` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Lets go of the session's memory. Calls that other threads have begun end as they would.
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
        let model = self.model.bind(py).repr()?;
        Ok(format!("<mobilenext.Session of {model}, {} threads, {}>", self.threads, self.isa.name()))
    }
}

/// What pickles an object that is made of a model, threads and an ISA.
pub(crate) fn pickled<'py>(
    object: &Bound<'py, PyAny>,
    model: &Py<Model>,
    options: &Options,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = object.py();
    let (threads, isa) = options.arguments();
    let keywords = PyDict::new(py);
    keywords.set_item("threads", threads)?;
    keywords.set_item("isa", isa)?;
    let partial = py.import("functools")?.getattr("partial")?;
    let make = partial.call((object.get_type(),), Some(&keywords))?;
    Ok((make, (model,).into_pyobject(py)?.into_any()))
}
