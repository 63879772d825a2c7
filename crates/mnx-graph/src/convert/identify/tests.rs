use proptest::prelude::*;
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::convert;

/// Names and shapes of a checkpoint of `spec`.
fn shapes(spec: &Spec) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for layer in Network::new(spec).unwrap().layers() {
        shapes.insert(format!("{}.weight", layer.name), layer.weight_dims());
        // After its weight come those with a number per channel.
        let names = Modules::of(layer, &layer.name, layer.norm.as_deref().unwrap_or_default(), "");
        shapes.extend(names.tensors().skip(1).map(|name| (name, vec![layer.cout])));
    }
    shapes
}

fn listed(family: &str, width: f64, classes: usize) -> Spec {
    Spec { width, classes, ..Spec::family(family).unwrap() }
}

/// The spec's own names behind this prefix.
fn own(prefix: &str) -> Naming {
    let dialect = &crate::convert::dialects::OWN;
    Naming { dialect, prefix: prefix.into(), left_out: Vec::new(), classifier: None, zero_bias: false }
}

/// A file of these tensors, of a byte per element.
fn file(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let zeros = vec![0; shapes.values().map(|shape| size(shape)).max().unwrap_or(0)];
    let views = shapes
        .iter()
        .map(|(name, shape)| (name, TensorView::new(Dtype::U8, shape.clone(), &zeros[..size(shape)]).unwrap()));
    serialize(views, None).unwrap()
}

