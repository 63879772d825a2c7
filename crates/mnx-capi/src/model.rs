//! Networks with their weights.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use mnx::Model;

use crate::arguments::{Room, answer, create, handle, path, release, text, values};
use crate::status::{Failure, guard, mnx_status};

/// A network and its weights, in f32 or int8. It never changes: any number of threads may use it at once, and what is made of
/// it keeps it alive, so it may be released before that.
pub struct mnx_model {
    pub(crate) model: Model,
    pub(crate) labels: Labels,
}

/// The names of the classes, as C reads them. They live as long as a model or anything that was made of it.
pub(crate) type Labels = Arc<[CString]>;

impl mnx_model {
    fn new(model: Model) -> mnx_model {
        let c_string = |label: &String| CString::new(label.replace('\0', "\u{fffd}")).unwrap_or_default();
        let labels = model.spec().labels.iter().flatten().map(c_string).collect();
        mnx_model { model, labels }
    }
}

/// The name of a class, NULL if it has none.
pub(crate) fn label(labels: &[CString], index: usize) -> *const c_char {
    labels.get(index).map_or(std::ptr::null(), |label| label.as_ptr())
}

/// The weight files of this build.
const EMBEDDED: &[(&str, &[u8])] = &[
    #[cfg(feature = "embedded-model")]
    ("cifar", mnx::include_model!("../model/mobilenext-0.35-cifar10.mnx")),
];

/// Reads a weight file (`.mnx`).
///
/// # Safety
/// `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. `model` is NULL or may be written; what
/// it becomes belongs to the caller, who releases it with `mnx_model_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_open(path: *const c_char, model: *mut *mut mnx_model) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { create(model, || Ok(mnx_model::new(Model::open(self::path(path)?)?))) }
}

/// Reads a weight file from memory, which is copied and may be freed afterwards.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes. `model` as in `mnx_model_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_from_bytes(bytes: *const u8, len: usize, model: *mut *mut mnx_model) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { create(model, || Ok(mnx_model::new(Model::from_slice(values(bytes, len, "bytes")?)?))) }
}

/// Opens a network inside the library, without a file or a copy: `cifar`, which is MobileNeXt 0.35 for the ten classes of
/// CIFAR-10, if the library was built with it. `MNX_UNSUPPORTED` if not.
///
/// # Safety
/// `name` is NULL or a string that ends with NUL. `model` as in `mnx_model_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_embedded(name: *const c_char, model: *mut *mut mnx_model) -> mnx_status {
    let open = || {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name, "name") }?;
        let Some((_, bytes)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = EMBEDDED.iter().map(|(name, _)| *name).collect();
            let known = if known.is_empty() { "no name: this build embeds none".into() } else { known.join(", ") };
            let message = format!("embedded network: expected {known}, found {name:?}");
            return Err(Failure::new(mnx_status::MNX_UNSUPPORTED, message));
        };
        Ok(mnx_model::new(Model::from_bytes(*bytes)?))
    };
    // SAFETY: the caller's promise.
    unsafe { create(model, open) }
}

/// Releases a model. NULL is fine. What was made of it stays usable.
///
/// # Safety
/// `model` is NULL or a handle that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_free(model: *mut mnx_model) {
    // SAFETY: the caller's promise.
    unsafe { release(model) }
}

/// Whether it is a detector, which gives boxes. Others are classifiers.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `is_detector` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_is_detector(model: *const mnx_model, is_detector: *mut bool) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { answer(is_detector, || Ok(handle(model, "model")?.model.spec().detector.is_some())) }
}

/// How many classes it tells apart; of a detector with the background, which is class 0.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `classes` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_classes(model: *const mnx_model, classes: *mut usize) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { answer(classes, || Ok(handle(model, "model")?.model.spec().classes)) }
}

/// Side in pixels of the square that the network sees of a picture. `mnx_session_run` takes other sizes, too.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `resolution` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_resolution(model: *const mnx_model, resolution: *mut usize) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { answer(resolution, || Ok(handle(model, "model")?.model.spec().resolution)) }
}

/// How many numbers a picture's features are.
pub(crate) fn features(model: &Model) -> Result<usize, Failure> {
    Ok(model.network().classifier().ok_or(mnx::GraphError::ExpectedClassifier { wanted: "features" })?.cin)
}

/// How many numbers a picture's features are (`mnx_session_features`, `mnx_classifier_embedding`). A detector has none:
/// `MNX_INVALID_INPUT`.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `features` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_features(model: *const mnx_model, features: *mut usize) -> mnx_status {
    let channels = || {
        // SAFETY: the caller's promise.
        let model = unsafe { handle(model, "model") }?;
        self::features(&model.model)
    };
    // SAFETY: the caller's promise.
    unsafe { answer(features, channels) }
}

/// How pixels become the values of `mnx_session_run`'s input: of red, green and blue in 0 to 1, in this order, `mean` is
/// subtracted, then `deviation` divides. Both are three values.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `mean` and `deviation` are NULL, or three values may be written
/// to each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_normalisation(
    model: *const mnx_model,
    mean: *mut f32,
    deviation: *mut f32,
) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let preprocessing = unsafe { &handle(model, "model")?.model.spec().preprocessing };
        // SAFETY: the caller's promise.
        let (mut mean, mut deviation) = unsafe { (Room::new(mean, 3, "mean")?, Room::new(deviation, 3, "deviation")?) };
        mean.fill(&preprocessing.mean)?;
        deviation.fill(&preprocessing.std)
    })
}

/// The name of a class in UTF-8; NULL, with `MNX_OK`, if the model has no names. The string belongs to the library and lives
/// as long as the model or anything that was made of it.
///
/// # Safety
/// `model` is NULL or a handle that is not released meanwhile; `label` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_model_label(
    model: *const mnx_model,
    index: usize,
    label: *mut *const c_char,
) -> mnx_status {
    let name = || {
        // SAFETY: the caller's promise.
        let mnx_model { model, labels } = unsafe { handle(model, "model") }?;
        let classes = model.spec().classes;
        if index >= classes {
            return Err(Failure::argument("index", format_args!("a class below {classes}"), index));
        }
        Ok(self::label(labels, index))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(label, name) }
}

/// The name of an ISA as C reads it.
pub(crate) fn isa_name(isa: mnx::Isa) -> &'static CStr {
    match isa {
        mnx::Isa::Scalar => c"scalar",
        mnx::Isa::Avx2 => c"avx2",
        mnx::Isa::Avx512 => c"avx512",
        mnx::Isa::Neon => c"neon",
        mnx::Isa::Simd128 => c"simd128",
        _ => c"unknown",
    }
}

/// A small model of a family, with weights by chance.
#[cfg(test)]
pub(crate) fn small(family: &str) -> mnx_model {
    let mut spec = mnx::Spec::family(family).unwrap();
    spec.width = 0.1;
    mnx_model::new(Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap())
}
