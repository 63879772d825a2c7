//! Folders of pictures in, counts of right answers out.
//!
//! The model takes chelsea.png for a cat (then dog, bird, deer, frog) and rocket.jpg for a ship.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::{Value, json};

/// A folder to evaluate: each file a name and where its content comes from.
fn dataset(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    for (name, source) in files {
        let path = folder.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(testdata(source), path).unwrap();
    }
    folder
}

const CHELSEA: &str = "pictures/chelsea.png";
const ROCKET: &str = "pictures/rocket.jpg";
const DOT: &str = "pictures-golden/1x1.png";
/// No picture.
const TEXT: &str = "pictures/README.md";

fn eval(folder: &Path, more: &[&str]) -> Value {
    let mut args = args!["eval", "--weights", weights(), "--format", "json", folder].to_vec();
    args.extend(more.iter().map(Into::into));
    json(args)
}

/// The line of an evaluation that ends with code 1 and no answer.
fn fail_eval(folder: &Path, more: &[&str]) -> String {
    let mut args = args!["eval", "--weights", weights(), folder].to_vec();
    args.extend(more.iter().map(Into::into));
    fail(1, args)
}

fn mapped(folder: &Folder, lines: &str) -> PathBuf {
    folder.file("classes.tsv", lines)
}

#[test]
fn folders_are_classes_by_label_or_by_index() {
    let folder = dataset(&[("cat/a.png", CHELSEA), ("cat/deeper/b.PNG", CHELSEA), ("8/rocket.jpg", ROCKET)]);
    let report = eval(&folder.path(""), &[]);
    assert_eq!(report["pictures"], 3);
    assert_eq!(report["top1"], json!({"correct": 3, "rate": 1.0}));
    assert_eq!(report["top5"], json!({"correct": 3, "rate": 1.0}));
    let classes = json!([
        {"index": 3, "label": "cat", "pictures": 2, "correct": 2},
        {"index": 8, "label": "ship", "pictures": 1, "correct": 1},
    ]);
    assert_eq!(report["classes"], classes);
    for none in ["confusions", "unreadable", "unknown_folders", "empty_folders"] {
        assert_eq!(report[none], json!([]), "{none}");
    }
    assert_eq!(report["loose_pictures"], 0);
    let [seconds, rate] = ["elapsed_seconds", "pictures_per_second"].map(|key| report[key].as_f64().unwrap());
    assert!(seconds > 0.0 && (rate * seconds - 3.0).abs() < 1e-6);
}

#[test]
fn wrong_answers_are_counted_by_what_they_were_taken_for() {
    let files = [("dog/a.png", CHELSEA), ("5/b.png", CHELSEA), ("truck/c.png", CHELSEA), ("cat/d.png", CHELSEA)];
    let report = eval(&dataset(&files).path(""), &[]);
    assert_eq!(report["top1"], json!({"correct": 1, "rate": 0.25}));
    // Dog is the second guess, truck none of five; two folders are the same class.
    assert_eq!(report["top5"], json!({"correct": 3, "rate": 0.75}));
    assert_eq!(report["classes"][1], json!({"index": 5, "label": "dog", "pictures": 2, "correct": 0}));
    let confusion = |index: usize, label: &str, count: usize| json!({"index": index, "label": label, "predicted_index": 3, "predicted_label": "cat", "count": count});
    assert_eq!(report["confusions"], json!([confusion(5, "dog", 2), confusion(9, "truck", 1)]));
}

#[test]
fn a_class_map_goes_before_the_names() {
    let folder = dataset(&[("data/n01/a.png", CHELSEA), ("data/cat/b.jpg", ROCKET), ("data/x/c.png", CHELSEA)]);
    let map = mapped(&folder, "n01\tcat\ncat\t8\nabsent\tdog\n");
    let report = eval(&folder.path("data"), &["--class-map", map.to_str().unwrap()]);
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(2), &json!(2)));
    assert_eq!(report["unknown_folders"], json!(["x"]));
    let alone = eval(&folder.path("data"), &[]);
    assert_eq!((&alone["pictures"], &alone["top1"]["correct"]), (&json!(1), &json!(0)));
    assert_eq!(alone["unknown_folders"], json!(["n01", "x"]));
}

