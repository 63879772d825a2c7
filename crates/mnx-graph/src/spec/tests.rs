use super::*;
use crate::Network;

#[test]
fn every_invalid_field_is_named() {
    type Change = fn(&mut Spec);
    let cases: [(Change, &str); 24] = [
        (|s| s.width = 0.0, "`width` to be finite and above 0, found 0"),
        (|s| s.width = -1.0, "`width` to be finite and above 0, found -1"),
        (|s| s.width = f64::NAN, "`width` to be finite and above 0, found NaN"),
        (|s| s.width = f64::INFINITY, "`width` to be finite and above 0, found inf"),
        (|s| s.identity = -0.1, "`identity` to be between 0 and 1, found -0.1"),
        (|s| s.identity = 1.1, "`identity` to be between 0 and 1, found 1.1"),
        (|s| s.identity = f64::NAN, "`identity` to be between 0 and 1, found NaN"),
        (|s| s.stem.channels = 0, "`stem.channels` to be at least 1, found 0"),
        (|s| s.stem.stride = 3, "`stem.stride` to be 1 or 2, found 3"),
        (|s| s.stages.clear(), "`stages` to be at least one stage, found none"),
        (|s| s.stages[1].ratio = 0, "`stages[1].ratio` to be at least 1, found 0"),
        (|s| s.stages[2].channels = 0, "`stages[2].channels` to be at least 1, found 0"),
        (|s| s.stages[3].repeats = 0, "`stages[3].repeats` to be at least 1, found 0"),
        (|s| s.stages[4].stride = 0, "`stages[4].stride` to be 1 or 2, found 0"),
        (|s| s.channels = 1, "`channels` to be 3, found 1"),
        (|s| s.classes = 0, "`classes` to be at least 1, found 0"),
        (|s| s.resolution = 0, "`resolution` to be at least 1, found 0"),
        (|s| s.labels = Some(vec!["cat".into()]), "`labels` to be one label per class, 1000, found 1"),
        (|s| s.preprocessing.resize = 223, "`preprocessing.resize` to be at least the resolution, 224, found 223"),
        (|s| s.preprocessing.mean[1] = f32::NAN, "`preprocessing.mean[1]` to be finite, found NaN"),
        (|s| s.preprocessing.mean[0] = f32::INFINITY, "`preprocessing.mean[0]` to be finite, found inf"),
        (|s| s.preprocessing.std[2] = 0.0, "`preprocessing.std[2]` to be finite and above 0, found 0"),
        (|s| s.preprocessing.std[0] = -0.5, "`preprocessing.std[0]` to be finite and above 0, found -0.5"),
        (|s| s.preprocessing.std[1] = f32::NAN, "`preprocessing.std[1]` to be finite and above 0, found NaN"),
    ];
    for (change, expected) in cases {
        let mut spec = Spec::family("mobilenext").unwrap();
        change(&mut spec);
        let error = Network::new(&spec).unwrap_err();
        assert!(matches!(error, Error::Spec { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("spec: expected {expected}"));
    }
}

#[test]
fn what_only_some_blocks_have_is_refused_elsewhere() {
    type Change = fn(&mut Spec);
    let cases: [(&str, Change, &str); 9] = [
        (
            "resnet50",
            |s| s.width = 0.5,
            "`width` to be 1 for residual blocks, which have no width multiplier, found 0.5",
        ),
        (
            "mobilenetv2",
            |s| s.identity = 0.5,
            "`identity` to be 1 without SandGlass blocks, which alone have an identity tensor multiplier, found 0.5",
        ),
        ("resnet18", |s| s.padding = Padding::Tf, "`padding` to be torch for a stem with a max pool, found tf"),
        ("resnet18", |s| s.stages[2].ratio = 4, "`stages[2].ratio` to be 1 for a basic block, found 4"),
        ("resnet18", |s| s.stem.kernel = 5, "`stem.kernel` to be 3 or 7, found 5"),
        ("resnet18", |s| s.stem.stride = 1, "`stem.stride` to be 2 for a kernel of 7, found 1"),
        ("resnet18", |s| s.activation = Activation::Linear, "`activation` to be relu6 or relu, found linear"),
        ("mobilenetv2", |s| s.head = Some(0), "`head` to be at least 1, found 0"),
        ("mobilenetv2", |s| s.stem.kernel = 0, "`stem.kernel` to be 3 or 7, found 0"),
    ];
    for (family, change, expected) in cases {
        let mut spec = Spec::family(family).unwrap();
        change(&mut spec);
        let error = Network::new(&spec).unwrap_err();
        assert_eq!(error.to_string(), format!("spec: expected {expected}"));
    }
}

#[test]
fn pictures_stay_within_the_limit_of_elements() {
    let mut spec = Spec::family("mobilenext").unwrap();
    for side in [26_755, usize::MAX] {
        // 3 · 26,754² is just under 2³¹.
        spec.preprocessing.resize = side;
        let error = Network::new(&spec).unwrap_err();
        assert!(matches!(error, Error::Limit { limit: 0x8000_0000, .. }), "{error:?}");
    }
    spec.preprocessing.resize = 26_754;
    Network::new(&spec).unwrap();
}

#[test]
fn edges_of_the_ranges_are_valid() {
    let mut spec = Spec::family("mobilenext").unwrap();
    (spec.identity, spec.classes, spec.resolution) = (0.0, 1, 1);
    (spec.preprocessing.resize, spec.labels) = (1, Some(vec!["only".into()]));
    (spec.preprocessing.std, spec.width) = ([f32::MIN_POSITIVE; 3], f64::MIN_POSITIVE);
    Network::new(&spec).unwrap();
}

#[test]
fn json_keeps_a_spec_and_knows_its_fields() {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    (spec.width, spec.identity, spec.padding) = (0.35, 0.3, Padding::Tf);
    spec.labels = Some((0..10).map(|i| format!("class \"{i}\"")).collect());
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    assert_eq!(Spec::from_json(&json).unwrap(), spec);
    let unknown = json.replacen('{', "{\"widht\":1,", 1);
    assert!(serde_json::from_str::<Spec>(&unknown).is_err());
    let missing = json.replace("\"width\":0.35,", "");
    assert!(missing != json && serde_json::from_str::<Spec>(&missing).is_err());
}

/// Files of releases without the two fields have the same bytes as before, and open.
#[test]
fn only_an_unusual_fit_and_interpolation_are_written() {
    let mut spec = Spec::family("mobilenext").unwrap();
    let json = serde_json::to_string(&spec.preprocessing).unwrap();
    assert_eq!(json, r#"{"resize":256,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#);
    (spec.preprocessing.fit, spec.preprocessing.interpolation) = (Fit::Squash, Interpolation::Bicubic);
    let json = serde_json::to_string(&spec.preprocessing).unwrap();
    assert!(json.contains(r#""fit":"squash","interpolation":"bicubic""#), "{json}");
    assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), spec.preprocessing);
    let error = serde_json::from_str::<Preprocessing>(&json.replace("bicubic", "nearest")).unwrap_err();
    assert!(error.to_string().contains("bilinear-antialiased"), "{error}");
}

#[test]
fn values_for_0_to_255_are_told_from_those_for_0_to_1() {
    let meant = |mean, std| Preprocessing::new(256, mean, std).in_unit_range().map(|meant| (meant.mean, meant.std));
    let imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let third = 1.0 / 255.0;
    // What networks ask for: 0…1, -1…1, 0…255, ImageNet's statistics, 0…255 less the mean, a shift.
    for (mean, std) in [
        ([0.0; 3], [1.0; 3]),
        ([1.0; 3], [1.0; 3]),
        ([0.5; 3], [0.5; 3]),
        ([0.0; 3], [third; 3]),
        ([0.485, 0.456, 0.406], [third; 3]),
        ([-0.5, -1.0, 0.0], [0.25, 1.0, 1.0]),
        imagenet,
    ] {
        assert_eq!(meant(mean, std), None, "{mean:?} {std:?}");
    }
    let half = ([0.5; 3], [0.5; 3]);
    let third = 0.003_921_569;
    for (mean, std, expected) in [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], imagenet),
        ([127.5; 3], [127.5; 3], half),
        ([0.0; 3], [255.0; 3], ([0.0; 3], [1.0; 3])),
        // Only one of the two.
        ([123.675, 116.28, 103.53], imagenet.1, imagenet),
        (imagenet.0, [58.395, 57.12, 57.375], imagenet),
        ([127.5; 3], [1.0; 3], ([0.5; 3], [third; 3])),
        // A channel that is almost black.
        ([0.51, 127.5, 127.5], [127.5; 3], ([0.002, 0.5, 0.5], [0.5; 3])),
    ] {
        assert_eq!(meant(mean, std), Some(expected), "{mean:?} {std:?}");
    }

    // No checkpoint is converted with them, but what was made before still opens.
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    (spec.width, spec.preprocessing.mean) = (0.1, [127.5; 3]);
    let error = spec.preprocessing.check_range().unwrap_err();
    assert!(matches!(error, Error::PixelRange { .. }), "{error}");
    assert!(error.to_string().contains("found 127.5,127.5,127.5 and"), "{error}");
    let mut file = Vec::new();
    let source = |layer: &crate::Layer| crate::LayerWeights {
        weight: vec![0.5; layer.weight_elements() as usize],
        bias: vec![0.0; layer.cout],
    };
    crate::write_model(&spec, &Limits::default(), source, &mut file).unwrap();
    assert_eq!(crate::Model::from_bytes(file).unwrap().spec().preprocessing.mean, [127.5; 3]);
}

#[test]
fn names_are_those_of_stage_tables() {
    fn check<T: Copy + PartialEq + std::fmt::Display + Serialize + std::str::FromStr<Err = Error>>(all: &[T]) {
        for one in all {
            assert_eq!(serde_json::to_value(one).unwrap(), one.to_string());
            assert!(one.to_string().parse::<T>().unwrap() == *one);
        }
        assert!("".parse::<T>().is_err());
    }
    check(Padding::ALL);
    check(Fit::ALL);
    check(Interpolation::ALL);
    let error = "tor\nch".parse::<Padding>().unwrap_err().to_string();
    assert_eq!(error, "spec: expected `padding` to be torch or tf, found tor\\nch");
    let error = "int8".parse::<crate::ClassifierDtype>().unwrap_err().to_string();
    assert_eq!(error, "spec: expected `classifier dtype` to be f32, bf16 or f16, found int8");
}

#[test]
fn padding_totals_what_the_output_size_needs() {
    for size in 1..20_usize {
        for stride in [1, 2] {
            for (padding, kernel) in [Padding::Torch, Padding::Tf].into_iter().flat_map(|p| [1, 3, 7].map(|k| (p, k))) {
                let (before, after) = padding.of(kernel, size, stride);
                let outputs = (size + before + after).saturating_sub(kernel) / stride + 1;
                assert_eq!(outputs, size.div_ceil(stride), "{padding:?} {kernel} {size} {stride}");
            }
        }
    }
    assert_eq!(Padding::Tf.of(3, 224, 2), (0, 1));
    assert_eq!(Padding::Tf.of(3, 7, 2), (1, 1));
    assert_eq!(Padding::Tf.of(7, 224, 2), (2, 3));
    assert_eq!(Padding::Torch.of(7, 224, 2), (3, 3));
}

proptest::proptest! {
    #[test]
    fn json_keeps_every_number(width in 1e-3..10.0, identity in 0.0..1.0, mean in -1.0_f32..1.0) {
        let mut spec = Spec::family("mobilenext").unwrap();
        (spec.width, spec.identity, spec.preprocessing.mean) = (width, identity, [mean; 3]);
        let json = serde_json::to_string(&spec).unwrap();
        proptest::prop_assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }
}

/// A kind that is not in the list could not be converted.
#[test]
fn all_kinds_of_block_are_listed() {
    let kinds = serde_json::from_str::<BlockKind>("\"none\"").unwrap_err().to_string();
    let (_, kinds) = kinds.split_once("expected one of ").unwrap();
    assert_eq!(kinds.matches('`').count(), 2 * BlockKind::ALL.len(), "{kinds}");
}
