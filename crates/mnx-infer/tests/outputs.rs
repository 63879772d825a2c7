//! What is written is never what is read, by whatever name: nothing is lost.

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::*;

/// The arguments must be refused as wrong usage, and every file of the folder be as it was.
fn refused(folder: &Folder, args: impl IntoIterator<Item = OsString>) {
    let state = || -> Vec<_> {
        folder.names().into_iter().map(|name| (std::fs::read(folder.path(&name)).ok(), name)).collect()
    };
    let before = state();
    let line = fail(2, args);
    assert!(line.contains("expected an output that is no input"), "{line}");
    assert!(state() == before, "{line}");
}

/// The file by all its names: its own, through a folder, and links where there are any.
fn names(folder: &Folder, file: &Path) -> Vec<PathBuf> {
    let mut names = vec![file.to_owned(), folder.path(".").join(file.file_name().unwrap())];
    let hard = folder.path("hard");
    std::fs::hard_link(file, &hard).unwrap();
    names.push(hard);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(file, folder.path("soft")).unwrap();
        std::os::unix::fs::symlink("soft", folder.path("softer")).unwrap();
        names.extend([folder.path("soft"), folder.path("softer")]);
    }
    names
}

fn copied(folder: &Folder, name: &str, file: &Path) -> PathBuf {
    folder.file(name, std::fs::read(file).unwrap())
}

const TABLE: &str = r#"{"stem": {"channels": 16, "stride": 2}, "resolution": 32, "classes": 4,
    "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2}]}"#;

#[test]
fn convert_keeps_the_checkpoint_the_labels_and_the_table() {
    let folder = Folder::new();
    let input = copied(&folder, "w.safetensors", &model_file("mobilenext_0.35_cifar10.safetensors"));
    for name in names(&folder, &input) {
        refused(&folder, args!["convert", "--arch", "auto", "--input", input, "--output", name]);
        refused(&folder, args!["convert", "--arch", "auto", "--input", name, "--output", input]);
    }
    let labels = copied(&folder, "labels.txt", &model_file("labels.txt"));
    refused(
        &folder,
        args![
            "convert", "--arch", "auto", "--input", input, "--output", labels, "--labels", labels, "--format", "json"
        ],
    );
    let table = folder.file("net.json", TABLE);
    refused(&folder, args!["convert", "--arch", table, "--input", input, "--output", table]);
    refused(&folder, args!["init", "--arch", table, "--seed", "1", "--output", table]);
    // A model of ONNX has its weights in another file.
    let onnx = |name: &str| copied(&folder, name, &testdata("onnx/inverted-torch").join(name));
    let (model, data) = (onnx("dynamo-18.onnx"), onnx("dynamo-18.onnx.data"));
    for name in [&model, &data] {
        refused(&folder, args!["convert", "--input", model, "--output", name]);
    }
    // An output that is there and is no input is replaced, a device is written to.
    let output = folder.file("old.mnx", "old");
    succeed(args!["init", "--arch", table, "--seed", "1", "--output", output]);
    assert!(std::fs::read(&output).unwrap().starts_with(b"MNXW"));
    #[cfg(unix)]
    succeed(args!["init", "--arch", table, "--seed", "1", "--output", "/dev/null"]);
}

#[test]
fn a_dash_is_no_file() {
    let folder = Folder::new();
    let mut command = program();
    command.current_dir(folder.path("")).args(["init", "--arch", "mobilenext-cifar", "--seed", "1", "--output", "-"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let line = "-: expected a file to write, found standard output (./- is a file of that name)";
    assert!(text(&output.stderr).contains(line), "{}", text(&output.stderr));
    assert!(folder.names().is_empty());
}

#[test]
fn a_folder_is_no_file() {
    let folder = Folder::new();
    let init = |output: &Path| args!["init", "--arch", "mobilenext-cifar", "--seed", "1", "--output", output];
    assert!(fail(1, init(&folder.path(""))).contains("expected a file to write, found a folder"));
    assert!(fail(1, init(&folder.path("new/"))).contains("expected a file to write, found the name of a folder"));
    assert!(folder.names().is_empty());
}

#[test]
fn run_keeps_weights_and_input() {
    let folder = Folder::new();
    let (weights, input) = (folder.path("w.mnx"), folder.path("03.npy"));
    succeed(args!["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--output", weights]);
    let picture = testdata("pictures/rocket.jpg");
    succeed(args!["classify", "--weights", weights, "--dump-input", input, picture]);
    let run = |output: &Path| args!["run", "--weights", weights, "--input", input, "--output", output].to_vec();
    for name in names(&folder, &input) {
        refused(&folder, run(&name));
    }
    refused(&folder, run(&weights));
    // Among the files of the dump, and by a link in it.
    let dump = |to: &Path| [run(&folder.path("y.npy")), args!["--dump-blocks", to].to_vec()].concat();
    refused(&folder, dump(&folder.path(".")));
    let blocks = folder.path("blocks");
    std::fs::create_dir(&blocks).unwrap();
    std::fs::hard_link(&weights, blocks.join("05.npy")).unwrap();
    refused(&folder, dump(&blocks));
    assert_eq!(std::fs::read_dir(&blocks).unwrap().count(), 1);
    std::fs::remove_file(blocks.join("05.npy")).unwrap();
    // Nor does one output replace another.
    let twice = [run(&blocks.join("../blocks/00.npy")), args!["--dump-blocks", blocks].to_vec()].concat();
    assert!(fail(2, twice).contains("--output: expected another file than those of --dump-blocks"));
    succeed(dump(&blocks));
}

#[test]
fn dumps_and_plots_keep_what_they_are_made_of() {
    let folder = Folder::new();
    let weights = copied(&folder, "w.mnx", &weights());
    let classes = folder.path("pictures");
    std::fs::create_dir_all(classes.join("cat")).unwrap();
    let picture = classes.join("cat/chelsea.png");
    std::fs::copy(testdata("pictures/chelsea.png"), &picture).unwrap();
    for output in [&picture, &weights] {
        refused(&folder, args!["classify", "--weights", weights, "--dump-input", output, picture]);
        // As a file of a folder.
        refused(&folder, args!["classify", "--weights", weights, "--dump-input", output, classes]);
    }
    refused(&folder, args!["bench", "--weights", weights, "--plot", weights]);
    let map = folder.file("classes.tsv", "cat\tcat\n");
    let compare = |plot: &Path| args!["compare", weights, "--eval", classes, "--class-map", map, "--plot", plot];
    for output in [&weights, &map] {
        refused(&folder, compare(output));
    }
    fail(2, compare(&picture));
    // Two outputs in one place, by whatever name.
    let (new, same) = (folder.path("new.mnx"), folder.path("pictures/../new.mnx"));
    let twice = args!["quantize", "--weights", weights, "--calibrate", classes, "--output", new, "--plot", same];
    assert!(fail(2, twice).contains("expected another file than --output"));
    let table = folder.file("net.json", TABLE);
    refused(&folder, args!["compare", table, "--plot", table]);
    assert_eq!(std::fs::read(picture).unwrap(), std::fs::read(testdata("pictures/chelsea.png")).unwrap());
}
