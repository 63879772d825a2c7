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
    assert!(mnx::TunedFor::ALL.iter().any(|core| run["tuned_for"] == core.name()));
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
    assert_eq!(lines[3..].iter().take_while(|line| !line.is_empty()).count(), 2, "{table}");
    assert!(lines[2].contains("median ms") && lines[2].contains("% of peak"), "{table}");
    assert_eq!(lines[2].chars().count(), lines[4].chars().count(), "{table}");
}

#[test]
fn several_sessions_at_once() {
    let measured = args!["bench", "--weights", weights(), "--iterations", "12", "--warmup", "1", "--sessions"];
    let run = json([&measured[..], &args!["3", "--format", "json"]].concat());
    let samples: Vec<f64> = run["samples_ms"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert_eq!((samples.len(), run["sessions"].as_u64(), run["threads"].as_u64()), (36, Some(3), Some(1)));
    let latency = ["min", "median", "p90", "p99"].map(|name| number(&run, &format!("/latency_ms/{name}")));
    assert!(latency.is_sorted() && samples.iter().all(|&s| s >= latency[0] && s <= latency[3]), "{run}");
    let at_once = number(&run, "/at_once");
    assert!((1.0..=3.0).contains(&at_once), "{run}");
    let rate = number(&run, "/pictures_per_second");
    // So many at a time are no faster than as many of the fastest.
    assert!(rate > 0.0 && rate < at_once * 1e3 / latency[0], "{run}");
    assert!((number(&run, "/gflops") / (2e-9 * number(&run, "/macs") * rate) - 1.0).abs() < 1e-9, "{run}");

    let table = succeed([&measured[..], &args!["1,2", "--threads", "1,2"]].concat());
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("mobilenext-cifar 0.35, 32 x 32, 21.18 M multiply-adds"), "{table}");
    assert!(lines[2].contains("pictures/s"), "{table}");
    assert_eq!(lines[3..].iter().take_while(|line| !line.is_empty()).count(), 4, "{table}");
    let line = fail(2, [&measured[..], &args!["2", "--per-block"]].concat());
    assert!(line.contains("--sessions"), "{line}");
}

#[test]
fn a_batch_that_no_memory_holds_is_refused() {
    for batch in ["4000000000", "400000000", "1000000"] {
        let line = fail(1, args!["bench", "--weights", weights(), "--batch", batch]);
        assert!(line.contains("--batch") && line.contains("4294967296 bytes"), "{line}");
        // Before anything is measured.
        let list = format!("1,{batch}");
        fail(1, args!["bench", "--weights", weights(), "--batch", list, "--iterations", "1000000"]);
    }
}

/// Rows of a profile, checked against what they are made of.
fn check_rows(run: &Value, rows: &[Value]) {
    let batch = number(run, "/batch");
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    for row in rows {
        let (macs, micros, bytes) = (number(row, "/macs"), number(row, "/microseconds"), number(row, "/bytes"));
        assert!(micros > 0.0 && bytes > 0.0 && number(row, "/roofline_microseconds") > 0.0, "{row}");
        assert!(near(number(row, "/gflops"), 2.0 * macs * batch / (1e3 * micros)), "{row}");
        assert!(near(
            number(row, "/percent_of_peak"),
            100.0 * number(row, "/gflops") / number(run, "/fma_peak_gflops")
        ));
        assert!(near(number(row, "/intensity"), 2.0 * macs * batch / bytes), "{row}");
        let at_peak = 2.0 * macs * batch / (1e3 * number(run, "/fma_peak_gflops"));
        let is_memory = number(row, "/roofline_microseconds") > at_peak * (1.0 + 1e-9);
        assert_eq!(row["bound"], if is_memory { "memory" } else { "compute" }, "{row}");
        assert!(number(row, "/waiting_microseconds") <= micros);
    }
    assert_eq!(rows.iter().map(|row| row["macs"].as_u64().unwrap()).sum::<u64>(), run["macs"].as_u64().unwrap());
    let sum: f64 = rows.iter().map(|row| number(row, "/microseconds")).sum();
    let told = number(run, "/profile/sum_ms") - number(run, "/profile/gathering_ms");
    assert!((1e-3 * sum - told).abs() < 1e-6, "{sum} {run}");
}

fn rows<'a>(run: &'a Value, name: &str) -> &'a [Value] {
    run[name].as_array().unwrap_or_else(|| panic!("{name} in {run}"))
}

