//! `quantize`: int8 weight files, reports, and what cannot be quantised.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

/// A small network with random weights.
fn network(folder: &Folder) -> PathBuf {
    let path = folder.path("w.mnx");
    succeed(args!["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--output", path]);
    path
}

/// An `.npy` file of inputs of 3 x 16 x 16.
fn array(numbers: &[f32]) -> Vec<u8> {
    let count = numbers.len() / (3 * 16 * 16);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 3, 16, 16), }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Numbers from -2 to 2, for so many inputs.
fn noise(inputs: usize) -> Vec<f32> {
    (0..inputs * 3 * 16 * 16).map(|i| (i as f32 * 0.618_034).fract() * 4.0 - 2.0).collect()
}

/// A folder of pictures, three of each.
fn pictures(folder: &Folder, names: &[&str]) -> PathBuf {
    let pictures = folder.path("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    for name in names {
        for copy in 0..3 {
            let to = pictures.join(format!("{copy}-{}", name.rsplit('/').next().unwrap()));
            std::fs::copy(testdata(name), to).unwrap();
        }
    }
    pictures
}

const SOME: [&str; 11] = [
    "pictures/chelsea.png",
    "pictures/rocket.jpg",
    "pictures-golden/13x17.png",
    "pictures-golden/18x61.png",
    "pictures-golden/27x25.png",
    "pictures-golden/37x53.png",
    "pictures-golden/50x18.png",
    "pictures-golden/53x36.png",
    "pictures-golden/palette.png",
    "pictures-golden/rgb.webp",
    "pictures-golden/exif6.jpg",
];

fn quantize(weights: &Path, calibrate: &Path, output: &Path, more: &[&str]) -> Vec<std::ffi::OsString> {
    let mut args = args!["quantize", "--weights", weights, "--calibrate", calibrate, "--output", output].to_vec();
    args.extend(more.iter().map(Into::into));
    args
}

/// The header of a weight file, and its version.
fn header(path: &Path) -> (u8, Value) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
    assert_eq!(&bytes[..4], b"MNXW");
    (bytes[4], serde_json::from_slice(&bytes[24..24 + length]).unwrap())
}

/// Notes on standard error of a run that must succeed, and its standard output.
fn noted(args: &[std::ffi::OsString]) -> (String, String) {
    let output = run(args);
    let stderr = text(&output.stderr);
    assert!(output.status.success() && !stderr.contains("panicked"), "{stderr}");
    (stderr, text(&output.stdout))
}

#[test]
fn pictures_make_an_int8_file_a_quarter_the_size() {
    let folder = Folder::new();
    let output = folder.path("q.mnx");
    let written = json(quantize(&weights(), &pictures(&folder, &SOME), &output, &["--format", "json"]));
    let (version, header) = header(&output);
    assert_eq!(version, 2);
    let arithmetic = header["arithmetic"].as_array().unwrap();
    assert!(arithmetic.len() > 50 && arithmetic.iter().all(|name| name == "int8"), "{arithmetic:?}");
    let names: Vec<_> = header["tensors"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["input.scale", "input.zero_point", "features.0.0.weight"]);
    assert!(names.contains(&"pool.output.scale") && names.contains(&"classifier.1.weight.scale"));
    let length = std::fs::metadata(&output).unwrap().len();
    assert_eq!(
        (&written["bytes"], &written["pictures"], &written["int8_layers"], &written["f32_layers"]),
        (&length.into(), &33.into(), &arithmetic.len().into(), &0.into())
    );
    assert!(length < std::fs::metadata(weights()).unwrap().len() / 3);
    assert_eq!(written["unreadable"], Value::Array(Vec::new()));
    assert!(written.get("layers").is_none());
    assert_eq!(folder.names(), ["pictures", "q.mnx"]);
}