#[test]
fn a_wrong_class_map_is_told_before_any_picture_is_read() {
    let folder = dataset(&[("data/cat/a.png", CHELSEA)]);
    for (lines, expected) in [
        ("cat\tcat\nx\tunicorn\n", "line 2: expected a label of the model or an index from 0 to 9, found \"unicorn\""),
        ("x\t10\n", "line 1: expected a label of the model or an index from 0 to 9, found \"10\""),
        ("x\tcat\nx\tdog\n", "line 2: expected a folder that has no line yet, found \"x\""),
        ("x cat\n", "line 1: expected a folder, a tab and a label or class index, found \"x cat\""),
    ] {
        let map = mapped(&folder, lines);
        let map = map.to_str().unwrap();
        let line = fail_eval(&folder.path("data"), &["--class-map", map]);
        assert_eq!(line, format!("error: {map}: {expected}\n"));
    }
    let absent = folder.path("absent.tsv");
    let line = fail_eval(&folder.path("data"), &["--class-map", absent.to_str().unwrap()]);
    assert!(line.contains("absent.tsv") && line.contains("No such file"), "{line}");
}

#[test]
fn what_is_not_scored_is_listed() {
    let files = [("cat/a.png", CHELSEA), ("cat/b.png", TEXT), ("cat/c.TIF", TEXT), ("cat/.hidden", TEXT)];
    let others = [("unicorn/a.png", CHELSEA), ("10/b.png", TEXT), (".git/c.png", CHELSEA), ("d.jpg", ROCKET)];
    let no_pictures = [("cat/notes.md", TEXT), ("e.md", TEXT), ("unicorn/notes.md", TEXT)];
    let folder = dataset(&[&files[..], &others, &no_pictures].concat());
    let dir = folder.path("");
    let report = eval(&dir, &[]);
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(1), &json!(1)));
    let unreadable = report["unreadable"].as_array().unwrap();
    assert_eq!(unreadable.len(), 2);
    for (entry, name) in unreadable.iter().zip(["cat/b.png", "cat/c.TIF"]) {
        assert_eq!(entry["file"], folder.path(name).to_str().unwrap());
        let error = entry["error"].as_str().unwrap();
        assert!(error.contains(name) && error.contains("expected a PNG"), "{error}");
    }
    assert_eq!(report["unknown_folders"], json!(["10", "unicorn"]));
    assert_eq!((&report["loose_pictures"], &report["passed_over"]), (&json!(1), &json!(2)));

    let answer = succeed(args!["eval", "--weights", weights(), dir]);
    assert!(answer.contains("\ntop-1  100.0 %  1 of 1\n") && answer.contains("\ncat           1        1  100.0 %  █"));
    assert!(answer.contains("\n2 files could not be read\n") && answer.contains("cat/c.TIF: expected a PNG"));
    let loose = "1 picture is in no sub-folder: not scored\n\n2 other files passed over (.md 2)\n";
    assert!(answer.ends_with(&format!("not scored\n  10\n  unicorn\n\n{loose}")), "{answer}");
}

