//! Networks some of whose channels decayed to almost nothing: converted, they make no denormal number, so that no CPU slows down over
//! them, and their logits are those of before. Counted in plain loops, which is the same for every ISA;
//! `tools/measure_denormals.py` measures the time.

mod checkpoint;
mod count;

use std::path::Path;

use checkpoint::{Checkpoint, Decay};
use count::count;
use mnx::{Model, Network, Session, SessionOptions, Spec, Tensor};

/// A trained network of each kind of block, small.
fn networks() -> Vec<(Spec, Checkpoint)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let golden = root.join("testdata/golden");
    let family = |name: &str, width, classes| {
        let mut spec = Spec::family(name).unwrap();
        (spec.width, spec.classes) = (width, classes);
        spec
    };
    let table =
        |name: &str| Spec::from_json(&std::fs::read_to_string(golden.join(name).join("table.json")).unwrap()).unwrap();
    let sandglass = root.join("crates/mnx-infer/model/mobilenext_0.35_cifar10.safetensors");
    let of = |name: &str| golden.join(name).join("weights.safetensors");
    [
        (family("mobilenext-cifar", 0.35, 10), sandglass),
        (family("mobilenetv2-cifar", 0.1, 3), of("v2-w0.1-c3")),
        (table("resnet-basic"), of("resnet-basic")),
        (table("resnet-bottleneck"), of("resnet-bottleneck")),
    ]
    .map(|(spec, path)| (spec, Checkpoint::open(&path)))
    .into()
}

/// Noise of a picture's range.
fn input() -> Tensor {
    let mut random = checkpoint::Random(7);
    let values: Vec<f32> = (0..3 * 12 * 12).map(|_| 4.0 * random.next() as f32 - 2.0).collect();
    Tensor::from_slice([1, 3, 12, 12], &values).unwrap()
}

fn logits(model: &Model, input: &Tensor) -> Vec<f32> {
    let mut session = Session::with(model, SessionOptions::new().threads(1)).unwrap();
    session.run(input.view()).unwrap().data().to_vec()
}

/// The largest difference, as a share of the largest value.
fn differ(expected: &[f32], found: &[f32]) -> f32 {
    let most = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, |most: f32, v| most.max(v.abs()));
    most(&mut expected.iter().zip(found).map(|(a, b)| a - b)) / most(&mut expected.iter().copied())
}

#[test]
fn decayed_channels_make_no_denormals_and_change_no_logits() {
    let input = input();
    let cases = [
        (Decay::Both, 0.1, 1e-39),
        (Decay::Both, 0.3, 1e-20),
        (Decay::Both, 0.3, 1e-15),
        (Decay::Both, 0.05, 1e-44),
        (Decay::Both, 0.1, 1e-30),
        (Decay::Both, 0.3, 1e-10),
        // Above what is flushed.
        (Decay::Both, 0.3, 1e-7),
        (Decay::Gamma, 0.3, 1e-20),
        (Decay::GammaWithoutBeta, 0.3, 1e-25),
        (Decay::GammaWithoutBeta, 0.3, 1e-12),
        (Decay::GammaWithoutBeta, 0.3, 1e-10),
        (Decay::GammaWithoutBeta, 0.3, 1e-8),
        (Decay::Beta, 0.3, 1e-39),
        (Decay::Variance, 0.3, 1e30),
        (Decay::Weights, 0.3, 1e-20),
        (Decay::SomeWeights, 0.3, 1e-39),
        (Decay::SomeWeights, 0.3, 1e-20),
    ];
    for (spec, checkpoint) in networks() {
        let network = Network::new(&spec).unwrap();
        for (decay, share, magnitude) in cases {
            let case = format!("{}, {decay:?} of {share} at {magnitude:e}", spec.family);
            let decayed = checkpoint.decayed(&network, decay, share, magnitude);
            let before = Model::from_bytes(decayed.folded_only(&spec)).unwrap();
            let converted = mnx::convert(&decayed.bytes, &spec, 1e-5).unwrap();
            let after = Model::from_bytes(converted.file).unwrap();
            // Some round to zero anyway.
            let flushed = converted.flushed;
            assert!((1..=flushed).contains(&before.almost_zero().unwrap()) || magnitude > 1e-9, "{case}: {flushed}");
            assert_eq!(after.almost_zero().unwrap(), 0, "{case}");

            let (expected, found) = (logits(&before, &input), logits(&after, &input));
            assert!(differ(&expected, &found) <= 1e-6, "{case}: {expected:?} {found:?}");

            let [(before, _), (after, plain)] = [&before, &after].map(|model| count(model, &input));
            assert!(differ(&found, &plain) <= 1e-4, "{case}: the count ran another network");
            println!(
                "{case}: {} flushed, denormal {} -> {} of {}",
                flushed, before.denormal, after.denormal, after.all
            );
            assert_eq!(after.denormal, 0, "{case}");
            // What the networks of earlier releases did: the count sees it.
            if magnitude < 1e-37 {
                assert!(before.denormal * 1000 > before.all, "{case}: {before:?}");
            }
        }
    }
}

#[test]
fn networks_without_such_channels_stay_as_they_are() {
    for (spec, checkpoint) in networks() {
        let converted = mnx::convert(&checkpoint.bytes, &spec, 1e-5).unwrap();
        assert_eq!(converted.flushed, 0, "{}", spec.family);
        assert!(converted.file == checkpoint.folded_only(&spec), "{}: other bytes", spec.family);
    }
    for family in mnx::families() {
        let mut spec = Spec::family(family).unwrap();
        spec.classes = 10;
        let model = Model::from_bytes(mnx::init(&spec, 1).unwrap()).unwrap();
        assert_eq!(model.almost_zero().unwrap(), 0, "{family}");
    }
}
