//! int8 weight files in every command.

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::*;
use serde_json::{Value, json};

/// A network all in int8, and one with a block, stem and classifier in f32.
const INT8: &str = "sandglass";
const MIXED: &str = "mixed-inverted";

/// A small network's file in `testdata/golden/int8`.
fn small(name: &str) -> PathBuf {
    testdata(&format!("golden/int8/{name}.mnx"))
}

/// A folder with an input, the logits and perhaps the blocks of a small network.
fn cases(name: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(testdata(&format!("golden/int8/{name}"))).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// The bytes of an `.npy` file's numbers.
fn numbers(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].to_vec()
}

/// `--isa` and `--dot-products` that this CPU has.
fn choices() -> Vec<[OsString; 4]> {
    let isas = mnx::Isa::available();
    let choice = |isa: &mnx::Isa, dot: &str| args!["--isa", isa.name(), "--dot-products", dot];
    isas.iter().flat_map(|isa| ["auto", "off"].map(|dot| choice(isa, dot))).collect()
}

fn number(of: &Value, path: &str) -> f64 {
    of.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {of}"))
}

#[test]
fn run_gives_the_models_bits_on_every_isa() {
    for case in cases(INT8).into_iter().chain(cases("ties")) {
        let folder = Folder::new();
        let [output, blocks] = ["y.npy", "blocks"].map(|name| folder.path(name));
        let weights = case.parent().unwrap().with_extension("mnx");
        for choice in choices() {
            let mut run =
                args!["run", "--weights", weights, "--input", case.join("input.npy"), "--output", output].to_vec();
            run.extend(choice);
            succeed(&run);
            assert_eq!(numbers(&output), numbers(&case.join("output.npy")), "{run:?}");
            let Ok(expected) = std::fs::read_dir(case.join("blocks")) else { continue };
            run.extend(args!["--dump-blocks", blocks]);
            succeed(&run);
            // What their u8 numbers stand for.
            for block in expected.map(|entry| entry.unwrap().path()) {
                assert_eq!(numbers(&blocks.join(block.file_name().unwrap())), numbers(&block), "{run:?}");
            }
        }
    }
}

#[test]
fn inspect_tells_arithmetic_scales_and_kernels() {
    let report = |name: &str, dot: &str| {
        json(args!["inspect", "--weights", small(name), "--threads", "1", "--dot-products", dot, "--format", "json"])
    };
    let int8 = report(INT8, "auto");
    let layers = |report: &Value| report["layers"].as_array().unwrap().clone();
    assert_eq!((int8["arithmetic"].as_str(), int8["f32_layers"].as_u64()), (Some("int8"), Some(0)));
    for layer in layers(&int8) {
        assert_eq!(layer["arithmetic"], "int8", "{layer}");
        let is_classifier = layer["name"].as_str().unwrap().starts_with("classifier");
        assert_eq!(layer["scale"].is_number(), !is_classifier, "{layer}");
        assert!(is_classifier || (number(&layer, "/scale") > 0.0 && number(&layer, "/zero_point") <= 255.0));
        let has_weights = number(&layer, "/weight_bytes") > 0.0;
        assert_eq!(layer["weight_scales"].is_array(), has_weights, "{layer}");
        assert!(!has_weights || number(&layer, "/weight_scales/0") <= number(&layer, "/weight_scales/1"), "{layer}");
        assert_eq!(layer["dot_products"].as_bool(), int8["dot_products"].as_bool(), "{layer}");
        assert!(layer["kernel"].as_str().is_some_and(|name| name.ends_with("int8") || name == "quantize"), "{layer}");
    }
    let off = report(INT8, "off");
    assert_eq!(off["dot_products"], false);
    assert!(layers(&off).iter().all(|layer| layer["dot_products"] == false));

    let mixed = report(MIXED, "auto");
    assert_eq!(mixed["arithmetic"], "mixed");
    let all = layers(&mixed);
    let of = |name: &str| all.iter().filter(|layer| layer["name"] == name).collect::<Vec<_>>();
    assert!(!of("quantize").is_empty() && !of("dequantize").is_empty(), "{mixed}");
    assert!(of("quantize").iter().all(|layer| layer["scale"].is_number() && layer["arithmetic"] == "f32"), "{mixed}");
    assert!(of("dequantize").iter().all(|layer| layer["scale"].is_null()), "{mixed}");
    let weighted = |arithmetic: &str| {
        let counts = |layer: &&Value| layer["arithmetic"] == arithmetic && number(layer, "/macs") > 0.0;
        all.iter().filter(counts).count() as u64
    };
    let counted = (mixed["int8_layers"].as_u64(), mixed["f32_layers"].as_u64());
    assert_eq!(counted, (Some(weighted("int8")), Some(weighted("f32"))), "{mixed}");
    for field in ["macs", "parameters", "weight_bytes"] {
        let sum: f64 = all.iter().map(|layer| number(layer, &format!("/{field}"))).sum();
        assert_eq!(sum, number(&mixed, &format!("/{field}")), "{field}");
    }

    let text = succeed(args!["inspect", "--weights", small(MIXED)]);
    let head = text.lines().find(|line| line.starts_with("layer ")).unwrap();
    assert!(head.contains("arithmetic") && head.contains("zero point") && text.contains("int8 layers"), "{text}");
}

