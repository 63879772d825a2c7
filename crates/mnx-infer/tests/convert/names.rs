//! What names tell of a checkpoint.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};

use super::common::*;
use super::{changed, checkpoint, convert, said};
use crate::args;

#[test]
fn auto_reads_the_network_off_the_checkpoint_and_says_what_it_assumes() {
    let folder = Folder::new();
    let (input, output) = (model_file("mobilenext_0.35_cifar10.safetensors"), folder.path("w.mnx"));
    let auto = |input: &Path, flags: &[&str]| {
        let mut args = args!["convert", "--arch", "auto", "--input", input, "--output", output].to_vec();
        args.extend(flags.iter().map(OsString::from));
        args
    };
    let note = said(auto(&input, &[]));
    assert_eq!(note.lines().count(), 2, "{note}");
    for part in [
        input.to_str().unwrap(),
        "mobilenext, width 0.35, 10 classes\n",
        "mobilenext-cifar",
        "resolution 224",
        "padding torch",
        "identity 1",
        "mean and std",
        "batch-norm epsilon 1e-5 (--bn-eps)",
        "bilinear",
    ] {
        assert!(note.contains(part), "{part} in {note}");
    }
    let model = mnx::Model::open(&output).unwrap();
    let spec = model.spec();
    assert_eq!((spec.family.as_str(), spec.width, spec.classes, spec.stem.stride), ("mobilenext", 0.35, 10, 2));
    // The same weights as those of the CIFAR network, whose strides do not show.
    let cifar = mnx::Model::open(weights()).unwrap();
    (0..model.network().layers().count())
        .for_each(|i| assert!(model.weights(i).unwrap() == cifar.weights(i).unwrap(), "layer {i}"));

    // What is given is not assumed.
    let labels = model_file("labels.txt");
    let flags =
        "--padding tf --identity 0.5 --resolution 96 --mean 0,0,0 --std 1,1,1 --bn-eps 1e-5 --interpolation bicubic";
    let flags: Vec<_> = flags.split(' ').collect();
    let note = said(auto(&input, &[&flags[..], &["--labels", labels.to_str().unwrap()]].concat()));
    let assumed = note.lines().last().unwrap();
    let rest = "activation ReLU6 (else from ONNX), no max pool (else from ONNX)";
    assert!(assumed.ends_with(&format!(": ImageNet's strides (else --arch mobilenext-cifar), {rest}")), "{note}");
    let spec = mnx::Model::open(&output).unwrap().spec().clone();
    assert_eq!((spec.padding, spec.identity, spec.resolution), (mnx::Padding::Tf, 0.5, 96));
    assert_eq!(spec.labels.unwrap()[3], "cat");

    std::fs::remove_file(&output).unwrap();
    let list = fail_with_list(1, auto(&input, &["--classes", "7", "--width", "0.5"]));
    let start = format!("error: {}: taken for mobilenext, width 0.35, 10 classes: checkpoint: found ", input.display());
    assert!(list.starts_with(&start), "{list}");
    for line in ["  width: expected 0.5, found 0.35 by", "  classes: expected 7, found 10 by"] {
        assert_eq!(list.lines().filter(|l| l.starts_with(line)).count(), 1, "{line} in {list}");
    }
    assert!(list.contains("\n  classifier.1.weight: expected shape [7, 1280], found [10, 1280]"), "{list}");
    let line = fail(1, auto(&input, &["--labels", folder.file("two.txt", "a\nb\n").to_str().unwrap()]));
    assert!(line.contains("two.txt") && line.contains("10"), "{line}");
    let line = fail(1, auto(&folder.file("bad", &checkpoint()[..100]), &[]));
    assert!(line.contains("bad: checkpoint: expected a safetensors file"), "{line}");
    fail(1, auto(&folder.path("absent"), &[]));
    // More classes than a network can have are no fault of the flags.
    let many = changed(|map| {
        for (name, shape) in [("classifier.1.weight", vec![70_000, 0]), ("classifier.1.bias", vec![70_000, 0])] {
            *map.get_mut(name).unwrap() = (shape, Vec::new());
        }
    });
    let line = fail(1, auto(&folder.file("many", many), &[]));
    assert!(line.contains("many: ") && line.contains("65536, found 70000"), "{line}");
    assert!(!output.exists());
}

