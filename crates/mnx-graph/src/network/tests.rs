use super::*;

/// What PyTorch has; the files' heads say how to read them.
const EXPECTED: [&str; 3] =
    [include_str!("mobilenext-layers.txt"), include_str!("mobilenetv2-layers.txt"), include_str!("resnet-layers.txt")];

fn spec(family: &str, width: f64) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    spec.width = width;
    spec
}

fn mobilenext(width: f64, identity: f64) -> Network {
    let mut spec = spec("mobilenext", width);
    spec.identity = identity;
    Network::new(&spec).unwrap()
}

/// A network and its lines of [`EXPECTED`], from ours.
fn describe(family: &str, width: &str, classes: &str) -> Vec<String> {
    let mut spec = spec(family, width.parse().unwrap());
    spec.classes = classes.parse().unwrap();
    let net = Network::new(&spec).unwrap();
    let mut lines = vec![format!(
        "network {family} {width} {classes} {} {} {}",
        net.parameters(),
        net.macs(224, 224),
        net.macs(65, 97)
    )];
    for layer in net.layers() {
        let dims = layer.weight_dims();
        let activation = match layer.activation {
            Activation::Linear => "linear",
            Activation::Relu6 => "relu6",
            Activation::Relu => "relu",
        };
        lines.push(format!(
            "{} {} {} {} {} {activation} {}",
            layer.name,
            dims[0],
            dims[1],
            dims.get(2).unwrap_or(&1),
            layer.stride,
            layer.norm.as_deref().unwrap_or("-")
        ));
    }
    for block in net.blocks.iter().filter(|block| block.identity_channels > 0) {
        lines.push(format!("identity {} {}", block.name, block.identity_channels));
    }
    lines
}

#[test]
fn every_layer_is_pytorchs() {
    let mut expected = EXPECTED.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')).peekable();
    let mut networks = 0;
    while let Some(head) = expected.next() {
        let words: Vec<&str> = head.split(' ').collect();
        assert_eq!(words[0], "network");
        let ours = describe(words[1], words[2], words[3]);
        assert_eq!(ours[0], head);
        for line in &ours[1..] {
            assert_eq!(expected.next(), Some(line.as_str()), "in {head}");
        }
        let next = expected.peek();
        assert!(next.is_none_or(|line| line.starts_with("network ")), "{head} lacks {next:?}");
        networks += 1;
    }
    assert_eq!(networks, 8 + 7 + 3);
}

#[test]
fn parameters_and_macs_per_width() {
    for (width, parameters, macs) in [
        (0.1, 1_627_316, 28_084_568),
        (0.35, 1_913_976, 75_141_032),
        (0.5, 2_152_304, 103_256_448),
        (0.75, 2_766_168, 207_926_720),
        (1.0, 3_535_416, 311_342_592),
        (1.4, 6_126_168, 588_319_256),
    ] {
        let net = mobilenext(width, 1.0);
        assert_eq!((net.parameters(), net.macs(224, 224)), (parameters, macs), "width {width}");
    }
}

#[test]
fn cifar_variant_at_its_own_resolution() {
    let net = Network::new(&spec("mobilenext-cifar", 0.35)).unwrap();
    assert_eq!(net.parameters(), 645_786);
    assert_eq!(net.macs(32, 32), 442_368 + 3_314_304 + 17_412_096 + 12_800);
}

/// Shortcuts in blocks 4-5, 7-8, 10-12, 14-16, 18-19 (at width 0.13 in block 3 too).
fn identity_channels(width: f64, identity: f64) -> Vec<usize> {
    mobilenext(width, identity).blocks.iter().map(|block| block.identity_channels).collect()
}

#[test]
fn identity_multiplier_rounds_half_to_even() {
    let expected: [(f64, f64, [usize; 21]); 6] = [
        (0.1, 0.25, [0, 0, 0, 0, 5, 5, 0, 7, 7, 0, 10, 10, 10, 0, 14, 14, 14, 0, 24, 24, 0]),
        (0.1, 0.3, [0, 0, 0, 0, 6, 6, 0, 8, 8, 0, 12, 12, 12, 0, 17, 17, 17, 0, 29, 29, 0]),
        (0.35, 0.5, [0, 0, 0, 0, 32, 32, 0, 52, 52, 0, 68, 68, 68, 0, 100, 100, 100, 0, 168, 168, 0]),
        (0.35, 0.0, [0; 21]),
        (0.13, 1.0, [0, 0, 0, 24, 24, 24, 0, 40, 40, 0, 48, 48, 48, 0, 72, 72, 72, 0, 128, 128, 0]),
        (0.13, 0.3, [0, 0, 0, 7, 7, 7, 0, 12, 12, 0, 14, 14, 14, 0, 22, 22, 22, 0, 38, 38, 0]),
    ];
    for (width, identity, channels) in expected {
        assert_eq!(identity_channels(width, identity), channels, "{width} {identity}");
    }
    // 20, 28, 40, 56, 96 times 1/8 is 2.5, 3.5, 5, 7, 12: one half goes down, the other one up.
    let halves = [0, 0, 0, 0, 2, 2, 0, 4, 4, 0, 5, 5, 5, 0, 7, 7, 7, 0, 12, 12, 0];
    assert_eq!(identity_channels(0.1, 0.125), halves);
}