fn identify_shapes(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Identified, Error> {
    Shapes(shapes.clone()).identify(&ConvertOptions::default())
}

fn identified(shapes: &BTreeMap<String, Vec<usize>>) -> String {
    identify_shapes(shapes).map_or_else(|e| e.to_string(), |identified| identified.to_string())
}

#[test]
fn every_listed_network_is_told_from_the_others() {
    for &(family, widths) in LISTED {
        for &width in widths {
            let spec = listed(family, width, 7);
            let found = identify_shapes(&shapes(&spec)).unwrap();
            assert_eq!(found, Identified { family, width, exact: true, classes: 7, naming: own("") });
            assert_eq!(found.spec(), spec);
        }
    }
    assert_eq!(identified(&shapes(&listed("mobilenetv2", 1.0, 1001))), "mobilenetv2, width 1, 1001 classes");
    assert_eq!(identified(&shapes(&listed("resnet34", 1.0, 10))), "resnet34, 10 classes");
    // What the CIFAR families have otherwise does not show.
    assert_eq!(identified(&shapes(&listed("mobilenext-cifar", 0.5, 10))), "mobilenext, width 0.5, 10 classes");
    assert_eq!(identified(&shapes(&listed("mobilenetv2-cifar", 1.4, 10))), "mobilenetv2, width 1.4, 10 classes");
}

#[test]
fn what_shapes_do_not_tell_is_listed() {
    let found = identify_shapes(&shapes(&listed("mobilenext", 0.5, 10))).unwrap();
    let list = |spec: &Spec| found.assumptions(spec).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let spec = found.spec();
    assert_eq!(
        list(&spec),
        "ImageNet's strides, not those of mobilenext-cifar, activation ReLU6, no max pool, resolution 224, padding torch, identity 1, mean [0.485, 0.456, \
         0.406] and std [0.229, 0.224, 0.225], batch-norm epsilon 1e-5, bilinear resizing"
    );
    let cifar = found.spec_as("mobilenext-cifar").unwrap();
    assert_eq!(cifar, listed("mobilenext-cifar", 0.5, 10));
    assert_eq!(
        list(&cifar),
        "activation ReLU6, no max pool, resolution 32, padding torch, identity 1, mean [0.4914, 0.4822, 0.4465] and std [0.247, 0.2435, 0.2616], batch-norm \
         epsilon 1e-5, bilinear resizing"
    );
    assert_eq!(found.spec_as("mobilenext").unwrap(), spec);
    let resnet = identify_shapes(&shapes(&listed("resnet18", 1.0, 10))).unwrap();
    let list = resnet.assumptions(&resnet.spec()).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let begins = "ImageNet's strides, activation ReLU, max pool after the stem, resolution 224";
    assert!(list.starts_with(begins), "{list}");
    let error = found.spec_as("resnet18").unwrap_err().to_string();
    assert_eq!(
        error,
        "spec: expected `family` to be mobilenext or mobilenext-cifar, as the checkpoint's names and shapes are, found resnet18"
    );
}
#[test]
fn every_family_can_be_told() {
    let found = |family: &str| identify_shapes(&shapes(&Spec::family(family).unwrap())).unwrap().family;
    crate::families().for_each(|family| assert_eq!(found(family), family.trim_end_matches("-cifar")));
}

#[test]
fn a_width_that_is_not_listed_is_found_by_what_fits() {
    for family in ["mobilenext", "mobilenetv2"] {
        for width in [0.25, 0.4, 0.9, 1.1, 2.0] {
            let given = shapes(&listed(family, width, 3));
            let found = identify_shapes(&given).unwrap();
            assert!(found.exact, "{found}");
            // Widths that are hardly apart can have the same channels.
            assert_eq!(shapes(&listed(family, found.width, 3)), given, "{found}");
        }
    }
    for width in [2.4, 3.0] {
        let found = identified(&shapes(&listed("mobilenext", width, 3)));
        assert_eq!(found, "mobilenext, width 1.4 (the nearest listed one), 3 classes");
    }
}

#[test]
fn a_file_is_read_with_its_prefixes_counters_and_strays() {
    let mut tensors: BTreeMap<_, _> =
        shapes(&listed("mobilenetv2", 0.35, 5)).into_iter().map(|(name, s)| (format!("module.{name}"), s)).collect();
    tensors.insert("module.features.0.1.num_batches_tracked".into(), vec![]);
    tensors.insert("epoch".into(), vec![1]);
    tensors.remove("module.features.5.conv.1.0.weight");
    tensors.insert("module.features.3.conv.2.weight".into(), vec![]);
    let found = identify(&file(&tensors)).unwrap();
    let naming = own("module.");
    let expected = Identified { family: "mobilenetv2", width: 0.35, exact: false, classes: 5, naming };
    assert_eq!(found, expected);
}

#[test]
fn what_contradicts_the_spec_is_listed_before_the_tensors() {
    let file = file(&shapes(&listed("mobilenetv2", 0.35, 7)));
    let lines = |family, width, classes| {
        let error = convert(&file, &listed(family, width, classes), 1e-5).unwrap_err().to_string();
        error.lines().skip(1).take(3).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let all = lines("resnet50", 1.0, 1000);
    assert_eq!(all[0], "family: expected resnet50, found mobilenetv2 by names and shapes");
    assert_eq!(all[1], "width: expected 1, found 0.35 by names and shapes");
    assert_eq!(all[2], "classes: expected 1000, found 7 by names and shapes");
    assert_eq!(lines("mobilenetv2", 0.35, 8)[0], "classes: expected 8, found 7 by names and shapes");
    assert!(lines("mobilenetv2-cifar", 0.35, 7)[0].starts_with("features.0.0.weight: expected dtype"));
}

#[test]
fn what_is_no_known_network_is_one_line() {
    assert!(matches!(identify(b"no checkpoint"), Err(Error::Checkpoint(CheckpointError::Format { .. }))));
    let networks = "tensors named as in mobilenext, mobilenetv2, resnet18, resnet34, resnet50, ssdlite-mobilenext, \
                    ssdlite-mobilenetv2, ssdlite300-mobilenetv2-tf";
    let strange = |names: &[&str]| identified(&names.iter().map(|name| ((*name).to_owned(), vec![1])).collect());
    assert_eq!(strange(&[]), format!("checkpoint: expected {networks}, found none"));
    let names = ["a\nb\u{1b}[2J", "b", "c", "d"];
    let found = "found 4 others: `a\\nb\\u{1b}[2J`, `b`, `c`, …";
    assert_eq!(strange(&names), format!("checkpoint: expected {networks}, {found}"));
    let long = strange(&[&"é".repeat(1 << 20)]);
    assert!(long.len() < 500 && long.contains('…'), "{long}");

    let mut tensors = shapes(&listed("resnet18", 1.0, 9));
    tensors.insert("fc.bias".into(), vec![3, 3]);
    assert_eq!(identified(&tensors), "resnet18, 9 classes");
    tensors.insert("fc.weight".into(), vec![0, 512]);
    let expected = "`fc.bias` [classes] or `fc.weight` [classes, features]";
    assert_eq!(identified(&tensors), format!("checkpoint: expected {expected}, found [3, 3] and [0, 512]"));
    tensors.retain(|name, _| !name.starts_with("fc"));
    assert_eq!(identified(&tensors), format!("checkpoint: expected {expected}, found none and none"));
    // A classifier by another name is the only matrix for the features.
    tensors.insert("my_head.weight".into(), vec![9, 512]);
    tensors.insert("my_head.bias".into(), vec![9]);
    assert_eq!(identified(&tensors), "resnet18, 9 classes");
    // Two of them, and one for other features.
    tensors.insert("other.weight".into(), vec![7, 512]);
    let found = "found neither, but `my_head.weight` [9, 512], `other.weight` [7, 512]";
    assert_eq!(identified(&tensors), format!("checkpoint: expected {expected}, {found}"));
    tensors.remove("other.weight");
    tensors.insert("my_head.weight".into(), vec![9, 64]);
    let found = "found neither, but `my_head.weight` [9, 64]";
    assert_eq!(identified(&tensors), format!("checkpoint: expected {expected}, {found}"));
    // Both behind a prefix on two lines.
    let prefixed = tensors.iter().map(|(name, shape)| (format!("a\nb.{name}"), shape.clone())).collect();
    let expected = expected.replace("fc.", "a\\nb.fc.");
    let found = "found neither, but `a\\nb.my_head.weight` [9, 64]";
    assert_eq!(identified(&prefixed), format!("checkpoint: expected {expected}, {found}"));
    // Half of a network's tensors are needed.
    let network = shapes(&listed("mobilenext", 1.0, 9));
    tensors = network.into_iter().filter(|(name, _)| name.starts_with("features.2")).collect();
    assert!(identified(&tensors).contains("others: `features.2."), "{}", identified(&tensors));
}

proptest! {
    /// Any shapes under a network's names: an answer or an error.
    #[test]
    fn hostile_shapes_do_not_panic(dims in prop::collection::vec(prop::collection::vec(prop_oneof![0..4_usize, Just(usize::MAX)], 0..5), 1..9)) {
        let mut tensors = shapes(&listed("mobilenetv2", 0.1, 3));
        tensors.values_mut().zip(dims.iter().cycle()).for_each(|(shape, dims)| shape.clone_from(dims));
        if let Ok(found) = identify_shapes(&tensors) {
            prop_assert!(found.family == "mobilenetv2" && !found.exact && found.classes > 0);
        }
    }
}
