//! Where there is too little memory, everything that a file or a caller makes large is an error, and nothing ends the process.
//!
//! The allocator refuses whatever would take more than a limit, except small requests: what has a size of its own, as names
//! and lists of layers have, is small. Each case runs with room for everything and then, again and again, with less.
#![cfg(target_pointer_width = "64")]

#[path = "common/kept.rs"]
mod kept;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kept::kept_at;
use mnx_graph::quantize::{Calibration, Comparison, Options, quantize};
use mnx_graph::{Error, Model, OpenOptions, Session, SessionOptions, Spec, init};
use mnx_tensor::{ErrorKind, Tensor};

/// The system's allocator, which refuses large requests beyond a limit.
struct Limited;

/// Requests of so many bytes or fewer are not refused.
const SMALL: usize = 64 << 10;
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static LARGE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Limited {
    /// Counts a request, unless there is no room for it.
    fn take(bytes: usize) -> bool {
        if bytes <= SMALL {
            return true;
        }
        let all = LARGE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > LIMIT.load(Ordering::Relaxed) {
            LARGE.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        PEAK.fetch_max(all, Ordering::Relaxed);
        true
    }

    fn give(bytes: usize) {
        if bytes > SMALL {
            LARGE.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

// SAFETY: passes on to the system's allocator what it does not refuse.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        if Limited::take(layout.size()) { unsafe { System.alloc(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        if Limited::take(layout.size()) { unsafe { System.alloc_zeroed(layout) } } else { std::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        Limited::give(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Limited::take(size) {
            return std::ptr::null_mut();
        }
        Limited::give(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// The limit is the process's: one case at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `case` with less and less memory. It must work with all that it takes, and each time before either work or say that
/// there is too little.
fn with_less<T: Debug>(name: &str, case: impl Fn() -> Result<T, Error>) {
    const STEPS: usize = 12;
    let before = LARGE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    drop(case().unwrap());
    let taken = PEAK.load(Ordering::Relaxed) - before;
    assert!(taken > 0, "{name} takes no memory that could be refused");
    let mut refused = 0;
    for step in 0..STEPS {
        LIMIT.store(before + taken * step / STEPS, Ordering::Relaxed);
        let result = case();
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Memory, "{name}: {error}");
            refused += 1;
        }
        assert_eq!(LARGE.load(Ordering::Relaxed), before, "{name} kept something");
    }
    assert!(refused > 0, "{name} never lacked memory");
}

fn spec(family: &str, width: f64) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    spec.width = width;
    spec.classes = 400;
    spec
}

#[test]
fn init_says_so() {
    let _one = one();
    with_less("init", || init(&spec("mobilenext", 0.5), 1).map(|file| file.len()));
}

#[test]
fn opening_says_so() {
    let _one = one();
    // On Linux a file is read onto huge pages, which are not the allocator's. Bytes that are not aligned are copied.
    let bytes = kept_at(&init(&spec("mobilenetv2", 0.5), 1).unwrap(), 4);
    with_less("a copy of a file", || Model::from_bytes(bytes));
}

#[test]
fn counting_what_is_almost_zero_says_so() {
    let _one = one();
    let model = Model::from_bytes(init(&spec("mobilenetv2", 0.5), 1).unwrap()).unwrap();
    with_less("almost zero", || model.almost_zero());
}

#[test]
fn sessions_say_so() {
    let _one = one();
    for family in ["mobilenext", "resnet18", "ssdlite-mobilenext"] {
        let mut spec = spec(family, if family == "resnet18" { 1.0 } else { 0.25 });
        if family == "resnet18" {
            spec.stages.truncate(2);
        }
        let model = Model::from_bytes(init(&spec, 1).unwrap()).unwrap();
        for (threads, batch) in [(1, 1), (1, 3), (4, 2), (4, 9)] {
            if threads > 1 && !cfg!(feature = "rayon") {
                continue;
            }
            let input = Tensor::zeros([batch, 3, 96, 80]).unwrap();
            let session = || Session::with(&model, SessionOptions::new().threads(threads));
            // What threads share is there already.
            drop(session().unwrap());
            let name = format!("{family}, {threads} threads, {batch} pictures");
            with_less(&name, || session()?.run(input.view()).map(|outputs| outputs.data().len()));
            with_less(&name, || session()?.run_observed(input.view(), |_| ()).map(|outputs| outputs.data().len()));
        }
    }
}

/// How much there would be to compute is known before there is a plan of it.
#[test]
fn limits_of_a_session_come_before_its_plan() {
    let _one = one();
    let detector = init(&spec("ssdlite-mobilenext", 0.1), 1).unwrap();
    let classifier = init(&spec("mobilenext", 0.1), 1).unwrap();
    for (file, what) in [(classifier, "multiply-adds"), (detector, "priors")] {
        let mut options = OpenOptions::new();
        (options.limits.elements, options.limits.arena_bytes) = (u64::MAX, u64::MAX);
        (options.limits.macs, options.limits.priors) =
            if what == "priors" { (u64::MAX, 1 << 20) } else { (1 << 40, 0) };
        let model = Model::from_bytes_with(file, &options).unwrap();
        let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
        LIMIT.store(LARGE.load(Ordering::Relaxed), Ordering::Relaxed);
        let error = session.prepare([1, 3, 1 << 37, 1]).unwrap_err();
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        assert!(matches!(&error, Error::Limit { what: found, .. } if found.starts_with(what)), "{error}");
    }
}

/// The session that could not get memory can be used again.
#[test]
fn a_session_lives_on() {
    let _one = one();
    let model = Model::from_bytes(init(&spec("mobilenext", 0.25), 1).unwrap()).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
    let (small, large) = (Tensor::zeros([1, 3, 32, 32]).unwrap(), Tensor::zeros([1, 3, 320, 320]).unwrap());
    let expected = session.run(small.view()).unwrap().data().to_vec();
    LIMIT.store(LARGE.load(Ordering::Relaxed) + (1 << 20), Ordering::Relaxed);
    let error = session.run(large.view()).unwrap_err();
    let found = session.run(small.view()).map(|logits| logits.data().to_vec());
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert_eq!(found.unwrap(), expected);
}

/// With limits lifted, too, nothing is asked for that the arena alone would not be.
#[test]
fn plans_of_any_size_say_so() {
    let _one = one();
    let file = init(&spec("mobilenext", 0.1), 1).unwrap();
    let mut options = OpenOptions::new();
    (options.limits.elements, options.limits.macs) = (u64::MAX, u64::MAX);
    for arena in [u64::MAX, 1 << 30] {
        options.limits.arena_bytes = arena;
        let model = Model::from_bytes_with(file.clone(), &options).unwrap();
        LIMIT.store(LARGE.load(Ordering::Relaxed) + (1 << 30), Ordering::Relaxed);
        for (height, width) in [(1 << 37, 1), (1 << 37, 8), (1, 1 << 37), (1 << 20, 1 << 20), (usize::MAX / 2, 3)] {
            if height.checked_mul(width).is_none() {
                continue;
            }
            let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
            let error = session.prepare([1, 3, height, width]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Memory | ErrorKind::Limit), "{height} x {width}: {error}");
        }
        LIMIT.store(usize::MAX, Ordering::Relaxed);
    }
}

