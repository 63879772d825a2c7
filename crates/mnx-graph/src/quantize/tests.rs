//! Whole networks, quantised and read back.

use std::collections::BTreeMap;

use mnx_tensor::{AlignedBuf, Tensor};

use super::*;
use crate::file::{Front, check_payload};
use crate::model::front_of;
use crate::{Limits, OpenOptions, Quantization, Session, SessionOptions, Spec, write_model};

fn spec(family: &str, width: f64) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    spec.width = width;
    spec.set_resolution(32);
    spec
}

fn model(spec: &Spec) -> Model {
    Model::from_bytes(crate::init(spec, 3).unwrap()).unwrap()
}

/// Some pictures of noise.
fn pictures(count: usize) -> Tensor {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let numbers: Vec<f32> = (0..count * 3 * 32 * 32).map(|_| next()).collect();
    Tensor::from_slice([count, 3, 32, 32], &numbers).unwrap()
}

fn calibrated(model: &Model, pictures: &Tensor) -> Calibration {
    let mut session = Session::with(model, SessionOptions::new().threads(1)).unwrap();
    let mut calibration = Calibration::new(model).unwrap();
    calibration.observe(&mut session, pictures.view()).unwrap();
    calibration
}

/// A weight file's tensors by name, unpacked, after every check except whether there are kernels.
struct Read {
    front: Front,
    tensors: BTreeMap<String, Vec<u8>>,
}

impl Read {
    fn new(file: &[u8]) -> Read {
        let front = front_of(file, &OpenOptions::default()).unwrap();
        let mut payload = AlignedBuf::zeroed(front.layout.payload_len / 4);
        payload.as_bytes_mut().copy_from_slice(&file[front.payload_start..]);
        check_payload(&front, payload.as_bytes(), true).unwrap();
        let tensors = front.layout.tensors.iter().map(|tensor| {
            let bytes = &payload.as_bytes()[tensor.range.clone()];
            let unpacked = match tensor.role.element().size() {
                1 => tensor.packing.unpack(bytes, &tensor.dims).unwrap(),
                _ => {
                    let words: &[u32] = bytemuck::cast_slice(bytes);
                    bytemuck::cast_slice(&tensor.packing.unpack(words, &tensor.dims).unwrap()).to_vec()
                }
            };
            (tensor.name.clone(), unpacked)
        });
        let tensors = tensors.collect();
        Read { front, tensors }
    }

    fn get<T: bytemuck::Pod>(&self, name: &str) -> Vec<T> {
        let bytes = self.tensors.get(name).unwrap_or_else(|| panic!("{name}"));
        bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    }

    fn quantization(&self, value: &str) -> Quantization {
        let scale = self.get::<f32>(&format!("{value}.scale"))[0];
        Quantization { scale, zero_point: self.get::<u8>(&format!("{value}.zero_point"))[0] }
    }

    fn int8(&self, layer: &str) -> Int8Weights {
        let [weight, scale, bias] = ["weight", "weight.scale", "bias"].map(|part| format!("{layer}.{part}"));
        Int8Weights { weight: self.get(&weight), scale: self.get(&scale), bias: self.get(&bias) }
    }
}

#[test]
fn every_family_is_quantised_and_what_is_reported_is_in_the_file() {
    for (family, width) in [("mobilenext", 0.1), ("mobilenetv2", 0.1), ("resnet18", 1.0)] {
        let mut spec = spec(family, width);
        if family == "resnet18" {
            spec.stages.iter_mut().for_each(|stage| stage.channels /= 16);
            spec.stem.channels = 12;
        }
        let model = model(&spec);
        let options = Options::new().method(Method::MinMax);
        let quantized = quantize(&model, &calibrated(&model, &pictures(2)), &options).unwrap();
        let read = Read::new(&quantized.file);
        assert!(read.front.arithmetic.iter().all(|&arithmetic| arithmetic == Arithmetic::Int8));
        assert_eq!(quantized.layers.len(), model.network().layers().count() + 2);
        assert_eq!((quantized.int8_layers(), quantized.f32_layers()), (quantized.layers.len() - 2, 0));
        for report in &quantized.layers {
            if report.value == "logits" {
                assert_eq!((report.quantization, report.clipped, report.value_snr), (None, None, None));
            } else {
                assert_eq!(report.quantization, Some(read.quantization(&report.value)), "{}", report.name);
                assert_eq!(report.clipped, Some(0.0));
                assert!(report.value_snr.unwrap() > 25.0, "{report:?}");
                let (low, high) = report.range().unwrap();
                let half = f64::from(report.quantization.unwrap().scale) * 0.5001;
                let (least, largest) = report.observed;
                assert!(low <= f64::from(least) + half && f64::from(largest) - half <= high, "{report:?}");
            }
            assert_eq!(report.weight_snr.is_some(), report.arithmetic.is_some());
            assert!(report.weight_snr.is_none_or(|snr| snr > 30.0), "{report:?}");
        }
    }
}

