//! Pictures in, boxes out.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use mnx::Picture;
use serde_json::Value;

/// A small detector of three classes with random weights, of which every score is about a third.
fn detector(folder: &Folder) -> PathBuf {
    let path = folder.path("d.mnx");
    init_detector("ssdlite-mobilenext", 3, &path);
    path
}

fn detect(weights: &Path, picture: &Path, more: &[&str]) -> Value {
    let mut args = args!["detect", "--weights", weights, "--format", "json", picture].to_vec();
    args.extend(more.iter().map(Into::into));
    json(args)
}

fn boxes(answer: &Value) -> &Vec<Value> {
    answer[0]["boxes"].as_array().unwrap()
}

fn number(found: &Value, key: &str) -> f64 {
    found[key].as_f64().unwrap()
}

#[test]
fn json_has_boxes_per_picture_the_best_first() {
    let folder = Folder::new();
    let (weights, rocket) = (detector(&folder), testdata("pictures/rocket.jpg"));
    let answer = detect(&weights, &rocket, &[]);
    assert_eq!(answer[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["boxes", "file"]);
    assert_eq!(answer[0]["file"], rocket.to_str().unwrap());
    let found = boxes(&answer);
    assert!(found.len() > 10 && found.len() <= 100);
    let keys = ["index", "label", "score", "xmax", "xmin", "ymax", "ymin"];
    for pair in found.windows(2) {
        assert_eq!(pair[0].as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        assert!(number(&pair[0], "score") >= number(&pair[1], "score") && number(&pair[1], "score") > 0.01);
        assert!(number(&pair[0], "xmin") < number(&pair[0], "xmax"));
        assert!([1, 2].map(Value::from).contains(&pair[0]["index"]) && pair[0]["label"].is_null());
    }
    // The network sees the same squashed picture, so that boxes grow with the original.
    let picture = Picture::open(&rocket).unwrap();
    let widest = found.iter().map(|found| number(found, "xmax")).fold(0.0, f64::max);
    assert!(widest > 0.5 * picture.width() as f64 && widest < 2.0 * picture.width() as f64, "{widest}");
}

#[test]
fn flags_choose_boxes() {
    let folder = Folder::new();
    let (weights, chelsea) = (detector(&folder), testdata("pictures/chelsea.png"));
    let all = detect(&weights, &chelsea, &["--iou", "1", "--top", "100000"]);
    let score = number(&boxes(&all)[9], "score");
    let above = detect(&weights, &chelsea, &["--iou", "1", "--score", &score.to_string()]);
    assert_eq!(boxes(&above)[..], boxes(&all)[..9]);
    assert_eq!(boxes(&detect(&weights, &chelsea, &["--iou", "1", "--top", "3"]))[..], boxes(&all)[..3]);
    assert!(boxes(&detect(&weights, &chelsea, &["--score", "1"])).is_empty());
    let apart = detect(&weights, &chelsea, &["--iou", "0", "--top", "100000"]);
    assert!(boxes(&apart).len() < boxes(&all).len() / 2);
}

#[test]
fn wrong_flags_are_wrong_usage() {
    let folder = Folder::new();
    let (weights, chelsea) = (folder.file("d.mnx", ""), testdata("pictures/chelsea.png"));
    for (flag, values) in [
        ("--score", &["nan", "-0.1", "1.1", "inf", "", "half"][..]),
        ("--iou", &["nan", "-1", "1.0001", "-inf"]),
        ("--top", &["0", "-1", "1.5"]),
    ] {
        for value in values {
            let line = fail(2, args!["detect", "--weights", weights, format!("{flag}={value}"), chelsea]);
            assert!(line.contains(flag), "{line}");
        }
    }
    assert!(fail(2, args!["detect", "--weights", weights]).contains("IMAGE"));
}

#[test]
fn text_is_a_table_per_picture() {
    let folder = Folder::new();
    let (weights, chelsea) = (detector(&folder), testdata("pictures/chelsea.png"));
    let answer = succeed(args!["detect", "--weights", weights, "--top", "2", chelsea]);
    let lines: Vec<_> = answer.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, chelsea.to_str().unwrap()));
    assert!(lines[1].split_whitespace().eq(["score", "xmin", "ymin", "xmax", "ymax"]), "{answer}");
    assert!(lines[2].starts_with("  class ") && lines[2].contains(" %  "), "{answer}");
    let answer = succeed(args!["detect", "--weights", weights, "--score", "1", chelsea]);
    assert!(answer.ends_with("\n  nothing found\n"), "{answer}");
}

