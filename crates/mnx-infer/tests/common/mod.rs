//! Runs the program as its users do.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, with the environment's ISA: CI sets it to run the tests on every one.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mnx-infer"))
}

/// What the program does with these arguments.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    program().args(args).output().expect("the program starts")
}

/// Standard output of a run that must succeed without a word on standard error.
pub fn succeed<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let output = run(args);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    assert_eq!(stderr, "");
    text(&output.stdout)
}

/// Standard output of a run that must succeed, as JSON.
pub fn json<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> serde_json::Value {
    serde_json::from_str(&succeed(args)).expect("JSON on standard output")
}

/// The line on standard error of a run that must end with this code and nothing on standard output.
pub fn fail<A: AsRef<OsStr>>(code: i32, args: impl IntoIterator<Item = A>) -> String {
    let lines = fail_with_list(code, args);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    lines
}

/// As [`fail`] where the line may be followed by a list.
pub fn fail_with_list<A: AsRef<OsStr>>(code: i32, args: impl IntoIterator<Item = A>) -> String {
    let output = run(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.ends_with('\n') && !stderr.contains("panicked"), "{stderr}");
    assert_eq!(text(&output.stdout), "");
    stderr
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A file of this crate's `model` folder.
pub fn model_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model").join(name)
}

/// The embedded model as a file.
pub fn weights() -> PathBuf {
    model_file("mobilenext-0.35-cifar10.mnx")
}

/// A file or folder of the workspace's `testdata` folder.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

/// A folder for one test, which goes when it is dropped.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the folder can be written");
        path
    }

    /// Names of what is in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder can be read");
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Arguments of different types as one list.
#[macro_export]
macro_rules! args {
    ($($arg:expr),* $(,)?) => { [$(std::ffi::OsString::from(&$arg)),*] };
}

/// An `.npy` file with this header and so many zero bytes.
pub fn npy(version: u8, header: &str, data: usize) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// Makes a narrow detector for pictures of 64 x 64 with random weights: its classes are about equally probable everywhere.
pub fn init_detector(arch: &str, classes: usize, output: &Path) {
    let network =
        args!["init", "--arch", arch, "--width", "0.1", "--classes", classes.to_string(), "--resolution", "64"];
    succeed([&network[..], &args!["--seed", "1", "--output", output]].concat());
}
