//! Files that are wrong in one way each, given to the command that reads such a file: each has an error of its own.
//!
//! `MNX_WRITE_MALFORMED=1 cargo test -p mnx-infer --test malformed` writes the table of errors anew, to be read line by line
//! before it is committed. The files are those of `tools/make_malformed`.

mod common;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::*;

/// What the table begins with.
const HEAD: &str = "file\tcommand\terror, after the file's name\n";
/// Most time that such a file may take, on a machine that has other things to do.
const LONGEST: Duration = Duration::from_secs(10);
/// A network that the checkpoint in `fuzz/seeds` is of.
const TABLE: &str = r#"{
    "stem": {"channels": 8, "stride": 2},
    "stages": [{"block": "inverted_residual", "ratio": 1, "channels": 8, "repeats": 1, "stride": 1}],
    "classes": 2
}"#;

/// What files of a kind are given to.
struct Reader {
    folder: Folder,
}

impl Reader {
    fn new() -> Reader {
        let folder = Folder::new();
        for name in ["pictures/cat", "voc/Annotations", "voc/JPEGImages", "voc/ImageSets/Main"] {
            fs::create_dir_all(folder.path(name)).unwrap();
        }
        for name in ["pictures/cat/cat.png", "voc/JPEGImages/a.jpg"] {
            fs::copy(testdata("pictures-golden/1x1.png"), folder.path(name)).unwrap();
        }
        folder.file("voc/ImageSets/Main/test.txt", "a\n");
        folder.file("table.json", TABLE);
        Reader { folder }
    }

    /// The name of what reads a file, its arguments, and the file's name in messages.
    fn command(&self, path: &Path) -> (&'static str, Vec<OsString>, String) {
        let (output, pictures) = (self.folder.path("output"), self.folder.path("pictures"));
        let as_given = path.display().to_string();
        let checkpoint = testdata("../fuzz/seeds/convert/small.safetensors");
        let (command, args) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("mnx") => ("inspect", args!["inspect", "--weights", path].to_vec()),
            Some("safetensors" | "onnx") => ("convert", args!["convert", "--input", path, "--output", output].to_vec()),
            Some("npy") => ("run", args!["run", "--weights", weights(), "--input", path, "--output", output].to_vec()),
            Some("json") => ("init", args!["init", "--arch", path, "--seed", "1", "--output", output].to_vec()),
            Some("labels") => {
                let table = self.folder.path("table.json");
                let args =
                    args!["convert", "--input", checkpoint, "--arch", table, "--labels", path, "--output", output];
                ("convert --labels", args.to_vec())
            }
            Some("map") => {
                ("eval --class-map", args!["eval", "--weights", weights(), "--class-map", path, pictures].to_vec())
            }
            Some("list") => ("eval --list", args!["eval", "--weights", weights(), "--list", path, pictures].to_vec()),
            Some("xml") => {
                let copy = self.folder.path("voc/Annotations/a.xml");
                fs::copy(path, &copy).unwrap();
                let args = args![
                    "eval",
                    "--weights",
                    model_file("bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx"),
                    "--voc",
                    self.folder.path("voc"),
                    "--strict"
                ];
                return ("eval --voc", args.to_vec(), copy.display().to_string());
            }
            _ => ("classify", args!["classify", "--weights", weights(), path].to_vec()),
        };
        (command, args, as_given)
    }

    /// The row of a file.
    fn row(&self, path: &Path) -> String {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (command, args, shown) = self.command(path);
        let start = Instant::now();
        let output = run(args);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(start.elapsed() < LONGEST, "{name}: {:?}", start.elapsed());
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{name}: {stderr}");
        assert!(!self.folder.path("output").exists(), "{name}: something was written");
        // What is wrong with one of many annotations is told on standard output.
        let all = if command == "eval --voc" { &stdout } else { &stderr };
        let line = all.lines().find_map(|line| line.split_once(&format!("{shown}: ")));
        let (_, message) = line.unwrap_or_else(|| panic!("{name}: no line names it in {all}"));
        assert!(message.len() > 10 && !message.contains('\t'), "{name}: {message}");
        format!("{name}\t{command}\t{message}\n")
    }
}

#[test]
fn every_malformed_file_has_its_error() {
    let reader = Reader::new();
    let entries = fs::read_dir(testdata("malformed")).unwrap().map(|entry| entry.unwrap().path());
    let is_file = |path: &std::path::PathBuf| !path.ends_with("cases.tsv") && !path.ends_with("README.md");
    let mut paths: Vec<_> = entries.filter(is_file).collect();
    paths.sort();
    assert!(paths.len() >= 150, "{} files", paths.len());
    let bytes: u64 = paths.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 300_000, "{bytes} bytes");
    let found = HEAD.to_owned() + &paths.iter().map(|path| reader.row(path)).collect::<String>();
    let table = testdata("malformed/cases.tsv");
    if std::env::var_os("MNX_WRITE_MALFORMED").is_some() {
        fs::write(&table, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(&table).unwrap();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}
