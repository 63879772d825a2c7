use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::{CheckpointError, ConvertOptions, Error, Network, Spec, convert_with, naming};

type Shapes = BTreeMap<String, Vec<usize>>;

/// A ResNet with 8 features, without its classifier.
fn spec() -> Spec {
    let table = r#"{"stem": {"channels": 8, "stride": 2, "kernel": 7, "max_pool": true}, "activation": "relu", "resolution": 32,
        "stages": [{"block": "basic", "ratio": 1, "channels": 8, "repeats": 2, "stride": 1}], "classes": 3}"#;
    Spec::from_json(table).unwrap()
}

fn backbone(prefix: &str) -> Shapes {
    let mut shapes = Shapes::new();
    for layer in Network::new(&spec()).unwrap().layers() {
        let Some(norm) = &layer.norm else { continue };
        shapes.insert(format!("{prefix}{}.weight", layer.name), layer.weight_dims());
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.insert(format!("{prefix}{norm}.{part}"), vec![layer.cout]);
        }
    }
    shapes
}

fn with(mut shapes: Shapes, others: &[(&str, &[usize])]) -> Shapes {
    shapes.extend(others.iter().map(|(name, shape)| ((*name).into(), shape.to_vec())));
    shapes
}

fn file(shapes: &Shapes) -> Vec<u8> {
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let ones = 1_f32.to_le_bytes().repeat(shapes.values().map(|shape| size(shape)).max().unwrap());
    let view = |shape: &Vec<usize>| TensorView::new(Dtype::F32, shape.clone(), &ones[..4 * size(shape)]).unwrap();
    safetensors::serialize(shapes.iter().map(|(name, shape)| (name, view(shape))), None).unwrap()
}

/// What is wrong, without and with the prefix that strips it.
fn problems(shapes: &Shapes, options: &ConvertOptions) -> Vec<Problem> {
    match convert_with(&file(shapes), &spec(), options) {
        Ok(_) => Vec::new(),
        Err(Error::Checkpoint(CheckpointError::Problems { problems })) => problems,
        Err(other) => panic!("{other}"),
    }
}

const HEAD: [(&str, &[usize]); 2] = [("classifier.weight", &[3, 8]), ("classifier.bias", &[3])];

#[test]
fn layers_between_features_and_classes_are_not_left_out() {
    let strip = ConvertOptions::new().strip_prefix("backbone.");
    let heads: [&[(&str, &[usize])]; 8] = [
        // A batch norm, a layer norm, a matrix and a convolution of the features; and layers after the classifier.
        &[("bottleneck.weight", &[8]), ("bottleneck.bias", &[8]), ("bottleneck.running_mean", &[8])],
        &[("norm.weight", &[8]), ("norm.bias", &[8])],
        &[("embed.weight", &[8, 8])],
        &[("reduce.weight", &[64, 8]), ("expand.weight", &[8, 64])],
        &[("neck.weight", &[8, 8, 3, 3])],
        &[("scale.gamma", &[8])],
        &[("last.weight", &[5, 3]), ("last.bias", &[5])],
        &[("last.weight", &[3]), ("last.bias", &[3]), ("last.running_mean", &[3]), ("last.running_var", &[3])],
    ];
    for others in heads {
        let shapes = with(with(backbone("backbone."), &HEAD), others);
        for options in [ConvertOptions::new(), strip.clone()] {
            let problems = problems(&shapes, &options);
            let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let more = "classifier: expected `classifier` alone after the network's features, found more layers, which mnx does not have";
            assert!(found.iter().any(|line| line == more), "{others:?}: {found:?}");
            assert!(found.iter().any(|line| line.contains(": unexpected, found with shape")), "{found:?}");
            assert!(!Problem::are_beside(&problems), "{found:?}");
        }
    }
}

#[test]
fn layers_in_one_module_with_the_classifier_are_not_left_out() {
    let head: [(&str, &[usize]); 4] =
        [("fc.0.weight", &[3, 8]), ("fc.0.bias", &[3]), ("fc.2.weight", &[7, 3]), ("fc.2.bias", &[7])];
    for prefix in ["", "backbone."] {
        for options in [ConvertOptions::new(), ConvertOptions::new().strip_prefix("backbone.")] {
            if prefix.is_empty() && options.strip_prefix.is_some() {
                continue;
            }
            let problems = problems(&with(backbone(prefix), &head), &options);
            let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert!(found[0].starts_with("classifier: expected `fc.0` alone"), "{found:?}");
            assert_eq!(
                found[1..],
                ["fc.2.bias: unexpected, found with shape [7]", "fc.2.weight: unexpected, found with shape [7, 3]"]
            );
        }
    }
    // What merely lies around the classifier and the network is not in a module with the classifier alone.
    let head: [(&str, &[usize]); 3] =
        [("model.fc.weight", &[3, 8]), ("model.fc.bias", &[3]), ("model.loss.weight", &[3])];
    let found = problems(&with(backbone("model.backbone."), &head), &ConvertOptions::new());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(Problem::are_beside(&found));
}

