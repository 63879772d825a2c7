//! `mobilenext.init`, and what `convert` and `quantize` share with it: specs that keywords change, and files that are written whole.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use mnx::{ClassifierDtype, Spec};
use mnx_infer::WholeFile;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::wrap_pyfunction;
use serde::Serialize;
use serde_json::Value;

use crate::arrays::type_name;
use crate::errors::Failure;
use crate::model::to_python;
use crate::pictures::path;

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;
/// A weight file's header must hold it.
const LARGEST_TABLE: u64 = 1 << 20;

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    bytes: usize,
    spec: &'a Spec,
}

/// Makes a weight file with random weights, to try sizes and speeds with.
///
/// ``family`` is one of ``families()`` or the path of a stage table (``.json``). The same ``seed`` gives the same file. Other
/// keywords change fields of the spec, as for ``convert``: ``width=0.1, classes=10``. Returns a dict: ``path``, ``bytes`` and ``spec``.
/// ``classifier_dtype`` is ``convert``'s.
#[pyfunction]
#[pyo3(signature = (family, target, *, seed = 0, classifier_dtype = "f32", **changes))]
pub(crate) fn init<'py>(
    py: Python<'py>,
    family: PathBuf,
    target: PathBuf,
    #[pyo3(from_py_with = seed_of)] seed: u64,
    classifier_dtype: &str,
    changes: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let classifier = dtype(classifier_dtype)?;
    let spec = Changes::new(changes)?.apply(of_family(&family)?)?;
    check_writable(&target)?;
    let file = py.detach(|| {
        let file = mnx::init_with(&spec, seed, classifier)?;
        write(&target, &file)?;
        Ok::<_, Failure>(file)
    })?;
    with_path(to_python(py, &Written { bytes: file.len(), spec: &spec })?, &target)
}

/// What random weights begin with.
fn seed_of(seed: &Bound<'_, PyAny>) -> PyResult<u64> {
    seed.extract().map_err(|error: PyErr| {
        let is_number = error.is_instance_of::<PyOverflowError>(seed.py());
        if is_number { Failure::input(format!("seed: expected 0 to {}, found {seed}", u64::MAX)).into() } else { error }
    })
}

/// What ``classifier_dtype`` names.
pub(crate) fn dtype(name: &str) -> Result<ClassifierDtype, Failure> {
    let unknown =
        |_: mnx::GraphError| Failure::input(format!("classifier_dtype: expected f32, bf16 or f16, found {name}"));
    name.parse().map_err(unknown)
}

/// A report with where the file is, in whatever characters.
pub(crate) fn with_path<'py>(report: Bound<'py, PyAny>, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    report.set_item("path", path.as_os_str())?;
    Ok(report)
}

/// The spec of a family, or of a stage table. Both are paths here: Python takes a `str` or an `os.PathLike` for one.
pub(crate) fn of_family(path: &Path) -> Result<Spec, Failure> {
    let name = &*path.to_string_lossy();
    if name.ends_with(".json") {
        let text = String::from_utf8_lossy(&read(path, LARGEST_TABLE)?).into_owned();
        let spec = Spec::from_json(text.trim_start_matches('\u{feff}'));
        return spec.map_err(|e| Failure::from(e).at(name));
    }
    Spec::family(name).ok_or_else(|| {
        let known = mnx::families().collect::<Vec<_>>().join(", ");
        Failure::input(format!("family: expected one of {known}, found {name}"))
    })
}

/// Fields of a spec that keywords change.
pub(crate) struct Changes(serde_json::Map<String, Value>);

