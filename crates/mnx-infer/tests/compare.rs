//! What `compare` reports.

mod common;

use common::*;
use serde_json::Value;

/// `compare` with as little measuring as there can be.
fn compare(more: &[&str]) -> Vec<String> {
    let few = ["compare", "--iterations", "2", "--warmup", "0", "--threads", "1", "--resolution", "32"];
    few.iter().chain(more).map(|&arg| arg.to_owned()).collect()
}

fn report(more: &[&str]) -> Value {
    json(compare(&[more, &["--format", "json"]].concat()))
}

#[test]
fn each_network_has_its_papers_figures() {
    let report = json(args![
        "compare",
        "mobilenext:1.0",
        "mobilenetv2",
        "resnet50",
        "--iterations",
        "1",
        "--warmup",
        "0",
        "--threads",
        "1",
        "--format",
        "json"
    ]);
    let networks = report["networks"].as_array().unwrap();
    let figures: Vec<_> = networks.iter().map(|row| (row["parameters"].as_u64(), row["macs"].as_u64())).collect();
    let expected = [(3_535_416, 311_342_592), (3_504_872, 300_774_272), (25_557_032, 4_089_184_256)];
    assert_eq!(figures, expected.map(|(parameters, macs)| (Some(parameters), Some(macs))));
    assert_eq!(networks[0]["runs"][0]["ratio"].as_f64(), Some(1.0));
    for row in networks {
        let run = &row["runs"][0];
        let (median, gflops) = (run["latency_ms"]["median"].as_f64().unwrap(), run["gflops"].as_f64().unwrap());
        assert!((gflops * median * 1e6 / (2.0 * row["macs"].as_f64().unwrap()) - 1.0).abs() < 1e-9, "{row}");
        assert!(row["peak_arena_bytes"].as_u64().unwrap() > 1_000_000, "{row}");
    }
}

#[test]
fn identities_and_widths_have_a_row_each() {
    let report = report(&["mobilenext:0.1", "mobilenetv2:0.1", "--identity", "1,0.5"]);
    let rows = report["networks"].as_array().unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row["family"].as_str().unwrap(), row["identity"].as_f64())).collect();
    assert_eq!(rows, [("mobilenext", Some(1.0)), ("mobilenext", Some(0.5)), ("mobilenetv2", Some(1.0))]);
}

#[test]
fn markdown_is_one_table() {
    let text = succeed(compare(&["mobilenext:0.1", "mobilenext:0.1", "--format", "markdown"]));
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 4, "{text}");
    let cells = |line: &str| line.matches(" | ").count();
    assert!(table.iter().all(|line| cells(line) == cells(table[0]) && line.ends_with(" |")), "{text}");
    // Twice the same network: rows can be told apart.
    assert_ne!(table[2].split('|').nth(1), table[3].split('|').nth(1), "{text}");
}

#[test]
fn the_plot_has_a_chart_for_each_number_of_threads() {
    let folder = Folder::new();
    let plot = folder.path("plot.svg");
    let mut args: Vec<_> = compare(&["mobilenext:0.1", "mobilenext:0.35", "--threads", "1"]);
    args.retain(|arg| arg != "--threads" && arg != "1");
    args.extend(["--threads".into(), "1,2".into(), "--plot".into(), plot.to_str().unwrap().into()]);
    succeed(args);
    let svg = std::fs::read_to_string(plot).unwrap();
    assert_eq!(svg.matches("against latency").count(), 2);
    assert!(svg.contains("0.35") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(folder.names(), ["plot.svg"]);
}

#[test]
fn accuracy_is_counted_on_weight_files() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("cat")).unwrap();
    std::fs::copy(testdata("pictures/chelsea.png"), folder.path("cat/1.png")).unwrap();
    let report = json(args![
        "compare",
        weights(),
        "--eval",
        folder.path(""),
        "--iterations",
        "1",
        "--threads",
        "1",
        "--format",
        "json"
    ]);
    let row = &report["networks"][0];
    assert_eq!((row["pictures"].as_u64(), row["top1"]["correct"].as_u64()), (Some(1), Some(1)), "{row}");
    let line = fail(2, args!["compare", weights(), "mobilenext", "--eval", folder.path("")]);
    assert!(line.contains("--eval") && line.contains("mobilenext"), "{line}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_measured() {
    let folder = Folder::new();
    let (missing, plot) = (folder.path("missing.mnx"), folder.path("plot.svg"));
    let line = fail(1, args!["compare", "mobilenext", missing, "--plot", plot]);
    assert!(line.contains("missing.mnx"), "{line}");
    let broken = folder.file("broken.mnx", "MNXW");
    let line = fail(1, args!["compare", weights(), broken, "--plot", plot]);
    assert!(line.contains("broken.mnx"), "{line}");
    assert_eq!(folder.names(), ["broken.mnx"]);
    for (args, word) in [
        (&["resnet50:0.5"][..], "width"),
        (&["mobilenetx"], "mobilenetx"),
        (&["resnet18", "--identity", "0.5"], "--identity"),
        (&["mobilenext:0"], "mobilenext:0"),
        (&[], "required"),
    ] {
        let output = run([&["compare"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(word), "{args:?}: {}", text(&output.stderr));
    }
}