#[test]
fn what_training_leaves_behind_may_be_left_out() {
    let strip = |prefix: &str| ConvertOptions::new().strip_prefix(prefix);
    let plain = with(backbone("backbone."), &HEAD);
    let training: [(&str, &[usize]); 7] = [
        ("criterion.centers", &[3, 8]),
        ("loss_fn.weight", &[3]),
        ("class_weights", &[3]),
        ("val_acc.tp", &[3]),
        ("optimizer.state.7.exp_avg", &[8]),
        ("teacher.other.weight", &[8, 8]),
        ("ema_classifier.weight", &[3, 8]),
    ];
    let shapes = with(plain.clone(), &training);
    assert_eq!(problems(&shapes, &strip("backbone.")), []);
    // Not all names say so: what may be a layer is not advised to be left out, and by its shape is none here.
    assert!(!Problem::are_beside(&problems(&shapes, &ConvertOptions::new())));
    let mut named = shapes.clone();
    named.remove("class_weights");
    assert!(Problem::are_beside(&problems(&named, &ConvertOptions::new())));

    // A second network, e.g. MoCo's, with and without a classifier of its own.
    let momentum = with(with(backbone("encoder_k."), &[("encoder_k.fc.weight", &[3, 8])]), &[("queue", &[8, 64])]);
    let mut both = with(backbone("encoder_q."), &[("encoder_q.fc.weight", &[3, 8]), ("encoder_q.fc.bias", &[3])]);
    both.extend(momentum.clone());
    assert_eq!(problems(&both, &strip("encoder_q.")), []);
    let mut outside = with(backbone("encoder_q."), &HEAD);
    outside.extend(momentum);
    outside.insert("encoder_k.other.weight".into(), vec![8, 8]);
    assert_eq!(problems(&outside, &strip("encoder_q.")), []);
    // The network and its classifier twice.
    let mut twice = with(backbone("a.backbone."), &[("a.fc.weight", &[3, 8]), ("a.fc.bias", &[3])]);
    twice.extend(with(backbone("b.backbone."), &[("b.fc.weight", &[3, 8]), ("b.fc.bias", &[3])]));
    assert_eq!(problems(&twice, &strip("a.")), []);
    assert_eq!(problems(&twice, &strip("b.")), []);
}

#[test]
fn the_only_matrix_for_the_features_is_the_classifier() {
    let named = |head: &[(&str, &[usize])], prefix: &str| {
        let shapes = with(backbone(prefix), head);
        let naming = naming(&file(&shapes), &spec(), &ConvertOptions::new()).unwrap();
        (naming.classifier, naming.zero_bias, problems(&shapes, &ConvertOptions::new()).len())
    };
    for (name, prefix) in [("classifier.1.1", ""), ("classifier.2", ""), ("my.head", "backbone."), ("m.out", "m.net.")]
    {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        assert_eq!(named(&[(&weight, &[3, 8]), (&bias, &[3])], prefix), (Some(name.into()), false, 0));
        assert_eq!(named(&[(&weight, &[3, 8])], prefix), (Some(name.into()), true, 0));
        // One for other features, a second matrix, one that is no layer's, one of training's: none is the classifier.
        assert!(matches!(named(&[(&weight, &[3, 9])], prefix), (None, false, 3..)));
        assert!(matches!(named(&[(&weight, &[3, 8]), ("z.weight", &[3, 8])], ""), (None, false, 4..)));
        assert!(matches!(named(&[(name, &[3, 8])], prefix), (None, false, 3..)));
        assert!(matches!(named(&[("loss.weight", &[3, 8])], prefix), (None, false, 3..)));
        // Others beside it are still refused.
        assert_eq!(named(&[(&weight, &[3, 8]), ("z.weight", &[2])], prefix), (Some(name.into()), true, 1));
    }
    // A usual name is better, and has no need to be said.
    assert_eq!(named(&HEAD, ""), (None, false, 0));
    assert_eq!(named(&HEAD[..1], ""), (None, true, 0));
}
