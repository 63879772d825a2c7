//! ONNX models into weight files.

mod common;

use std::path::PathBuf;

use common::*;

fn model(name: &str) -> PathBuf {
    testdata("onnx").join(name)
}

/// Standard output and standard error of a run that must succeed.
fn said(args: impl IntoIterator<Item = std::ffi::OsString>) -> (String, String) {
    let output = run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_graph_tells_and_what_it_does_not_is_said() {
    let folder = Folder::new();
    let (input, output) = (model("sandglass-torch/torchscript-11-bn.onnx"), folder.path("w.mnx"));
    let (line, notes) = said(args!["convert", "--input", input, "--output", output]);
    assert!(line.contains("custom 1, 5 classes, 224 x 224"), "{line}");
    let read = "read off the graph: custom, width 1, identity 0.3, 5 classes, padding torch, input 32 x 48";
    let assumed =
        "assumed, as it does not tell: resolution 224 (--resolution), ImageNet's mean and std (--mean, --std)";
    assert_eq!(notes, format!("{}: {read}\n  {assumed}\n", input.display()));

    let flags = ["--arch", "auto", "--resolution", "32", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"];
    let mut args = args!["convert", "--input", input, "--output", output].to_vec();
    args.extend(flags.map(Into::into));
    let (_, notes) = said(args);
    assert_eq!(notes, format!("{}: {read}\n", input.display()));
    let spec = mnx::Model::open(&output).unwrap().spec().clone();
    assert_eq!((spec.resolution, spec.preprocessing.mean, spec.identity), (32, [0.5; 3], 0.3));
}

#[test]
fn a_softmax_at_the_end_is_left_out_and_that_is_said() {
    let folder = Folder::new();
    let (input, output) = (model("inverted-tf/tf2onnx-11.onnx"), folder.path("w.mnx"));
    let (_, notes) = said(args!["convert", "--arch", "auto", "--input", input, "--output", output]);
    assert!(notes.contains("padding tf, ") && notes.contains("\n  left out: the softmax at the end"), "{notes}");
    let logits = folder.path("y.npy");
    succeed(args!["run", "--weights", output, "--input", model("inverted-tf/input.npy"), "--output", logits]);
    let values =
        |path: PathBuf| npyz::NpyFile::new(&std::fs::read(path).unwrap()[..]).unwrap().into_vec::<f32>().unwrap();
    let (found, expected) = (values(logits), values(model("inverted-tf/output.npy")));
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} {expected:?}");
}

#[test]
fn weights_in_a_file_beside_the_model_are_read() {
    let folder = Folder::new();
    let convert = |input: PathBuf| {
        let output = folder.path("w.mnx");
        said(args!["convert", "--input", input, "--output", output]);
        std::fs::read(output).unwrap()
    };
    let beside = convert(model("inverted-torch/dynamo-18.onnx"));
    let alone = folder.file("m.onnx", std::fs::read(model("inverted-torch/dynamo-18.onnx")).unwrap());
    let line = fail(1, args!["convert", "--input", alone, "--output", folder.path("x.mnx")]);
    assert!(line.contains("m.onnx: ONNX: operation 0, Conv ") && line.contains("dynamo-18.onnx.data"), "{line}");
    assert!(beside == convert(model("inverted-torch/dynamo-18.onnx")), "conversion is not deterministic");
    assert_eq!(folder.names(), ["m.onnx", "w.mnx"]);
}

#[test]
fn flags_that_contradict_the_graph_are_refused() {
    let folder = Folder::new();
    let (input, output) = (model("inverted-torch/torchscript-11.onnx"), folder.path("w.mnx"));
    let refused = |code: i32, flags: &[&str]| {
        let mut args = args!["convert", "--input", input, "--output", output].to_vec();
        args.extend(flags.iter().map(Into::into));
        let line = fail(code, args);
        assert!(folder.names().is_empty(), "{:?}", folder.names());
        line
    };
    let line = refused(2, &["--bn-eps", "1e-3"]);
    assert!(line.contains("--bn-eps: expected none for an ONNX model"), "{line}");
    let line = refused(2, &["--strip-prefix", "model."]);
    assert!(line.contains("--strip-prefix: expected none for an ONNX model"), "{line}");
    let line = refused(1, &["--padding", "tf"]);
    assert!(line.contains("expected `padding` to be torch, as in the ONNX graph, found tf"), "{line}");
    let line = refused(1, &["--classes", "6"]);
    assert!(line.contains("a classifier of 40 features and 6 classes, found "), "{line}");
    let line = refused(1, &["--arch", "mobilenetv2"]);
    assert!(line.contains("operation 0, Conv ") && line.contains("3 to 32 channels"), "{line}");
    let line = refused(1, &["--arch", "resnet18"]);
    assert!(line.contains("expected a 7x7 convolution"), "{line}");
}

#[test]
fn damaged_models_are_refused() {
    let folder = Folder::new();
    let whole = std::fs::read(model("inverted-torch/torchscript-11.onnx")).unwrap();
    for (name, content) in [("cut", &whole[..whole.len() / 2]), ("short", &whole[..20])] {
        let input = folder.file(name, content);
        let line = fail(1, args!["convert", "--arch", "auto", "--input", input, "--output", folder.path("w.mnx")]);
        assert!(line.contains(&format!("{name}: ONNX: expected a model, found something else: ")), "{line}");
    }
    assert_eq!(folder.names(), ["cut", "short"]);
}