#[test]
fn equal_channels_lose_their_stride() {
    let sides = |width: f64| -> Vec<usize> {
        let net = mobilenext(width, 1.0);
        let mut sides = vec![0; net.blocks.len()];
        net.place(224, 224).filter(|p| p.block < 21).for_each(|p| sides[p.block] = p.output.0);
        sides
    };
    assert_eq!(sides(1.0)[..4], [112, 56, 56, 28]);
    assert_eq!(sides(0.13)[..4], [112, 56, 56, 56]);
}

#[test]
fn places_follow_one_another() {
    let net = mobilenext(0.35, 1.0);
    for (h, w) in [(1, 1), (2, 1), (33, 7), (224, 160)] {
        let mut size = (h, w);
        for placed in net.place(h, w).take_while(|p| p.block < net.blocks.len()) {
            assert_eq!(placed.input, size);
            // PyTorch's formula, with 1 of padding at both ends.
            let out = |n: usize| match placed.layer.kind {
                LayerKind::Pointwise => n,
                _ => (n + 2 - 3) / placed.layer.stride + 1,
            };
            assert_eq!(placed.output, (out(size.0), out(size.1)));
            size = placed.output;
        }
        let last = net.place(h, w).last().unwrap();
        assert_eq!((last.block, last.layer, last.output), (21, net.classifier().unwrap(), (1, 1)));
    }
}

#[test]
fn counts_saturate() {
    let side = usize::MAX;
    assert_eq!(mobilenext(1.0, 1.0).macs(side, side), u64::MAX);
}

#[test]
fn any_width_within_the_limits_builds() {
    for i in 1..400 {
        let width = f64::from(i) * 0.0125;
        let net = mobilenext(width, 0.3);
        for block in &net.blocks {
            let (cin, cout) = (block.layers[0].cin, block.layers.last().unwrap().cout);
            assert!(block.identity_channels == 0 || cin == cout, "{} at {width}", block.name);
            assert!(block.layers.windows(2).all(|pair| pair[0].cout == pair[1].cin));
        }
    }
}

#[test]
fn limits_hold_before_anything_grows() {
    type Change = fn(&mut Spec, &mut Limits);
    let cases: [(Change, &str); 11] = [
        (|s, _| s.width = 1e300, "`stem.channels` times the width: expected at most 65536"),
        (|s, l| (s.width, l.weights) = (60.0, 1 << 33), "`stages[7].channels` times the width: expected at most 65536"),
        (|s, _| s.stages[4].channels = usize::MAX, "`stages[4].channels` times the width"),
        (|s, _| s.stages[3].repeats = usize::MAX, "tensors of the network up to `features."),
        (|_, l| l.tensors = 149, "tensors of the network up to `classifier.1`: expected at most 149, found 150"),
        (|_, l| l.channels = 1279, "`stages[7].channels` times the width: expected at most 1279, found 1280"),
        (|_, l| l.weights = 1_000, "elements of all weights up to `features."),
        (|s, _| s.width = 60.0, "elements of all weights up to `features."),
        (|_, l| l.elements = 266_239, "elements of `features.20.conv.5.weight`: expected at most 266239, found 266240"),
        (
            |s, l| {
                (s.width, s.classes, l.channels) = (0.1, 8, 15);
                s.stages.truncate(1);
                (s.stages[0].channels, s.stages[0].ratio) = (15, 6);
            },
            "output channels of `features.1.conv.0`: expected at most 15, found 16",
        ),
        (|s, _| s.classes = 65_537, "classes of the spec: expected at most 65536, found 65537"),
    ];
    for (change, expected) in cases {
        let (mut spec, mut limits) = (spec("mobilenext", 1.0), Limits::default());
        change(&mut spec, &mut limits);
        let error = Network::new_with(&spec, &limits).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error:?}");
        assert!(error.to_string().starts_with(expected), "{error} instead of {expected}");
    }
}

#[test]
fn limits_include_their_bound() {
    let limits = Limits { tensors: 150, channels: 1280, elements: 1280 * 1000, ..Limits::default() };
    Network::new_with(&spec("mobilenext", 1.0), &limits).unwrap();
}