#[test]
fn other_networks_are_refused_by_name() {
    let folder = Folder::new();
    let (detector, chelsea) = (detector(&folder), testdata("pictures/chelsea.png"));
    let line = fail(1, args!["detect", "--weights", weights(), chelsea]);
    assert!(line.contains("cifar10.mnx: expected a detector, found a classifier (use classify"), "{line}");
    let line = fail(1, args!["classify", "--weights", detector, chelsea]);
    assert!(line.contains("d.mnx: expected a classifier, found a detector (use detect"), "{line}");
    let line = fail(1, args!["eval", "--weights", detector, folder.path("")]);
    assert!(line.contains("d.mnx: expected a classifier, found a detector"), "{line}");
}

#[test]
fn a_bad_picture_does_not_stop_the_others() {
    let folder = Folder::new();
    let (weights, chelsea) = (detector(&folder), testdata("pictures/chelsea.png"));
    let (bad, copies) = (folder.file("text.png", "no picture"), folder.path("copies"));
    let args = args!["detect", "--weights", weights, "--format", "json", "--annotate", copies, bad, chelsea];
    let output = run(args);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["error", "file"]);
    assert_eq!(text(&output.stderr), format!("error: {}\n", answer[0]["error"].as_str().unwrap()));
    assert!(!answer[1]["boxes"].as_array().unwrap().is_empty());
    assert_eq!(answer[1]["annotated"], copies.join("chelsea.png").to_str().unwrap());
    // No copy of what could not be read.
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 1);
    let alone = folder.path("alone.png");
    assert_eq!(run(args!["detect", "--weights", weights, "--annotate", alone, bad]).status.code(), Some(1));
    assert_eq!(folder.names(), ["copies", "d.mnx", "text.png"]);
}

#[test]
fn every_thread_count_gives_the_same_bytes() {
    let folder = Folder::new();
    let (weights, pictures) = (detector(&folder), testdata("pictures"));
    let with = |threads: &str| {
        let args = args!["detect", "--weights", weights, "--format", "json", "--threads", threads, pictures];
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout)
    };
    assert_eq!(with("3"), with("1"));
}

#[test]
fn standard_input_and_extreme_pictures() {
    let folder = Folder::new();
    let weights = detector(&folder);
    let chelsea = testdata("pictures/chelsea.png");
    let copy = folder.path("copy.png");
    let mut command = program();
    command.args(args!["detect", "--weights", weights, "--format", "json", "--annotate", copy, "-"]);
    let output = command.stdin(std::fs::File::open(&chelsea).unwrap()).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer[0]["file"], boxes(&answer)), (&Value::from("-"), boxes(&detect(&weights, &chelsea, &[]))));
    let (dot, long) = (testdata("pictures-golden/1x1.png"), testdata("pictures-golden/60000x1.png"));
    for (picture, width) in [(dot, 1), (long, 60_000)] {
        let answer = detect(&weights, &picture, &["--annotate", copy.to_str().unwrap()]);
        assert!(boxes(&answer).iter().all(|found| number(found, "ymax").abs() < 10.0));
        assert_eq!(Picture::open(&copy).unwrap().width(), width);
    }
}

