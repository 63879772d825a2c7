//! `mobilenext.quantize`.

use std::path::PathBuf;

use mnx::quantize::{Calibration, FEW_PICTURES, LayerReport, Method, Options, Quantized, quantize as quantize_model};
use mnx::{Model as Library, Preprocessor, Session, SessionOptions, TensorView};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde::Serialize;

use crate::arrays::{Input, type_name};
use crate::errors::Failure;
use crate::files::{check_apart, check_writable, with_path, write};
use crate::model::{Model, to_python};
use crate::pictures::{Detached, Pictures};

/// What was written, and what it costs.
#[derive(Serialize)]
struct Report {
    bytes: usize,
    pictures: u64,
    /// What makes the ranges doubtful.
    warnings: Vec<String>,
    int8_layers: usize,
    f32_layers: usize,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    arithmetic: Option<&'static str>,
    observed: (f32, f32),
    clipped: Option<f64>,
    weight_snr_db: Option<f64>,
    value_snr_db: Option<f64>,
}

/// Makes an int8 weight file of an f32 model and pictures to calibrate with: some hundred of all classes.
///
/// ``model`` is a Model or the path of a weight file, ``pictures`` a list of pictures as Classifier takes them, or a float32 array of
/// shape (N, 3, H, W) that is prepared already. ``target`` is the file to write; it is there whole or not at all.
/// ``method`` chooses ranges: ``"minmax"``, ``"percentile"`` or ``"mse"``; ``None`` is the library's choice. Layers and blocks in
/// ``keep`` stay f32. ``bias_correction`` moves biases by what rounding does to means.
///
/// Returns a dict: ``path``, ``bytes``, ``pictures``, ``warnings`` (a list of sentences), ``int8_layers``, ``f32_layers`` and
/// ``layers``, what rounding costs in each, in decibels.
#[pyfunction]
#[pyo3(
    signature = (model, pictures, target, *, method = None, keep = Vec::new(), bias_correction = None),
    text_signature = "(model, pictures, target, *, method=None, keep=(), bias_correction=None)"
)]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    model: &Bound<'py, PyAny>,
    pictures: &Bound<'py, PyAny>,
    target: PathBuf,
    method: Option<&str>,
    #[pyo3(from_py_with = names)] keep: Vec<String>,
    bias_correction: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let model = Model::of(py, Some(model), "")?;
    let options = options(method, keep, bias_correction)?;
    let library = model.get().get()?;
    if let Some(path) = model.get().file() {
        check_apart(path, &target)?;
    }
    check_writable(&target)?;
    options.kept(library.network()).map_err(Failure::from)?;
    let mut calibrator = py.detach(|| Calibrator::new(&library))?;
    // Arrays of pictures are of uint8.
    if pictures.cast::<PyUntypedArray>().is_ok_and(|array| array.dtype().kind() == b'f') {
        let input = Input::new(pictures)?;
        let view = input.view()?;
        py.detach(|| calibrator.observe(view))?;
    } else {
        let mut pictures = Pictures::new(pictures)?;
        while let Some(picture) = pictures.next()? {
            let picture = picture.detached();
            py.detach(|| calibrator.observe_picture(&picture))?;
            py.check_signals()?;
        }
    }
    let Calibrator { calibration, .. } = calibrator;
    let quantized = py.detach(|| {
        let quantized = quantize_model(&library, &calibration, &options)?;
        write(&target, &quantized.file)?;
        Ok::<_, Failure>(quantized)
    })?;
    with_path(to_python(py, &report(&calibration, &quantized))?, &target)
}

/// Names in a list. Text alone would be one of its letters.
fn names(keep: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let names = if keep.is_instance_of::<PyString>() { None } else { keep.extract().ok() };
    names.ok_or_else(|| {
        let found = type_name(keep);
        Failure::of_type(format!("keep: expected a list of names of layers and blocks, found {found}")).into()
    })
}

fn options(method: Option<&str>, keep: Vec<String>, bias_correction: Option<bool>) -> Result<Options, Failure> {
    let mut options = Options::new().keep(keep);
    options.method = match method {
        None => options.method,
        Some("minmax") => Method::MinMax,
        Some("percentile") => Method::PERCENTILE,
        Some("mse") => Method::Mse,
        Some(found) => {
            return Err(Failure::input(format!("method: expected minmax, percentile or mse, found {found}")));
        }
    };
    options.bias_correction = bias_correction.unwrap_or(options.bias_correction);
    Ok(options)
}

/// What looks at pictures.
struct Calibrator {
    calibration: Calibration,
    session: Session,
    preprocessor: Preprocessor,
}

impl Calibrator {
    fn new(model: &Library) -> Result<Calibrator, Failure> {
        let spec = model.spec();
        Ok(Calibrator {
            calibration: Calibration::new(model)?,
            // Calibration runs on the calling thread.
            session: Session::with(model, SessionOptions::new().threads(1))?,
            preprocessor: Preprocessor::new(spec.resolution, &spec.preprocessing)?,
        })
    }

    fn observe(&mut self, input: TensorView<'_>) -> Result<(), Failure> {
        Ok(self.calibration.observe(&mut self.session, input)?)
    }

    fn observe_picture(&mut self, picture: &Detached<'_>) -> Result<(), Failure> {
        let side = self.preprocessor.resolution();
        let input = picture.with(|frame| self.preprocessor.process(frame))?;
        self.observe(TensorView::new([1, 3, side, side], &input)?)
    }
}

fn report(calibration: &Calibration, quantized: &Quantized) -> Report {
    let pictures = calibration.pictures();
    let mut warnings = Vec::new();
    if pictures < FEW_PICTURES {
        warnings.push(format!(
            "only {pictures} to calibrate with: ranges depend on chance, some hundred of all classes are better"
        ));
    }
    if 2 * calibration.uniform_pictures() > pictures {
        warnings.push(format!("{} of {pictures} pictures are of one colour", calibration.uniform_pictures()));
    }
    let layer = |layer: &LayerReport| Layer {
        name: layer.name.clone(),
        arithmetic: layer.arithmetic.map(mnx::Arithmetic::name),
        observed: layer.observed,
        clipped: layer.clipped,
        weight_snr_db: layer.weight_snr,
        value_snr_db: layer.value_snr,
    };
    Report {
        bytes: quantized.file.len(),
        pictures,
        warnings,
        int8_layers: quantized.int8_layers(),
        f32_layers: quantized.f32_layers(),
        layers: quantized.layers.iter().map(layer).collect(),
    }
}