#[test]
fn a_picture_is_one_by_content() {
    let files = ["cat/a", "cat/b.jfif", "cat/c.txt", "3/d.jpe", "cat/e.tiff"].map(|name| (name, CHELSEA));
    let folder = dataset(&files);
    folder.file("cat/f.jpg", b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1miaf");
    folder.file("cat/g", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    let report = eval(&folder.path(""), &[]);
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(5), &json!(5)));
    let unreadable = report["unreadable"].as_array().unwrap();
    let errors: Vec<_> = unreadable.iter().map(|file| file["error"].as_str().unwrap()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    for (error, (name, format)) in errors.iter().zip([("cat/f.jpg", "AVIF"), ("cat/g", "HEIC")]) {
        assert!(error.contains(name) && error.contains(format), "{error}");
    }
}

/// A folder as ImageNet has it, with a cat and a ship.
fn imagenet() -> Folder {
    dataset(&[("val/n02123045/a.png", CHELSEA), ("val/n04266014/b.jpg", ROCKET)])
}

#[test]
fn class_maps_of_imagenet_are_told_apart_by_content() {
    let folder = imagenet();
    let id = |i| match i {
        3 => "n02123045\n".to_owned(),
        8 => "n04266014\n".to_owned(),
        _ => format!("n0000000{i}\n"),
    };
    let ids: String = (0..10).map(id).collect();
    for content in [
        "n02123045 cat, tabby\nn04266014 ship\n",
        "n02123045 tabby, cat\r\nn04266014 boat, ship\r\n\r\n",
        r#"{"3": ["n02123045", "cat"], "8": ["n04266014", "ship"]}"#,
        r#"{"n02123045": "cat", "n04266014": "ship"}"#,
        r#"{"n02123045": 3, "n04266014": 8}"#,
        r#"{"3": "n02123045", "8": "n04266014"}"#,
        "n02123045\tcat\nn04266014\t8\n\n",
        // All ten in the order of the classes.
        &ids,
    ] {
        let map = mapped(&folder, content);
        let report = eval(&folder.path("val"), &["--class-map", map.to_str().unwrap()]);
        assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(2), &json!(2)), "{report}");
    }
    let map = mapped(&folder, r#"{"4": ["n02123045", "cat"]}"#);
    let line = fail_eval(&folder.path("val"), &["--class-map", map.to_str().unwrap()]);
    assert!(line.contains("class 3 (\"cat\")") && line.contains("class 4 (\"deer\")"), "{line}");
}

#[test]
fn sorted_folders_are_the_classes_in_order() {
    let folder = dataset(&[("n3/a.png", CHELSEA), ("n8/b.jpg", ROCKET)]);
    let dir = folder.path("");
    let line = fail_eval(&dir, &["--sorted-folders"]);
    assert!(line.contains("expected 10 sub-folders") && line.contains("found 2"), "{line}");
    for name in [".hidden", "n0", "n1", "n2", "n4", "n5", "n6", "n7", "n9"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    let report = eval(&dir, &["--sorted-folders"]);
    assert_eq!(report["classes"][1], json!({"index": 8, "label": "ship", "pictures": 1, "correct": 1}));
    assert_eq!((&report["top1"]["correct"], &report["unknown_folders"]), (&json!(2), &json!([])));
    let line = fail_eval(&folder.path("absent"), &["--sorted-folders"]);
    assert!(line.contains("absent") && line.contains("a sub-folder of pictures per class"), "{line}");
    for other in ["--class-map", "--list"] {
        let line = fail(2, args!["eval", "--weights", weights(), "--sorted-folders", other, "x", dir]);
        assert!(line.contains("--sorted-folders") && line.contains(other), "{line}");
    }
}

#[test]
fn a_list_says_what_files_show() {
    let folder = dataset(&[("val/a b.png", CHELSEA), ("val/c.JPEG", ROCKET), ("val/sub/d.png", CHELSEA)]);
    folder.file("val/notes.txt", "no picture");
    let evaluate = |name: &str, content: &str, more: &[&str]| {
        let list = folder.file(name, content);
        let more = [&["--list", list.to_str().unwrap()], more].concat();
        eval(&folder.path("val"), &more)
    };
    let report = evaluate("val.txt", "a b.png\tcat\nc.JPEG\t8\ngone.png\t0\nnotes.txt\tcat\n", &[]);
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(2), &json!(2)));
    assert_eq!((&report["unlisted_pictures"], &report["passed_over"]), (&json!(1), &json!(0)));
    let unreadable = report["unreadable"].as_array().unwrap();
    let files: Vec<_> = unreadable.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["val/gone.png", "val/notes.txt"].map(|name| folder.path(name).to_str().unwrap().to_owned()));

    let map = folder.file("LOC_synset_mapping.txt", "n02123045 cat\nn04266014 ship\n");
    let more = ["--class-map", map.to_str().unwrap()];
    let kaggle = "ImageId,PredictionString\nc,n04266014 1 2 3 4\n";
    for (list, pictures) in [(kaggle, 1), ("c.JPEG n04266014\n./sub/d.png n02123045\n", 2)] {
        let report = evaluate("list", list, &more);
        assert_eq!((&report["pictures"], &report["top1"]["rate"]), (&json!(pictures), &json!(1.0)));
        assert_eq!((&report["unlisted_pictures"], &report["passed_over"]), (&json!(3 - pictures), &json!(1)));
    }
    let list = folder.file("list", "c.JPEG ship\nc.JPEG ship\n");
    let line = fail_eval(&folder.path("val"), &["--list", list.to_str().unwrap()]);
    assert!(line.contains("list: line 2: expected a file that has no line yet"), "{line}");
    let list = folder.file("list", "c.JPEG ship\n");
    let answer = succeed(args!["eval", "--weights", weights(), "--list", list, folder.path("val")]);
    let rest = "2 pictures are not in the list: not scored\n\n1 other file passed over (.txt 1)\n";
    assert!(answer.ends_with(rest), "{answer}");
}

