//! Raw tensors through the network: what PyTorch computed, and files that are no input.

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};

use common::*;
use npyz::{NpyFile, Order, WriterBuilder};
use serde_json::Value;

fn read(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let npy = NpyFile::new(std::io::BufReader::new(file)).unwrap();
    assert_eq!(npy.order(), Order::C);
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

/// The tolerance that `testdata/golden/README.md` states; the limits are part of the case.
fn assert_agrees(found: &Path, expected: &Path, limits: &Value) {
    let ((shape, found_values), (expected_shape, expected_values)) = (read(found), read(expected));
    assert_eq!(shape, expected_shape, "{}", expected.display());
    let limit = 4.0 * limits["max_abs"].as_f64().unwrap() + 1e-5 * limits["max_value"].as_f64().unwrap();
    for (i, (&a, &b)) in found_values.iter().zip(&expected_values).enumerate() {
        let difference = (f64::from(a) - f64::from(b)).abs();
        assert!(difference <= limit, "{}: value {i}: {a} is {difference:e} from {b}", expected.display());
    }
}

/// Folders with a `meta.json`.
fn cases(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("meta.json").exists() {
            found.push(folder);
        } else {
            let entries = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
        }
    }
    found.sort();
    found
}

/// Converts the case's weights and runs its input, as a user would.
fn check(case: &Path, isa: &str) {
    let meta: Value = serde_json::from_slice(&std::fs::read(case.join("meta.json")).unwrap()).unwrap();
    let beside = case.join("weights.safetensors");
    let checkpoint = if beside.exists() { beside } else { case.parent().unwrap().join("weights.safetensors") };
    let folder = Folder::new();
    let [weights, output, blocks] = ["w.mnx", "y.npy", "blocks"].map(|name| folder.path(name));
    let padding = if meta["padding"] == "same" { "tf" } else { "torch" };
    let numbers = ["width", "classes", "identity"].map(|name| meta[name].to_string());
    // A stage table lies beside its weights.
    let arch = match meta["arch"].as_str().unwrap() {
        "table.json" => checkpoint.with_file_name("table.json").into_os_string(),
        name => name.into(),
    };
    // It says whose names a detector's weights have.
    let converted = run(args![
        "convert",
        "--arch",
        arch,
        "--padding",
        padding,
        "--width",
        numbers[0],
        "--classes",
        numbers[1],
        "--identity",
        numbers[2],
        "--input",
        checkpoint,
        "--output",
        weights
    ]);
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let mut command =
        args!["run", "--weights", weights, "--input", case.join("input.npy"), "--output", output, "--isa", isa]
            .to_vec();
    succeed(&command);
    assert_agrees(&output, &case.join("output.npy"), &meta["f32_vs_f64"]);
    let Some(limits) = meta["blocks"].as_array() else { return };

    // The output is the same file with and without the blocks.
    let without = std::fs::read(&output).unwrap();
    command.extend(args!["--dump-blocks", blocks]);
    succeed(&command);
    assert!(std::fs::read(&output).unwrap() == without);
    for (i, limits) in limits.iter().enumerate() {
        let name = format!("{i:02}.npy");
        assert_agrees(&blocks.join(&name), &case.join("blocks").join(&name), limits);
    }
    assert_eq!(std::fs::read_dir(&blocks).unwrap().count(), limits.len());
}

#[test]
fn outputs_and_blocks_agree_with_pytorch() {
    let mut all = cases(&testdata("golden"));
    assert!(all.len() >= 17, "{all:?}");
    // A folder of further ones, e.g. larger networks.
    if let Some(more) = std::env::var_os("MNX_GOLDENS") {
        all.extend(cases(Path::new(&more)));
    }
    for case in all {
        for isa in mnx::Isa::available() {
            check(&case, isa.name());
        }
    }
}

#[test]
fn what_is_written_is_said() {
    let folder = Folder::new();
    let input = testdata("golden/w0.1-c10/cifar-32x32/input.npy");
    let [output, blocks] = ["y.npy", "deep/er"].map(|name| folder.path(name));
    let run = args!["run", "--weights", weights(), "--input", input, "--output", output, "--dump-blocks", blocks];
    assert_eq!(succeed(&run), format!("{}: 1 x 10; blocks in {}\n", output.display(), blocks.display()));
    let said = json(run.iter().cloned().chain(args!["--format", "json"]));
    assert_eq!(said["output"], output.to_str().unwrap());
    assert_eq!(said["shape"], serde_json::json!([1, 10]));
    assert!(blocks.join("20.npy").exists() && !blocks.join("21.npy").exists());
}

