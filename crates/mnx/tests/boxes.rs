//! A detector with random weights: from a frame to boxes.

use mnx::{
    Classifier, DetectOptions, Detector, Error, ErrorKind, Fit, Frame, Interpolation, Isa, Model, PostProcessor,
    Preprocessor, Session, SessionOptions, Spec, TensorView,
};

fn spec(family: &str) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    (spec.width, spec.classes) = (0.1, 4);
    spec.set_resolution(96);
    spec
}

fn model(spec: &Spec) -> Model {
    Model::from_bytes(mnx::init(spec, 1).unwrap()).unwrap()
}

fn noise(width: usize, height: usize) -> Vec<u8> {
    (0..(width * height * 3) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The three parts, put together by hand, give the same boxes.
#[test]
fn a_detector_is_its_three_parts() {
    for family in ["ssdlite-mobilenext", "ssdlite-mobilenetv2"] {
        let mut spec = spec(family);
        spec.labels = Some(["background", "a", "b", "c"].map(String::from).into());
        let model = model(&spec);
        let (width, height) = (130, 70);
        let pixels = noise(width, height);
        let frame = Frame::rgb8(&pixels, width, height, 3 * width).unwrap();

        let mut detector = Detector::with(&model, SessionOptions::new().threads(1)).unwrap();
        detector.detect(frame).unwrap();
        let seen = detector.input().to_vec();
        let found: Vec<_> = detector.detect(frame).unwrap().collect();
        assert!(found.len() > 10, "{family}: {}", found.len());

        assert_eq!((spec.preprocessing.fit, spec.preprocessing.interpolation), (Fit::Squash, Interpolation::Bilinear));
        let input = Preprocessor::new(96, &spec.preprocessing).unwrap().process(frame).unwrap();
        assert_eq!(seen, input);
        let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
        let outputs = session.run(TensorView::new([1, 3, 96, 96], &input).unwrap()).unwrap();
        let priors = spec.detector.as_ref().unwrap().priors(&model.network().grids(96, 96), 96).unwrap();
        let mut post = PostProcessor::new(spec.detector.as_ref().unwrap(), 4, priors, 96).unwrap();
        let [scores, boxes] = ["scores", "boxes"].map(|name| outputs.get(name).unwrap());
        let expected = post.process(scores.data(), boxes.data(), width, height).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.index, found.score), (expected.class, expected.score));
            assert_eq!(found.label.as_deref(), [None, Some("a"), Some("b"), Some("c")][found.index]);
            let corners = [found.xmin, found.ymin, found.xmax, found.ymax];
            assert_eq!(corners, [expected.xmin, expected.ymin, expected.xmax, expected.ymax]);
        }
    }
}

/// Where pictures are cropped instead of squashed, boxes are moved back to where the crop was.
#[test]
fn a_crop_is_undone() {
    let mut spec = spec("ssdlite-mobilenext");
    (spec.preprocessing.fit, spec.preprocessing.resize) = (Fit::Crop, 100);
    let model = model(&spec);
    let pixels = noise(300, 150);
    let frame = Frame::rgb8(&pixels, 300, 150, 900).unwrap();
    let mut detector = Detector::new(&model).unwrap();
    let found: Vec<_> = detector.detect(frame).unwrap().map(|found| [found.xmin, found.ymin]).collect();
    // The picture becomes 200 x 100; the crop of 96 x 96 begins at 52, 2. A picture of the crop alone gives the boxes there.
    let side = 96;
    let input = Preprocessor::new(side, &spec.preprocessing).unwrap().process(frame).unwrap();
    let mut session = Session::new(&model).unwrap();
    let outputs = session.run(TensorView::new([1, 3, side, side], &input).unwrap()).unwrap();
    let priors = spec.detector.as_ref().unwrap().priors(&model.network().grids(side, side), side).unwrap();
    let mut post = PostProcessor::new(spec.detector.as_ref().unwrap(), 4, priors, side).unwrap();
    let [scores, boxes] = ["scores", "boxes"].map(|name| outputs.get(name).unwrap());
    let in_crop = post.process(scores.data(), boxes.data(), side, side).unwrap();
    assert_eq!(found.len(), in_crop.len());
    for (found, in_crop) in found.iter().zip(in_crop) {
        let expected = [(in_crop.xmin + 52.0) * 1.5, (in_crop.ymin + 2.0) * 1.5];
        assert!((found[0] - expected[0]).abs() < 1e-3 && (found[1] - expected[1]).abs() < 1e-3, "{found:?}");
    }
}

/// Every kind of thread and instruction set with one rounding gives the same boxes, and so does a second picture in between.
#[test]
fn boxes_do_not_depend_on_how_they_are_computed() {
    let model = model(&spec("ssdlite-mobilenext"));
    let (pixels, other) = (noise(96, 200), vec![7; 30 * 40 * 3]);
    let frame = Frame::rgb8(&pixels, 96, 200, 3 * 96).unwrap();
    let mut results = Vec::new();
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar && isa.name() != "simd128") {
        // Without the feature `rayon` there is one thread.
        for threads in [1, if cfg!(feature = "rayon") { 2 } else { 1 }] {
            let mut detector = Detector::with(&model, SessionOptions::new().isa(isa).threads(threads)).unwrap();
            detector.detect(Frame::rgb8(&other, 30, 40, 90).unwrap()).unwrap();
            let found: Vec<_> = detector.detect(frame).unwrap().map(|found| format!("{found:?}")).collect();
            results.push(found);
        }
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn options_are_checked_and_applied() {
    let model = model(&spec("ssdlite300-mobilenetv2-tf"));
    let pixels = noise(50, 50);
    let frame = || Frame::rgb8(&pixels, 50, 50, 150).unwrap();
    let mut detector = Detector::new(&model).unwrap();
    detector.set_options(DetectOptions::new().score(0.0).top(3)).unwrap();
    let found = detector.detect(frame()).unwrap();
    assert_eq!(found.len(), 3);
    // TensorFlow's boxes end at the picture's edges.
    for found in found {
        assert!(found.xmin >= 0.0 && found.ymin >= 0.0 && found.xmax <= 50.0 && found.ymax <= 50.0, "{found:?}");
    }
    let error = detector.set_options(DetectOptions::new().iou(2.0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // They stay as they were.
    assert_eq!(detector.detect(frame()).unwrap().len(), 3);
}

#[test]
fn the_other_kind_of_network_is_refused() {
    let mut classifier = Spec::family("mobilenext-cifar").unwrap();
    classifier.width = 0.1;
    let error = Detector::new(&model(&classifier)).unwrap_err();
    assert!(matches!(error, Error::ExpectedDetector));
    assert_eq!(error.to_string(), "network: expected a detector, found a classifier, which needs a Classifier");
    let error = Classifier::new(&model(&spec("ssdlite-mobilenext"))).unwrap_err();
    assert!(error.to_string().contains("expected a classifier, found a detector"), "{error}");
}
