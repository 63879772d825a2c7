//! `mobilenext.convert`: weight files of checkpoints and ONNX models.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use mnx::{Assumption, ConvertOptions, Converted, Onnx, Spec};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;

use crate::errors::Failure;
use crate::files::{Changes, check_apart, check_writable, dtype, of_family, read, with_path, write};
use crate::model::to_python;

/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    bytes: usize,
    /// Weights and biases that were so near to zero that zeros took their place.
    flushed: u64,
    /// What neither the source nor the caller told.
    assumed: &'a [String],
    spec: &'a Spec,
}

/// What a source was made into.
struct Made {
    spec: Spec,
    converted: Converted,
    assumed: Vec<String>,
}

/// Makes a weight file of a checkpoint (safetensors) or an ONNX model.
///
/// ``source`` is the file to read, ``target`` the file to write; it is there whole or not at all. An ONNX model tells its
/// network. Of a checkpoint family, width and classes are read off names and shapes; ``family`` says which of two families with
/// the same tensors it is (``"mobilenext-cifar"``), or is the path of a stage table (``.json``). Other keywords change fields of
/// the spec by their names: ``resolution=192``, ``padding="tf"``, ``identity=0.5``, ``labels=[…]`` or the path of a file with a
/// name on each line, ``preprocessing={"mean": […], "std": […]}``.
///
/// ``bn_eps`` is what batch norms add to variances, ``strip_prefix`` a prefix of a checkpoint's names; ``None`` finds both out.
/// ``classifier_dtype`` is how the classifier's weights are stored: ``"bf16"`` and ``"f16"`` halve the memory that it reads, with
/// logits outside the tolerance of f32.
///
/// Returns a dict: ``path``, ``bytes``, ``flushed`` (values almost zero that are zero now), ``assumed`` (a list of what neither
/// source nor keywords tell) and ``spec``.
///
/// Raises NotFoundError, IoError, InvalidFileError, UnsupportedError, LimitError or InvalidInputError.
#[pyfunction]
#[pyo3(signature = (source, target, *, family = None, bn_eps = None, strip_prefix = None, classifier_dtype = "f32", **changes))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn convert<'py>(
    py: Python<'py>,
    source: PathBuf,
    target: PathBuf,
    family: Option<PathBuf>,
    bn_eps: Option<f64>,
    strip_prefix: Option<String>,
    classifier_dtype: &str,
    changes: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let changes = Changes::new(changes)?;
    let table = family.as_deref().map(of_family).transpose()?;
    let family = family.as_deref().map(Path::to_string_lossy);
    let family = family.as_deref().zip(table);
    let mut options = ConvertOptions::new();
    (options.bn_eps, options.strip_prefix) = (bn_eps, strip_prefix);
    options.classifier_dtype = dtype(classifier_dtype)?;
    let Made { spec, converted, assumed } = py.detach(|| {
        check_apart(&source, &target)?;
        check_writable(&target)?;
        let made = make(&source, &target, family, &changes, &options)?;
        write(&target, &made.converted.file)?;
        Ok::<_, Failure>(made)
    })?;
    let bytes = converted.file.len();
    let written = Written { bytes, flushed: converted.flushed, assumed: &assumed, spec: &spec };
    with_path(to_python(py, &written)?, &target)
}

fn make(
    source: &Path,
    target: &Path,
    family: Option<(&str, Spec)>,
    changes: &Changes,
    options: &ConvertOptions,
) -> Result<Made, Failure> {
    let cannot = |e| Failure::file(source, &e);
    // What is no regular file can be read only once.
    if fs::metadata(source).map_err(cannot)?.is_file() {
        let mut start = Vec::new();
        let file = File::open(source).map_err(cannot)?;
        file.take(Onnx::BYTES as u64).read_to_end(&mut start).map_err(cannot)?;
        if Onnx::begins(&start) {
            return of_onnx(source, target, family, changes, options);
        }
    }
    of_checkpoint(source, family, changes, options)
}

