//! Detectors in the commands that take any network.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use npyz::{NpyFile, WriterBuilder};

/// A narrow detector with random weights, and an input of two pictures.
fn detector(folder: &Folder, arch: &str) -> (PathBuf, PathBuf) {
    let path = folder.path("d.mnx");
    init_detector(arch, 4, &path);
    let mut npy = Vec::new();
    let shape = [2, 3, 64, 64];
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut npy).begin_nd().unwrap();
    writer.extend((0..2 * 3 * 64 * 64).map(|i| (i % 89) as f32 / 44.0 - 1.0)).unwrap();
    writer.finish().unwrap();
    (path, folder.file("x.npy", npy))
}

fn read(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let npy = NpyFile::new(&bytes[..]).unwrap();
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

#[test]
fn run_writes_scores_and_boxes_together_or_apart() {
    let folder = Folder::new();
    let (weights, input) = detector(&folder, "ssdlite-mobilenext");
    let (joined, apart) = (folder.path("y.npy"), folder.path("apart"));
    let said = json(args!["run", "--weights", weights, "--input", input, "--output", joined, "--format", "json"]);
    assert_eq!(said["shape"], serde_json::json!([2, 144, 8]));
    std::fs::create_dir(&apart).unwrap();
    let said = succeed(args!["run", "--weights", weights, "--input", input, "--output", apart]);
    assert!(said.contains("scores 2 x 144 x 4, boxes 2 x 144 x 4"), "{said}");
    let [(shape, both), (of_scores, scores), (of_boxes, boxes)] =
        [joined, apart.join("scores.npy"), apart.join("boxes.npy")].map(|path| read(&path));
    assert_eq!((shape, of_scores, of_boxes), (vec![2, 144, 8], vec![2, 144, 4], vec![2, 144, 4]));
    let rows = scores.chunks(4).zip(boxes.chunks(4)).flat_map(|(scores, boxes)| [scores, boxes].concat());
    assert!(both.iter().copied().eq(rows));

    // A classifier's only output has a file there as well.
    let logits = folder.path("new").join("");
    let x = folder.path("x.npy");
    succeed(args!["run", "--weights", common::weights(), "--input", x, "--output", logits]);
    assert_eq!(read(&logits.join("logits.npy")).0.len(), 2);
}

#[test]
fn inspect_and_bench_show_heads() {
    let folder = Folder::new();
    for arch in ["ssdlite-mobilenext", "ssdlite-mobilenetv2", "ssdlite300-mobilenetv2-tf"] {
        let (weights, _) = detector(&folder, arch);
        let report = json(args!["inspect", "--weights", weights, "--threads", "1", "--format", "json"]);
        let layers = report["layers"].as_array().unwrap();
        let sum = |field: &str| layers.iter().map(|layer| layer[field].as_u64().unwrap()).sum::<u64>();
        for field in ["parameters", "macs", "weight_bytes"] {
            assert_eq!(Some(sum(field)), report[field].as_u64(), "{arch} {field}");
        }
        let blocks: Vec<_> = layers.iter().map(|layer| layer["block"].as_str().unwrap()).collect();
        assert!(blocks.contains(&"cls_headers.0") && blocks.contains(&"reg_headers.5"), "{blocks:?}");
        let priors = if arch.ends_with("-tf") { 96 } else { 144 };
        assert_eq!((&report["priors"], &report["detector"]["top"]), (&priors.into(), &100.into()), "{arch}");
        let text = succeed(args!["inspect", "--weights", weights]);
        assert!(text.contains("reg_headers.5") && text.contains("6 levels, "), "{text}");
    }
    let (weights, _) = detector(&folder, "ssdlite-mobilenext");
    let report = json(args![
        "bench",
        "--weights",
        weights,
        "--iterations",
        "2",
        "--warmup",
        "1",
        "--threads",
        "1",
        "--per-block",
        "--per-layer",
        "--format",
        "json"
    ]);
    let names: Vec<_> = report["blocks"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"extras.3") && names.contains(&"cls_headers.0"), "{names:?}");
}

#[test]
fn a_detector_is_no_classifier() {
    let folder = Folder::new();
    let (weights, _) = detector(&folder, "ssdlite-mobilenext");
    let picture = testdata("pictures").read_dir().unwrap().next().unwrap().unwrap().path();
    let said = fail(1, args!["classify", "--weights", weights, picture]);
    assert!(said.contains("expected a classifier, found a detector (use detect, or eval --voc)"), "{said}");
    let said = fail(1, args!["eval", "--weights", weights, testdata("pictures")]);
    assert!(said.contains("expected a classifier, found a detector (use detect, or eval --voc)"), "{said}");
}