/// The checkpoint with names changed.
fn renamed(rename: impl Fn(&str) -> String) -> Vec<u8> {
    changed(|map| *map = std::mem::take(map).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect())
}

#[test]
fn prefixes_are_taken_off_and_said() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let plain = model_file("mobilenext_0.35_cifar10.safetensors");
    succeed(convert(&plain, &output, &[]));
    let expected = std::fs::read(&output).unwrap();
    let input = folder.file("p.safetensors", renamed(|name| format!("module._orig_mod.{name}")));
    let note = said(convert(&input, &output, &[]));
    assert_eq!(note, format!("{}: prefix `module._orig_mod.` taken off\n", input.display()));
    assert!(std::fs::read(&output).unwrap() == expected);
    let note = said(args!["convert", "--arch", "auto", "--input", input, "--output", output].to_vec());
    assert!(note.contains(": mobilenext, width 0.35, 10 classes, prefix `module._orig_mod.` taken off\n"), "{note}");

    // Tensors elsewhere are refused, unless the prefix is given.
    let stray = renamed(|name| match name {
        "classifier.1.weight" => "loss.weight".into(),
        name => format!("model.{name}"),
    });
    let list = fail_with_list(1, convert(&folder.file("stray", stray), &output, &[]));
    assert!(list.contains(": prefix `model.` taken off: checkpoint: found 2 problems:\n"), "{list}");
    assert!(list.contains("\n  model.classifier.1.weight: missing") && !list.contains("--strip-prefix"), "{list}");
    let strays = || {
        changed(|map| {
            *map = std::mem::take(map).into_iter().map(|(name, tensor)| (format!("model.{name}"), tensor)).collect();
            for name in ["loss.weight", "loss.x\ny", "ema.a", "ema.b"] {
                map.insert(name.into(), (vec![1], vec![0; 4]));
            }
        })
    };
    let input = folder.file("strays", strays());
    let list = fail_with_list(1, convert(&input, &output, &[]));
    assert!(list.ends_with("\n  (--strip-prefix model. leaves them out)\n"), "{list}");
    let note = said(convert(&input, &output, &["--strip-prefix", "model."]));
    let names = "`ema.a`, `ema.b`, `loss.weight`, …";
    let left_out = format!("\n  left out, as they do not begin with `model.`: 4 tensors, {names}\n");
    assert_eq!(note, format!("{}: prefix `model.` taken off{left_out}", input.display()));
    assert!(std::fs::read(&output).unwrap() == expected);
    // A layer that mnx does not know is none to be left out.
    let layered = changed(|map| {
        *map = std::mem::take(map).into_iter().map(|(name, tensor)| (format!("model.{name}"), tensor)).collect();
        map.insert("head.weight".into(), (vec![2, 10], vec![0; 80]));
    });
    let list = fail_with_list(1, convert(&folder.file("layered", layered), &output, &[]));
    assert!(list.contains("\n  head.weight: unexpected") && !list.contains("--strip-prefix"), "{list}");
    let line = fail(1, convert(&input, &output, &["--strip-prefix", "net."]));
    assert!(line.contains("expected names that begin with `net.`, found"), "{line}");
    fail(2, convert(&input, &output, &["--strip-prefix", ""]));

    let twice = changed(|map| {
        for (name, tensor) in std::mem::take(map) {
            map.insert(format!("model.{name}"), tensor.clone());
            map.insert(format!("ema.module.{name}"), tensor);
        }
    });
    let input = folder.file("twice", twice);
    let line = fail(1, convert(&input, &output, &[]));
    assert!(line.ends_with("found it behind `model.` and `ema.module.` (--strip-prefix P takes one)\n"), "{line}");
    said(convert(&input, &output, &["--strip-prefix", "ema"]));
    assert!(std::fs::read(&output).unwrap() == expected);
}