fn of_onnx(
    source: &Path,
    target: &Path,
    family: Option<(&str, Spec)>,
    changes: &Changes,
    options: &ConvertOptions,
) -> Result<Made, Failure> {
    if options.bn_eps.is_some() {
        return Err(Failure::input("bn_eps: expected None for an ONNX model, whose batch norms have their own"));
    }
    if options.strip_prefix.is_some() {
        return Err(Failure::input("strip_prefix: expected None for an ONNX model, whose names do not matter"));
    }
    let model = Onnx::open(source).map_err(Failure::from)?;
    model.files().try_for_each(|file| check_apart(file, target))?;
    let spec = match family {
        None => model.spec().clone(),
        // The path of a stage table is no family's name.
        Some((name, table)) => model.spec_as(name).unwrap_or(table),
    };
    let spec = changes.apply(spec)?;
    let place = |error: mnx::GraphError| Failure::from(error).at(&source.display().to_string());
    let converted = model.convert_with(&spec, options.classifier_dtype).map_err(place)?;
    let square = matches!(model.input_size(), [Some(height), Some(width)] if height == width);
    let (mean, std) = (spec.preprocessing.mean, spec.preprocessing.std);
    let told = [
        (square, Assumption::Resolution(spec.resolution)),
        // Graphs begin with prepared pictures.
        (false, Assumption::MeanStd { mean, std }),
    ];
    let assumed = told.into_iter().filter(|(told, assumption)| !told && !is_told(assumption, changes, options));
    let assumed = assumed.map(|(_, assumption)| assumption.to_string()).collect();
    Ok(Made { spec, converted, assumed })
}

fn of_checkpoint(
    source: &Path,
    family: Option<(&str, Spec)>,
    changes: &Changes,
    options: &ConvertOptions,
) -> Result<Made, Failure> {
    let place = |error: mnx::GraphError| Failure::from(error).at(&source.display().to_string());
    let checkpoint = read(source, LARGEST_CHECKPOINT)?;
    let is_family = family.is_some();
    let identified = match mnx::identify_with(&checkpoint, options) {
        // A stage table may tell what names and shapes do not.
        Err(error) if !is_family => return Err(place(error)),
        identified => identified.ok(),
    };
    let same = |name| identified.as_ref().and_then(|identified| identified.spec_as(name).ok());
    let spec = match (family, &identified) {
        (Some((name, mut table)), _) => match same(name) {
            Some(spec) => spec,
            None => {
                mnx::naming(&checkpoint, &table, options).map_err(place)?.dialect.apply(&mut table);
                table
            }
        },
        (None, Some(identified)) => identified.spec(),
        (None, None) => return Err(Failure::input("source: expected a network that is known")),
    };
    let spec = changes.apply(spec)?;
    let converted = mnx::convert_with(&checkpoint, &spec, options).map_err(place)?;
    let told = |assumption: &Assumption| {
        is_family && matches!(assumption, Assumption::Strides { .. }) || is_told(assumption, changes, options)
    };
    let assumptions = identified.map_or_else(Vec::new, |identified| identified.assumptions(&spec));
    let assumed = assumptions.into_iter().filter(|assumption| !told(assumption)).map(|a| a.to_string()).collect();
    Ok(Made { spec, converted, assumed })
}

/// Whether the caller has said it.
fn is_told(assumption: &Assumption, changes: &Changes, options: &ConvertOptions) -> bool {
    match assumption {
        Assumption::Resolution(_) => changes.has("resolution"),
        Assumption::Padding(_) => changes.has("padding"),
        Assumption::Identity(_) => changes.has("identity"),
        Assumption::MeanStd { .. } => changes.has("preprocessing.mean"),
        Assumption::Interpolation(_) => changes.has("preprocessing.interpolation"),
        Assumption::BnEps(_) => options.bn_eps.is_some(),
        _ => false,
    }
}