/// Numbers are those of the reference: the sum of the parameters of the PyTorch model, and of TensorFlow's checkpoint.
#[test]
fn detectors_have_as_many_parameters_as_the_reference() {
    for (family, classes, parameters) in [
        ("ssdlite-mobilenext", 21, 3_476_308),
        ("ssdlite-mobilenetv2", 21, 3_425_988),
        ("ssdlite300-mobilenetv2-tf", 2, 3_045_126),
    ] {
        let spec = Spec { classes, ..spec(family, 1.0) };
        assert_eq!(Network::new(&spec).unwrap().parameters(), parameters, "{family}");
    }
}

#[test]
fn levels_are_taps_and_extra_blocks() {
    let priors = |family: &str, side| {
        let network = Network::new(&spec(family, 1.0)).unwrap();
        (network.grids(side, side).iter().map(|grid| grid.0).collect::<Vec<_>>(), network.priors(side, side))
    };
    let reference = [20, 10, 5, 3, 2, 1];
    assert_eq!(priors("ssdlite-mobilenext", 320), (reference.into(), 3234));
    assert_eq!(priors("ssdlite-mobilenetv2", 320), (reference.into(), 3234));
    assert_eq!(priors("ssdlite300-mobilenetv2-tf", 300), (vec![19, 10, 5, 3, 2, 1], 1917));
    let network = Network::new(&spec("ssdlite-mobilenext", 0.35)).unwrap();
    // The width scales the backbone alone.
    let inputs: Vec<_> = network.levels().iter().map(|level| level.scores.layers[0].cin).collect();
    assert_eq!(inputs, [200, 1280, 512, 256, 256, 128]);
    let first = &network.levels()[0];
    let tapped = &network.blocks[first.block].layers[first.layer.unwrap()];
    assert_eq!((first.block, &*tapped.name, tapped.cout), (13, "features.13.conv.2", 200));
    let [depthwise, last] = &first.scores.layers[..] else { panic!("two layers") };
    assert_eq!((&*depthwise.name, depthwise.norm.as_deref()), ("cls_headers.0.conv.0", Some("cls_headers.0.conv.1")));
    assert!(depthwise.bias && last.bias && last.norm.is_none());
    assert_eq!((&*last.name, last.cout, first.priors), ("cls_headers.0.conv.3", 6 * 21, 6));
    assert_eq!(network.levels()[5].boxes.layers[0].name, "reg_headers.5");
    let placed: Vec<_> = network.place(320, 320).collect();
    assert!(placed.iter().enumerate().all(|(index, layer)| layer.index == index));
    assert_eq!(placed.last().map(|layer| (layer.block, layer.output)), Some((network.blocks.len() + 11, (1, 1))));
}

#[test]
fn taps_that_no_detector_can_have_are_refused() {
    type Change = fn(&mut crate::DetectorSpec);
    let refused = |change: Change| {
        let mut spec = spec("ssdlite-mobilenext", 1.0);
        change(spec.detector.as_mut().unwrap());
        Network::new(&spec).unwrap_err().to_string()
    };
    let cases: [(Change, &str); 4] = [
        (|d| d.taps[1].block = 21, "`detector.taps[1].block` to be a block of the backbone, 0 to 20, found 21"),
        (
            |d| d.taps[1].block = 13,
            "`detector.taps[1]` to be after the tap before it, in order of execution, found block 13",
        ),
        (
            |d| d.taps[0].block = 0,
            "`detector.taps[0].at` to be output in `features.0`, in which no depthwise layer follows",
        ),
        (
            |d| d.priors[0] = crate::PriorBoxes::Scales(vec![[1.0, 1.0]; 4000]),
            "output channels of `cls_headers.0.conv.3`",
        ),
    ];
    for (change, expected) in cases {
        let error = refused(change);
        assert!(error.contains(expected), "{error}");
    }
    let mut few = spec("ssdlite-mobilenext", 1.0);
    few.classes = 1;
    assert!(Network::new(&few).unwrap_err().to_string().contains("at least 2, the background among them"));
    // As many priors as a picture of this size has are refused before anybody makes them.
    let mut large = spec("ssdlite-mobilenext", 1.0);
    large.set_resolution(26_000);
    large.classes = 100;
    large.detector.as_mut().unwrap().priors[0] = crate::PriorBoxes::Scales(vec![[1.0, 1.0]; 600]);
    let error = Network::new(&large).unwrap_err();
    assert!(matches!(&error, Error::Limit { what, .. } if what.contains("heads of a picture of 26000")), "{error}");
}
