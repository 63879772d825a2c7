//! `--classifier-dtype`: classifiers whose weights are stored in 16 bits.

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::*;

/// The committed checkpoint's weight file with this flag.
fn converted(folder: &Folder, dtype: &str) -> PathBuf {
    let output = folder.path(&format!("{dtype}.mnx"));
    let input = model_file("mobilenext_0.35_cifar10.safetensors");
    let labels = model_file("labels.txt");
    succeed(args![
        "convert",
        "--arch",
        "mobilenext-cifar",
        "--width",
        "0.35",
        "--input",
        input,
        "--labels",
        labels,
        "--classifier-dtype",
        dtype,
        "--output",
        output
    ]);
    output
}

/// A run that must succeed and may say on standard error what it assumed.
fn run_well(args: Vec<OsString>) {
    let output = run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// The last layer as `inspect` shows it.
fn classifier(weights: &Path) -> serde_json::Value {
    let shown = json(args!["inspect", "--weights", weights, "--format", "json"]);
    shown["layers"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn f32_changes_nothing_and_16_bits_halve_the_classifier() {
    let folder = Folder::new();
    let f32 = converted(&folder, "f32");
    assert!(std::fs::read(&f32).unwrap() == std::fs::read(weights()).unwrap(), "other bytes");
    let whole = classifier(&f32);
    assert_eq!((whole["kernel"].as_str(), whole["arithmetic"].as_str()), (Some("linear"), Some("f32")));
    // The bias stays f32: 16 of them.
    let weight_bytes = |of: &serde_json::Value| of["weight_bytes"].as_u64().unwrap() - 64;
    for (dtype, kernel) in [("bf16", "linear-bf16"), ("f16", "linear-f16")] {
        let stored = converted(&folder, dtype);
        let shown = classifier(&stored);
        assert_eq!((shown["kernel"].as_str(), shown["arithmetic"].as_str()), (Some(kernel), Some("f32")));
        assert_eq!(weight_bytes(&shown) * 2, weight_bytes(&whole));
        assert!(succeed(args!["inspect", "--weights", stored]).contains(kernel));
        let kernels = json(args!["inspect", "--kernels", "--format", "json"]).to_string();
        assert!(kernels.contains(kernel), "{kernels}");

        let answer = json(args!["classify", "--weights", stored, testdata("pictures/chelsea.png"), "--format", "json"]);
        let expected = json(args!["classify", "--weights", f32, testdata("pictures/chelsea.png"), "--format", "json"]);
        assert_eq!(answer[0]["top"][0]["label"], expected[0]["top"][0]["label"]);
    }
}

#[test]
fn every_way_to_a_weight_file_takes_it() {
    let folder = Folder::new();
    let made = |name: &str, args: &[OsString]| {
        let output = folder.path(name);
        let mut args = args.to_vec();
        args.extend(args!["--classifier-dtype", "f16", "--output", output]);
        run_well(args);
        mnx::Model::open(&output).unwrap().classifier_dtype()
    };
    let onnx = testdata("onnx/sandglass-torch/torchscript-11-bn.onnx");
    let detected = model_file("mobilenext_0.35_cifar10.safetensors");
    for (name, args) in [
        ("init.mnx", args!["init", "--arch", "resnet18", "--seed", "1", "--classes", "3"].to_vec()),
        ("onnx.mnx", args!["convert", "--input", onnx].to_vec()),
        ("auto.mnx", args!["convert", "--input", detected].to_vec()),
    ] {
        assert_eq!(made(name, &args), mnx::ClassifierDtype::F16, "{name}");
    }
}

#[test]
fn quantize_takes_such_a_file() {
    let folder = Folder::new();
    let (stored, output) = (converted(&folder, "f16"), folder.path("q.mnx"));
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    std::fs::copy(testdata("pictures/chelsea.png"), pictures.join("a.png")).unwrap();
    let quantize = |keep: &[OsString]| {
        let mut args = args!["quantize", "--weights", stored, "--calibrate", pictures, "--output", output].to_vec();
        args.extend(keep.iter().cloned());
        run_well(args);
        classifier(&output)["kernel"].as_str().unwrap().to_owned()
    };
    assert_eq!(quantize(&[]), "linear-int8");
    assert_eq!(quantize(&args!["--keep", "classifier"]), "linear-f16");
}

#[test]
fn other_types_and_detectors_are_wrong_usage() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let init = |arch: &str, dtype: &str| {
        args!["init", "--arch", arch, "--seed", "1", "--output", output, "--classifier-dtype", dtype]
    };
    for dtype in ["f64", "F16", "", "int8"] {
        fail(2, init("mobilenext", dtype));
    }
    let message = fail(2, init("ssdlite-mobilenext", "bf16"));
    let expected = "--classifier-dtype: expected a network that classifies, found ssdlite-mobilenext, a detector";
    assert!(message.contains(expected), "{message}");
    assert!(folder.names().is_empty());
    succeed(init("ssdlite-mobilenext", "f32"));
}