#[test]
fn without_weights_the_embedded_network_is_quantised() {
    let folder = Folder::new();
    let [of_file, of_embedded] = ["a.mnx", "b.mnx"].map(|name| folder.path(name));
    let input = folder.file("x.npy", array(&noise(32)));
    succeed(quantize(&weights(), &input, &of_file, &[]));
    let embedded = run(args!["quantize", "--calibrate", input, "--output", of_embedded]);
    // The program may have been built without it.
    match embedded.status.code() {
        Some(0) => assert_eq!(std::fs::read(of_file).unwrap(), std::fs::read(of_embedded).unwrap()),
        code => assert_eq!((code, text(&embedded.stderr).contains("--weights")), (Some(2), true)),
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let folder = Folder::new();
    let (weights, pictures) = (network(&folder), pictures(&folder, &SOME));
    let mut files = Vec::new();
    for (i, threads) in ["1", "2", "5"].into_iter().enumerate() {
        let output = folder.path(&format!("{i}.mnx"));
        succeed(quantize(&weights, &pictures, &output, &["--threads", threads]));
        files.push(std::fs::read(output).unwrap());
    }
    assert!(files.iter().all(|file| *file == files[0]));
    // Pictures and the network's input that was made of them are the same thing.
    let [input, output] = ["x.npy", "of-input.mnx"].map(|name| folder.path(name));
    succeed(args!["classify", "--weights", weights, "--dump-input", input, pictures]);
    succeed(quantize(&weights, &input, &output, &[]));
    assert!(std::fs::read(output).unwrap() == files[0]);
}

#[test]
fn methods_and_switches_make_different_files() {
    let folder = Folder::new();
    let (weights, input) = (network(&folder), folder.file("x.npy", array(&noise(40))));
    let mut files = Vec::new();
    let flags: [&[&str]; 6] = [
        &["--method", "minmax"],
        &["--method", "percentile"],
        &["--method", "mse"],
        &["--bias-correction", "off"],
        &["--samples", "33"],
        &["--keep", "classifier,features.1"],
    ];
    for flags in flags {
        let output = folder.path("q.mnx");
        succeed(quantize(&weights, &input, &output, flags));
        files.push(std::fs::read(output).unwrap());
    }
    for (i, file) in files.iter().enumerate() {
        assert!(!files[..i].contains(file), "{:?}", flags[i]);
    }
    let (_, header) = header(&folder.path("q.mnx"));
    let arithmetic = header["arithmetic"].as_array().unwrap();
    assert_eq!((arithmetic[0].as_str(), arithmetic[1].as_str()), (Some("int8"), Some("f32")));
    assert_eq!(arithmetic.last().unwrap(), "f32");
}

#[test]
fn a_report_has_a_row_per_layer() {
    let folder = Folder::new();
    let (weights, input) = (network(&folder), folder.file("x.npy", array(&noise(32))));
    let [output, plot] = ["q.mnx", "layers.svg"].map(|name| folder.path(name));
    let plotted = plot.to_str().unwrap();
    let flags = ["--report", "--plot", plotted, "--keep", "features.2", "--format", "json"];
    let report = json(quantize(&weights, &input, &output, &flags));
    let layers = report["layers"].as_array().unwrap();
    let (_, header) = header(&output);
    assert_eq!(layers.len(), header["arithmetic"].as_array().unwrap().len() + 2);
    let row = |name: &str| layers.iter().find(|row| row["name"] == name).unwrap();
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"));
    let stem = row("features.0.0");
    assert!(number(stem, "weight_snr_db") > 30.0 && number(stem, "value_snr_db") > 30.0, "{stem}");
    assert!((0.0..=1.0).contains(&number(stem, "clipped")) && number(stem, "scale") > 0.0, "{stem}");
    assert_eq!(stem["arithmetic"], "int8");
    assert!(stem["range"][1].as_f64().unwrap() <= 6.1 && stem["observed"][0].as_f64().unwrap() >= 0.0, "{stem}");
    let kept = row("features.2.conv.3");
    assert_eq!((kept["arithmetic"].as_str(), &kept["weight_snr_db"]), (Some("f32"), &Value::Null));
    assert!(number(row("input"), "value_snr_db") > 30.0);
    assert_eq!(row("pool")["arithmetic"], Value::Null);
    // Both networks have run.
    assert!(layers.iter().all(|row| number(row, "output_snr_db") > 10.0), "{layers:?}");
    assert_eq!(report["logits_snr_db"], row("classifier.1")["output_snr_db"]);
    assert!(report["same_class"].as_u64().unwrap() > 16, "{report}");
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.contains("features.2.conv.3") && svg.contains("dB"), "{svg}");
    let told = succeed(quantize(&weights, &input, &output, &["--report", "--keep", "features.2"]));
    assert!(told.starts_with(output.to_str().unwrap()), "{told}");
    for name in ["input", "features.2.conv.3", "pool", "classifier.1"] {
        assert_eq!(told.lines().filter(|line| line.starts_with(name)).count(), 1, "{name} in {told}");
    }
    assert_eq!(folder.names(), ["layers.svg", "q.mnx", "w.mnx", "x.npy"]);
}