#[test]
fn blocks_and_layers_add_up() {
    let bench = |flags: &[&str]| {
        let mut args =
            args!["bench", "--weights", weights(), "--iterations", "12", "--warmup", "1", "--format", "json"].to_vec();
        args.extend(flags.iter().map(Into::into));
        json(args)
    };
    let report = bench(&["--per-block", "--threads", "1,2", "--batch", "1,3"]);
    assert_eq!(rows(&report, "runs").len(), 4);
    for run in rows(&report, "runs") {
        let blocks = rows(run, "blocks");
        check_rows(run, blocks);
        let names: Vec<_> = blocks.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert!(names[0].starts_with("features.0") && names.ends_with(&["pool", "classifier"]), "{names:?}");
        assert!(run.get("layers").is_none() && blocks.iter().all(|row| row.get("kernel").is_none()));
        let sizes: Vec<_> = rows(run, "bandwidth").iter().map(|b| b["bytes"].as_u64().unwrap()).collect();
        assert_eq!((sizes[0], sizes.last(), sizes.is_sorted()), (1 << 14, Some(&(1 << 26)), true));
        assert!(rows(run, "bandwidth").iter().all(|b| number(b, "/gb_per_second") > 0.0));
    }
    let run = bench(&["--per-layer", "--per-block", "--threads", "1"]);
    check_rows(&run, rows(&run, "layers"));
    assert!(rows(&run, "layers").len() > rows(&run, "blocks").len());
    let blocks: Vec<_> = rows(&run, "blocks").iter().map(|row| &row["name"]).collect();
    let mut of_layers: Vec<_> = rows(&run, "layers").iter().map(|row| &row["block"]).collect();
    of_layers.dedup();
    assert_eq!(of_layers, blocks);
    // On one thread there is nothing but steps; their means are over the same inferences.
    let (sum, whole) = (number(&run, "/profile/sum_ms"), number(&run, "/profile/whole_ms"));
    assert!(sum > 0.5 * whole && sum < 2.0 * whole, "{run}");
    assert!(bench(&["--threads", "1"]).get("profile").is_none());
}

#[test]
fn tables_have_a_line_per_row() {
    let text = succeed(args![
        "bench",
        "--weights",
        weights(),
        "--iterations",
        "2",
        "--warmup",
        "0",
        "--threads",
        "1,2",
        "--per-block",
        "--per-layer"
    ]);
    for head in ["1 thread, batch 1", "2 threads, batch 1"] {
        let section: Vec<_> = text.lines().skip_while(|&line| line != head).collect();
        assert!(section[1].contains("GFLOP/s") && section[1].contains("16 KiB"), "{text}");
        assert!(section[3].starts_with("block ") && section[3].contains("% of bound"), "{text}");
        assert_eq!(section[3].contains("waiting"), head.starts_with('2'), "{text}");
        assert!(section.iter().any(|line| line.starts_with("layer ")), "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("classifier ")).count(), 2, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("sum of the rows ")).count(), 2, "{text}");
}

#[test]
fn the_plot_has_a_panel_per_run() {
    let folder = Folder::new();
    let svg = folder.path("blocks.svg");
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
        "--format",
        "json",
        "--plot",
        svg
    ]);
    assert!(rows(&report, "runs").iter().all(|run| run.get("blocks").is_none()));
    assert_eq!(folder.names(), ["blocks.svg"]);
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(svg.matches("classifier").count(), 2, "{svg}");
    assert_eq!((svg.matches("1 thread,").count(), svg.matches("2 threads,").count()), (1, 1));
}

#[test]
fn a_plot_that_cannot_be_written_is_said_before_measuring() {
    let folder = Folder::new();
    for path in [folder.path("absent/plot.svg"), folder.path("")] {
        // So many inferences would take hours.
        let line = fail(
            1,
            args!["bench", "--weights", weights(), "--iterations", "1000000", "--warmup", "1000000", "--plot", path],
        );
        assert!(line.contains(path.to_str().unwrap()), "{line}");
    }
}

/// Two threads on one core would only wait for each other.
#[cfg(target_os = "linux")]
#[test]
fn the_default_keeps_to_the_cpus_that_are_allowed() {
    // A CPU that this process may use, whichever that is.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let cpu = list.split(['-', ',']).next().unwrap();
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", cpu, env!("CARGO_BIN_EXE_mnx-infer"), "bench", "--iterations", "1", "--warmup", "0"]);
    let output = match command.args(["--format", "json", "--weights"]).arg(weights()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return println!("SKIPPED: taskset is not here"),
        Err(error) => panic!("{error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["threads"], 1, "{run}");
}
