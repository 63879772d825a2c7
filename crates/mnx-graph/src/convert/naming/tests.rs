use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::convert::modules::NORM;
use crate::{convert_with, identify_with};

/// Names and shapes of a checkpoint.
type Shapes = BTreeMap<String, Vec<usize>>;

/// A checkpoint whose tensors have the spec's own names.
fn shapes(spec: &Spec) -> Shapes {
    let mut shapes = Shapes::new();
    for layer in Network::new(spec).unwrap().layers() {
        shapes.insert(format!("{}.weight", layer.name), layer.weight_dims());
        let names = Modules::of(layer, &layer.name, layer.norm.as_deref().unwrap_or_default(), "");
        shapes.extend(names.tensors().skip(1).map(|name| (name, vec![layer.cout])));
    }
    shapes
}

fn mobilenetv2() -> Spec {
    Spec { width: 0.1, classes: 3, ..Spec::family("mobilenetv2").unwrap() }
}

/// The checkpoint with changed names.
fn renamed(shapes: &Shapes, rename: impl Fn(&str) -> String) -> Shapes {
    shapes.iter().map(|(name, shape)| (rename(name), shape.clone())).collect()
}

fn prefixed(shapes: &Shapes, prefix: &str) -> Shapes {
    renamed(shapes, |name| format!("{prefix}{name}"))
}

/// A file of ones.
fn file(shapes: &Shapes) -> Vec<u8> {
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let ones = 1_f32.to_le_bytes().repeat(shapes.values().map(|shape| size(shape)).max().unwrap());
    let view = |shape: &Vec<usize>| TensorView::new(Dtype::F32, shape.clone(), &ones[..4 * size(shape)]).unwrap();
    safetensors::serialize(shapes.iter().map(|(name, shape)| (name, view(shape))), None).unwrap()
}

/// The naming that both `identify` and `convert` find, and whether conversion works.
fn found(shapes: &Shapes, spec: &Spec, options: &ConvertOptions) -> (Naming, Result<(), String>) {
    let file = file(shapes);
    let naming = naming(&file, spec, options).unwrap();
    assert_eq!(identify_with(&file, options).unwrap().naming, naming);
    (naming, convert_with(&file, spec, options).map(drop).map_err(|e| e.to_string()))
}

fn refused(shapes: &Shapes, options: &ConvertOptions) -> String {
    let file = file(shapes);
    let expected = identify_with(&file, options).unwrap_err().to_string();
    assert_eq!(convert_with(&file, &mobilenetv2(), options).unwrap_err().to_string(), expected);
    expected
}

#[test]
fn a_prefix_that_all_tensors_share_is_taken_off() {
    let spec = mobilenetv2();
    let all = shapes(&spec);
    for prefix in
        ["", "module.", "_orig_mod.", "module._orig_mod.", "state_dict.model.", "my net.v1.a.b.c.", "features."]
    {
        let mut tensors = prefixed(&all, prefix);
        tensors.insert(format!("{prefix}features.0.1.num_batches_tracked"), vec![]);
        tensors.insert("n_averaged".into(), vec![]);
        tensors.insert(format!("{prefix}total_ops"), vec![1]);
        let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
        assert_eq!((naming.prefix.as_str(), naming.dialect.name, &naming.left_out[..]), (prefix, "own", &[][..]));
        assert_eq!(converted, Ok(()), "{prefix}");
    }
}

#[test]
fn what_lacks_the_prefix_is_refused_or_on_demand_left_out() {
    let spec = mobilenetv2();
    let mut tensors = prefixed(&shapes(&spec), "model.");
    tensors.insert("criterion.weight".into(), vec![3]);
    tensors.insert("features.0.1.bias".into(), vec![8]);
    let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
    assert_eq!((naming.prefix.as_str(), naming.left_out.len()), ("model.", 0));
    let twice = "features.0.1.bias: expected once, found with and without the prefix `model.`";
    let stray = "criterion.weight: unexpected, found with shape [3]";
    assert_eq!(converted, Err(format!("checkpoint: found 2 problems:\n  {twice}\n  {stray}")));
    for prefix in ["model.", "model"] {
        let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new().strip_prefix(prefix));
        assert_eq!((naming.prefix.as_str(), converted), ("model.", Ok(())));
        assert_eq!(naming.left_out, ["criterion.weight", "features.0.1.bias"]);
    }
    // More of the prefix is found behind the one that is given.
    let tensors = prefixed(&tensors, "ema.");
    let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new().strip_prefix("ema"));
    assert_eq!(naming.prefix, "ema.model.");
    assert!(converted.unwrap_err().contains("\n  ema.criterion.weight: unexpected"));
    let error = refused(&tensors, &ConvertOptions::new().strip_prefix("em"));
    let names = "`ema.criterion.weight`, `ema.features.0.1.bias`, `ema.model.classifier.1.bias`, …";
    let expected = format!("names that begin with `em.`, found {} others: {names}", tensors.len());
    assert_eq!(error, format!("checkpoint: expected {expected}"));
}