/// The f32 network whose weights are those that the file's weights stand for.
fn with_real_weights(spec: &Spec, read: &Read) -> Model {
    let network = crate::Network::new(spec).unwrap();
    let flow = Flow::new(&network, (32, 32));
    let mut layers = read.front.arithmetic.iter().zip(&flow.layers);
    let source = |layer: &Layer| {
        let (arithmetic, of) = layers.next().unwrap();
        if *arithmetic == Arithmetic::F32 {
            let [weight, bias] = ["weight", "bias"].map(|part| read.get(&format!("{}.{part}", layer.name)));
            return LayerWeights { weight, bias };
        }
        let int8 = read.int8(&layer.name);
        let scale = f64::from(read.quantization(&flow.values[flow.values[of.input].scale_of].name).scale);
        let bias = int8.bias.iter().zip(&int8.scale);
        LayerWeights {
            weight: weights::real(&int8).map(|weight| weight as f32).collect(),
            bias: bias.map(|(&bias, &of)| (scale * f64::from(of) * f64::from(bias)) as f32).collect(),
        }
    };
    let mut file = Vec::new();
    write_model(spec, &Limits::default(), source, &mut file).unwrap();
    Model::from_bytes(file).unwrap()
}

#[test]
fn int8_weights_stand_for_the_f32_weights() {
    for family in ["mobilenext", "mobilenetv2"] {
        let spec = spec(family, 0.35);
        let model = model(&spec);
        let seen = pictures(4);
        let quantized = quantize(&model, &calibrated(&model, &seen), &Options::new()).unwrap();
        let real = with_real_weights(&spec, &Read::new(&quantized.file));
        let session = |model| Session::with(model, SessionOptions::new().threads(1)).unwrap();
        let mut comparison = Comparison::new();
        comparison.observe(&mut session(&model), &mut session(&real), seen.view()).unwrap();
        let snr = comparison.snr("logits").unwrap();
        assert!(snr > 30.0, "{family}: {snr} dB");
        let mut measured = quantized.clone();
        measured.measured(&comparison);
        let last = measured.layers.last().unwrap();
        assert_eq!((&*last.name, last.output_snr), ("classifier.1", Some(snr)));
        assert_eq!(measured.layers[0].output_snr, None);
        assert!(measured.layers[1].output_snr.unwrap() > 30.0);
    }
}

/// Only this layer is quantised, and it is linear: what is left is the rounding of biases and, for the depthwise layer, that
/// the rows and columns at the edge have other means.
#[test]
fn corrected_biases_keep_the_means_of_a_layers_output() {
    let cases = [("mobilenetv2", "features.1.conv.1", 0.05), ("mobilenext", "features.2.conv.8", 0.5)];
    for (family, layer, better) in cases {
        let spec = spec(family, 0.35);
        let model = model(&spec);
        let seen = pictures(4);
        let calibration = calibrated(&model, &seen);
        let others = model.network().layers().filter(|other| other.name != layer).map(|other| other.name.clone());
        let keep: Vec<String> = others.collect();
        let means = |model: &Model| {
            let flow = Flow::new(model.network(), (32, 32));
            let value = flow.values.iter().position(|value| value.name == format!("{layer}.output")).unwrap();
            calibrated(model, &seen).value(value).means().collect::<Vec<_>>()
        };
        let exact = means(&model);
        let shift = |correct: bool| {
            let options = Options::new().bias_correction(correct).keep(keep.clone());
            let quantized = quantize(&model, &calibration, &options).unwrap();
            let found = means(&with_real_weights(&spec, &Read::new(&quantized.file)));
            exact.iter().zip(found).map(|(exact, found)| (exact - found).abs()).sum::<f64>()
        };
        let (corrected, plain) = (shift(true), shift(false));
        assert!(corrected < plain * better, "{layer}: {corrected} after correction, {plain} before");
    }
}

