//! What `compare` reports.

mod common;

use std::ffi::OsString;
use std::path::PathBuf;

use common::*;
use serde_json::{Value, json};

/// Arguments of a comparison that takes no time.
fn compare<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Vec<OsString> {
    let mut all = args!["compare", "--iterations", "3", "--warmup", "0"].to_vec();
    all.extend(args.into_iter().map(Into::into));
    all
}

fn compared(args: &[OsString]) -> Value {
    let mut args = compare(args);
    args.extend(args!["--format", "json"]);
    json(args)
}

fn number(of: &Value, path: &str) -> f64 {
    of.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {of}"))
}

fn networks(report: &Value) -> &[Value] {
    report["networks"].as_array().unwrap_or_else(|| panic!("networks in {report}"))
}

/// Two pictures of which the model knows one.
fn pictures() -> Folder {
    let folder = Folder::new();
    for (name, source) in [("cat/a.png", "pictures/chelsea.png"), ("dog/b.png", "pictures/chelsea.png")] {
        std::fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
        std::fs::copy(testdata(source), folder.path(name)).unwrap();
    }
    folder
}

#[test]
fn every_network_has_a_row_with_consistent_figures() {
    let report = compared(&args!["mobilenext-cifar:0.5", weights(), "--threads", "2,1,2", "--batch", "2"]);
    assert_eq!(
        (report["batch"].as_u64(), report["iterations"].as_u64(), report["rounds"].as_u64()),
        (Some(2), Some(3), Some(3))
    );
    assert!(!report["cpu"].as_str().unwrap().is_empty());
    assert!(mnx::Isa::ALL.iter().any(|isa| report["isa"] == isa.name()));
    let rows = networks(&report);
    assert_eq!(rows.len(), 2, "{report}");
    assert_eq!(rows[0]["file"], Value::Null);
    assert_eq!(rows[1]["file"].as_str(), weights().to_str());
    assert_eq!(rows[1]["macs"].as_u64(), Some(21_181_568));
    assert_eq!(rows[1]["parameters"].as_u64(), Some(645_786));
    assert_eq!((number(&rows[0], "/width"), number(&rows[1], "/width")), (0.5, 0.35));
    for row in rows {
        assert_eq!(row["family"], "mobilenext-cifar");
        assert!(row.get("top1").is_none(), "{row}");
        let runs = row["runs"].as_array().unwrap();
        assert_eq!(runs.iter().map(|run| run["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(row["peak_arena_bytes"], runs[0]["peak_arena_bytes"]);
        for (i, run) in runs.iter().enumerate() {
            let samples: Vec<_> = run["samples_ms"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
            let median = number(run, "/latency_ms/median");
            assert!(samples.len() == 3 && samples.contains(&median) && median > 0.0, "{run}");
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b;
            // Each inference was a round, beside one of the first network.
            let first = rows[0]["runs"][i]["samples_ms"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap());
            let mut ratios: Vec<_> = samples.iter().zip(first).map(|(own, first)| own / first).collect();
            ratios.sort_by(f64::total_cmp);
            assert!(near(number(run, "/ratio"), ratios[1]), "{run}");
            let quartiles = ["/ratio_quartiles/0", "/ratio_quartiles/1"].map(|name| number(run, name));
            assert!(near(quartiles[0], ratios[0]) && near(quartiles[1], ratios[2]), "{run}");
            assert!(near(number(run, "/gflops") * median * 1e6, 2.0 * 2.0 * number(row, "/macs")), "{run}");
            assert!(near(
                number(run, "/percent_of_peak") * number(run, "/fma_peak_gflops"),
                100.0 * number(run, "/gflops")
            ));
            assert!(number(run, "/peak_arena_bytes") > 98_304.0, "{run}");
        }
    }
}

#[test]
fn the_papers_networks_have_the_papers_sizes() {
    let args = args!["mobilenext", "mobilenetv2", "resnet50", "--threads", "1", "--iterations", "1"];
    let mut command = args!["compare", "--warmup", "0", "--format", "json"].to_vec();
    command.extend(args);
    let report = json(command);
    let size = |row: &Value| (row["parameters"].as_u64().unwrap(), row["macs"].as_u64().unwrap() / 10_000);
    let sizes: Vec<_> = networks(&report).iter().map(size).collect();
    assert_eq!(sizes, [(3_535_416, 31_134), (3_504_872, 30_077), (25_557_032, 408_918)]);
}

#[test]
fn one_thread_and_all_cores_are_the_default() {
    let report = compared(&args!["mobilenext-cifar:0.1"]);
    let runs = networks(&report)[0]["runs"].as_array().unwrap();
    assert_eq!(runs[0]["threads"], 1);
    let default = json(args!["inspect", "--weights", weights(), "--format", "json"])["threads"].clone();
    assert_eq!(runs.last().unwrap()["threads"], default);
}

#[test]
fn identities_are_rows_of_networks_that_have_them() {
    let report =
        compared(&args!["mobilenext-cifar:0.1", "mobilenetv2-cifar:0.1", "--identity", "1,0.5,0", "--threads", "1"]);
    let found: Vec<_> =
        networks(&report).iter().map(|row| (row["family"].as_str().unwrap(), number(row, "/identity"))).collect();
    let sandglass = [1.0, 0.5, 0.0].map(|identity| ("mobilenext-cifar", identity));
    assert_eq!(found, [&sandglass[..], &[("mobilenetv2-cifar", 1.0)]].concat());
    assert_eq!(networks(&report)[1]["name"], "mobilenext-cifar 0.1, identity 0.5");
}

#[test]
fn a_stage_table_is_compared_too() {
    let folder = Folder::new();
    let table = r#"{"family": "mine", "stem": {"channels": 16, "stride": 2}, "resolution": 32, "classes": 10,
        "stages": [{"ratio": 2, "channels": 32, "repeats": 1, "stride": 2}]}"#;
    let path = folder.file("net.json", table);
    let wide = format!("{}:2", path.to_str().unwrap());
    let report = compared(&args![path, wide, "--resolution", "48", "--threads", "1"]);
    let rows = networks(&report);
    assert_eq!((rows[0]["name"].as_str(), rows[1]["name"].as_str()), (Some("mine 1.0"), Some("mine 2.0")));
    assert!(rows.iter().all(|row| row["resolution"] == 48));
    assert!(number(&rows[1], "/macs") > 2.0 * number(&rows[0], "/macs"));
}

#[test]
fn accuracy_is_that_of_eval() {
    let folder = pictures();
    folder.file("cat/c.png", "no picture");
    let pictures = folder.path("");
    let report = compared(&args![weights(), weights(), "--eval", pictures, "--threads", "1"]);
    let eval = json(args!["eval", "--weights", weights(), "--format", "json", pictures]);
    for row in networks(&report) {
        for field in ["pictures", "top1", "top5", "unreadable", "unknown_folders"] {
            assert_eq!(row[field], eval[field], "{field}");
        }
    }
    assert_eq!(networks(&report)[0]["top1"], json!({"correct": 1, "rate": 0.5}));
    let text = succeed(compare(args![weights(), "--eval", pictures, "--threads", "1"]));
    assert!(text.contains("top-1") && text.contains("50.0 %") && text.contains("1 unreadable"), "{text}");
    let map = folder.file("map.tsv", "cat\tdog\n");
    let report = compared(&args![weights(), "--eval", pictures, "--class-map", map, "--threads", "1"]);
    assert_eq!(networks(&report)[0]["top1"]["correct"], 0);
    folder.file("cat/notes.txt", "no picture");
    let list = folder.file("list.txt", "cat/c.png cat\ncat/a.png 3\n");
    let with_list = args![weights(), "--eval", pictures, "--list", list, "--threads", "1"];
    let report = compared(&with_list);
    assert_eq!(networks(&report)[0]["top1"], json!({"correct": 1, "rate": 1.0}));
    let text = succeed(compare(with_list));
    assert!(text.contains("; 1 not in the list; 3 no pictures\n"), "{text}");
}

#[test]
fn equal_networks_stay_apart() {
    let folder = Folder::new();
    let copies = ["a", "b"].map(|name| {
        std::fs::create_dir(folder.path(name)).unwrap();
        let path = folder.path(&format!("{name}/w.mnx"));
        std::fs::copy(weights(), &path).unwrap();
        path
    });
    let arch = "mobilenext-cifar:0.1";
    let table = succeed(compare(args![arch, copies[0], copies[1], arch, copies[1], "--threads", "1"]));
    let rows: Vec<_> = table.lines().skip(3).take(5).collect();
    for (row, begins) in rows.iter().zip(["mobilenext-cifar 0.1 ", "mobilenext-cifar 0.35 "]) {
        assert!(row.starts_with(begins), "{table}");
    }
    assert!(copies.iter().zip(&rows[1..]).all(|(path, row)| row.contains(path.to_str().unwrap())), "{table}");
    assert!(
        rows[3].starts_with("mobilenext-cifar 0.1 (2)") && rows[4].starts_with("mobilenext-cifar 0.35 (2)"),
        "{table}"
    );
    let lengths: Vec<_> = rows.iter().map(|row| row.chars().count()).collect();
    assert!(lengths.iter().all(|&length| length == lengths[0]), "{table}");
}

#[test]
fn markdown_is_a_table_and_how_it_was_measured() {
    let folder = Folder::new();
    let odd = folder.path("a|b.mnx");
    std::fs::copy(weights(), &odd).unwrap();
    let text = succeed(compare(args![odd, "mobilenext-cifar:0.1", "--format", "markdown", "--threads", "1,2"]));
    let lines: Vec<_> = text.lines().collect();
    // A bar that is no border is escaped.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(
        lines[0].starts_with(
            "| network | file | input | parameters | M MACs | size MB | 1 thread: ms | x | % of peak | 2 threads: ms |"
        ),
        "{text}"
    );
    assert!(lines[1].starts_with("| --- | --- | ---: |"), "{text}");
    assert!(lines[2].contains("a\\|b.mnx") && lines[2].contains("| 645,786 | 21.18 |"), "{text}");
    assert!(lines[..4].iter().all(|line| cells(line) == cells(lines[0]) && line.ends_with(" |")), "{text}");
    assert_eq!(lines[4], "", "{text}");
    assert!(lines[5].contains("FMA peak") && lines[5].contains("3 inferences"), "{text}");
}

#[test]
fn the_plot_has_a_chart_per_number_of_threads_and_one_over_them() {
    let folder = Folder::new();
    let (svg, pictures) = (folder.path("plot.svg"), pictures());
    let archs = ["mobilenext-cifar:0.1", "mobilenext-cifar:0.35", "mobilenext-cifar:0.1", "mobilenetv2-cifar:0.1"];
    let mut args = archs.map(OsString::from).to_vec();
    args.extend(args!["--plot", svg, "--threads", "1,2"]);
    succeed(compare(args));
    assert_eq!(folder.names(), ["plot.svg"]);
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    let texts: Vec<_> = drawn.lines().map(str::trim).collect();
    let count = |text: &str| texts.iter().filter(|&&line| line == text).count();
    assert_eq!(
        (count("Multiply-adds against latency, 1 thread"), count("Multiply-adds against latency, 2 threads")),
        (1, 1)
    );
    // The lines are the rows of the table.
    assert_eq!(count("Latency against threads"), 1);
    for name in ["mobilenext-cifar 0.1", "mobilenext-cifar 0.1 (2)", "mobilenext-cifar 0.35"] {
        assert_eq!(count(name), 1, "{name} in {drawn}");
    }
    for (label, times) in [
        ("mobilenext-cifar", 2),
        ("mobilenetv2-cifar", 2),
        ("0.1 (1)", 2),
        ("0.1 (2)", 2),
        ("mobilenetv2-cifar 0.1", 3),
    ] {
        assert_eq!(count(label), times, "{label} in {drawn}");
    }
    // A scale may have the same figure.
    assert!(count("0.35") >= 2, "{drawn}");
    succeed(compare(args![weights(), "--eval", pictures.path(""), "--plot", svg, "--threads", "1"]));
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains("Top-1 accuracy against latency, 1 thread") && !drawn.contains("against threads"));
}

#[test]
fn wrong_usage_is_said_before_anything_is_opened() {
    let pictures = pictures();
    for (args, said) in [
        (args![].to_vec(), "required"),
        (args!["mobilenetx"].to_vec(), "mobilenext-cifar"),
        (args!["mobilenext:0"].to_vec(), "above 0"),
        (args!["mobilenext:1000000"].to_vec(), "mobilenext of width 1000000.0"),
        (args!["absent.mnx", "mobilenext", "--eval", pictures.path("")].to_vec(), "weights are random"),
        (args!["absent.mnx", "--identity", "0.5"].to_vec(), "--identity"),
        (args!["absent.mnx", "--resolution", "64"].to_vec(), "--resolution"),
        (args!["mobilenetv2-cifar:0.1", "--identity", "0.5"].to_vec(), "--identity"),
        (args!["mobilenext", "--identity", "1,2"].to_vec(), "0 to 1"),
        (args!["mobilenext", "--class-map", "x"].to_vec(), "--eval"),
        (args!["mobilenext", "--sorted-folders"].to_vec(), "--eval"),
        (args!["absent.mnx", "--list", "x"].to_vec(), "--eval"),
        (args!["absent.mnx", "--eval", "x", "--sorted-folders", "--list", "x"].to_vec(), "--sorted-folders"),
        (args!["mobilenext", "--batch", "0"].to_vec(), "--batch"),
        (args!["mobilenext", "--iterations", "0"].to_vec(), "--iterations"),
        (args!["mobilenext", "--format", "xml"].to_vec(), "markdown"),
    ] {
        let mut all = args!["compare"].to_vec();
        all.extend(args);
        let line = fail(2, all);
        assert!(line.contains(said), "{said}: {line}");
    }
    let line = fail(2, args!["bench", "--format", "markdown"]);
    assert!(line.contains("--format") && line.contains("markdown"), "{line}");
}

#[test]
fn what_cannot_be_compared_is_said_before_measuring() {
    let folder = Folder::new();
    let bad = folder.file("bad.mnx", "no weight file");
    let table = folder.file("bad.json", "{}");
    let (nowhere, empty): (PathBuf, _) = (folder.path("absent/plot.svg"), folder.path(""));
    for (args, named) in [
        (args!["mobilenext-cifar", bad].to_vec(), &bad),
        (args![table, "mobilenext-cifar"].to_vec(), &table),
        (args![weights(), folder.path("gone.mnx")].to_vec(), &folder.path("gone.mnx")),
        (args!["mobilenext-cifar", "--plot", nowhere].to_vec(), &nowhere),
        (args![weights(), "--eval", empty].to_vec(), &empty),
    ] {
        // So many inferences would take hours.
        let mut all = args!["compare", "--iterations", "1000000", "--warmup", "1000000"].to_vec();
        all.extend(args);
        let line = fail(1, all);
        assert!(line.contains(named.to_str().unwrap()), "{line}");
    }
    let line = fail(1, args!["compare", "mobilenext-cifar", "--batch", "4000000000"]);
    assert!(line.contains("--batch"), "{line}");
    // Which of them is no classifier.
    let detector = folder.path("d.mnx");
    init_detector("ssdlite-mobilenext", 3, &detector);
    let line = fail(1, compare(args![weights(), detector, "--eval", pictures().path("")]));
    assert!(line.contains("d.mnx: expected a classifier, found a detector"), "{line}");
    // Files that are all unreadable are no accuracy, and nothing is drawn.
    let broken = Folder::new();
    std::fs::create_dir(broken.path("cat")).unwrap();
    broken.file("cat/a.png", "no picture");
    let svg = folder.path("plot.svg");
    let line = fail(1, compare(args![weights(), "--eval", broken.path(""), "--plot", svg]));
    assert!(line.contains("files that can be read") && !svg.exists(), "{line}");
}
