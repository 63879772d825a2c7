//! `eval --voc`: data sets in VOC's form in, average precision out.
//!
//! The network has random weights. Annotations are made of what it finds, so that the right answers are known.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use serde_json::{Value, json};

const CHELSEA: &str = "pictures/chelsea.png";

/// A data set, and a detector whose scores are all about a third.
struct Set {
    folder: Folder,
    weights: PathBuf,
}

impl Set {
    fn new() -> Set {
        let folder = Folder::new();
        for name in ["voc/Annotations", "voc/JPEGImages", "voc/ImageSets/Main"] {
            fs::create_dir_all(folder.path(name)).unwrap();
        }
        let weights = folder.path("d.mnx");
        init_detector("ssdlite-mobilenext", 3, &weights);
        Set { folder, weights }
    }

    fn split(&self, name: &str, lines: &str) {
        self.folder.file(&format!("voc/ImageSets/Main/{name}.txt"), lines);
    }

    fn picture(&self, name: &str, source: &str) {
        fs::copy(testdata(source), self.folder.path(&format!("voc/JPEGImages/{name}"))).unwrap();
    }

    fn annotation(&self, name: &str, inside: &str) {
        let text = format!("<annotation><size><width>451</width><height>300</height></size>{inside}</annotation>");
        self.folder.file(&format!("voc/Annotations/{name}.xml"), text);
    }

    fn args(&self, more: &[&str]) -> Vec<std::ffi::OsString> {
        let mut args =
            args!["eval", "--weights", self.weights, "--voc", self.folder.path("voc"), "--format", "json"].to_vec();
        args.extend(more.iter().map(Into::into));
        args
    }

    fn eval(&self, more: &[&str]) -> Value {
        json(self.args(more))
    }

    /// What the detector finds in the picture, by class.
    fn found(&self, class: usize) -> Vec<Value> {
        let args = args!["detect", "--weights", self.weights, "--format", "json", testdata(CHELSEA)];
        let answer = json(args);
        let boxes = answer[0]["boxes"].as_array().unwrap().iter();
        boxes.filter(|found| found["index"] == class).cloned().collect()
    }
}

/// An object at the place of a detection: VOC's first pixel is 1, and both ends are inclusive.
fn object(class: usize, found: &Value, more: &str) -> String {
    let corner = |key: &str, one: f64| found[key].as_f64().unwrap() + one;
    format!(
        "<object><name>{class}</name>{more}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>",
        corner("xmin", 1.0),
        corner("ymin", 1.0),
        corner("xmax", 0.0),
        corner("ymax", 0.0),
    )
}

/// As [`object`], cut off at the picture's edges.
fn inside(class: usize, found: &Value) -> String {
    let mut found = found.clone();
    for (key, most) in [("xmin", 400.0), ("ymin", 250.0), ("xmax", 451.0), ("ymax", 300.0)] {
        found[key] = found[key].as_f64().unwrap().clamp(0.0, most).into();
    }
    object(class, &found, "")
}

fn box_of(class: &str, corners: [&str; 4]) -> String {
    let [xmin, ymin, xmax, ymax] = corners;
    format!(
        "<object><name>{class}</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
    )
}

#[test]
fn the_best_and_the_third_of_three() {
    let set = Set::new();
    let (ones, twos) = (set.found(1), set.found(2));
    assert!(ones.len() > 3 && twos.len() > 1);
    set.split("test", "a\n");
    set.picture("a.png", CHELSEA);
    // Of class 1 the first and the third are right, of class 2 nothing is there but a difficult box.
    let objects = [object(1, &ones[0], ""), object(1, &ones[2], ""), object(2, &twos[0], "<difficult>1</difficult>")];
    set.annotation("a", &objects.concat());
    let report = set.eval(&["--iou", "0.45"]);
    assert_eq!((&report["split"], &report["pictures"], &report["iou"]), (&json!("test"), &json!(1), &json!(0.5)));
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 2);
    // How far down a duplicate lies depends on the network; the counts do not.
    assert_eq!((&classes[0]["truths"], &classes[0]["true_positives"]), (&json!(2), &json!(2)));
    assert_eq!(classes[0]["detections"], ones.len());
    assert_eq!(classes[0]["recall"], 1.0);
    assert_eq!(
        (&classes[1]["truths"], &classes[1]["difficult"], &classes[1]["ap"]),
        (&json!(0), &json!(1), &Value::Null)
    );
    // A class with nothing to find is no part of the mean.
    assert_eq!((&report["map"], &report["map_11_point"]), (&classes[0]["ap"], &classes[0]["ap_11_point"]));

    // With the best two alone, precision is 1 and then 1/2: of two boxes one is found.
    let report = set.eval(&["--top", &index_of(&set, 2).to_string()]);
    assert_eq!(report["classes"][0]["true_positives"], 1);
    assert!((report["map"].as_f64().unwrap() - 0.5).abs() < 1e-9);
    assert!((report["map_11_point"].as_f64().unwrap() - 6.0 / 11.0).abs() < 1e-9);
}

