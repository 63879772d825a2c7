//! Pictures in, labels out.

mod common;

use common::*;
use serde_json::Value;

/// What PyTorch says of the picture, see `model/README.md`.
const CHELSEA: [(&str, f64); 3] = [("cat", 0.774), ("dog", 0.145), ("bird", 0.032)];

fn assert_chelsea(top: &Value) {
    for (guess, (label, probability)) in top.as_array().unwrap().iter().zip(CHELSEA) {
        assert_eq!(guess["label"], label);
        assert!((guess["probability"].as_f64().unwrap() - probability).abs() < 0.01, "{guess}");
    }
}

#[test]
fn json_has_an_object_per_picture() {
    let [chelsea, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    let answer = json(args!["classify", "--weights", weights(), "--format", "json", chelsea, rocket]);
    let pictures = answer.as_array().unwrap();
    assert_eq!(pictures.len(), 2);
    assert_eq!(pictures[0]["file"], chelsea.to_str().unwrap());
    assert_eq!(pictures[0]["top"].as_array().unwrap().len(), 5);
    assert_chelsea(&pictures[0]["top"]);
    assert_eq!(pictures[0]["top"][0]["index"], 3);
    assert_eq!(pictures[1]["top"][0]["label"], "ship");
    for picture in pictures {
        assert_eq!(picture.as_object().unwrap().keys().collect::<Vec<_>>(), ["file", "top"]);
        let keys: Vec<_> = picture["top"][0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["index", "label", "probability"]);
    }
}

#[test]
fn top_lists_as_many_as_asked_and_as_there_are() {
    let chelsea = testdata("pictures/chelsea.png");
    for (top, listed) in [("1", 1), ("3", 3), ("10", 10), ("11", 10), ("4000000000", 10)] {
        let answer = json(args!["classify", "--weights", weights(), "--format", "json", "--top", top, chelsea]);
        let guesses = answer[0]["top"].as_array().unwrap();
        assert_eq!(guesses.len(), listed);
        assert_chelsea(&answer[0]["top"]);
        let probabilities: Vec<f64> = guesses.iter().map(|g| g["probability"].as_f64().unwrap()).collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b));
        if listed == 10 {
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn text_is_a_table_per_picture() {
    let chelsea = testdata("pictures/chelsea.png");
    let answer = succeed(args!["classify", "--weights", weights(), "--top", "3", chelsea]);
    let lines: Vec<_> = answer.lines().collect();
    assert_eq!(lines[0], chelsea.to_str().unwrap());
    assert!(lines[1].starts_with("  cat   77.") && lines[1].contains(" %  ████"), "{answer}");
    assert!(lines[2].starts_with("  dog   14.") && lines[3].starts_with("  bird   3."), "{answer}");
    assert_eq!(lines.len(), 4);
}

#[test]
fn every_thread_count_gives_the_same_bytes() {
    let chelsea = testdata("pictures/chelsea.png");
    let with = |threads: &str| {
        succeed(args!["classify", "--weights", weights(), "--format", "json", "--threads", threads, chelsea])
    };
    let alone = with("1");
    for threads in ["2", "3", "4", "64"] {
        assert_eq!(with(threads), alone);
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn without_weights_the_embedded_model_answers() {
    let chelsea = testdata("pictures/chelsea.png");
    let embedded = succeed(args!["classify", chelsea]);
    assert_eq!(embedded, succeed(args!["classify", "--weights", weights(), chelsea]));
    assert!(embedded.contains("  cat "), "{embedded}");
}

#[cfg(not(feature = "embedded-model"))]
#[test]
fn without_an_embedded_model_weights_must_be_named() {
    for args in [args!["classify", testdata("pictures/chelsea.png")].to_vec(), args!["bench"].to_vec()] {
        let line = fail(2, args);
        assert!(line.contains("--weights"), "{line}");
    }
}

/// A bitmap whose header claims 50,000 x 50,000 pixels of 24 bits, and has none.
fn huge_bitmap() -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend([54_u32, 0, 54, 40, 50_000, 50_000].map(u32::to_le_bytes).concat());
    bytes.extend([1_u16, 24].map(u16::to_le_bytes).concat());
    bytes.resize(54, 0);
    bytes
}

#[test]
fn a_bad_picture_does_not_stop_the_others() {
    let folder = Folder::new();
    let chelsea = testdata("pictures/chelsea.png");
    std::fs::create_dir(folder.path("hollow")).unwrap();
    let mut cut = std::fs::read(&chelsea).unwrap();
    cut.truncate(cut.len() / 2);
    let bad = [
        (folder.path("absent.png"), "No such file"),
        (folder.file("empty.png", ""), "PNG, JPEG, WebP, BMP, GIF, TIFF or PNM"),
        (folder.file("text.png", "no picture"), "PNG, JPEG, WebP, BMP, GIF, TIFF or PNM"),
        (folder.file("cut.png", cut), "complete PNG"),
        (folder.file("huge.bmp", huge_bitmap()), "50000 x 50000"),
        (folder.path("hollow"), "a folder without any"),
    ];
    let mut args = args!["classify", "--weights", weights(), "--format", "json"].to_vec();
    args.extend(bad.iter().map(|(path, _)| path.into()));
    args.push(chelsea.clone().into());
    let output = run(&args);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), bad.len(), "{stderr}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (i, (path, reason)) in bad.iter().enumerate() {
        let keys: Vec<_> = answer[i].as_object().unwrap().keys().collect();
        assert!(keys == ["error", "file"] && answer[i]["file"] == path.to_str().unwrap());
        let message = answer[i]["error"].as_str().unwrap();
        assert!(message.contains(reason) && message.contains(path.to_str().unwrap()), "{message}");
        assert_eq!(stderr.lines().nth(i), Some(format!("error: {message}").as_str()));
    }
    assert_chelsea(&answer[bad.len()]["top"]);

    let output = run(args!["classify", "--weights", weights(), bad[2].0, chelsea]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("  cat  "));
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn a_folder_is_tried_by_content() {
    let folder = Folder::new();
    let rocket = std::fs::read(testdata("pictures/rocket.jpg")).unwrap();
    for name in ["a.jpg", "b.jfif", "c.JPE", "d", "e.tif", "f.heic", "g.txt", "h.jpg.part"] {
        folder.file(name, &rocket);
    }
    for (name, content) in [("notes.txt", "BMW and others"), ("index.json", "{}"), ("README", ""), (".hidden", "x")] {
        folder.file(name, content);
    }
    let output = run(args!["classify", "--weights", weights(), "--format", "json", "--top", "1", folder.path("")]);
    assert_eq!(output.status.code(), Some(0));
    let note = "8 pictures, 3 other files passed over (.json 1, .txt 1, no suffix 1)";
    assert_eq!(text(&output.stderr), format!("{}: {note}\n", folder.path("").display()));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = files(&answer);
    assert!(files.len() == 8 && files.iter().all(|(_, label)| *label == Some("ship")), "{files:?}");

    // By its name or its content each of them should be a picture: none is passed over.
    let folder = Folder::new();
    folder.file("a.jpe", "no picture");
    folder.file("b", b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1miaf");
    folder.file("c.jp2", b"\0\0\0\x0CjP  \r\n\x87\n");
    let stderr = fail_with_list(1, args!["classify", "--weights", weights(), folder.path("")]);
    let said = [("a.jpe", "no picture"), ("b: ", "AVIF"), ("c.jp2", "JPEG 2000")];
    let lines: Vec<_> = stderr.lines().collect();
    assert!(
        lines.len() == 3
            && said.iter().zip(&lines).all(|((name, what), line)| line.contains(name) && line.contains(what)),
        "{stderr}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_opens_the_same_file() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let rocket = std::fs::read(testdata("pictures/rocket.jpg")).unwrap();
    for (name, content) in
        [(&b"bad\xFF\xFEname.jpg"[..], &rocket[..]), (b"\xE9t\xE9", b"\xFF\xD8\xFF"), (b"good.jpg", &rocket)]
    {
        std::fs::write(folder.path("").join(OsStr::from_bytes(name)), content).unwrap();
    }
    let output = run(args!["classify", "--weights", weights(), "--format", "json", folder.path("")]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let opened = |entry: &Value| {
        let bytes: Vec<u8> = serde_json::from_value(entry["file_bytes"].clone()).unwrap();
        std::fs::read(OsStr::from_bytes(&bytes)).unwrap()
    };
    assert_eq!((answer[0]["top"][0]["label"].as_str(), opened(&answer[0])), (Some("ship"), rocket));
    assert!(answer[0]["file"].as_str().unwrap().ends_with("/bad\u{fffd}\u{fffd}name.jpg"));
    assert_eq!((answer[1]["top"][0]["label"].as_str(), &answer[1]["file_bytes"]), (Some("ship"), &Value::Null));
    assert!(answer[2]["error"].is_string());
    assert_eq!(opened(&answer[2]), b"\xFF\xD8\xFF");
}

#[test]
fn the_dumped_input_is_what_the_network_saw() {
    let folder = Folder::new();
    let [input, logits] = ["input.npy", "logits.npy"].map(|name| folder.path(name));
    let [chelsea, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    let bad = folder.file("text.png", "no picture");
    let output = run(args!["classify", "--weights", weights(), "--dump-input", input, chelsea, bad, rocket]);
    assert_eq!(output.status.code(), Some(1));
    let file = npyz::NpyFile::new(std::fs::File::open(&input).unwrap()).unwrap();
    assert_eq!(file.shape(), [2, 3, 32, 32]);

    succeed(args!["run", "--weights", weights(), "--input", input, "--output", logits]);
    let file = npyz::NpyFile::new(std::fs::File::open(&logits).unwrap()).unwrap();
    assert_eq!(file.shape(), [2, 10]);
    let logits: Vec<f32> = file.into_vec().unwrap();
    let guesses: Vec<_> = logits.chunks(10).map(|logits| mnx::top_k(logits, 1)[0]).collect();
    assert_eq!((guesses[0].0, guesses[1].0), (3, 8));
    assert!((f64::from(guesses[0].1) - CHELSEA[0].1).abs() < 0.01);

    let absent = folder.path("absent.npy");
    run(args!["classify", "--weights", weights(), "--dump-input", absent, bad]);
    let unwritable = folder.path("no/folder.npy");
    fail(1, args!["classify", "--weights", weights(), "--dump-input", unwritable, chelsea]);
    assert_eq!(folder.names(), ["input.npy", "logits.npy", "text.png"]);
}

/// Files of an answer in JSON, with the best label or none for an error.
fn files(answer: &Value) -> Vec<(&str, Option<&str>)> {
    let pictures = answer.as_array().unwrap().iter();
    pictures.map(|picture| (picture["file"].as_str().unwrap(), picture["top"][0]["label"].as_str())).collect()
}

#[test]
fn answers_come_in_the_order_of_the_pictures() {
    let folder = Folder::new();
    let [chelsea, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    let [chelsea, rocket] = [chelsea, rocket].map(|path| std::fs::read(path).unwrap());
    let mut paths = Vec::new();
    for i in 0..24 {
        // The large pictures take longest and come first.
        let content = [&rocket[..], &chelsea, b"no picture"][i / 8];
        paths.push(folder.file(&format!("{i:02}.png"), content));
    }
    let expected: Vec<_> = paths
        .iter()
        .enumerate()
        .map(|(i, path)| (path.to_str().unwrap(), [Some("ship"), Some("cat"), None][i / 8]))
        .collect();
    for threads in ["1", "3"] {
        for images in [&paths[..], &[folder.path("")]] {
            let mut args = args!["classify", "--weights", weights(), "--format", "json", "--threads", threads].to_vec();
            args.extend(images.iter().map(Into::into));
            let output = run(args);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(files(&serde_json::from_slice(&output.stdout).unwrap()), expected);
            let stderr = text(&output.stderr);
            assert!(stderr.lines().zip(&paths[16..]).all(|(line, path)| line.contains(path.to_str().unwrap())));
            assert_eq!(stderr.lines().count(), 8);
        }
    }
}

#[test]
fn the_dump_is_the_same_on_every_number_of_threads() {
    let folder = Folder::new();
    let bad = folder.file("text.png", "no picture");
    let pictures = testdata("pictures-golden");
    let dump = |threads: &str| {
        let path = folder.path(threads);
        let args = args!["classify", "--weights", weights(), "--threads", threads, "--dump-input", path, bad, pictures];
        assert_eq!(run(args).status.code(), Some(1));
        std::fs::read(path).unwrap()
    };
    let alone = dump("1");
    let file = npyz::NpyFile::new(&alone[..]).unwrap();
    assert!(file.shape()[0] > 30 && file.shape()[1..] == [3, 32, 32], "{:?}", file.shape());
    let values: Vec<f32> = file.into_vec().unwrap();
    assert!(values[..3072] != values[3072..6144]);
    assert_eq!(dump("3"), alone);
    assert_eq!(folder.names(), ["1", "3", "text.png"]);
}

#[test]
fn a_dash_is_standard_input() {
    let classify = |input: &std::path::Path, more: &[&str]| {
        let mut command = program();
        command.args(["classify", "--format", "json", "--weights"]).arg(weights()).args(more);
        let output = command.stdin(std::fs::File::open(input).unwrap()).output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let [chelsea, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    for more in [&["-"][..], &["-", rocket.to_str().unwrap()]] {
        let (code, stdout, stderr) = classify(&chelsea, more);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(answer[0]["file"], "-");
        assert_chelsea(&answer[0]["top"]);
    }
    let (code, stdout, stderr) = classify(&testdata("pictures/README.md"), &["-"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: -: expected a PNG") && stdout.contains(r#"{"file":"-","error":"-: exp"#));
    assert_eq!(classify(&chelsea, &["-", "-"]).0, Some(2));
}

#[test]
fn a_bad_picture_counts_although_nobody_reads_the_answers() {
    let folder = Folder::new();
    let bad = folder.file("text.png", "no picture");
    for format in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.args(["classify", "--format", format, "--weights"]).arg(weights()).arg(&bad);
        let output = command.arg(testdata("pictures/chelsea.png")).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(1), 1));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_standard_output_ends_a_long_run_at_once() {
    let folder = Folder::new();
    let picture = folder.file("a.png", std::fs::read(testdata("pictures/chelsea.png")).unwrap());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    // A pipe that nobody writes to: a program that went on to it would wait for ever.
    let fifo = folder.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let mut command = program();
    command.args(["classify", "--threads", "1", "--weights"]).arg(weights()).args([&picture; 20]).arg(&fifo);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}