#[test]
fn copies_have_boxes_on_the_upright_picture() {
    let folder = Folder::new();
    let weights = detector(&folder);
    let turned = testdata("pictures-golden/exif6.jpg");
    let copy = folder.path("copy.PNG");
    let answer = detect(&weights, &turned, &["--annotate", copy.to_str().unwrap(), "--top", "5"]);
    assert_eq!(answer[0]["annotated"], copy.to_str().unwrap());
    let (before, after) = (Picture::open(&turned).unwrap(), Picture::open(&copy).unwrap());
    assert_eq!((before.width(), before.height()), (after.width(), after.height()));
    assert_ne!(before.pixels(), after.pixels());
    // Without boxes, the same pixels.
    detect(&weights, &turned, &["--annotate", copy.to_str().unwrap(), "--score", "1"]);
    assert_eq!(Picture::open(&turned).unwrap(), Picture::open(&copy).unwrap());
}

#[test]
fn several_copies_go_to_a_folder_under_different_names() {
    let folder = Folder::new();
    let weights = detector(&folder);
    let chelsea = std::fs::read(testdata("pictures/chelsea.png")).unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    let pictures = ["a/cat.png", "b/cat.png", "a/cat.jpg", "b/dog.png"].map(|name| folder.file(name, &chelsea));
    let copies = folder.path("made/deeper");
    let [one, two, three, four] = &pictures;
    let annotate =
        |to: &Path| args!["detect", "--weights", weights, "--format", "json", "--annotate", to, one, two, three, four];
    let answer = json(annotate(&copies));
    for (found, name) in answer.as_array().unwrap().iter().zip(["cat.png", "cat-2.png", "cat-3.png", "dog.png"]) {
        assert_eq!(found["annotated"], copies.join(name).to_str().unwrap());
    }
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 4);
    // A picture would be overwritten.
    let line = fail(2, annotate(&folder.path("a")));
    assert!(line.contains("--annotate: expected an output that is no input") && line.contains("cat.png"), "{line}");
    assert_eq!(std::fs::read(one).unwrap(), chelsea);
    // A file cannot hold several.
    for name in ["x.png", "d.mnx"] {
        let line = fail(2, annotate(&folder.path(name)));
        assert!(line.contains("expected a folder for several pictures"), "{line}");
    }
    let line = fail(2, args!["detect", "--weights", weights, "--annotate", folder.path("x.png"), folder.path("a")]);
    assert!(line.contains("expected a folder for several pictures"), "{line}");
}

#[test]
fn a_copy_is_a_png_file_that_is_no_input() {
    let folder = Folder::new();
    let weights = detector(&folder);
    let chelsea = std::fs::read(testdata("pictures/chelsea.png")).unwrap();
    let picture = folder.file("cat.png", &chelsea);
    let annotate = |to: &Path| args!["detect", "--weights", weights, "--annotate", to, picture];
    assert!(fail(2, annotate(&picture)).contains("cat.png: expected an output that is no input, found it as both"));
    assert!(fail(2, annotate(&folder.path("cat.jpg"))).contains("expected a name that ends in .png, or a folder"));
    assert!(fail(2, annotate(&weights)).contains("expected a name that ends in .png, or a folder"));
    assert!(fail(1, annotate(&folder.path("no/cat.png"))).contains("cannot be written: there is no such folder"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&picture, folder.path("link.png")).unwrap();
        let line = fail(2, annotate(&folder.path("link.png")));
        assert!(line.contains("found the same file as"), "{line}");
        // As a folder's file, too.
        std::fs::create_dir(folder.path("copies")).unwrap();
        std::os::unix::fs::symlink(&picture, folder.path("copies/cat.png")).unwrap();
        let line = fail(2, annotate(&folder.path("copies")));
        assert!(line.contains("expected an output that is no input"), "{line}");
    }
    assert_eq!(std::fs::read(&picture).unwrap(), chelsea);
    let under_file = folder.path("cat.png/x/");
    assert!(
        fail(1, args!["detect", "--weights", weights, "--annotate", under_file, picture, picture])
            .contains("cannot be written")
    );
}
