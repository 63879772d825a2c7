//! What `inspect` shows.

mod common;

use common::*;
use serde_json::Value;

fn layers(report: &Value) -> &[Value] {
    report["layers"].as_array().expect("layers")
}

fn sum(report: &Value, field: &str) -> u64 {
    layers(report).iter().map(|layer| layer[field].as_u64().expect(field)).sum()
}

/// A network of the paper's size, with random weights.
fn imagenet(folder: &Folder) -> std::path::PathBuf {
    let path = folder.path("w.mnx");
    succeed(args!["init", "--arch", "mobilenext", "--seed", "1", "--output", path]);
    path
}

#[test]
fn the_papers_network_has_the_papers_figures() {
    let folder = Folder::new();
    let weights = imagenet(&folder);
    let report = json(args!["inspect", "--weights", weights, "--threads", "1", "--format", "json"]);
    assert_eq!((report["parameters"].as_u64(), report["macs"].as_u64()), (Some(3_535_416), Some(311_342_592)));
    for field in ["parameters", "macs", "weight_bytes"] {
        assert_eq!(Some(sum(&report, field)), report[field].as_u64(), "{field}");
    }
    let expected = [("family", "mobilenext"), ("padding", "torch")];
    assert!(expected.iter().all(|&(name, value)| report[name] == value), "{report}");
    assert_eq!((report["width"].as_f64(), report["resolution"].as_u64()), (Some(1.0), Some(224)));
    assert!(report["labels"].is_null() && report["classes"] == 1000);

    let text = succeed(args!["inspect", "--weights", weights, "--threads", "1"]);
    assert!(text.contains("3,535,416") && text.contains("311.34 M") && text.contains("labels: none"), "{text}");
    // A head of four lines, the table's head, the layers, four totals, two empty lines between.
    assert_eq!(text.lines().count(), 4 + 1 + 1 + layers(&report).len() + 1 + 4, "{text}");
}

/// As releases before the flush made them.
#[test]
fn values_that_are_almost_zero_are_counted() {
    let folder = Folder::new();
    let mut spec = mnx::Spec::family("mobilenext-cifar").unwrap();
    (spec.width, spec.classes) = (0.1, 4);
    let report = |tiny: &[f32]| {
        let source = |layer: &mnx::Layer| {
            let mut weight = vec![0.25; layer.weight_elements() as usize];
            // Only in the first layer's first channel.
            if layer.name == "features.0.0" {
                weight[..tiny.len()].copy_from_slice(tiny);
            }
            mnx::LayerWeights { weight, bias: vec![0.5; layer.cout] }
        };
        let mut file = Vec::new();
        mnx::write_model(&spec, &mnx::Limits::default(), source, &mut file).unwrap();
        let path = folder.file("w.mnx", file);
        let text = succeed(args!["inspect", "--weights", path]);
        (json(args!["inspect", "--weights", path, "--format", "json"])["almost_zero"].clone(), text)
    };
    let (count, text) = report(&[1e-39, -1e-20, 1e-44, 0.0, 1e-10]);
    assert_eq!(count, 3);
    let line = text.lines().last().unwrap();
    assert!(line.starts_with("almost zero") && line.contains(" 3 ") && line.contains("convert it again"), "{text}");
    let (count, text) = report(&[]);
    assert!(count == 0 && !text.contains("almost zero"), "{count} {text}");
}

#[test]
fn layers_are_in_order_and_lie_in_the_arena() {
    let report = json(args!["inspect", "--weights", weights(), "--threads", "1", "--format", "json"]);
    let names: Vec<_> = layers(&report).iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], &names[names.len() - 2..]), ("features.0.0", &["pool", "classifier.1"][..]));
    assert_eq!(layers(&report)[0]["shape"], serde_json::json!([16, 32, 32]));
    assert_eq!(layers(&report)[names.len() - 1]["shape"], serde_json::json!([10, 1, 1]));
    let arena = report["peak_arena_bytes"].as_u64().unwrap();
    let listed = json(["inspect", "--kernels", "--format", "json"]);
    let listed = listed["kernels"].as_array().unwrap();
    for layer in layers(&report) {
        assert!(layer["arena_offset"].as_u64().is_none_or(|offset| offset < arena), "{layer}");
        let is_listed = |kernel: &&Value| {
            kernel["isa"] == report["isa"] && kernel["name"] == layer["kernel"] && kernel["tile"] == layer["tile"]
        };
        assert!(listed.iter().any(|kernel| is_listed(&kernel)), "{layer} in {listed:?}");
        assert!(layer["block"].as_str().is_some_and(|block| !block.is_empty()), "{layer}");
    }
}