#[test]
fn numbers_that_leave_out_a_background_are_noted() {
    let folder = imagenet();
    let labels = "background\na\nb\ncat\nd\ne\nf\ng\nship\ni\n";
    let (labels, model) = (folder.file("labels.txt", labels), folder.path("w.mnx"));
    let checkpoint = model_file("mobilenext_0.35_cifar10.safetensors");
    let convert = args!["convert", "--arch", "mobilenext-cifar", "--width", "0.35", "--input", checkpoint];
    succeed([&convert[..], &args!["--labels", labels, "--output", model]].concat());
    let map = mapped(&folder, r#"{"2": ["n02123045", "cat"], "7": ["n04266014", "ship"]}"#);
    let output = run(args!["eval", "--weights", model, "--format", "json", "--class-map", map, folder.path("val")]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(2), &json!(2)));
    let note = format!(
        "{}: class numbers leave out the model's class 0 (\"background\"): 0 is class 1 (\"a\")\n",
        map.display()
    );
    assert_eq!(text(&output.stderr), note);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_open_the_same_files() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = dataset(&[("cat/a.png", CHELSEA), ("caf\u{e9}/a.png", CHELSEA)]);
    let bad = folder.path("cat").join(OsStr::from_bytes(b"bad\xFF\xFEname.jpg"));
    std::fs::write(&bad, "no picture").unwrap();
    std::fs::create_dir(folder.path("").join(OsStr::from_bytes(b"caf\xE9"))).unwrap();
    let report = eval(&folder.path(""), &[]);
    let bytes = |value: &Value| serde_json::from_value::<Vec<u8>>(value.clone()).unwrap();
    let read = std::fs::read(OsStr::from_bytes(&bytes(&report["unreadable"][0]["file_bytes"])));
    assert_eq!(read.unwrap(), b"no picture");
    assert_eq!(report["unknown_folders"], json!(["caf\u{e9}", "caf\u{fffd}"]));
    assert_eq!(report["unknown_folders_bytes"].as_array().unwrap().len(), 1);
    assert_eq!(bytes(&report["unknown_folders_bytes"][0]), b"caf\xE9");
}

#[test]
fn strict_fails_after_the_answers() {
    let folder = dataset(&[("cat/a.png", CHELSEA), ("cat/b.png", TEXT)]);
    for (strict, code) in [(true, 1), (false, 0)] {
        let mut args = args!["eval", "--weights", weights(), "--format", "json", folder.path("")].to_vec();
        if strict {
            args.push("--strict".into());
        }
        let output = run(args);
        assert_eq!(output.status.code(), Some(code));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["pictures"], report["unreadable"].as_array().unwrap().len()), (&json!(1), 1));
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), usize::from(strict), "{stderr}");
        assert_eq!(stderr.contains("--strict") && stderr.contains("1 of 2"), strict, "{stderr}");
    }
    let whole = dataset(&[("cat/a.png", CHELSEA), ("unicorn/b.png", TEXT)]);
    assert_eq!(eval(&whole.path(""), &["--strict"])["pictures"], 1);
}

