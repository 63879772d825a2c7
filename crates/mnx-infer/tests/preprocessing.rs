//! What `convert` is told of pictures.

mod common;

use std::ffi::OsString;
use std::path::Path;

use common::*;

fn convert(output: &Path, flags: &[&str]) -> Vec<OsString> {
    let input = model_file("mobilenext_0.35_cifar10.safetensors");
    let mut args =
        args!["convert", "--arch", "mobilenext-cifar", "--width", "0.35", "--input", input, "--output", output]
            .to_vec();
    args.extend(flags.iter().map(OsString::from));
    args
}

#[test]
fn mean_and_std_for_0_to_255_are_refused_with_the_right_ones() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    for (mean, std, hint) in [
        ("123.675,116.28,103.53", "58.395,57.12,57.375", "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        ("127.5,127.5,127.5", "127.5,127.5,127.5", "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"),
        ("0,0,0", "255,255,255", "--mean 0,0,0 --std 1,1,1"),
        ("123.675,116.28,103.53", "0.229,0.224,0.225", "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        ("127.5,127.5,127.5", "1,1,1", "--mean 0.5,0.5,0.5 --std 0.003921569,0.003921569,0.003921569"),
    ] {
        let line = fail(2, convert(&output, &["--mean", mean, "--std", std]));
        assert!(line.contains(mean) && line.contains("0…255") && line.trim_end().ends_with(hint), "{line}");
        // The hint is taken.
        let flags: Vec<_> = hint.split(' ').collect();
        succeed(convert(&output, &flags));
        std::fs::remove_file(&output).unwrap();
    }
    for (mean, std) in [("0,0,0", "1,1,1"), ("1,1,1", "1,1,1"), ("0,0,0", "0.0039215,0.0039215,0.0039215")] {
        succeed(convert(&output, &["--mean", mean, "--std", std]));
    }
    std::fs::remove_file(&output).unwrap();
    // A stage table's are the table's fault.
    let table = folder.file(
        "net.json",
        r#"{"stem": {"channels": 16, "stride": 2}, "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2}],
            "preprocessing": {"mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}}"#,
    );
    let line = fail(1, args!["init", "--arch", table, "--seed", "1", "--output", output]);
    assert!(line.contains("net.json") && line.contains("mean 0.5,0.5,0.5 and std 0.5,0.5,0.5"), "{line}");
    assert!(!output.exists());
}

/// Files that were made before still open, and say what is wrong.
#[test]
fn inspect_doubts_values_for_0_to_255() {
    let folder = Folder::new();
    let mut spec = mnx::Spec::family("mobilenext-cifar").unwrap();
    (spec.width, spec.preprocessing.mean, spec.preprocessing.std) = (0.1, [127.5; 3], [64.0; 3]);
    let source = |layer: &mnx::Layer| mnx::LayerWeights {
        weight: vec![0.25; layer.weight_elements() as usize],
        bias: vec![0.5; layer.cout],
    };
    let mut file = Vec::new();
    mnx::write_model(&spec, &mnx::Limits::default(), source, &mut file).unwrap();
    let path = folder.file("w.mnx", file);
    let text = succeed(args!["inspect", "--weights", path]);
    let line = text.lines().nth(2).unwrap();
    assert!(
        line.contains("mean 127.5") && line.contains("convert it again with --mean 0.5,0.5,0.5 --std 0.25"),
        "{line}"
    );
    assert!(!succeed(args!["inspect", "--weights", weights()]).contains("again"));
}

#[test]
fn fit_and_interpolation_are_torchvisions() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let imagenet = ["--resolution", "24", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];
    for (flags, golden) in [
        (&["--fit", "crop", "--interpolation", "bilinear"][..], "chelsea-png.npy"),
        (&["--interpolation", "bicubic"], "chelsea-png-bicubic.npy"),
        (&["--fit", "squash"], "chelsea-png-squash.npy"),
        (&["--fit", "squash", "--interpolation", "bicubic"], "chelsea-png-squash-bicubic.npy"),
    ] {
        succeed(convert(&output, &[&imagenet[..], &["--resize", "27"], flags].concat()));
        let dump = folder.path("x.npy");
        succeed(args!["classify", "--weights", output, "--dump-input", dump, testdata("pictures/chelsea.png")]);
        let values = |path: &Path| -> Vec<f32> {
            npyz::NpyFile::new(&std::fs::read(path).unwrap()[..]).unwrap().into_vec().unwrap()
        };
        assert!(values(&dump) == values(&testdata("pictures-golden").join(golden)), "{flags:?}");
    }
}

#[test]
fn fit_and_interpolation_reach_the_weight_file() {
    let folder = Folder::new();
    let (output, plain) = (folder.path("w.mnx"), folder.path("plain.mnx"));
    let found = |flags: &[&str]| {
        succeed(convert(&output, flags));
        mnx::Model::open(&output).unwrap().spec().preprocessing.clone()
    };
    // What is usual is not written.
    succeed(convert(&plain, &[]));
    found(&["--fit", "crop", "--interpolation", "bilinear"]);
    assert!(std::fs::read(&output).unwrap() == std::fs::read(&plain).unwrap());

    let squashed = found(&["--fit", "squash", "--resize", "36", "--interpolation", "bicubic"]);
    assert_eq!(
        (squashed.fit, squashed.interpolation, squashed.resize),
        (mnx::Fit::Squash, mnx::Interpolation::Bicubic, 36)
    );
    let text = succeed(args!["inspect", "--weights", output]);
    assert!(text.contains("squashed to 36 x 36, bicubic, mean"), "{text}");
    let json = json(args!["inspect", "--weights", output, "--format", "json"]);
    assert_eq!(
        (&json["preprocessing"]["fit"], &json["preprocessing"]["interpolation"]),
        (&"squash".into(), &"bicubic".into())
    );
    // Without --resize nothing is cropped away, whatever the family does; a table's own stays.
    let table = folder.file(
        "net.json",
        r#"{"stem": {"channels": 16, "stride": 2}, "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2}],
            "resolution": 64, "preprocessing": {"resize": 70, "fit": "squash", "interpolation": "bicubic"}}"#,
    );
    succeed(args!["init", "--arch", table, "--seed", "1", "--output", output]);
    let kept = mnx::Model::open(&output).unwrap().spec().preprocessing.clone();
    assert_eq!((kept.fit, kept.interpolation, kept.resize), (mnx::Fit::Squash, mnx::Interpolation::Bicubic, 70));
    succeed(args!["init", "--arch", table, "--resolution", "96", "--seed", "1", "--output", output]);
    assert_eq!(mnx::Model::open(&output).unwrap().spec().preprocessing.resize, 96);
    for (flag, value) in
        [("--fit", "stretch"), ("--interpolation", "nearest"), ("--fit", ""), ("--interpolation", "lanczos")]
    {
        let line = fail(2, convert(&output, &[flag, value]));
        assert!(line.contains(flag), "{line}");
    }
}