#[test]
fn quantising_says_so() {
    let _one = one();
    let model = Model::from_bytes(init(&spec("mobilenetv2", 0.35), 1).unwrap()).unwrap();
    let input =
        Tensor::from_slice([1, 3, 64, 64], &(0..3 * 64 * 64).map(|i| (i % 97) as f32 / 50.0 - 1.0).collect::<Vec<_>>());
    let input = input.unwrap();
    // Sessions take memory themselves where int8 weights are rearranged for the CPU.
    let session = |model: &Model| Session::with(model, SessionOptions::new().threads(1));
    let observed = || {
        let mut calibration = Calibration::new(&model)?;
        calibration.observe(&mut session(&model)?, input.view())?;
        Ok(calibration)
    };
    let calibration = observed().unwrap();
    with_less("calibration", || observed().map(drop));
    with_less("quantize", || quantize(&model, &calibration, &Options::new()).map(drop));
    let int8 = Model::from_bytes(quantize(&model, &calibration, &Options::new()).unwrap().file).unwrap();
    with_less("int8", || session(&int8)?.run(input.view()).map(|logits| logits.data().len()));
    with_less("int8 features", || session(&int8)?.features(input.view()).map(|features| features.data().len()));
    let compare = || Comparison::new().observe(&mut session(&model)?, &mut session(&int8)?, input.view());
    with_less("comparison", compare);
}

#[cfg(feature = "convert")]
#[test]
fn converting_says_so() {
    use mnx_graph::{Network, convert};
    use safetensors::tensor::{Dtype, TensorView, serialize};

    let _one = one();
    let spec = spec("mobilenetv2", 0.5);
    let mut stored: Vec<(String, Vec<usize>)> = Vec::new();
    for layer in Network::new(&spec).unwrap().layers() {
        stored.push((format!("{}.weight", layer.name), layer.weight_dims()));
        match &layer.norm {
            None => stored.push((format!("{}.bias", layer.name), vec![layer.cout])),
            Some(norm) => {
                let parts = ["weight", "bias", "running_mean", "running_var"];
                stored.extend(parts.map(|part| (format!("{norm}.{part}"), vec![layer.cout])));
            }
        }
    }
    let ones = 1.0_f32.to_le_bytes().repeat(1 << 22);
    let views = stored.iter().map(|(name, dims)| {
        let bytes = 4 * dims.iter().product::<usize>();
        (name, TensorView::new(Dtype::F32, dims.clone(), &ones[..bytes]).unwrap())
    });
    let checkpoint = serialize(views, None).unwrap();
    with_less("convert", || convert(&checkpoint, &spec, 1e-5).map(|converted| converted.file.len()));
}

/// ONNX models, field by field.
#[cfg(feature = "onnx")]
mod onnx {
    use prost::encoding::{bytes, int64};