#[test]
fn doubtful_pictures_are_warned_of() {
    let folder = Folder::new();
    let (weights, output) = (network(&folder), folder.path("q.mnx"));
    let warned = |name: &str, numbers: &[f32], warning: &str| {
        let input = folder.file(name, array(numbers));
        let (stderr, stdout) = noted(&quantize(&weights, &input, &output, &["--format", "json"]));
        assert!(stderr.contains(name) && stderr.contains(warning), "{stderr}");
        let written: Value = serde_json::from_str(&stdout).unwrap();
        assert!(written["warnings"].to_string().contains(warning), "{written}");
        stderr.lines().count()
    };
    assert_eq!(warned("one.npy", &noise(1), "only 1 picture to"), 1);
    assert_eq!(warned("few.npy", &noise(31), "only 31 pictures to"), 1);
    let grey = vec![0.5; 40 * 3 * 16 * 16];
    assert_eq!(warned("grey.npy", &grey, "all pictures are of one colour"), 2);
    assert_eq!(warned("black.npy", &[0.0; 3 * 16 * 16], "the picture is of one colour"), 2);
    let mixed = [&noise(16)[..], &grey[..17 * 3 * 16 * 16]].concat();
    assert_eq!(warned("mixed.npy", &mixed, "17 of 33 pictures are of one colour"), 1);
    assert_eq!(warned("same.npy", &noise(1).repeat(40), "only 1 different picture among 40 to calibrate with"), 1);
    let line = fail(1, quantize(&weights, &testdata("pictures/rocket.jpg"), &output, &[]));
    assert!(line.contains("expected a folder of pictures or a .npy file, found a JPEG picture"), "{line}");
    let line = fail(2, quantize(&weights, &testdata("pictures"), &output, &["--keep", "features.*"]));
    assert!(line.trim_end().ends_with("found features.*: did you mean features?"), "{line}");
    // What is in doubt is written all the same.
    assert_eq!(header(&output).0, 2);
}

#[test]
fn pictures_that_cannot_be_read_are_named_and_passed_over() {
    let folder = Folder::new();
    let (weights, output, pictures) = (network(&folder), folder.path("q.mnx"), pictures(&folder, &SOME));
    std::fs::write(pictures.join("2-bad.png"), "no picture").unwrap();
    let (stderr, stdout) = noted(&quantize(&weights, &pictures, &output, &["--format", "json"]));
    assert!(stderr.lines().count() == 1 && stderr.contains("2-bad.png"), "{stderr}");
    let written: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((written["pictures"].as_u64(), written["unreadable"].as_array().unwrap().len()), (Some(33), 1));
    assert!(written["unreadable"][0]["file"].as_str().unwrap().ends_with("2-bad.png"), "{written}");
}