#[test]
fn two_networks_in_a_file_are_told_apart_by_their_prefix() {
    let spec = mobilenetv2();
    let mut tensors = prefixed(&shapes(&spec), "model.");
    tensors.extend(prefixed(&shapes(&spec), "ema.module."));
    let error = refused(&tensors, &ConvertOptions::new());
    assert_eq!(error, "checkpoint: expected the network once, found it behind `model.` and `ema.module.`");
    let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new().strip_prefix("ema."));
    assert_eq!((naming.prefix.as_str(), naming.left_out.len(), converted), ("ema.module.", tensors.len() / 2, Ok(())));
    tensors.retain(|name, _| name.starts_with("ema."));
    tensors.extend(shapes(&spec));
    let error = refused(&tensors, &ConvertOptions::new());
    assert_eq!(error, "checkpoint: expected the network once, found it behind no prefix and `ema.module.`");
    // A part of a second one is listed name by name.
    let mut tensors = prefixed(&shapes(&spec), "model.");
    tensors.insert("ema.features.0.0.weight".into(), vec![8, 3, 3, 3]);
    let error = convert_with(&file(&tensors), &spec, &ConvertOptions::new()).unwrap_err().to_string();
    assert!(
        error.ends_with("\n  features.0.0.weight: expected once, found with the prefixes `model.` and `ema.`"),
        "{error}"
    );
}

