//! Checkpoints into weight files.

#[path = "../common/mod.rs"]
mod common;
mod names;
mod refused;

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