#[test]
fn what_cannot_be_calibrated_with_is_one_line_and_leaves_nothing() {
    let folder = Folder::new();
    let (weights, output) = (network(&folder), folder.path("q.mnx"));
    let sub = |name: &str, files: &[(&str, &str)]| {
        let path = folder.path(name);
        std::fs::create_dir(&path).unwrap();
        files.iter().for_each(|(name, content)| std::fs::write(path.join(name), content).unwrap());
        path
    };
    let mut nan = noise(3);
    // [2, 1, 3, 5]
    nan[(2 * 3 + 1) * 256 + 3 * 16 + 5] = f32::NAN;
    let mut infinite = noise(2);
    infinite[0] = f32::NEG_INFINITY;
    let shape = array(&noise(1)).windows(2).position(|two| two == b" 3").unwrap() + 1;
    let mut channels = array(&noise(1));
    channels[shape] = b'4';
    let cases = [
        (sub("empty", &[]), "pictures", "a folder without any"),
        (sub("texts", &[("a.txt", "text")]), "pictures", "1 other file passed over"),
        (folder.path("absent"), "absent", "cannot be read"),
        (folder.file("text.npy", "no array"), ".npy", "does not start as one"),
        (folder.file("nan.npy", array(&nan)), "finite numbers", "found NaN at [2, 1, 3, 5]"),
        (folder.file("inf.npy", array(&infinite)), "finite numbers", "found -inf at [0, 0, 0, 0]"),
        (folder.file("cut.npy", &array(&noise(1))[..500]), "3072 bytes", "found"),
        (folder.file("channels.npy", channels), "(N, 3, H, W)", "(1, 4, 16, 16)"),
    ];
    for (calibrate, expected, found) in cases {
        let line = fail(1, quantize(&weights, &calibrate, &output, &["--plot", "no.svg"]));
        let name = calibrate.to_str().unwrap();
        assert!(line.contains(name) && line.contains(expected) && line.contains(found), "{line}");
        assert!(!output.exists() && !Path::new("no.svg").exists());
    }
    // A folder of which no picture can be read says what is wrong with each.
    let bad = sub("bad", &[("a.png", "no picture"), ("b.jpg", "")]);
    let lines = run(quantize(&weights, &bad, &output, &[]));
    let stderr = text(&lines.stderr);
    assert_eq!((lines.status.code(), stderr.lines().count()), (Some(1), 3), "{stderr}");
    assert!(stderr.contains("a.png") && stderr.contains("b.jpg"), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("none among 2"), "{stderr}");
    assert!(!output.exists());
}

#[test]
fn networks_that_cannot_be_quantised() {
    let folder = Folder::new();
    let (output, input) = (folder.path("q.mnx"), folder.file("x.npy", array(&noise(32))));
    let refused = |weights: &Path, reason: &str| {
        let line = fail(1, quantize(weights, &input, &output, &[]));
        assert!(line.contains(weights.to_str().unwrap()) && line.contains(reason), "{line}");
        assert!(!output.exists());
    };
    refused(&testdata("../fuzz/seeds/open_model/small-int8.mnx"), "already int8");
    let made = folder.path("made.mnx");
    succeed(quantize(&network(&folder), &input, &made, &[]));
    refused(&made, "layer features.0.0 already int8");
    refused(&folder.file("foreign.mnx", "GIF89a and more than that"), "MNXW");
    refused(&folder.path("absent.mnx"), "No such file");
}

#[test]
fn flags_that_are_no_use() {
    let folder = Folder::new();
    let (weights, output) = (network(&folder), folder.path("q.mnx"));
    let input = folder.file("x.npy", array(&noise(32)));
    let cases: [(&[&str], &str); 14] = [
        (&["--samples", "0"], "--samples"),
        (&["--samples=-1"], "--samples"),
        (&["--samples", "many"], "--samples"),
        (&["--method", "max"], "--method"),
        (&["--bias-correction", "maybe"], "--bias-correction"),
        (&["--keep", ""], "--keep"),
        (&["--keep", "features.1,"], "--keep"),
        (&["--keep", "featurs.1"], "found featurs.1: did you mean features.1?"),
        (&["--keep", "clasifier"], "did you mean classifier"),
        (&["--keep", "features.99"], "--keep"),
        (&["--keep", "xyz"], "features.0 to features.20 or classifier.1"),
        (&["--keep", "features,classifier"], "all are kept"),
        (&["--threads", "1,2"], "--threads"),
        (&["--format", "markdown"], "--format"),
    ];
    for (flags, reason) in cases {
        let line = fail(2, quantize(&weights, &input, &output, flags));
        assert!(line.contains(reason), "{flags:?}: {line}");
        assert!(!output.exists());
    }
    fail(2, args!["quantize", "--weights", weights, "--output", output]);
    fail(2, args!["quantize", "--weights", weights, "--calibrate", input]);
    for same in [&weights, &input] {
        let before = std::fs::read(same).unwrap();
        assert!(fail(2, quantize(&weights, &input, same, &[])).contains("no input"));
        assert!(fail(2, quantize(&weights, &input, &output, &["--plot", same.to_str().unwrap()])).contains("no input"));
        assert!(std::fs::read(same).unwrap() == before && !output.exists());
    }
    let line = fail(1, quantize(&weights, &input, &folder.path("no/q.mnx"), &[]));
    assert!(line.contains("no/q.mnx"), "{line}");
}