#[test]
fn the_arena_is_that_of_the_session() {
    let arena = |command: &str, threads: &str, batch: &str| {
        let mut args =
            args![command, "--weights", weights(), "--threads", threads, "--batch", batch, "--format", "json"].to_vec();
        if command == "bench" {
            args.extend(args!["--iterations", "1", "--warmup", "0"]);
        }
        json(args)["peak_arena_bytes"].as_u64().unwrap()
    };
    for (threads, batch) in [("1", "1"), ("2", "1"), ("2", "4")] {
        assert_eq!(arena("inspect", threads, batch), arena("bench", threads, batch), "{threads} x {batch}");
    }
    assert!(arena("inspect", "2", "4") > arena("inspect", "1", "1"));
    let line = fail(1, args!["inspect", "--weights", weights(), "--batch", "4000000000"]);
    assert!(line.contains("arena") && line.contains("4294967296"), "{line}");
}

#[test]
fn kernels_of_every_isa_are_listed() {
    let report = json(["inspect", "--kernels", "--format", "json"]);
    let kernels = report["kernels"].as_array().unwrap();
    for &isa in mnx::Isa::ALL {
        let of_isa: Vec<_> = kernels.iter().filter(|kernel| kernel["isa"] == isa.name()).collect();
        // Dot products of bytes are more than an ISA.
        let plain = of_isa.iter().filter(|kernel| kernel["dot_products"] == false);
        assert!(plain.clone().all(|kernel| kernel["available"] == isa.is_available()));
        assert!(isa.is_available() || of_isa.iter().all(|kernel| kernel["available"] == false));
        assert!(!isa.is_available() || of_isa.len() >= 7, "{isa}: {of_isa:?}");
    }
    let text = succeed(["inspect", "--kernels"]);
    let names = [
        "dw3x3s1",
        "dw3x3s2",
        "pw",
        "pw8",
        "conv3x3s1",
        "conv3x3s2",
        "dense3x3s1",
        "dense3x3s2",
        "dense7x7s2",
        "maxpool3x3s2",
        "pool",
        "linear",
    ];
    assert!(names.iter().all(|name| text.lines().any(|line| line.split_whitespace().next() == Some(name))), "{text}");
    assert!(text.lines().next().is_some_and(|head| head.contains("scalar")), "{text}");
}

#[test]
fn labels_from_strangers_stay_on_their_line() {
    let folder = Folder::new();
    let (spec, weights) = (folder.path("net.json"), folder.path("w.mnx"));
    let table = r#"{"family": "a\u001b[2J\nb", "width": 1, "classes": 2, "resolution": 32, "labels": ["x\ny", "\u001b[31mz"],
        "stem": {"channels": 8, "stride": 2},
        "stages": [{"ratio": 2, "channels": 16, "repeats": 1, "stride": 2}]}"#;
    std::fs::write(&spec, table).unwrap();
    succeed(args!["init", "--arch", spec, "--seed", "1", "--output", weights]);
    let text = succeed(args!["inspect", "--weights", weights]);
    assert!(text.starts_with("network   a\\u{1b}[2J\\nb 1.0"), "{text}");
    assert!(text.contains("x\\ny, \\u{1b}[31mz") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = Folder::new();
    let broken = folder.file("w.mnx", "MNXW");
    for path in [folder.path("absent"), broken] {
        let line = fail(1, args!["inspect", "--weights", path]);
        assert!(line.contains(path.to_str().unwrap()), "{line}");
    }
    let both = fail(2, args!["inspect", "--kernels", "--weights", weights()]);
    assert!(both.contains("--kernels") && both.contains("--weights"), "{both}");
    fail(2, ["inspect", "--kernels", "--batch", "2"]);
    fail(2, ["inspect", "--batch", "0"]);
    fail(2, ["inspect", "--threads", "1,2"]);
}
