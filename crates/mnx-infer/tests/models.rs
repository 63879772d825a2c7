//! Networks inside the program: `--model`, `embedded:NAME`, `inspect --models`.

mod common;

use common::*;

/// The detector among them.
const DETECTOR: &str = "bccd";

/// Those of this build, the default one first.
fn names() -> Vec<String> {
    let listed = json(["inspect", "--models", "--format", "json"]);
    let rows = listed["models"].as_array().expect("models");
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_is_listed_is_what_was_built_in() {
    let expected = [
        ("cifar", cfg!(feature = "embedded-model")),
        ("cifar-mobilenetv2", cfg!(feature = "embedded-cifar-mobilenetv2")),
        ("imagenet", cfg!(feature = "embedded-imagenet")),
        (DETECTOR, cfg!(feature = "embedded-bccd")),
    ];
    let expected: Vec<_> = expected.into_iter().filter(|&(_, built)| built).map(|(name, _)| name).collect();
    assert_eq!(names(), expected);
    let text = succeed(["inspect", "--models"]);
    let help = succeed(["--help"]);
    let of_command = succeed(["classify", "--help"]);
    for name in expected {
        assert!([&text, &help, &of_command].iter().all(|text| text.contains(name)), "{text}{help}{of_command}");
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("Apache-2.0") && line.contains("(default)") == (name == "cifar"), "{line}");
    }
    fail(2, ["inspect", "--models", "--kernels"]);
    fail(2, ["inspect", "--models", "--batch", "2"]);
    fail(2, args!["inspect", "--models", "--weights", weights()]);
}

#[test]
fn every_command_that_takes_weights_takes_a_name() {
    let folder = Folder::new();
    let [input, output, pictures] = ["x.npy", "y.npy", "pictures"].map(|name| folder.path(name));
    let chelsea = testdata("pictures/chelsea.png");
    std::fs::create_dir_all(pictures.join("0")).unwrap();
    std::fs::copy(&chelsea, pictures.join("0/chelsea.png")).unwrap();
    for name in names() {
        if name == DETECTOR {
            succeed(args!["detect", "--model", name, chelsea]);
            succeed(args!["eval", "--model", name, "--voc", testdata("bccd")]);
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 64, 64), }\n";
            std::fs::write(&input, npy(1, header, 3 * 64 * 64 * 4)).unwrap();
        } else {
            succeed(args!["classify", "--model", name, "--dump-input", input, chelsea]);
            succeed(args!["eval", "--model", name, pictures]);
        }
        succeed(args!["run", "--model", name, "--input", input, "--output", output]);
        succeed(args!["inspect", "--model", name]);
        succeed(args!["bench", "--model", name, "--iterations", "1", "--warmup", "0", "--threads", "1"]);
        let subject = format!("embedded:{name}");
        let compare = args!["compare", subject, "--iterations", "1", "--warmup", "0", "--format", "json"];
        let row = json(compare)["networks"][0].clone();
        assert_eq!((row["embedded"].as_str(), row["file"].as_str()), (Some(&*name), None), "{row}");
        let table = succeed(args!["compare", subject, "--iterations", "1", "--warmup", "0"]);
        assert!(table.contains(&subject), "{table}");
    }
}

#[test]
fn a_file_and_a_name_are_too_much_and_neither_may_be_too_little() {
    let chelsea = testdata("pictures/chelsea.png");
    for name in names() {
        for args in [
            args!["classify", "--weights", weights(), "--model", name, chelsea].to_vec(),
            args!["detect", "--weights", weights(), "--model", name, chelsea].to_vec(),
            args!["inspect", "--model", name, "--weights", weights()].to_vec(),
            args!["bench", "--model", name, "--weights", weights()].to_vec(),
            args!["eval", "--model", name, "--weights", weights(), "pictures"].to_vec(),
            args!["run", "--model", name, "--weights", weights(), "--input", "x.npy", "--output", "y.npy"].to_vec(),
        ] {
            let line = fail(2, args);
            assert!(line.contains("--model") && line.contains("--weights"), "{line}");
        }
        fail(2, args!["inspect", "--kernels", "--model", name]);
    }
    let line = fail(2, ["run", "--input", "x.npy", "--output", "y.npy"]);
    assert!(line.contains("--weights"), "{line}");
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let chelsea = testdata("pictures/chelsea.png");
    for args in [
        args!["classify", "--model", "imagenette", chelsea].to_vec(),
        args!["classify", "--model", "", chelsea].to_vec(),
        args!["inspect", "--model"].to_vec(),
        args!["compare", "embedded:imagenette"].to_vec(),
    ] {
        let line = fail(2, args);
        assert!(names().iter().all(|name| line.contains(name.as_str())), "{line}");
    }
    let line = fail(2, args!["compare", "embedded:", weights()]);
    assert!(line.contains("network"), "{line}");
}