fn header(descr: &str, fortran: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

fn floats(shape: &str, data: usize) -> Vec<u8> {
    npy(1, &header("'<f4'", "False", shape), data)
}

#[test]
fn inputs_that_are_none() {
    let good = floats("(1, 3, 2, 2)", 48);
    let deep = format!("{}{}", "(".repeat(9_000), ")".repeat(900));
    let cases = [
        ("empty", vec![], "0 bytes"),
        ("text", b"1.0, 2.0, 3.0".to_vec(), ".npy"),
        ("magic", good[..7].to_vec(), "7 bytes"),
        ("cut-length", good[..9].to_vec(), "ends before"),
        ("cut-header", good[..40].to_vec(), "ends before"),
        ("cut-data", good[..good.len() - 1].to_vec(), "48 bytes of f32 for 1 x 3 x 2 x 2, found 47"),
        ("long-data", floats("(1, 3, 2, 2)", 52), "found 52"),
        ("version", npy(4, &header("'<f4'", "False", "(1, 3, 2, 2)"), 48), "version"),
        ("f64", npy(1, &header("'<f8'", "False", "(1, 3, 2, 2)"), 96), "'<f8'"),
        ("big-endian", npy(1, &header("'>f4'", "False", "(1, 3, 2, 2)"), 48), "'>f4'"),
        ("record", npy(1, &header("[('a', '<f4')]", "False", "(1, 3, 2, 2)"), 48), "'a'"),
        ("fortran", npy(1, &header("'<f4'", "True", "(1, 3, 2, 2)"), 48), "C order"),
        ("rank-3", floats("(3, 2, 2)", 48), "(3, 2, 2)"),
        ("rank-5", floats("(1, 1, 3, 2, 2)", 48), "(1, 1, 3, 2, 2)"),
        ("scalar", floats("()", 4), "()"),
        ("channels", floats("(1, 4, 2, 2)", 64), "(1, 4, 2, 2)"),
        ("no-picture", floats("(0, 3, 2, 2)", 0), "(0, 3, 2, 2)"),
        ("no-row", floats("(1, 3, 0, 2)", 0), "(1, 3, 0, 2)"),
        ("negative", floats("(1, 3, -2, 2)", 48), "-2"),
        ("fraction", floats("(1, 3, 2.0, 2)", 48), "2e0"),
        ("claims", floats("(1000000, 3, 1000, 1000)", 48), "12000000000000 bytes"),
        ("overflow", floats("(4294967296, 3, 4294967296, 4294967296)", 48), "more bytes"),
        ("bigger", floats("(99999999999999999999, 3, 1, 1)", 48), "99999999999999999999"),
        ("no-shape", npy(1, "{'descr': '<f4', 'fortran_order': False}", 48), "shape"),
        ("no-dict", npy(1, "[1, 2]", 48), "shape"),
        ("deep", npy(1, &deep, 48), "shape"),
        ("long-header", npy(2, &" ".repeat(20_000), 48), "10000"),
        ("claimed-header", npy(2, "", 0).into_iter().take(8).chain([0xff; 4]).collect(), "10000"),
    ];
    let folder = Folder::new();
    let (output, blocks) = (folder.path("y.npy"), folder.path("blocks"));
    let refused = |input: &Path, reason: &str| {
        let line = fail(
            1,
            args!["run", "--weights", weights(), "--input", input, "--output", output, "--dump-blocks", blocks],
        );
        assert!(line.contains(input.to_str().unwrap()) && line.contains(reason), "{line}");
    };
    for (name, bytes, reason) in cases {
        let input = folder.file(name, bytes);
        refused(&input, reason);
        std::fs::remove_file(input).unwrap();
    }
    refused(&folder.path("absent"), "No such file");
    refused(&folder.path(""), "no plain file");
    assert!(folder.names().is_empty());
    // The same header in the other versions is fine.
    for version in [1, 2, 3] {
        let input = folder.file("x.npy", npy(version, &header("'<f4'", "False", "(1, 3, 2, 2)"), 48));
        succeed(args!["run", "--weights", weights(), "--input", input, "--output", output]);
    }
}

#[test]
fn inputs_beyond_the_arena_are_refused_before_they_are_read() {
    // 4 GiB are the limit; the file is a hole.
    let folder = Folder::new();
    let side = 13_000_u64;
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new_header_only().dtype(npyz::DType::new_scalar("<f4".parse().unwrap()));
    options.shape(&[1, 3, side, side]).writer(&mut bytes).write_header_only().unwrap();
    let input = folder.file("x.npy", &bytes);
    File::options().write(true).open(&input).unwrap().set_len(bytes.len() as u64 + 12 * side * side).unwrap();
    let output = folder.path("y.npy");
    let line = fail(1, args!["run", "--weights", weights(), "--input", input, "--output", output]);
    assert!(line.contains("x.npy") && line.contains("at most"), "{line}");
    assert_eq!(folder.names(), ["x.npy"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = Folder::new();
    let input = testdata("golden/w0.1-c10/cifar-32x32/input.npy");
    let file = folder.file("file", "kept");
    let output = folder.path("y.npy");
    let run = |output: &Path, blocks: &Path| {
        fail(1, args!["run", "--weights", weights(), "--input", input, "--output", output, "--dump-blocks", blocks])
    };
    assert!(run(&output, &file).contains("file"));
    assert!(run(&folder.path("no/y.npy"), &folder.path("b")).contains("no/y.npy"));
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    assert_eq!(folder.names(), ["file"]);
}

/// The header's parser takes exponential time for nested brackets.
#[test]
fn a_header_of_nested_brackets_is_refused_at_once() {
    let folder = Folder::new();
    let mut bytes = b"\x93NUMPY\x01\x00\x10\x00".to_vec();
    bytes.extend([b'{'; 16]);
    let (input, output) = (folder.file("nested.npy", &bytes), folder.path("y.npy"));
    let start = std::time::Instant::now();
    fail(1, args!["run", "--weights", model_file("mobilenext-0.35-cifar10.mnx"), "--input", input, "--output", output]);
    assert!(start.elapsed() < std::time::Duration::from_secs(5) && !output.exists());
}

/// What `run --input - --output -` does with this on its standard input.
fn piped(bytes: &[u8], flags: &[&str]) -> std::process::Output {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = program();
    command.args(["run", "--weights"]).arg(weights()).args(["--input", "-", "--output", "-"]).args(flags);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses its input closes it early.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn dashes_are_standard_input_and_output() {
    let folder = Folder::new();
    let bytes = floats("(2, 3, 4, 5)", 480);
    let (input, output) = (folder.file("x.npy", &bytes), folder.path("y.npy"));
    succeed(args!["run", "--weights", weights(), "--input", input, "--output", output]);
    for flags in [&[][..], &["--format", "json"]] {
        let piped = piped(&bytes, flags);
        assert_eq!((piped.status.code(), text(&piped.stderr).as_str()), (Some(0), ""));
        assert!(piped.stdout == std::fs::read(&output).unwrap(), "the same bytes, and nothing else");
    }
}

#[test]
fn standard_input_has_the_limits_of_files() {
    for (bytes, reason) in [
        (vec![], ".npy"),
        (b"\x93NUMPY\x01\x00".to_vec(), "ends before"),
        (floats("(1, 3, 2, 2)", 47), "48 bytes of f32 for 1 x 3 x 2 x 2, found 47"),
        (floats("(1, 3, 2, 2)", 49), "found more"),
        (floats("(1, 3, 100000, 100000)", 48), "at most 4294967296 bytes"),
        (floats("(4294967296, 3, 4294967296, 4294967296)", 48), "at most 4294967296 bytes"),
        (floats("(1, 3, 30000, 10000)", 48), "multiply-adds for 3 x 30000 x 10000"),
    ] {
        let output = piped(&bytes, &["--threads", "1"]);
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len(), line.lines().count()), (Some(1), 0, 1), "{line}");
        assert!(line.starts_with("error: standard input: ") && line.contains(reason), "{reason}: {line}");
    }
}
