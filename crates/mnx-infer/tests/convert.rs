//! Checkpoints into weight files.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use common::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn checkpoint() -> Vec<u8> {
    std::fs::read(model_file("mobilenext_0.35_cifar10.safetensors")).unwrap()
}

/// `convert` with the flags of the embedded model.
fn convert(input: &Path, output: &Path, more: &[&str]) -> Vec<OsString> {
    let mut args =
        args!["convert", "--arch", "mobilenext-cifar", "--width", "0.35", "--input", input, "--output", output]
            .to_vec();
    args.extend(more.iter().map(OsString::from));
    args
}

#[test]
fn the_committed_weight_file_is_reproduced_byte_for_byte() {
    let folder = Folder::new();
    let (input, output) = (model_file("mobilenext_0.35_cifar10.safetensors"), folder.path("w.mnx"));
    let labels = model_file("labels.txt");
    let line = succeed(convert(&input, &output, &["--labels", labels.to_str().unwrap()]));
    assert!(line.contains("645,786 parameters"), "{line}");
    assert!(std::fs::read(&output).unwrap() == std::fs::read(weights()).unwrap(), "other bytes");
    assert_eq!(folder.names(), ["w.mnx"]);
}

#[test]
fn json_says_what_was_written() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let written = json(args![
        "init",
        "--arch",
        "mobilenext",
        "--width",
        "0.1",
        "--classes",
        "7",
        "--resolution",
        "96",
        "--seed",
        "3",
        "--output",
        output,
        "--format",
        "json"
    ]);
    assert_eq!((written["classes"].as_u64(), written["resolution"].as_u64()), (Some(7), Some(96)));
    assert_eq!(written["bytes"].as_u64(), Some(std::fs::metadata(&output).unwrap().len()));
    let model = mnx::Model::open(&output).unwrap();
    assert_eq!(written["parameters"].as_u64(), Some(model.network().parameters()));
    assert_eq!(model.spec().preprocessing.resize, 109);
}

#[test]
fn init_depends_on_the_seed_alone() {
    let folder = Folder::new();
    let file = |seed: &str, name: &str| {
        let output = folder.path(name);
        succeed(args!["init", "--arch", "mobilenext", "--width", "0.1", "--seed", seed, "--output", output]);
        std::fs::read(output).unwrap()
    };
    let first = file("1", "a");
    assert!(first == file("1", "b") && first != file("2", "c"));
}

#[test]
fn flags_reach_the_weight_file() {
    let folder = Folder::new();
    let (input, output) = (model_file("mobilenext_0.35_cifar10.safetensors"), folder.path("w.mnx"));
    let flags = [
        "--identity",
        "0.5",
        "--resolution",
        "48",
        "--padding",
        "tf",
        "--mean",
        "0.5,0.4,-0.25",
        "--std",
        "0.5,0.25,1",
        "--resize",
        "50",
        "--bn-eps",
        "0.001",
    ];
    succeed(convert(&input, &output, &flags));
    let model = mnx::Model::open(&output).unwrap();
    let spec = model.spec();
    assert_eq!((spec.identity, spec.resolution, spec.padding), (0.5, 48, mnx::Padding::Tf));
    assert_eq!(spec.preprocessing.mean, [0.5, 0.4, -0.25]);
    assert_eq!((spec.preprocessing.std, spec.preprocessing.resize), ([0.5, 0.25, 1.0], 50));
    assert_eq!(spec.labels, None);
    let plain = mnx::Model::open(weights()).unwrap();
    assert!(model.weights(0).unwrap().0 != plain.weights(0).unwrap().0, "another epsilon, the same weights");

    let answer = json(args!["classify", "--weights", output, "--format", "json", testdata("pictures/chelsea.png")]);
    assert!(answer[0]["top"][0]["label"].is_null());
    let answer = succeed(args!["classify", "--weights", output, testdata("pictures/chelsea.png")]);
    assert!(answer.lines().nth(1).unwrap().starts_with("  class "), "{answer}");
}