#[test]
fn kept_layers_keep_their_bits() {
    let spec = spec("mobilenext", 0.1);
    let model = model(&spec);
    let calibration = calibrated(&model, &pictures(1));
    let options = Options::new().keep(["classifier", "features.1", "features.2.conv.3"]);
    let quantized = quantize(&model, &calibration, &options).unwrap();
    let read = Read::new(&quantized.file);
    let mut kept = 0;
    for ((index, layer), arithmetic) in model.network().layers().enumerate().zip(&read.front.arithmetic) {
        let keep =
            layer.name == "classifier.1" || layer.name.starts_with("features.1.") || layer.name == "features.2.conv.3";
        assert_eq!(*arithmetic == Arithmetic::F32, keep, "{}", layer.name);
        if keep {
            kept += 1;
            let packed = layer.packing().unpack(model.weights(index).unwrap().0, &layer.weight_dims()).unwrap();
            assert_eq!(read.get::<f32>(&format!("{}.weight", layer.name)), packed);
        }
    }
    assert_eq!((quantized.f32_layers(), kept >= 4), (kept, true));
    let report = |name: &str| quantized.layers.iter().find(|layer| layer.name == name).unwrap();
    assert_eq!(report("pool").quantization, None, "an f32 classifier reads f32");
    assert_eq!(report("classifier.1").weight_snr, None);
}

#[test]
fn names_that_keep_nothing_or_everything_are_refused() {
    let model = model(&spec("mobilenext", 0.1));
    let calibration = calibrated(&model, &pictures(1));
    let refused = |names: &[&str]| match quantize(&model, &calibration, &Options::new().keep(names.iter().copied())) {
        Err(Error::Quantize(error)) => error,
        other => panic!("{other:?}"),
    };
    for name in ["", "features.99", "feature", "classifier.", "features.1.conv.0.weight", "input", "pool"] {
        assert_eq!(refused(&["features.1", name]), QuantizeError::Keep { name: name.into() });
    }
    assert_eq!(refused(&["features", "classifier"]), QuantizeError::NothingLeft);
}

#[test]
fn bytes_do_not_depend_on_how_pictures_were_divided() {
    let model = model(&spec("mobilenext", 0.1));
    let pictures = pictures(6);
    let whole = calibrated(&model, &pictures);
    let mut merged = Calibration::new(&model).unwrap();
    // Threads collect one picture each, in any order; results are merged in the order of the pictures.
    let parts: Vec<_> = (0..6)
        .rev()
        .map(|i| calibrated(&model, &Tensor::from_slice([1, 3, 32, 32], pictures.view().picture(i)).unwrap()))
        .collect();
    parts.iter().rev().for_each(|part| merged.merge(part).unwrap());
    assert_eq!(merged, whole);
    for method in [Method::MinMax, Method::PERCENTILE, Method::Mse] {
        let options = Options::new().method(method);
        let file = |calibration| quantize(&model, calibration, &options).unwrap().file;
        assert_eq!(file(&merged), file(&whole));
    }
    let threads = SessionOptions::new().threads(1);
    let mut again = Calibration::new(&model).unwrap();
    again.observe(&mut Session::with(&model, threads).unwrap(), pictures.view()).unwrap();
    assert_eq!(again, whole);
}