#[test]
fn kernels_are_listed_by_arithmetic_and_dot_products() {
    let listed = json(["inspect", "--kernels", "--format", "json"]);
    let rows = listed["kernels"].as_array().unwrap();
    let of = |arithmetic: &str, dot: bool| {
        let counts = |row: &&Value| row["arithmetic"] == arithmetic && row["dot_products"] == dot;
        rows.iter().filter(counts).collect::<Vec<_>>()
    };
    assert!(!of("f32", false).is_empty() && of("f32", true).is_empty());
    assert!(of("int8", false).iter().any(|row| row["isa"] == "scalar" && row["available"] == true), "{listed}");
    let text = succeed(["inspect", "--kernels"]);
    let head = text.lines().next().unwrap();
    assert_eq!(head.contains(" dot"), !of("int8", true).is_empty(), "{text}");
    let has = |row: &[&str]| text.lines().any(|line| line.split_whitespace().take(2).eq(row.iter().copied()));
    assert!(has(&["pw", "f32"]) && has(&["pw-int8", "int8"]), "{text}");
}

#[test]
fn bench_judges_int8_by_its_own_peak() {
    let bench = |name: &str, more: &[&str]| {
        let mut args = args!["bench", "--weights", small(name), "--iterations", "3", "--warmup", "0"].to_vec();
        args.extend(more.iter().map(Into::into));
        args
    };
    for (name, arithmetic) in [(INT8, "int8"), (MIXED, "mixed")] {
        let run = json(bench(name, &["--per-layer", "--per-block", "--threads", "1", "--format", "json"]));
        assert_eq!((run["arithmetic"].as_str(), run["dot_products"].is_boolean()), (Some(arithmetic), true), "{run}");
        let (fma, dot) = (number(&run, "/fma_peak_gflops"), number(&run, "/dot_peak_gmacs"));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
        let mut of_layers = 0.0;
        for row in run["layers"].as_array().unwrap() {
            let macs = number(row, "/macs");
            let peak = match row["arithmetic"].as_str() {
                Some("f32") => fma / 2.0,
                Some("int8") => dot,
                Some(other) => panic!("{other}: {row}"),
                None => {
                    assert_eq!((macs, number(row, "/percent_of_peak")), (0.0, 0.0), "{row}");
                    continue;
                }
            };
            // Milliseconds at the peak.
            of_layers += macs / (peak * 1e6);
            let percent = 100.0 * macs / (peak * 1e3) / number(row, "/microseconds");
            assert!(near(number(row, "/percent_of_peak"), percent), "{row}");
        }
        assert!(near(number(&run, "/percent_of_peak"), 100.0 * of_layers / number(&run, "/latency_ms/median")));
        let gflops = 2.0 * number(&run, "/macs") / (1e6 * number(&run, "/latency_ms/median"));
        assert!(near(number(&run, "/gflops"), gflops), "{run}");
        let text = succeed(bench(name, &["--per-block", "--threads", "1"]));
        assert!(text.contains("GMAC/s") && text.contains("int8 peak") && !text.contains("GFLOP/s"), "{text}");
        assert_eq!(text.contains("FMA peak"), arithmetic == "mixed", "{text}");
    }
    let f32 = json(args!["bench", "--weights", weights(), "--iterations", "1", "--warmup", "0", "--format", "json"]);
    assert!(f32["arithmetic"] == "f32" && f32.get("dot_peak_gmacs").is_none(), "{f32}");
}

