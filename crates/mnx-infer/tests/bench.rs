//! What `bench` reports.

mod common;

use common::*;
use serde_json::Value;

fn number(run: &Value, path: &str) -> f64 {
    run.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {run}"))
}

#[test]
fn one_run_is_one_object_with_consistent_figures() {
    let run = json(args![
        "bench",
        "--weights",
        weights(),
        "--iterations",
        "7",
        "--warmup",
        "1",
        "--threads",
        "1",
        "--batch",
        "2",
        "--format",
        "json"
    ]);
    let samples: Vec<f64> = run["samples_ms"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert_eq!((samples.len(), run["threads"].as_u64(), run["batch"].as_u64()), (7, Some(1), Some(2)));
    assert_eq!(run["macs"].as_u64(), Some(21_181_568), "{run}");
    let latency = ["min", "median", "p90", "p99"].map(|name| number(&run, &format!("/latency_ms/{name}")));
    assert!(latency.is_sorted() && latency[0] > 0.0, "{run}");
    assert!(samples.contains(&latency[1]) && samples.iter().all(|&s| s >= latency[0] && s <= latency[3]));
    let gflops = number(&run, "/gflops");
    assert!((gflops * latency[1] * 1e6 / (2.0 * 2.0 * number(&run, "/macs")) - 1.0).abs() < 1e-9, "{run}");
    let percent = number(&run, "/percent_of_peak");
    assert!((percent - 100.0 * gflops / number(&run, "/fma_peak_gflops")).abs() < 1e-9);
    assert!(number(&run, "/first_logits_ms") > 0.0);
    // At least the largest plane, 24 channels at 32 x 32, and far from all of them together.
    assert!((98_304.0..2e6).contains(&number(&run, "/peak_arena_bytes")), "{run}");
    assert!(!run["cpu"].as_str().unwrap().is_empty());
    assert!(mnx::Isa::ALL.iter().any(|isa| run["isa"] == isa.name()));
}

#[test]
fn several_threads_or_batches_are_several_runs() {
    let report = json(args![
        "bench",
        "--weights",
        weights(),
        "--iterations",
        "2",
        "--warmup",
        "0",
        "--threads",
        "1,2",
        "--batch",
        "1,3",
        "--format",
        "json"
    ]);
    assert_eq!(report.as_object().unwrap().len(), 1);
    let runs = report["runs"].as_array().unwrap();
    let pairs: Vec<_> = runs.iter().map(|run| (run["threads"].as_u64(), run["batch"].as_u64())).collect();
    assert_eq!(pairs, [(1, 1), (1, 3), (2, 1), (2, 3)].map(|(t, b)| (Some(t), Some(b))));
    assert!(runs.iter().all(|run| run["samples_ms"].as_array().unwrap().len() == 2));
}

#[test]
fn text_is_a_row_per_run() {
    let table = succeed(args![
        "bench",
        "--weights",
        weights(),
        "--iterations",
        "1",
        "--warmup",
        "0",
        "--threads",
        "1",
        "--batch",
        "1,2"
    ]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("mobilenext-cifar 0.35, 32 x 32, 21.18 M multiply-adds"), "{table}");
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[2].contains("median ms") && lines[2].contains("% of peak"), "{table}");
    assert_eq!(lines[2].chars().count(), lines[4].chars().count(), "{table}");
}

#[test]
fn a_batch_that_no_memory_holds_is_refused() {
    for batch in ["4000000000", "400000000", "1000000"] {
        let line = fail(1, args!["bench", "--weights", weights(), "--batch", batch]);
        assert!(line.contains("--batch") && line.contains("4294967296 bytes"), "{line}");
    }
}