/// What is taken for the classifier is said where it has no usual name, or no bias.
#[test]
fn an_unusual_classifier_is_said() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let input = folder.file("c.safetensors", renamed(|name| name.replacen("classifier.1.", "classifier.1.1.", 1)));
    for arch in ["auto", "mobilenext-cifar"] {
        let note =
            said(args!["convert", "--arch", arch, "--width", "0.35", "--input", input, "--output", output].to_vec());
        assert!(note.contains("classifier `classifier.1.1`\n"), "{note}");
    }
    let input = folder.file("b.safetensors", changed(|map| drop(map.remove("classifier.1.bias"))));
    let note = said(convert(&input, &output, &[]));
    assert_eq!(note, format!("{}: classifier without a bias\n", input.display()));
    // Half of a checkpoint.
    let half = changed(|map| map.retain(|name, _| !name.starts_with("features.0")));
    let list = fail_with_list(1, convert(&folder.file("m-00001-of-00002.safetensors", half), &output, &[]));
    let hint = "\n  (its name says that it is part 1 of 2 of a checkpoint: put the tensors of all into one file)\n";
    assert!(list.ends_with(hint), "{list}");
    let index = folder.file("model.safetensors.index.json", "{\"weight_map\": {}}");
    let line = fail(1, convert(&index, &output, &[]));
    assert!(
        line.contains("JSON text") && line.contains("(its name says that it is the index of a checkpoint"),
        "{line}"
    );
}

/// A golden's weights under another implementation's names (`testdata/dialects/README.md`).
fn named_as(implementation: &str) -> Vec<u8> {
    let names = std::fs::read_to_string(testdata("dialects").join(implementation).join("names.tsv")).unwrap();
    let names: BTreeMap<_, _> = names.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let bytes = std::fs::read(testdata("golden/v2-w0.1-c3/weights.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = tensors.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32);
    let named = floats.map(|(name, tensor)| {
        let (module, part) = name.rsplit_once('.').unwrap();
        (format!("{}.{part}", names[module]), tensor)
    });
    safetensors::serialize(named, None).unwrap()
}

#[test]
fn what_networks_with_such_names_have_is_assumed_and_said() {
    let folder = Folder::new();
    let (output, logits) = (folder.path("w.mnx"), folder.path("y.npy"));
    let input = folder.file("hf.safetensors", named_as("hugging-face"));
    let convert = |arch: &str, flags: &str| {
        let mut args = args!["convert", "--arch", arch, "--input", input, "--output", output].to_vec();
        args.extend(flags.split_whitespace().map(OsString::from));
        args
    };
    let assumed = "batch-norm epsilon 1e-3 (--bn-eps), padding tf (--padding), mean 0.5 and std 0.5 (--mean, --std)";
    let values = |path: &Path| -> Vec<f32> {
        npyz::NpyFile::new(&std::fs::read(path).unwrap()[..]).unwrap().into_vec().unwrap()
    };
    let expected = values(&testdata("dialects/hugging-face/output.npy"));
    for (arch, flags) in [("mobilenetv2", "--width 0.1 --classes 3"), ("auto", "")] {
        let note = said(convert(arch, flags));
        assert!(note.contains("names of Hugging Face\n"), "{note}");
        match arch {
            "auto" => assumed.split("), ").for_each(|part| assert!(note.contains(part), "{part} in {note}")),
            _ => assert!(note.ends_with(&format!("have them: {assumed}\n")), "{note}"),
        }
        succeed(args!["run", "--weights", output, "--input", testdata("dialects/input.npy"), "--output", logits]);
        let found = values(&logits);
        assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?} {expected:?}");
        assert_eq!(mnx::Model::open(&output).unwrap().spec().preprocessing.mean, [0.5; 3]);
    }
    // Flags beat it, and are not said.
    let flags = "--width 0.1 --classes 3 --padding torch --bn-eps 1e-5 --mean 0,0,0 --std 1,1,1";
    assert_eq!(said(convert("mobilenetv2", flags)), format!("{}: names of Hugging Face\n", input.display()));
    let spec = mnx::Model::open(&output).unwrap().spec().clone();
    assert_eq!((spec.padding, spec.preprocessing.std), (mnx::Padding::Torch, [1.0; 3]));
    // The published networks have one class more than ImageNet.
    let list = fail_with_list(1, convert("mobilenetv2", "--width 0.1"));
    assert!(list.contains("names of Hugging Face: checkpoint: found 3 problems:\n"), "{list}");
    assert!(list.contains("\n  classes: expected 1001, found 3 by names and shapes\n"), "{list}");
}