#[test]
fn pixels_go_from_minus_1_to_1_where_tensorflow_trained() {
    let folder = Folder::new();
    let (input, output) = (model_file("mobilenext_0.35_cifar10.safetensors"), folder.path("w.mnx"));
    succeed(convert(&input, &output, &["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]));
    let pixels = |weights: &Path, scale: f32, shift: f32| {
        let (dump, picture) = (folder.path("x.npy"), testdata("pictures/rocket.jpg"));
        succeed(args!["classify", "--weights", weights, "--dump-input", dump, picture]);
        let values: Vec<f32> = npyz::NpyFile::new(&std::fs::read(dump).unwrap()[..]).unwrap().into_vec().unwrap();
        // The first channel, as bytes.
        values[..32 * 32].iter().map(|v| (v * scale + shift).round() as u8).collect::<Vec<_>>()
    };
    let expected = pixels(&weights(), 0.2470 * 255.0, 0.4914 * 255.0);
    assert!(expected.iter().any(|&v| v > 200) && expected.iter().any(|&v| v < 50), "{expected:?}");
    assert_eq!(pixels(&output, 127.5, 127.5), expected);
}

/// Standard error of a run that must succeed.
fn said(args: Vec<OsString>) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stderr)
}

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
    assert!(assumed.ends_with(": ImageNet's strides (else --arch mobilenext-cifar)"), "{note}");
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
        "classifier.1.bias" => "loss.weight".into(),
        name => format!("model.{name}"),
    });
    let list = fail_with_list(1, convert(&folder.file("stray", stray), &output, &[]));
    assert!(list.contains(": prefix `model.` taken off: checkpoint: found 2 problems:\n"), "{list}");
    assert!(list.contains("\n  model.classifier.1.bias: missing") && !list.contains("--strip-prefix"), "{list}");
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

/// A pipe can be read only once.
#[cfg(unix)]
#[test]
fn labels_may_come_through_a_pipe() {
    let folder = Folder::new();
    let (output, pipe) = (folder.path("w.mnx"), folder.path("labels"));
    let input = model_file("mobilenext_0.35_cifar10.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is `mkfifo`").success());
    for arch in ["auto", "mobilenext-cifar"] {
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::write(pipe, std::fs::read(model_file("labels.txt")).unwrap()))
        };
        let args = args!["convert", "--arch", arch, "--width", "0.35", "--input", input, "--output", output];
        let output = run([&args[..], &args!["--labels", pipe]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        writer.join().unwrap().unwrap();
        assert_eq!(mnx::Model::open(folder.path("w.mnx")).unwrap().spec().labels.as_ref().unwrap()[3], "cat");
    }
}

#[test]
fn labels_must_match_the_classes() {
    let folder = Folder::new();
    let (input, output) = (model_file("mobilenext_0.35_cifar10.safetensors"), folder.path("w.mnx"));
    let three = folder.file("three.txt", "a\nb\nc\n");
    let blank = folder.file("blank.txt", "a\n\nc\n");
    let binary = folder.file("binary.txt", b"a\n\xff\n");
    let refused = |labels: &Path, classes: &[&str], reason: &str| {
        let mut flags = vec!["--labels", labels.to_str().unwrap()];
        flags.extend(classes);
        let line = fail(1, convert(&input, &output, &flags));
        assert!(line.contains(labels.to_str().unwrap()) && line.contains(reason), "{line}");
    };
    refused(&three, &["--classes", "10"], "10");
    refused(&blank, &[], "blank");
    refused(&binary, &[], "UTF-8");
    refused(&folder.path("absent.txt"), &[], "No such file");
    // Without --classes it is the architecture's number.
    refused(&three, &[], "10");
    refused(&folder.file("empty.txt", ""), &[], "10");
    assert!(!output.exists());
}