#[test]
fn dead_channels_and_dead_layers_make_a_sound_file() {
    let spec = spec("mobilenext", 0.1);
    let mut number = 0_u32;
    let source = |layer: &Layer| {
        number += 1;
        let per_channel = layer.weight_elements() as usize / layer.cout;
        let of = |channel: usize, scale: f32| match (number, channel) {
            // A whole layer that is zero, one whose outputs are always clamped, and one that is next to nothing.
            (3, _) => 0.0,
            (5, _) => -scale,
            (7, _) => 1e-38,
            // Channels that are zero, next to zero and denormal.
            (_, 0) => 0.0,
            (_, 1) => 1e-37,
            (_, 2) => f32::from_bits(3),
            _ => scale * (channel % 7) as f32,
        };
        let weights = (0..layer.cout).flat_map(|c| (0..per_channel).map(move |_| of(c, 0.03)));
        LayerWeights { weight: weights.collect(), bias: (0..layer.cout).map(|c| of(c, 2.0)).collect() }
    };
    let mut file = Vec::new();
    write_model(&spec, &Limits::default(), source, &mut file).unwrap();
    let model = Model::from_bytes(file).unwrap();
    let calibration = calibrated(&model, &pictures(1));
    let flow = Flow::new(model.network(), (32, 32));
    for method in [Method::MinMax, Method::PERCENTILE, Method::Mse] {
        let quantized = quantize(&model, &calibration, &Options::new().method(method)).unwrap();
        let read = Read::new(&quantized.file);
        let dead = quantized.layers.iter().filter(|layer| layer.observed == (0.0, 0.0)).count();
        assert!(dead > 0);
        let factor = |number: f64, what: &str| {
            assert!((number as f32) >= f32::MIN_POSITIVE && number as f32 <= LARGEST_SCALE, "{number:e} in {what}");
        };
        let scale = |value: usize| f64::from(read.quantization(&flow.values[flow.values[value].scale_of].name).scale);
        for (layer, of) in model.network().layers().zip(&flow.layers) {
            let is_last = layer.kind == LayerKind::Linear;
            let out = if is_last { 1.0 } else { scale(of.output) };
            let Int8Weights { scale: scales, bias, weight } = read.int8(&layer.name);
            let zero = i64::from(read.quantization(&flow.values[flow.values[of.input].scale_of].name).zero_point);
            let depth = weight.len() / bias.len();
            for (channel, (&of_weight, &bias)) in scales.iter().zip(&bias).enumerate() {
                factor(scale(of.input) * f64::from(of_weight) / out, &layer.name);
                let row = &weight[channel * depth..][..depth];
                let products: i64 = row.iter().map(|&w| i64::from(w).abs()).sum();
                assert!(i64::from(bias).abs() + products * zero.max(255 - zero) <= i64::from(i32::MAX));
            }
            if let Some(shortcut) = of.shortcut {
                factor(scale(shortcut) / out, &layer.name);
            }
        }
    }
}

#[test]
fn what_cannot_be_calibrated_or_quantised_is_named() {
    let spec = spec("mobilenext", 0.1);
    let model = model(&spec);
    let mut session = Session::new(&model).unwrap();
    let mut calibration = Calibration::new(&model).unwrap();
    let error = |result: Result<_, Error>| match result {
        Err(Error::Quantize(error)) => error,
        other => panic!("{other:?}"),
    };
    let nothing = quantize(&model, &calibration, &Options::new()).map(|_| ());
    assert_eq!(error(nothing), QuantizeError::NoPictures);
    assert_eq!(calibration.observed("input"), None);

    let mut wrong = pictures(2);
    wrong.data_mut()[3 * 32 * 32 + 7] = f32::NAN;
    let text = error(calibration.observe(&mut session, wrong.view())).to_string();
    assert_eq!(text, "calibration: expected finite numbers in input, found NaN at index 7 of picture 1");
    assert_eq!(calibration.pictures(), 1, "the picture before it was sound");
    // ReLU, unlike ReLU6, lets overflow through.
    let mut unbounded = spec.clone();
    unbounded.activation = crate::Activation::Relu;
    let unbounded = self::model(&unbounded);
    let mut large = pictures(1);
    large.data_mut().iter_mut().for_each(|number| *number *= f32::MAX);
    let mut overflowing = Calibration::new(&unbounded).unwrap();
    let refused = error(overflowing.observe(&mut Session::new(&unbounded).unwrap(), large.view()));
    assert!(matches!(refused, QuantizeError::NotFinite { ref value, .. } if value != "input"), "{refused}");
    assert!(calibration.observe(&mut session, Tensor::zeros([1, 1, 8, 8]).unwrap().view()).is_err());

    let mut other = spec.clone();
    other.classes = 7;
    let other = self::model(&other);
    assert!(matches!(error(calibration.merge(&Calibration::new(&other).unwrap())), QuantizeError::OtherNetwork { .. }));
    let refused = error(quantize(&other, &calibration, &Options::new()).map(|_| ()));
    assert_eq!(refused, QuantizeError::OtherNetwork { value: "logits".into() });
    let mut others = Session::new(&other).unwrap();
    let refused = error(calibration.observe(&mut others, pictures(1).view()));
    assert_eq!(refused, QuantizeError::OtherNetwork { value: "logits".into() });
}