/// The CIFAR network, quantised with a few pictures.
fn quantised(folder: &Folder) -> PathBuf {
    let (pictures, output) = (folder.path("calibration"), folder.path("q.mnx"));
    std::fs::create_dir(&pictures).unwrap();
    for name in ["chelsea.png", "rocket.jpg"] {
        std::fs::copy(testdata(&format!("pictures/{name}")), pictures.join(name)).unwrap();
    }
    // It warns that these are few.
    let made = run(args!["quantize", "--weights", weights(), "--calibrate", pictures, "--output", output]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    output
}

#[test]
fn classify_and_eval_answer_as_f32_does() {
    let folder = Folder::new();
    let int8 = quantised(&folder);
    let [chelsea, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    let classes = |weights: &Path| {
        let answers = json(args!["classify", "--weights", weights, "--format", "json", chelsea, rocket]);
        [0, 1].map(|picture| answers[picture]["top"][0]["label"].as_str().unwrap().to_owned())
    };
    assert_eq!(classes(&int8), classes(&weights()));
    // The same bits as `run` on what the network was given.
    let [input, output] = ["x.npy", "y.npy"].map(|name| folder.path(name));
    let answers =
        json(args!["classify", "--weights", int8, "--top", "10", "--dump-input", input, "--format", "json", chelsea]);
    succeed(args!["run", "--weights", int8, "--input", input, "--output", output]);
    let logits: Vec<f32> =
        numbers(&output).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let expected: Vec<_> = mnx::top_k(&logits, 10);
    for (found, (index, probability)) in answers[0]["top"].as_array().unwrap().iter().zip(expected) {
        assert_eq!(found["index"].as_u64(), Some(index as u64));
        assert_eq!(found["probability"].as_f64().map(|p| p as f32), Some(probability));
    }
    let pictures = folder.path("pictures");
    std::fs::create_dir_all(pictures.join("cat")).unwrap();
    std::fs::copy(&chelsea, pictures.join("cat/chelsea.png")).unwrap();
    let report = json(args!["eval", "--weights", int8, "--format", "json", pictures]);
    assert_eq!(report["top1"], json!({"correct": 1, "rate": 1.0}));
}

#[test]
fn compare_puts_f32_and_int8_side_by_side() {
    let folder = Folder::new();
    let (int8, pictures) = (quantised(&folder), folder.path("pictures"));
    for (class, name) in [("cat", "chelsea.png"), ("ship", "rocket.jpg")] {
        std::fs::create_dir_all(pictures.join(class)).unwrap();
        std::fs::copy(testdata(&format!("pictures/{name}")), pictures.join(class).join(name)).unwrap();
    }
    let compare = |format: &str| {
        let flags = args!["--iterations", "2", "--warmup", "0", "--threads", "1", "--format", format];
        [&args!["compare", weights(), int8, "--eval", pictures][..], &flags].concat()
    };
    let report = json(compare("json"));
    let rows = report["networks"].as_array().unwrap();
    assert_eq!((&rows[0]["arithmetic"], &rows[1]["arithmetic"]), (&"f32".into(), &"int8".into()));
    for (row, path) in rows.iter().zip([&weights(), &int8]) {
        assert_eq!(row["size_bytes"].as_u64(), Some(std::fs::metadata(path).unwrap().len()));
        assert_eq!(row["pictures"], 2);
    }
    assert!(rows[0].get("agreement").is_none(), "{report}");
    assert_eq!(rows[1]["agreement"], json!({"with": 0, "pictures": 2, "same": 2, "rate": 1.0}));
    assert!(number(&rows[1], "/peak_arena_bytes") < number(&rows[0], "/peak_arena_bytes"));
    let run = &rows[1]["runs"][0];
    let at_peak = number(&rows[1], "/macs") / (1e6 * number(run, "/dot_peak_gmacs"));
    let percent = 100.0 * at_peak / number(run, "/latency_ms/median");
    assert!((number(run, "/percent_of_peak") - percent).abs() < 1e-9 * percent, "{run}");
    for (format, cell) in
        [("text", "mobilenext-cifar 0.35 int8  q.mnx"), ("markdown", "| mobilenext-cifar 0.35 int8 | q.mnx |")]
    {
        let table = succeed(compare(format));
        assert!(table.contains(cell) && table.contains("same class") && table.contains("100.0 %"), "{table}");
        assert!(table.contains("size MB") && table.contains("int8 peak in GMAC/s"), "{table}");
    }
}

#[test]
fn dot_products_are_chosen_by_flag_or_environment() {
    let inspect = args!["inspect", "--weights", small(INT8), "--format", "json"];
    let uses = |flags: &[&str], variable: Option<&str>| {
        let mut command = program();
        command.args(&inspect).args(flags).env_remove("MNX_DOT_PRODUCTS");
        variable.into_iter().for_each(|value| {
            command.env("MNX_DOT_PRODUCTS", value);
        });
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["dot_products"].as_bool().unwrap()
    };
    let has = uses(&[], None);
    assert_eq!((uses(&[], Some("auto")), uses(&[], Some(""))), (has, has));
    assert!(!uses(&[], Some("off")) && !uses(&["--dot-products", "off"], None));
    // The flag beats the environment.
    assert_eq!(uses(&["--dot-products", "auto"], Some("off")), has);
    let line = fail(2, ["inspect", "--dot-products", "on"]);
    assert!(line.contains("--dot-products") && line.contains("auto") && line.contains("off"), "{line}");
    let output = program().args(&inspect).env("MNX_DOT_PRODUCTS", "yes").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(line.contains("MNX_DOT_PRODUCTS") && line.contains("\"yes\"") && line.lines().count() == 1, "{line}");
}

#[test]
fn amx_is_chosen_by_flag_or_environment() {
    let inspect = args!["inspect", "--weights", small(INT8), "--format", "json"];
    let uses = |flags: &[&str], variable: Option<&str>| {
        let mut command = program();
        command.args(&inspect).args(flags).env_remove("MNX_DOT_PRODUCTS").env_remove("MNX_AMX");
        variable.into_iter().for_each(|value| {
            command.env("MNX_AMX", value);
        });
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        let uses = report["amx"].as_bool().unwrap();
        assert_eq!(report["layers"].as_array().unwrap().iter().any(|layer| layer["amx"] == true), uses, "{report}");
        uses
    };
    let has = uses(&[], None);
    if !has {
        println!("SKIPPED: what AMX does: this CPU lacks it, or the system forbids it");
    }
    assert_eq!((uses(&[], Some("auto")), uses(&[], Some(""))), (has, has));
    assert!(!uses(&[], Some("off")) && !uses(&["--amx", "off"], None) && !uses(&["--dot-products", "off"], None));
    // The flag beats the environment.
    assert_eq!(uses(&["--amx", "auto"], Some("off")), has);
    let output = program().args(&inspect).env("MNX_AMX", "yes").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(line.contains("MNX_AMX") && line.contains("\"yes\"") && line.lines().count() == 1, "{line}");
}