    pub(crate) fn field(tag: u32, content: &[Vec<u8>]) -> Vec<u8> {
        let mut field = Vec::new();
        bytes::encode(tag, &content.concat(), &mut field);
        field
    }

    fn number(tag: u32, value: i64) -> Vec<u8> {
        let mut field = Vec::new();
        int64::encode(tag, &value, &mut field);
        field
    }

    fn text(tag: u32, text: &str) -> Vec<u8> {
        field(tag, &[text.into()])
    }

    fn tensor(name: &str, data_type: i64, dims: &[i64], raw: Vec<u8>) -> Vec<u8> {
        let dims = dims.iter().map(|&dim| number(1, dim)).collect::<Vec<_>>().concat();
        field(5, &[dims, number(2, data_type), text(8, name), field(9, &[raw])])
    }

    /// A weight: zeros.
    pub(crate) fn weight(name: &str, dims: &[i64]) -> Vec<u8> {
        tensor(name, 1, dims, vec![0; 4 * dims.iter().product::<i64>() as usize])
    }

    pub(crate) fn shape(name: &str, dims: &[i64]) -> Vec<u8> {
        let raw = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        tensor(name, 7, &[dims.len() as i64], raw)
    }

    /// An operation. Attributes are integers, or lists of them.
    pub(crate) fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> Vec<u8> {
        let inputs = inputs.iter().map(|input| text(1, input)).collect::<Vec<_>>().concat();
        let attribute = |(name, values): &(&str, &[i64])| {
            let value = match values {
                [one] => number(3, *one),
                values => values.iter().map(|&value| number(8, value)).collect::<Vec<_>>().concat(),
            };
            field(5, &[text(1, name), value])
        };
        let attributes = attributes.iter().map(attribute).collect::<Vec<_>>().concat();
        field(1, &[inputs, text(2, output), text(4, op), attributes])
    }

    /// From pictures `x` to what pooled features `y` and the weight `classifier` make.
    pub(crate) fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        let dim = |size: &[Vec<u8>]| field(1, size);
        let sizes = [dim(&[]), dim(&[number(1, 3)]), dim(&[]), dim(&[])].concat();
        let pictures = field(11, &[text(1, "x"), field(2, &[field(1, &[number(1, 1), field(2, &[sizes])])])]);
        let head = [
            node("GlobalAveragePool", &["y"], "pooled", &[]),
            node("Flatten", &["pooled"], "flat", &[]),
            node("Gemm", &["flat", "classifier"], "logits", &[("transB", &[1])]),
            field(12, &[text(1, "logits")]),
        ];
        let graph = field(7, &[parts.concat(), pictures, head.concat()]);
        [number(1, 8), graph, field(8, &[number(2, 17)])].concat()
    }
}

#[cfg(feature = "onnx")]
#[test]
fn converting_onnx_says_so() {
    use mnx_graph::Onnx;
    use onnx::{model, node, weight};

    let _one = one();
    let pads: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    let file = model(&[
        weight("stem", &[16, 3, 3, 3]),
        weight("expand", &[256, 16, 1, 1]),
        weight("depthwise", &[256, 1, 3, 3]),
        weight("reduce", &[128, 256, 1, 1]),
        weight("classifier", &[1000, 128]),
        node("Conv", &["x", "stem"], "0", &[pads, ("strides", &[2, 2])]),
        node("Relu", &["0"], "1", &[]),
        node("Conv", &["1", "expand"], "2", &[]),
        node("Relu", &["2"], "3", &[]),
        node("Conv", &["3", "depthwise"], "4", &[pads, ("group", &[256])]),
        node("Relu", &["4"], "5", &[]),
        node("Conv", &["5", "reduce"], "y", &[]),
    ]);
    with_less("an ONNX model", || {
        let model = Onnx::from_bytes(mnx_tensor::memory::copy(&file)?)?;
        model.convert(model.spec()).map(|converted| converted.file.len())
    });
}

/// However many operations take a constant, it is there once.
#[cfg(feature = "onnx")]
#[test]
fn constants_of_onnx_models_are_not_copied() {
    use mnx_graph::Onnx;
    use onnx::{model, node, shape, weight};

    let _one = one();
    let mut parts = vec![
        shape("shape", &[1024, 1024, 1, 1]),
        weight("stem", &[1024, 3, 1, 1]),
        weight("classifier", &[10, 1024]),
        // 16 MiB, which 1,000 operations take.
        node("ConstantOfShape", &["shape"], "weight", &[]),
        node("Conv", &["x", "stem"], "0", &[]),
    ];
    let name = |index: usize| if index == 1000 { "y".into() } else { index.to_string() };
    parts.extend((0..1000).map(|i| node("Conv", &[&name(i), "weight"], &name(i + 1), &[])));
    let file = model(&parts);
    LIMIT.store(LARGE.load(Ordering::Relaxed) + (64 << 20), Ordering::Relaxed);
    let error = Onnx::from_bytes(file);
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Onnx(_)), "{error}");
}