#[cfg(feature = "embedded-model")]
#[test]
fn cifar_is_the_file_and_the_default() {
    let chelsea = testdata("pictures/chelsea.png");
    let by_name = succeed(args!["classify", "--model", "cifar", chelsea]);
    assert_eq!(by_name, succeed(args!["classify", "--weights", weights(), chelsea]));
    assert_eq!(by_name, succeed(args!["classify", chelsea]));
}

/// The two networks for the same classes stand side by side, with how often they agree.
#[cfg(all(feature = "embedded-model", feature = "embedded-cifar-mobilenetv2"))]
#[test]
fn two_networks_for_cifar_are_compared() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir_all(pictures.join("cat")).unwrap();
    std::fs::copy(testdata("pictures/chelsea.png"), pictures.join("cat/a.png")).unwrap();
    let subjects = args!["compare", "embedded:cifar", "embedded:cifar-mobilenetv2", "--eval", pictures];
    let flags = args!["--iterations", "1", "--warmup", "0", "--threads", "1", "--format", "json"];
    let report = json([&subjects[..], &flags].concat());
    let [next, v2] = [&report["networks"][0], &report["networks"][1]];
    assert_eq!((&next["family"], &v2["family"]), (&"mobilenext-cifar".into(), &"mobilenetv2-cifar".into()));
    assert_eq!((&v2["parameters"], &v2["macs"]), (&408_938.into(), &15_611_136.into()), "{v2}");
    assert_eq!((&next["top1"]["correct"], &v2["top1"]["correct"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(v2["agreement"]["same"], 1, "{v2}");
}

#[cfg(feature = "embedded-imagenet")]
#[test]
fn imagenet_knows_a_cat_and_a_rocket() {
    let [cat, rocket] = ["pictures/chelsea.png", "pictures/rocket.jpg"].map(testdata);
    let answers = json(args!["classify", "--model", "imagenet", "--format", "json", cat, rocket]);
    let label = |picture: usize| answers[picture]["top"][0]["label"].as_str().unwrap();
    // ImageNet has five kinds of house cats, and no rocket but a missile.
    assert!(["tabby", "tiger cat", "Egyptian cat"].contains(&label(0)), "{answers}");
    assert_eq!(label(1), "missile", "{answers}");
    assert_eq!(answers[0]["top"].as_array().unwrap().len(), 5);
    let report = json(["inspect", "--model", "imagenet", "--format", "json"]);
    assert_eq!((report["arithmetic"].as_str(), report["classes"].as_u64()), (Some("int8"), Some(1001)));
    assert_eq!(report["macs"].as_u64(), Some(300_775_552));
}

/// Without a name, too, `detect` finds the cells on three pictures that it was not trained with.
#[cfg(feature = "embedded-bccd")]
#[test]
fn bccd_finds_blood_cells() {
    let report = json(args!["eval", "--voc", testdata("bccd"), "--format", "json"]);
    assert_eq!(report["pictures"].as_u64(), Some(3));
    assert!(report["map"].as_f64().unwrap() > 0.7, "{report}");
    let picture = testdata("bccd/JPEGImages/BloodImage_00031.jpg");
    let answers = json(args!["detect", "--format", "json", picture]);
    let boxes = answers[0]["boxes"].as_array().unwrap();
    assert_eq!(boxes.iter().filter(|found| found["label"] == "WBC").count(), 2, "{answers}");
    assert!(boxes.iter().all(|found| found["score"].as_f64().unwrap() > 0.4), "{answers}");
    assert_eq!(answers, json(args!["detect", "--model", "bccd", "--format", "json", picture]));
}

#[cfg(all(feature = "embedded-model", feature = "embedded-imagenet"))]
#[test]
fn agreement_is_asked_of_networks_with_the_same_classes() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir_all(pictures.join("3")).unwrap();
    std::fs::copy(testdata("pictures/chelsea.png"), pictures.join("3/a.png")).unwrap();
    let subjects = args!["compare", "embedded:cifar", "embedded:imagenet", weights(), "--eval", pictures];
    let flags = args!["--iterations", "1", "--warmup", "0", "--threads", "1", "--format", "json"];
    let report = json([&subjects[..], &flags].concat());
    let rows = report["networks"].as_array().unwrap();
    assert!(rows[0].get("agreement").is_none() && rows[1].get("agreement").is_none(), "{report}");
    assert_eq!(rows[2]["agreement"], serde_json::json!({"with": 0, "pictures": 1, "same": 1, "rate": 1.0}));
    assert_eq!((&rows[0]["arithmetic"], &rows[1]["arithmetic"]), (&"f32".into(), &"int8".into()));
    let peaks = |row: &serde_json::Value| row["runs"][0]["dot_peak_gmacs"].as_f64();
    assert!(peaks(&rows[1]).is_some_and(|peak| peak > 0.0), "{report}");
}
