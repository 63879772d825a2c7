use super::*;
use crate::{BoxCoder, Extra, ExtraKind, Network, PriorBoxes, ScoreKind, Tap, TapPoint};

/// The least that a stage table may say.
const SMALL: &str = r#"{
    "stem": {"channels": 16, "stride": 2},
    "stages": [
        {"ratio": 2, "channels": 24, "repeats": 1, "stride": 2},
        {"ratio": 6, "channels": 48, "repeats": 2, "stride": 1}
    ]
}"#;

#[test]
fn families_have_their_defaults() {
    assert_eq!(
        families().collect::<Vec<_>>(),
        [
            "mobilenext",
            "mobilenext-cifar",
            "mobilenetv2",
            "mobilenetv2-cifar",
            "resnet18",
            "resnet34",
            "resnet50",
            "ssdlite-mobilenext",
            "ssdlite-mobilenetv2",
            "ssdlite300-mobilenetv2-tf"
        ]
    );
    for name in families() {
        let spec = Spec::family(name).unwrap();
        assert_eq!((spec.family.as_str(), spec.width, spec.identity), (name, 1.0, 1.0));
        let padding = if name.ends_with("-tf") { Padding::Tf } else { Padding::Torch };
        assert_eq!((spec.channels, spec.padding, &spec.labels), (3, padding, &None));
        Network::new(&spec).unwrap();
    }
    let imagenet = Spec::family("mobilenext").unwrap();
    assert_eq!((imagenet.classes, imagenet.resolution), (1000, 224));
    assert_eq!((imagenet.stem.stride, imagenet.stages[0].stride), (2, 2));
    let picture = Preprocessing::new(256, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    assert_eq!(imagenet.preprocessing, picture);
    let cifar = Spec::family("mobilenext-cifar").unwrap();
    assert_eq!((cifar.classes, cifar.resolution), (10, 32));
    assert_eq!((cifar.stem.stride, cifar.stages[0].stride), (1, 1));
    let picture = Preprocessing::new(32, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
    assert_eq!(cifar.preprocessing, picture);
    assert_eq!(Spec::family("mobilenext "), None);
}

#[test]
fn a_resolution_of_0_leaves_priors_as_they_are() {
    for mut spec in ["ssdlite-mobilenext", "ssdlite300-mobilenetv2-tf"].map(|name| Spec::family(name).unwrap()) {
        let before = spec.clone();
        spec.set_resolution(0);
        let error = crate::Network::new(&spec).unwrap_err().to_string();
        assert_eq!(error, "spec: expected `resolution` to be at least 1, found 0");
        spec.set_resolution(before.resolution);
        assert_eq!(spec, before);
    }
}

#[test]
fn a_network_made_in_code_is_one_read_from_text() {
    let mut spec = Spec::new(Stem::new(32, 2), vec![Stage::new(BlockKind::InvertedResidual, 6, 24, 2, 2)]);
    spec.detector = Some(DetectorSpec::new(
        vec![Tap::new(1, TapPoint::Expanded)],
        vec![Extra::new(ExtraKind::DepthwiseFirst, 64, 128)],
        vec![PriorBoxes::Scales(vec![[0.1, 1.0]]), PriorBoxes::Scales(vec![[0.3, 1.0], [0.3, 2.0]])],
        BoxCoder::new(0.1, 0.2),
        ScoreKind::Sigmoid,
    ));
    let text = r#"{
        "stem": {"channels": 32, "stride": 2},
        "stages": [{"block": "inverted_residual", "ratio": 6, "channels": 24, "repeats": 2, "stride": 2}],
        "resolution": 224, "classes": 1000, "preprocessing": {"resize": 256, "fit": "crop",
            "interpolation": "bilinear-antialiased", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "detector": {
            "taps": [{"block": 1, "at": "expanded"}],
            "extras": [{"block": "depthwise_first", "hidden": 64, "channels": 128}],
            "priors": [{"scales": [[0.1, 1.0]]}, {"scales": [[0.3, 1.0], [0.3, 2.0]]}],
            "coder": {"centre": 0.1, "size": 0.2}, "scores": "sigmoid", "score": 0.01, "iou": 0.45, "top": 100
        }
    }"#;
    assert_eq!(Spec::from_json(text).unwrap(), spec);
}

#[test]
fn lists_and_numbers_are_no_objects() {
    for (text, expected) in [
        ("[]", "stage table: invalid length 0, expected an object at line 1 column 2"),
        ("7", "stage table: invalid type: integer `7`, expected an object at line 1 column 1"),
        (r#"{"stem": []}"#, "stage table, field `stem`: invalid length 0, expected an object at line 1 column 11"),
    ] {
        assert_eq!(Spec::from_json(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn resize_follows_the_resolution() {
    let mut spec = Spec::family("mobilenext").unwrap();
    for (resolution, resize) in [(224, 256), (160, 182), (96, 109), (1, 1)] {
        assert_eq!(spec.default_resize(resolution), resize);
        spec.set_resolution(resolution);
        assert_eq!((spec.resolution, spec.preprocessing.resize), (resolution, resize));
    }
    assert_eq!(spec.default_resize(usize::MAX), usize::MAX);
    spec.family = "custom".into();
    assert_eq!(spec.default_resize(160), 182);
    assert_eq!(Spec::family("mobilenext-cifar").unwrap().default_resize(40), 40);
    // Nothing is cropped away of a picture that is squashed.
    spec.preprocessing.fit = Fit::Squash;
    spec.set_resolution(96);
    assert_eq!(spec.preprocessing.resize, 96);
    let table = |preprocessing: &str| {
        let rest = r#""stem": {"channels": 16, "stride": 2}, "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2}]"#;
        Spec::from_json(&format!(r#"{{{rest}, "preprocessing": {preprocessing}}}"#)).unwrap().preprocessing
    };
    let found = table(r#"{"fit": "squash", "interpolation": "bicubic"}"#);
    assert_eq!((found.fit, found.interpolation, found.resize), (Fit::Squash, Interpolation::Bicubic, 224));
    let found = table(r#"{"interpolation": "bilinear-antialiased"}"#);
    assert_eq!((found.fit, found.interpolation, found.resize), (Fit::Crop, Interpolation::default(), 256));
}

#[test]
fn a_small_table_has_the_defaults_of_mobilenext() {
    let spec = Spec::from_json(SMALL).unwrap();
    let mut expected = Spec::family("mobilenext").unwrap();
    expected.family = "custom".into();
    expected.stem.channels = 16;
    expected.stages = vec![sandglass(2, 24, 1, 2), sandglass(6, 48, 2, 1)];
    assert_eq!(spec, expected);
    assert_eq!(Network::new(&spec).unwrap().blocks.len(), 4);
}

#[test]
fn a_table_may_borrow_a_family_and_say_the_rest() {
    let with = |more: &str| Spec::from_json(&SMALL.replacen('{', &format!("{{{more},"), 1)).unwrap();
    let cifar = with(r#""family": "mobilenext-cifar", "resolution": 40"#);
    assert_eq!((cifar.classes, cifar.preprocessing.resize), (10, 40));
    assert_eq!(cifar.preprocessing.mean, CIFAR.mean);
    let named = with(r#""labels": ["a", "b", "c"], "padding": "tf", "width": 0.1, "identity": 0.5"#);
    assert_eq!((named.classes, named.padding), (3, Padding::Tf));
    assert_eq!((named.width, named.identity), (0.1, 0.5));
    let pictures = with(r#""resolution": 96, "preprocessing": {"std": [1, 1, 1]}"#);
    assert_eq!((pictures.preprocessing.resize, pictures.preprocessing.std), (109, [1.0; 3]));
    let exact = with(r#""preprocessing": {"resize": 224}"#);
    assert_eq!((exact.preprocessing.resize, exact.preprocessing.mean), (224, IMAGENET.mean));
}

#[test]
fn errors_name_the_field() {
    for (from, to, expected) in [
        ("{\n", "{\"widht\": 1,\n", "stage table: unknown field `widht`, expected one of `family`"),
        ("\"stem\": {\"channels\": 16, \"stride\": 2},", "", "stage table: missing field `stem` at line"),
        ("\"ratio\": 6, ", "", "stage table: missing field `ratio` at line 5 column"),
        ("\"ratio\": 6", "\"ratio\": 6, \"ratio\": 6", "stage table: duplicate field `ratio` at line 5"),
        ("\"ratio\": 6", "\"ratoi\": 6", "stage table: unknown field `ratoi`, expected one of `block`"),
        ("\"ratio\": 6", "\"ratio\": -6", "stage table, field `ratio`: invalid value: integer `-6`"),
        ("\"ratio\": 6", "\"ratio\": 6.5", "stage table, field `ratio`: invalid type: floating point"),
        ("48", "\"48\"", "stage table, field `channels`: invalid type: string \"48\""),
        ("{\n", "{\"width\": null, \"mean\": 1,\n", "stage table: unknown field `mean`"),
        ("{\n", "{\"width\": \"wide\",\n", "stage table, field `width`: invalid type: string \"wide\""),
        ("\"ratio\": 6", "\"block\": \"inception\"", "stage table, field `block`: unknown variant `inception`"),
        ("{\n", "{\"preprocessing\": {\"mean\": [1, 2]},\n", "stage table, field `mean`: invalid length 2"),
        ("[", "", "stage table, field `stages`: invalid type: map"),
        ("]\n}", "", "stage table: EOF while parsing a list at line"),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL);
        let error = Spec::from_json(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error} instead of {expected}");
    }
    for text in ["", "[]", "1", "\"é\"", "{\"é\": 1}", "{\"stem\": 1e999}"] {
        assert!(matches!(Spec::from_json(text), Err(Error::StageTable { .. })), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"([{}\[\]:,"\\é\n 0-9.e-]|"width"|"stem"|null){0,40}"#) {
        let _ = Spec::from_json(&text);
    }
}

#[test]
fn detectors_have_their_defaults() {
    let spec = Spec::family("ssdlite-mobilenext").unwrap();
    assert_eq!((spec.classes, spec.resolution), (21, 320));
    let Preprocessing { resize, fit, interpolation, mean, std, .. } = spec.preprocessing;
    assert_eq!((resize, fit, interpolation), (320, Fit::Squash, Interpolation::Bilinear));
    assert_eq!(mean.map(|mean| mean * 255.0), [123.0, 117.0, 104.0]);
    assert_eq!(std, [0.229, 0.224, 0.225]);
    let detector = spec.detector.unwrap();
    assert_eq!((detector.score, detector.iou, detector.top), (0.01, 0.45, 100));
    let spec = Spec::family("ssdlite300-mobilenetv2-tf").unwrap();
    assert_eq!((spec.classes, spec.resolution, spec.preprocessing.resize), (2, 300, 300));
    assert_eq!(spec.preprocessing.interpolation, Interpolation::BilinearAntialiased);
    let detector = spec.detector.unwrap();
    assert_eq!((detector.score, detector.iou, detector.top), (0.4, 0.6, 100));
}

/// A network of one's own with a detector has the defaults of the first detector.
#[test]
fn a_stage_table_may_have_a_detector() {
    let detector = r#"{"taps": [{"block": 3}], "extras": [{"block": "inverted_residual", "hidden": 8, "channels": 12}],
        "priors": [{"scales": [[0.1, 1.0]]}, {"sizes": {"stride": 16, "min": 40, "max": 80, "ratios": [2]}}],
        "coder": {"centre": 0.1, "size": 0.2}, "scores": "softmax", "score": 0.1, "iou": 0.5, "top": 10}"#;
    let table = SMALL.replacen('{', &format!("{{\"detector\": {detector}, "), 1);
    let mut spec = Spec::from_json(&table).unwrap();
    assert_eq!((spec.classes, spec.resolution, spec.preprocessing.resize), (21, 320, 320));
    assert_eq!((spec.preprocessing.fit, spec.preprocessing.interpolation), (Fit::Squash, Interpolation::Bilinear));
    let network = Network::new(&spec).unwrap();
    assert_eq!(network.grids(320, 200), [(80, 50), (40, 25)]);
    assert_eq!(network.priors(320, 200), 80 * 50 + 40 * 25 * 4);
    spec.set_resolution(160);
    assert_eq!(spec.preprocessing.resize, 160);
    let sizes = &spec.detector.unwrap().priors[1];
    assert_eq!(sizes, &PriorBoxes::Sizes { stride: 8.0, min: 20.0, max: 40.0, ratios: vec![2.0] });
}

/// The reference's, rounded to f32 as it does, and those that TensorFlow's graph computes.
#[test]
fn priors_are_those_of_the_references() {
    let priors = |family: &str| {
        let spec = Spec::family(family).unwrap();
        let grids = Network::new(&spec).unwrap().grids(spec.resolution, spec.resolution);
        spec.detector.unwrap().priors(&grids, spec.resolution).unwrap()
    };
    let sums = |priors: &[[f32; 4]]| [0, 1, 2, 3].map(|i| priors.iter().map(|prior| f64::from(prior[i])).sum::<f64>());
    let near = |found: &[f64], expected: &[f64], most: f64| {
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= most), "{found:?} {expected:?}");
    };
    let found = priors("ssdlite-mobilenext");
    assert_eq!(found.len(), 3234);
    assert_eq!(found[0], [0.025, 0.025, 0.140_625, 0.140_625]);
    assert_eq!(found[5], [0.025, 0.025, 0.081_189_88, 0.243_569_64]);
    assert_eq!(found[2400], [0.05, 0.05, 0.281_25, 0.281_25]);
    assert_eq!(found[3233], [0.5, 0.5, 0.487_139_28, 1.0]);
    near(&sums(&found), &[1_620.374_997_99, 1_620.374_997_99, 716.662_275_05, 716.662_275_05], 1e-7);
    // TensorFlow computes in f32, and its columns are centre y, centre x, height, width.
    let found = priors("ssdlite300-mobilenetv2-tf");
    assert_eq!(found.len(), 1917);
    let wide = found[1].map(f64::from);
    near(&wide, &[0.026_315_79, 0.026_315_79, 0.282_842_73, 0.141_421_36], 3e-7);
    near(&found[1916].map(f64::from), &[0.5, 0.5, 0.974_679_47, 0.974_679_47], 3e-7);
    near(&sums(&found), &[958.500_021_49, 958.500_021_58, 568.561_136_69, 568.567_782_42], 2e-4);
}