#[test]
fn the_classifier_has_many_names_and_stands_outside_what_holds_the_layers() {
    let resnet = Spec { classes: 3, ..Spec::family("resnet18").unwrap() };
    for (spec, own, heads) in [(mobilenetv2(), "classifier.1", CLASSIFIERS), (resnet, "fc", &["head.fc"][..])] {
        let all = shapes(&spec);
        for head in heads {
            let tensors = renamed(&all, |name| name.replacen(&format!("{own}."), &format!("{head}."), 1));
            let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
            assert_eq!((naming.prefix.as_str(), converted), ("", Ok(())), "{head}");
            // As OpenMMLab has it.
            let behind = |name: &str| match name.strip_prefix(own) {
                Some(part) => format!("{head}{part}"),
                None => format!("backbone.{name}"),
            };
            for options in [ConvertOptions::new(), ConvertOptions::new().strip_prefix("backbone.")] {
                let (naming, converted) = found(&renamed(&all, behind), &spec, &options);
                assert_eq!((naming.prefix.as_str(), converted), ("backbone.", Ok(())), "{head}");
                assert!(naming.left_out.is_empty());
            }
        }
        let mut two = all.clone();
        two.insert("head.fc.weight".into(), vec![3, 4]);
        let expected = format!("\n  classifier: expected one, found `{own}` and `head.fc`");
        let error = convert_with(&file(&two), &spec, &ConvertOptions::new()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
        let error = identify_with(&file(&two), &ConvertOptions::new()).unwrap_err().to_string();
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn what_is_missing_has_the_name_of_its_dialect() {
    let spec = mobilenetv2();
    let network = Network::new(&spec).unwrap();
    for dialect in DIALECTS.iter().filter(|dialect| dialect.layers(&spec, &network).is_some()) {
        // The last of several names: the others are tested with one network of each implementation.
        let layers = dialect.layers(&spec, &network).unwrap();
        let mut tensors = Shapes::new();
        for (layer, names) in network.layers().zip(&layers) {
            let Modules { conv, norm, .. } = names.last().unwrap();
            let norm = norm.as_ref().unwrap();
            tensors.insert(format!("net.{conv}.weight"), layer.weight_dims());
            tensors.extend(NORM.map(|part| (format!("net.{norm}.{part}"), vec![layer.cout])));
        }
        tensors.insert("net.classifier.weight".into(), network.classifier().unwrap().weight_dims());
        tensors.insert("net.classifier.bias".into(), vec![3]);
        let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
        assert_eq!((naming.dialect, naming.prefix.as_str(), converted), (*dialect, "net.", Ok(())));

        // Names of another dialect among them: each is listed.
        let [conv, norm] = [&layers[7][0].conv, layers[9][0].norm.as_ref().unwrap()];
        tensors.remove(&format!("net.{conv}.weight"));
        tensors.remove(&format!("net.{norm}.running_var"));
        tensors.insert("net.strange.weight".into(), vec![1]);
        let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
        let lines: Vec<_> = converted.as_ref().unwrap_err().lines().skip(1).collect();
        assert_eq!(naming.dialect, *dialect);
        assert!(lines[0].starts_with(&format!("  net.{conv}.weight: missing, expected shape")), "{lines:?}");
        assert!(lines[1].starts_with(&format!("  net.{norm}.running_var: missing, expected shape")), "{lines:?}");
        assert_eq!(lines[2..], ["  net.strange.weight: unexpected, found with shape [1]"]);
    }
}

/// Every prefix is looked at that many tensors have, however they are named.
#[test]
fn hostile_names_are_counted_in_no_time() {
    let names: Vec<String> = (0..200_000).map(|i| format!("a.b.c.d.e.f.g.h.i.j.k.{i}.conv1.weight")).collect();
    let named = names.iter().map(|name| (name.as_str(), vec![64]));
    let names = Names::new(named, &ConvertOptions::new()).unwrap();
    assert_eq!(names.prefixes.len(), 1 + DEEPEST);
}

/// Whose names a detector's tensors have, behind any prefix; a missing tensor is listed by its name there.
#[test]
fn detectors_have_names_of_their_own() {
    let cases = [
        ("ssdlite-mobilenext", "own", "cls_headers.3.conv.0.bias"),
        ("ssdlite-mobilenext", "MobileNeXt's authors", "box_head.predictor.cls_headers.3.conv.0.bias"),
        ("ssdlite-mobilenetv2", "MobileNeXt's authors", "backbone.extras.1.conv.1.0.weight"),
        ("ssdlite300-mobilenetv2-tf", "TensorFlow's SSDLite", "heads.5.box.pointwise.conv.bias"),
        ("ssdlite300-mobilenetv2-tf", "TensorFlow's SSDLite", "blocks.13.expand.bn.weight"),
    ];
    for (family, name, missing) in cases {
        let spec = Spec { width: 0.1, classes: 3, ..Spec::family(family).unwrap() };
        let network = Network::new(&spec).unwrap();
        let of_dialect = DIALECTS.iter().filter(|dialect| dialect.name == name);
        let layers = of_dialect.filter_map(|dialect| dialect.layers(&spec, &network)).next().unwrap();
        let mut tensors = Shapes::new();
        for (layer, names) in network.layers().zip(&layers) {
            let mut names = names[0].tensors();
            tensors.insert(format!("module.{}", names.next().unwrap()), layer.weight_dims());
            tensors.extend(names.map(|name| (format!("module.{name}"), vec![layer.cout])));
        }
        let (naming, converted) = found(&tensors, &spec, &ConvertOptions::new());
        assert_eq!((naming.dialect.name, naming.prefix.as_str(), converted), (name, "module.", Ok(())), "{family}");
        let eps = if family.ends_with("-tf") { 1e-3 } else { 1e-5 };
        assert_eq!(naming.bn_eps(&spec), eps);
        assert!(tensors.remove(&format!("module.{missing}")).is_some(), "{missing}");
        let (_, converted) = found(&tensors, &spec, &ConvertOptions::new());
        let lines = converted.unwrap_err();
        let lines: Vec<_> = lines.lines().skip(1).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("  module.{missing}: missing, expected shape")), "{lines:?}");
    }
}