#[test]
fn nothing_to_evaluate_is_an_error() {
    for (files, found) in [
        (&[][..], "no picture"),
        (&[("unicorn/a.png", CHELSEA)], "(unicorn); --class-map FILE"),
        (&[("n02123045/a.png", CHELSEA)], "(n02123045: WordNet ids); --class-map FILE"),
        (&[("n02123045/a.png", CHELSEA)], "--sorted-folders"),
        (&[("a.png", CHELSEA)], "found 1 picture in no sub-folder; --list FILE"),
        (&[("cat/.a.png", CHELSEA)], "no picture"),
    ] {
        let folder = dataset(files);
        let line = fail_eval(&folder.path(""), &[]);
        assert!(line.contains("a sub-folder of pictures per class") && line.contains(found), "{line}");
    }
    let folder = dataset(&[("a.png", CHELSEA)]);
    for name in ["absent", "a.png"] {
        let line = fail_eval(&folder.path(name), &[]);
        assert!(line.contains(name) && line.contains("a sub-folder of pictures per class"), "{line}");
    }
    fail(2, args!["eval", "--weights", weights()]);
}

#[test]
fn a_folder_of_broken_files_lists_them_and_fails() {
    let folder = dataset(&[("cat/a.png", TEXT), ("dog/b.png", TEXT)]);
    let output = run(args!["eval", "--weights", weights(), "--format", "json", folder.path("")]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["top1"], json!({"correct": 0, "rate": null}));
    assert_eq!(report["unreadable"].as_array().unwrap().len(), 2);
    let stderr = text(&output.stderr);
    assert!(stderr.lines().count() == 1 && stderr.ends_with("found none among 2\n"), "{stderr}");
}

#[test]
fn answers_that_are_no_numbers_are_not_right() {
    let folder = dataset(&[("data/0/a.png", CHELSEA), ("data/3/a.png", CHELSEA)]);
    let bad = folder.path("w.mnx");
    let checkpoint = model_file("mobilenext_0.35_cifar10.safetensors");
    let convert = args!["convert", "--arch", "mobilenext-cifar", "--width", "0.35", "--input", checkpoint];
    let mut args = convert.to_vec();
    // Pixels over this are infinite, and their sums with weights of both signs are no numbers.
    args.extend(args!["--mean", "0,0,0", "--std", "1e-44,1e-44,1e-44", "--output", bad]);
    succeed(args);
    let output = run(args!["eval", "--weights", bad, "--format", "json", folder.path("data")]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["pictures"], &report["top1"]["correct"]), (&json!(0), &json!(0)));
    assert!(report["unreadable"][1]["error"].as_str().unwrap().contains("expected finite logits"), "{report}");
}

#[test]
fn every_thread_count_gives_the_same_answers() {
    let names: Vec<_> = (0..30).map(|i| format!("{}/{i:02}.png", ["cat", "dog", "8"][i % 3])).collect();
    let sources = [CHELSEA, DOT, ROCKET, TEXT];
    let files: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), sources[i % 4])).collect();
    let folder = dataset(&files);
    let report = |threads: &str| {
        let mut report = eval(&folder.path(""), &["--threads", threads]);
        for time in ["elapsed_seconds", "pictures_per_second"] {
            report.as_object_mut().unwrap().remove(time).unwrap();
        }
        report
    };
    let alone = report("1");
    assert_eq!((&alone["pictures"], alone["unreadable"].as_array().unwrap().len()), (&json!(23), 7));
    let total = |key: &str| alone["classes"].as_array().unwrap().iter().map(|c| c[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("pictures"), Some(total("correct"))), (23, alone["top1"]["correct"].as_u64()));
    let confused = alone["confusions"].as_array().unwrap().iter().map(|c| c["count"].as_u64().unwrap());
    assert_eq!(confused.sum::<u64>(), 23 - total("correct"));
    for threads in ["2", "3", "64"] {
        assert_eq!(report(threads), alone);
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn without_weights_the_embedded_model_answers() {
    let folder = dataset(&[("cat/a.png", CHELSEA), ("cat/dot.png", DOT)]);
    let report = json(args!["eval", "--format", "json", folder.path("")]);
    assert_eq!((&report["pictures"], &report["classes"][0]["label"]), (&json!(2), &json!("cat")));
}

#[test]
fn a_closed_standard_output_ends_the_program_quietly() {
    let folder = dataset(&[("cat/a.png", CHELSEA)]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["eval", "--weights"]).arg(weights()).arg(folder.path("")).stdout(writer);
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}
