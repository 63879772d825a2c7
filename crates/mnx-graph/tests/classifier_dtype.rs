//! Classifiers whose weights are stored in 16 bits: what is in their files, and that they compute what f32 classifiers with
//! rounded weights do, bit for bit.

mod common;

use common::{Parts, small_spec};
use mnx_graph::{
    ClassifierDtype, Element, Error, FileError, Layer, LayerKind, LayerWeights, Limits, Model, Network, PackedWeights,
    Session, SessionOptions, Spec, Weights, init, init_with, quantize, write_model, write_quantized,
};
use mnx_tensor::{Isa, Tensor, half};

const OF_16_BITS: [ClassifierDtype; 2] = [ClassifierDtype::Bf16, ClassifierDtype::F16];

fn narrow(dtype: ClassifierDtype, weight: f32) -> u16 {
    if dtype == ClassifierDtype::F16 { half::f32_to_f16(weight) } else { half::f32_to_bf16(weight) }
}

fn rounded(dtype: ClassifierDtype, weight: f32) -> f32 {
    let bits = narrow(dtype, weight);
    if dtype == ClassifierDtype::F16 { half::f16_to_f32(bits) } else { half::bf16_to_f32(bits) }
}

/// A layer's weights before packing.
fn unpacked(model: &Model, index: usize, layer: &Layer) -> LayerWeights {
    let (weight, bias) = model.weights(index).unwrap();
    let weight = layer.packing().unpack(weight, &layer.weight_dims()).unwrap();
    LayerWeights { weight, bias: bias[..layer.cout].to_vec() }
}

/// The f32 network of a seed, its classifier's weights changed.
fn with_classifier(spec: &Spec, change: impl Fn(f32) -> f32) -> Vec<u8> {
    let model = Model::from_bytes(init(spec, 7).unwrap()).unwrap();
    let mut index = 0;
    let source = |layer: &Layer| {
        let mut weights = unpacked(&model, index, layer);
        index += 1;
        if layer.kind == LayerKind::Linear {
            weights.weight.iter_mut().for_each(|weight| *weight = change(*weight));
        }
        weights
    };
    let mut file = Vec::new();
    write_model(spec, &Limits::default(), source, &mut file).unwrap();
    file
}

fn family(name: &str, width: f64, classes: usize) -> Spec {
    let mut spec = Spec::family(name).unwrap();
    (spec.width, spec.classes) = (width, classes);
    spec
}

#[test]
fn f32_is_the_file_as_it_always_was() {
    let spec = small_spec();
    assert!(init_with(&spec, 3, ClassifierDtype::F32).unwrap() == init(&spec, 3).unwrap());
    let model = Model::from_bytes(init(&spec, 3).unwrap()).unwrap();
    assert_eq!(model.classifier_dtype(), ClassifierDtype::F32);
}

/// Version 2, everything but the classifier's weight as before, and of it the rounded numbers in half the bytes.
#[test]
fn a_file_has_the_rounded_weights() {
    let spec = small_spec();
    let before = Model::from_bytes(init(&spec, 3).unwrap()).unwrap();
    for dtype in OF_16_BITS {
        let file = init_with(&spec, 3, dtype).unwrap();
        let parts = Parts::of(&file);
        assert_eq!(parts.version, 2);
        assert_eq!(parts.header["arithmetic"].as_array().unwrap().iter().filter(|of| *of == "f32").count(), 6);
        let model = Model::from_bytes(file).unwrap();
        assert_eq!((model.classifier_dtype(), model.spec()), (dtype, &spec));
        assert_eq!(model.almost_zero().unwrap(), 0);
        for (found, expected) in model.tensors().zip(before.tensors()) {
            assert_eq!((found.name, found.dims, found.packing), (expected.name, expected.dims, expected.packing));
            if found.name == "classifier.1.weight" {
                assert_eq!(found.element, dtype.element());
                assert_eq!(found.bytes.len() * 2, expected.bytes.len());
            } else {
                assert_eq!((found.element, found.bytes), (Element::F32, expected.bytes));
            }
        }
        let last = model.network().layers().count() - 1;
        let (weights, bias) = model.f32_weights(last).unwrap();
        let of_f32 = before.weights(last).unwrap();
        let expected: Vec<_> = of_f32.0.iter().map(|&weight| rounded(dtype, weight)).collect();
        assert_eq!((weights.element(), &*weights.widened().unwrap(), bias), (dtype.element(), &*expected, of_f32.1));
        assert!(matches!(model.f32_weights(0).unwrap(), (PackedWeights::F32(_), _)));
    }
}

