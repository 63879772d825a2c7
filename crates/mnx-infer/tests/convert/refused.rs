//! Checkpoints and outputs that are refused.

use super::common::*;
use super::{changed, checkpoint, convert};
use crate::args;

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