#[test]
fn pictures_of_one_colour_are_counted() {
    let model = model(&spec("mobilenext", 0.1));
    let mut numbers = pictures(2).data().to_vec();
    for (channel, plane) in numbers[..3 * 32 * 32].chunks_exact_mut(32 * 32).enumerate() {
        plane.fill(channel as f32);
    }
    let calibration = calibrated(&model, &Tensor::from_slice([2, 3, 32, 32], &numbers).unwrap());
    assert_eq!((calibration.pictures(), calibration.uniform_pictures()), (2, 1));
    assert_eq!(calibration.observed("input").map(|seen| seen.1), Some(2.0));
}

#[test]
fn the_int8_network_computes_nearly_what_the_f32_network_does() {
    for (family, keep) in
        [("mobilenext", &["features.3", "classifier"][..]), ("mobilenetv2", &[]), ("resnet18", &["fc"])]
    {
        let mut spec = spec(family, if family == "resnet18" { 1.0 } else { 0.35 });
        if family == "resnet18" {
            spec.stages.iter_mut().for_each(|stage| stage.channels /= 16);
            spec.stem.channels = 12;
        }
        let model = model(&spec);
        let seen = pictures(4);
        let calibration = calibrated(&model, &seen);
        let mut quantized = quantize(&model, &calibration, &Options::new().keep(keep.iter().copied())).unwrap();
        let int8 = Model::from_bytes(quantized.file.clone()).unwrap();
        let mut comparison = Comparison::new();
        let session = |model| Session::with(model, SessionOptions::new().threads(1)).unwrap();
        comparison.observe(&mut session(&model), &mut session(&int8), seen.view()).unwrap();
        let logits = comparison.snr("logits").unwrap();
        assert!(logits > 20.0, "{family}: {logits} dB");
        quantized.measured(&comparison);
        for layer in &quantized.layers {
            let snr = layer.output_snr.unwrap_or_else(|| panic!("{} of {family}", layer.name));
            assert!(snr > 20.0, "{family}: {snr} dB of {}", layer.name);
        }
        // The input has no errors but its own. This is what was foretold from counts of numbers.
        let input = &quantized.layers[0];
        assert!((input.output_snr.unwrap() - input.value_snr.unwrap()).abs() < 0.2, "{input:?}");
        // It cannot be quantised again.
        let refused = Calibration::new(&int8).map(|_| ());
        assert!(matches!(refused, Err(Error::Quantize(QuantizeError::AlreadyInt8 { .. }))), "{refused:?}");
    }
}

/// Heads are in int8 as everything else is; what they make stays f32 and is near to what it was.
#[test]
fn detectors_are_quantised_with_their_heads() {
    for family in ["ssdlite-mobilenext", "ssdlite-mobilenetv2", "ssdlite300-mobilenetv2-tf"] {
        let mut spec = Spec::family(family).unwrap();
        (spec.width, spec.classes) = (0.1, 3);
        let model = Model::from_bytes(crate::init(&spec, 2).unwrap()).unwrap();
        let mut session = Session::new(&model).unwrap();
        let numbers: Vec<f32> = (0..2 * 3 * 64 * 64).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let pictures = mnx_tensor::Tensor::from_slice([2, 3, 64, 64], &numbers).unwrap();
        let mut calibration = Calibration::new(&model).unwrap();
        calibration.observe(&mut session, pictures.view()).unwrap();
        assert!(calibration.observed("scores").is_some() && calibration.observed("boxes").is_some());
        let mut quantized = quantize(&model, &calibration, &Options::new()).unwrap();
        assert_eq!(quantized.f32_layers(), 0, "{family}");
        let int8 = Model::from_bytes(quantized.file.clone()).unwrap();
        assert!(int8.arithmetic().iter().all(|&arithmetic| arithmetic == Arithmetic::Int8));
        let mut comparison = Comparison::new();
        comparison.observe(&mut session, &mut Session::new(&int8).unwrap(), pictures.view()).unwrap();
        for output in ["scores", "boxes"] {
            assert!(comparison.snr(output).unwrap() > 12.0, "{family} {output}: {:?}", comparison.snr(output));
        }
        quantized.measured(&comparison);
        let of = |name: &str| quantized.layers.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(of("cls_headers.0.conv.3").value, "scores");
        assert_eq!(of("reg_headers.0.conv.3").output_snr, comparison.snr("boxes"));

        // Some heads may stay f32.
        let options = Options::new().keep(["cls_headers.0", "reg_headers.1"]);
        let kept = quantize(&model, &calibration, &options).unwrap();
        assert_eq!(kept.f32_layers(), 4, "{family}");
        Model::from_bytes(kept.file).unwrap();
    }
}