/// On every ISA, with one thread and several, one picture and several.
#[test]
fn logits_are_those_of_an_f32_classifier_with_rounded_weights() {
    for spec in [family("mobilenext", 0.1, 77), family("mobilenetv2", 0.1, 1000), small_spec()] {
        for dtype in OF_16_BITS {
            let model = Model::from_bytes(init_with(&spec, 7, dtype).unwrap()).unwrap();
            let of_f32 = Model::from_bytes(with_classifier(&spec, |weight| rounded(dtype, weight))).unwrap();
            let unrounded = Model::from_bytes(init(&spec, 7).unwrap()).unwrap();
            for isa in Isa::available() {
                let most = if cfg!(feature = "rayon") { 2 } else { 1 };
                for (threads, batch) in [(1, 1), (1, 3), (most, 1), (most, 7)] {
                    let mut input = Tensor::zeros([batch, 3, 40, 33]).unwrap();
                    input.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 101) as f32 / 50.0 - 1.0);
                    let [found, expected, other] = [&model, &of_f32, &unrounded].map(|model| {
                        let options = SessionOptions::new().threads(threads).isa(isa);
                        let mut session = Session::with(model, options).unwrap();
                        session.run(input.view()).unwrap().data().to_vec()
                    });
                    assert!(found == expected, "{} {dtype:?} {isa} {threads} {batch}", spec.family);
                    assert!(found != other, "rounding changed nothing");
                }
            }
        }
    }
}

#[test]
fn what_a_type_cannot_hold_is_refused() {
    let spec = small_spec();
    let layers = |weight: f32| {
        let model = Model::from_bytes(init(&spec, 7).unwrap()).unwrap();
        let layers = model.network().layers().enumerate();
        let mut layers: Vec<_> = layers.map(|(index, layer)| unpacked(&model, index, layer)).collect();
        layers.last_mut().unwrap().weight[5] = weight;
        layers
    };
    let write = |dtype, weight| {
        let mut layers = layers(weight).into_iter();
        mnx_graph::write_model_with(&spec, &Limits::default(), dtype, |_| layers.next().unwrap(), Vec::new())
    };
    let largest_bf16 = half::bf16_to_f32(0x7f7f);
    for (dtype, fits, too_large, expected) in [
        (ClassifierDtype::F16, 65_519.0, 65_520.0, "weights up to 65504, the largest f16"),
        (ClassifierDtype::Bf16, largest_bf16, f32::MAX, "weights up to 3.3895e38, the largest bf16"),
    ] {
        for sign in [1.0, -1.0] {
            assert!(write(dtype, sign * fits).is_ok());
            let found = format!("{:?}", sign * too_large);
            let message = write(dtype, sign * too_large).unwrap_err().to_string();
            assert_eq!(message, format!("tensor classifier.1.weight: expected {expected}, found {found} at index 5"));
        }
        let not_finite = write(dtype, f32::NAN).unwrap_err();
        assert!(matches!(not_finite, Error::File(FileError::NotFinite { index: 5, .. })), "{not_finite}");
        assert!(write(ClassifierDtype::F32, too_large).is_ok());
    }
}

#[test]
fn detectors_have_no_classifier() {
    let spec = family("ssdlite-mobilenext", 0.1, 3);
    assert!(init_with(&spec, 1, ClassifierDtype::F32).is_ok());
    let message = init_with(&spec, 1, ClassifierDtype::F16).unwrap_err().to_string();
    assert_eq!(message, "spec: expected `classifier dtype` to be f32, as a detector has no classifier, found f16");
}

/// int8 weights are made of the widened ones. A classifier that stays f32 stays in its type.
#[test]
fn quantising_takes_the_widened_weights() {
    let spec = family("mobilenext", 0.1, 10);
    let options = quantize::Options::new();
    for dtype in OF_16_BITS {
        let [stored, rounded] =
            [init_with(&spec, 7, dtype).unwrap(), with_classifier(&spec, |weight| rounded(dtype, weight))]
                .map(|file| Model::from_bytes(file).unwrap());
        let made = |model: &Model, options: &quantize::Options| {
            let mut calibration = quantize::Calibration::new(model).unwrap();
            let mut session = Session::with(model, SessionOptions::new().threads(1)).unwrap();
            let mut picture = Tensor::zeros([1, 3, 224, 224]).unwrap();
            picture.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 101) as f32 / 50.0 - 1.0);
            calibration.observe(&mut session, picture.view()).unwrap();
            quantize::quantize(model, &calibration, options).unwrap().file
        };
        assert!(made(&stored, &options) == made(&rounded, &options), "{dtype:?}");
        let keep = options.clone().keep(["classifier.1"]);
        let kept = Model::from_bytes(made(&stored, &keep)).unwrap();
        assert_eq!(kept.classifier_dtype(), dtype);
        assert_eq!(kept.arithmetic().iter().filter(|of| of.name() == "f32").count(), 1);
        let last = kept.network().layers().count() - 1;
        assert_eq!(kept.f32_weights(last).unwrap(), stored.f32_weights(last).unwrap());
    }
}

/// The library's own writer of int8 networks stores f32 layers as f32.
#[test]
fn mixed_networks_are_written_as_before() {
    let spec = small_spec();
    let network = Network::new(&spec).unwrap();
    let mut source = common::numbered();
    let layers: Vec<_> = network.layers().map(|layer| Weights::F32(source(layer))).collect();
    let mut file = Vec::new();
    let value = |_: &str| mnx_graph::Quantization { scale: 1.0, zero_point: 0 };
    write_quantized(&spec, &Limits::default(), &layers, value, &mut file).unwrap();
    assert!(file == common::small_file());
}