#[test]
fn a_stage_table_of_ones_own() {
    let folder = Folder::new();
    let table = folder.file(
        "net.json",
        r#"{"stem": {"channels": 16, "stride": 2}, "resolution": 64, "classes": 4,
            "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2},
                       {"ratio": 6, "channels": 64, "repeats": 2, "stride": 2}]}"#,
    );
    let output = folder.path("w.mnx");
    succeed(args!["init", "--arch", table, "--width", "0.5", "--seed", "1", "--output", output]);
    let model = mnx::Model::open(&output).unwrap();
    assert_eq!((model.network().blocks.len(), model.spec().classes, model.spec().resolution), (4, 4, 64));
    succeed(args!["classify", "--weights", output, testdata("pictures/chelsea.png")]);

    let refused = |name: &str, content: &str, reason: &str| {
        let table = folder.file(name, content);
        let output = folder.path("no.mnx");
        let line = fail(1, args!["init", "--arch", table, "--seed", "1", "--output", output]);
        assert!(line.contains(name) && line.contains(reason), "{line}");
        assert!(!output.exists());
    };
    refused("empty.json", "", "stage table");
    refused("key.json", r#"{"stem": {"channels": 16, "stride": 2}, "stages": [], "depth": 3}"#, "depth");
    refused("none.json", r#"{"stem": {"channels": 16, "stride": 2}, "stages": []}"#, "stages");
    refused("stride.json", r#"{"stem": {"channels": 16, "stride": 3}, "stages": []}"#, "stem.stride");
    refused("long.json", &" ".repeat((1 << 20) + 1), "1048576 bytes");
    let line = fail(1, args!["init", "--arch", folder.path("absent.json"), "--seed", "1", "--output", output]);
    assert!(line.contains("absent.json"), "{line}");
}

/// Scale and shift of the first channels of every batch norm at 1e-39, as weight decay leaves them.
fn decayed() -> Vec<u8> {
    changed(|map| {
        let norms: Vec<_> =
            map.keys().filter_map(|name| name.strip_suffix(".running_var")).map(str::to_owned).collect();
        for norm in norms {
            for part in ["weight", "bias"] {
                let (_, bytes) = map.get_mut(&format!("{norm}.{part}")).unwrap();
                bytes[..8].copy_from_slice(&[1e-39_f32.to_le_bytes(), (-1e-39_f32).to_le_bytes()].concat());
            }
        }
    })
}

#[test]
fn what_folds_to_almost_nothing_is_flushed_and_said() {
    let folder = Folder::new();
    let (input, output) = (folder.file("decayed.safetensors", decayed()), folder.path("w.mnx"));
    let note = said(convert(&input, &output, &[]));
    assert_eq!(note.lines().count(), 1, "{note}");
    assert!(note.contains("decayed.safetensors: ") && note.contains("weights and biases were almost zero"), "{note}");
    let json = run(convert(&input, &output, &["--format", "json"]));
    let flushed = serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap()["flushed"].as_u64().unwrap();
    // Two weights and a bias of each of the batch norms, at least.
    assert!(flushed > 300, "{flushed}");
    assert!(note.replace(',', "").contains(&format!(" {flushed} folded")), "{note}");
    let inspected = common::json(args!["inspect", "--weights", output, "--format", "json"]);
    assert_eq!(inspected["almost_zero"], 0);
    // Where there is nothing of the kind, nothing is said.
    let written =
        common::json(convert(&model_file("mobilenext_0.35_cifar10.safetensors"), &output, &["--format", "json"]));
    assert_eq!(written["flushed"], 0);
}

/// The checkpoint with some tensors changed: name to dims and bytes.
fn changed(change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let bytes = checkpoint();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = tensors.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    let mut map = floats.map(|(name, view)| (name.into(), (view.shape().to_vec(), view.data().to_vec()))).collect();
    change(&mut map);
    let views =
        map.iter().map(|(name, (shape, data))| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn every_tensor_that_does_not_fit_is_listed_at_once() {
    let folder = Folder::new();
    let input = folder.file(
        "w.safetensors",
        changed(|map| {
            map.remove("features.0.0.weight");
            map.remove("features.20.conv.1.bias");
            map.insert("features.99.weight".into(), (vec![2], vec![0; 8]));
            map.get_mut("classifier.1.weight").unwrap().0 = vec![1280, 10];
        }),
    );
    let output = folder.path("w.mnx");
    let list = fail_with_list(1, convert(&input, &output, &[]));
    assert!(list.starts_with(&format!("error: {}", input.display())), "{list}");
    for name in ["features.0.0.weight", "features.20.conv.1.bias", "features.99.weight", "classifier.1.weight"] {
        assert_eq!(list.lines().filter(|line| line.contains(name)).count(), 1, "{name} in {list}");
    }
    assert_eq!(list.lines().count(), 5, "{list}");
    assert_eq!(folder.names(), ["w.safetensors"]);
}

#[test]
fn values_that_are_no_weights_are_listed() {
    let folder = Folder::new();
    let input = folder.file(
        "w.safetensors",
        changed(|map| {
            map.get_mut("features.0.0.weight").unwrap().1[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            map.get_mut("classifier.1.bias").unwrap().1[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            let variance = &mut map.get_mut("features.3.conv.1.running_var").unwrap().1;
            variance[..4].copy_from_slice(&(-1.0_f32).to_le_bytes());
        }),
    );
    let output = folder.path("w.mnx");
    let list = fail_with_list(1, convert(&input, &output, &[]));
    for name in ["features.0.0.weight", "classifier.1.bias", "features.3.conv.1.running_var"] {
        assert!(list.contains(name), "{name} in {list}");
    }
    assert_eq!(folder.names(), ["w.safetensors"]);
}

#[test]
fn files_that_are_no_checkpoints() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let whole = checkpoint();
    for (name, content) in [
        ("empty", &b""[..]),
        ("text", b"this is no checkpoint at all"),
        ("length", &[0xff; 64]),
        ("cut", &whole[..whole.len() / 2]),
        ("weights", &std::fs::read(weights()).unwrap()),
    ] {
        let input = folder.file(name, content);
        let line = fail(1, convert(&input, &output, &[]));
        assert!(line.contains(input.to_str().unwrap()), "{line}");
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n";
    let pickle = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    for (content, found, advice) in [
        (&pointer[..], "a Git LFS pointer", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page", "download"),
        (pickle, "pickle", "pth_to_safetensors.py"),
        (&std::fs::read(weights()).unwrap(), "an mnx weight file", "converted already"),
    ] {
        let line = fail(1, convert(&folder.file("w.safetensors", content), &output, &[]));
        assert!(line.contains(found) && line.contains(advice), "{line}");
    }
    let checkpoint = model_file("mobilenext_0.35_cifar10.safetensors");
    let line = fail(1, args!["inspect", "--weights", checkpoint]);
    assert!(line.contains("found a safetensors checkpoint") && line.contains("mnx-infer convert"), "{line}");
    let line = fail(1, args!["inspect", "--weights", folder.file("pointer.mnx", pointer)]);
    assert!(line.contains("found a Git LFS pointer"), "{line}");
    fail(1, convert(&folder.path("absent"), &output, &[]));
    fail(1, convert(&folder.path(""), &output, &[]));
    assert!(!output.exists());
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = Folder::new();
    let input = model_file("mobilenext_0.35_cifar10.safetensors");
    let file = folder.file("file", "kept");
    for output in [folder.path("no/w.mnx"), folder.path(""), file.join("w.mnx")] {
        let line = fail(1, convert(&input, &output, &[]));
        assert!(line.contains(output.to_str().unwrap()), "{line}");
        let line = fail(1, args!["init", "--arch", "mobilenext", "--seed", "1", "--output", output]);
        assert!(line.contains(output.to_str().unwrap()), "{line}");
    }
    // A failed conversion leaves what was there.
    fail(1, convert(&folder.file("bad", "bad"), &file, &[]));
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    assert_eq!(folder.names(), ["bad", "file"]);
}