impl Changes {
    pub(crate) fn new(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Changes> {
        let Some(keywords) = keywords else { return Ok(Changes(serde_json::Map::new())) };
        let py = keywords.py();
        let options = PyDict::new(py);
        options.set_item("default", wrap_pyfunction!(plain, py)?)?;
        let dumps = py.import("json")?.getattr("dumps")?;
        let mut changes = serde_json::Map::new();
        for (key, value) in keywords {
            let key: String = key.extract()?;
            let text: String = dumps.call((&value,), Some(&options))?.extract()?;
            // Python has words for what is no number, JSON has not.
            let found = serde_json::from_str(&text);
            let found = found.map_err(|_| Failure::input(format!("{key}: expected finite numbers, found {text}")))?;
            changes.insert(key, found);
        }
        Ok(Changes(changes))
    }

    /// Whether a field, or a field of a field (`preprocessing.mean`), is among them.
    pub(crate) fn has(&self, path: &str) -> bool {
        match path.split_once('.') {
            None => self.0.contains_key(path),
            Some((outer, inner)) => self.0.get(outer).is_some_and(|value| value.get(inner).is_some()),
        }
    }

    /// # Errors
    /// For fields that there are not, values of a wrong type, and a network that cannot be.
    pub(crate) fn apply(&self, mut spec: Spec) -> Result<Spec, Failure> {
        if let Some(resolution) = self.0.get("resolution") {
            let side = resolution.as_u64().and_then(|side| usize::try_from(side).ok());
            // What becomes of pictures follows from it, unless that is said, too.
            spec.set_resolution(side.ok_or_else(|| wrong("resolution", "a number of pixels", resolution))?);
        }
        // One after the other, so that the keyword is known that does not fit.
        for (key, change) in &self.0 {
            let mut value = serde_json::to_value(&spec).map_err(|e| Failure::input(e.to_string()))?;
            match (key.as_str(), change) {
                ("labels", Value::String(path)) => {
                    let path = Path::new(path);
                    let text = String::from_utf8(read(path, LARGEST_LABELS)?);
                    let text = text.map_err(|_| Failure::input(format!("{}: expected UTF-8", path.display())))?;
                    value[key] = mnx::parse_labels(&text, None)?.into();
                }
                (_, Value::Object(fields)) if value[key].is_object() => {
                    fields.iter().for_each(|(field, change)| value[key][field] = change.clone());
                }
                _ => value[key] = change.clone(),
            }
            spec = serde_json::from_value(value).map_err(|e| Failure::input(format!("{key}: {e}")))?;
        }
        mnx::Network::new(&spec)?;
        Ok(spec)
    }
}

/// In JSON's words what it has none for: paths, and NumPy's numbers and arrays.
#[pyfunction]
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if path(value)?.is_some() {
        return py.import("os")?.call_method1("fsdecode", (value,));
    }
    if value.is_instance(&py.import("numpy")?.getattr("generic")?)? || value.is_instance_of::<PyUntypedArray>() {
        return value.call_method0("tolist");
    }
    let found = type_name(value);
    Err(Failure::of_type(format!("keywords: expected what JSON has a word for, a path or an array, found {found}"))
        .into())
}

fn wrong(field: &str, expected: &str, found: &Value) -> Failure {
    Failure::input(format!("{field}: expected {expected}, found {found}"))
}

/// A file's content.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::file(path, &e))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::limit(format!("{}: expected at most {limit} bytes, found more", path.display())));
    }
    Ok(bytes)
}

/// # Errors
/// If both are the same file.
pub(crate) fn check_apart(source: &Path, target: &Path) -> Result<(), Failure> {
    let same = fs::canonicalize(source).ok().zip(fs::canonicalize(target).ok()).is_some_and(|(a, b)| a == b);
    if same {
        return Err(Failure::input(format!("target: expected another file than the source, {}", source.display())));
    }
    Ok(())
}

/// Whether a file could be written now, before the work for it.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    // Nothing is kept open: who kills the process in the middle of the work finds nothing left.
    WholeFile::create(path).map(drop).map_err(|e| Failure::file(path, &e))
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = WholeFile::create(path).and_then(|mut file| {
        file.write(bytes)?;
        file.finish()
    });
    written.map_err(|e| Failure::file(path, &e))
}