/// How many boxes to keep so that there are `count` of class 1 among them.
fn index_of(set: &Set, count: usize) -> usize {
    let answer = json(args!["detect", "--weights", set.weights, "--format", "json", testdata(CHELSEA)]);
    let boxes = answer[0]["boxes"].as_array().unwrap().iter().enumerate();
    boxes.filter(|(_, found)| found["index"] == 1).nth(count - 1).unwrap().0 + 1
}

#[test]
fn what_is_wrong_is_counted_and_listed() {
    let set = Set::new();
    set.split("val", "good\nodd\nnosize\nabsent\nunannotated\nunreadable\ncut\ngood\n../x\n");
    for name in ["good.png", "odd.png", "nosize.png", "unannotated.png", "cut.png"] {
        set.picture(name, CHELSEA);
    }
    set.picture("unreadable.jpg", "pictures/README.md");
    let good = inside(1, &set.found(1)[0]);
    set.annotation("good", &good);
    let odd = [
        box_of("1", ["504", "37", "504", "37"]),
        box_of("1", ["50", "30", "20", "60"]),
        box_of("2", ["400", "200", "500", "301"]),
        box_of("unicorn", ["1", "1", "9", "9"]),
        box_of("unicorn", ["1", "1", "9", "9"]),
        box_of("0", ["1", "1", "9", "9"]),
        box_of("1", ["1", "one", "9", "9"]),
    ];
    set.annotation("odd", &odd.concat());
    set.folder.file("voc/Annotations/nosize.xml", format!("<annotation>{good}</annotation>"));
    set.annotation("absent", &good);
    set.annotation("unreadable", &good);
    set.folder.file("voc/Annotations/cut.xml", "<annotation><object><name>1</na");
    let report = set.eval(&[]);
    assert_eq!((&report["split"], &report["pictures"]), (&json!("val"), &json!(3)));
    let unreadable: Vec<_> =
        report["unreadable"].as_array().unwrap().iter().map(|e| e["error"].as_str().unwrap()).collect();
    for (error, (name, what)) in unreadable.iter().zip([
        ("absent.jpg", "expected a picture (.jpg, .png, …), found no file"),
        ("unannotated.xml", "No such file"),
        ("unreadable.jpg", "expected a PNG"),
        ("cut.xml", "expected well-formed XML"),
    ]) {
        assert!(error.contains(name) && error.contains(what), "{error}");
    }
    assert_eq!(unreadable.len(), 4);
    let kinds: Vec<_> = report["problems"].as_array().unwrap().iter().map(|p| p["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["list", "list", "object", "thin", "inverted", "outside", "size"]);
    assert_eq!(report["unknown_classes"], json!([{"name": "0", "boxes": 1}, {"name": "unicorn", "boxes": 2}]));
    // An inverted box counts as missed, as does a thin one that nobody finds: four boxes of class 1, two of them found.
    let class = &report["classes"][0];
    assert_eq!((&class["truths"], &class["true_positives"], &class["recall"]), (&json!(4), &json!(2), &json!(0.5)));

    let args = args!["eval", "--weights", set.weights, "--voc", set.folder.path("voc")];
    let answer = succeed(&args);
    for line in [
        "4 pictures are not scored, because a file could not be read",
        "1 box is one pixel wide or high",
        "1 box is inverted; it counts as missed",
        "1 box reaches out of its picture",
        "1 object could not be understood",
        "1 annotation has no size or a wrong one",
        "2 lines of the split were not used",
        "2 names are no class of the model: not scored",
    ] {
        assert!(answer.contains(&format!("\n{line}\n")), "{line} in {answer}");
    }
    // The answers are given all the same.
    let output = run(set.args(&["--strict"]));
    assert_eq!(output.status.code(), Some(1));
    let strict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(strict["classes"], report["classes"]);
    let line = text(&output.stderr);
    let found = "4 unreadable pictures, 7 problems and 3 boxes of unknown classes";
    assert!(line.ends_with(&format!("expected a data set without faults (--strict), found {found}\n")), "{line}");
}

#[test]
fn a_clean_data_set_passes_and_is_drawn() {
    let set = Set::new();
    set.split("mine", "a\n");
    set.split("test", "a\n");
    set.picture("a.png", CHELSEA);
    set.annotation("a", &inside(1, &set.found(1)[0]));
    let plot = set.folder.path("curves.svg");
    let report = set.eval(&["--split", "mine", "--strict", "--threads", "2", "--plot", plot.to_str().unwrap()]);
    assert_eq!((&report["split"], &report["map"], &report["problems"]), (&json!("mine"), &json!(1.0), &json!([])));
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.contains("Precision against recall") && svg.contains("class 1 100.0 %"), "{svg}");
    let score = report["score"].as_f64().unwrap();
    assert!((score - 0.01).abs() < 1e-6);
    // A threshold above all scores leaves nothing.
    assert_eq!(set.eval(&["--score", "1"])["map"], 0.0);
}

#[test]
fn wrong_usage() {
    let set = Set::new();
    set.split("test", "a\n");
    let voc = set.folder.path("voc");
    let weights = &set.weights;
    for wrong in [
        args!["eval", "--weights", weights].to_vec(),
        args!["eval", "--weights", weights, "--voc", voc, voc].to_vec(),
        args!["eval", "--weights", weights, "--voc", voc, "--sorted-folders"].to_vec(),
        args!["eval", "--weights", weights, "--voc", voc, "--iou", "nan"].to_vec(),
        args!["eval", "--split", "test", voc].to_vec(),
        args!["eval", "--plot", "x.svg", voc].to_vec(),
        args!["eval", "--score", "0.5", voc].to_vec(),
    ] {
        fail(2, wrong);
    }
    let list = voc.join("ImageSets/Main/test.txt");
    let line = fail(2, args!["eval", "--weights", weights, "--voc", voc, "--plot", list]);
    assert!(line.contains("expected an output that is no input"), "{line}");
}

#[test]
fn objects_of_no_class_are_nothing_to_evaluate() {
    let set = Set::new();
    set.split("test", "a\n");
    set.picture("a.jpg", CHELSEA);
    set.annotation("a", &(box_of("zebra", ["1", "1", "9", "9"]) + &box_of("lion", ["1", "1", "9", "9"])));
    let output = run(set.args(&[]));
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(line.contains("expected objects of the model's classes, found none among 2: lion, zebra"), "{line}");
}

#[test]
fn what_is_no_data_set_is_one_line() {
    let set = Set::new();
    let voc = set.folder.path("voc");
    let failed = |dir: &Path, more: &[&str]| {
        let mut args = args!["eval", "--weights", set.weights, "--voc", dir].to_vec();
        args.extend(more.iter().map(Into::into));
        fail(1, args)
    };
    assert!(failed(&voc, &[]).contains("found no split at all"));
    set.split("train", "");
    set.split("trainval", "");
    assert!(failed(&voc, &[]).contains("expected the split test or val, or --split NAME, found train, trainval"));
    assert!(failed(&voc, &["--split", "test"]).contains("expected the split test, found train, trainval"));
    assert!(failed(&set.folder.path("d.mnx"), &[]).contains("expected a data set in VOC's form"));
    assert!(failed(&set.folder.path(""), &[]).contains("found no Annotations"));
    let line = fail(1, args!["eval", "--weights", weights(), "--voc", voc]);
    assert!(line.contains("expected a detector, found a classifier"), "{line}");
    // An empty list has nothing to evaluate.
    let output = run(set.args(&["--split", "train"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("expected annotated pictures that can be read, found none among 0"));
}
