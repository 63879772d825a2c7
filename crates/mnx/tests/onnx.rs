//! ONNX models of three exporters give the logits of the frameworks that they were exported from: `testdata/onnx`, whose
//! README.md says which models these are. `MNX_ONNX=DIR` adds the models under a folder of your own.

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{BlockKind, Model, Onnx, Padding, Session, SessionOptions, Spec, Tensor};

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/onnx")
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = npy.shape().iter().map(|&dim| usize::try_from(dim).unwrap()).collect();
    (shape, npy.into_vec().unwrap())
}

/// Folders of models with an input and the logits, and the models in each.
fn cases() -> Vec<(PathBuf, Vec<PathBuf>)> {
    let mut folders = sorted(&committed());
    if let Some(more) = std::env::var_os("MNX_ONNX") {
        folders.extend(sorted(Path::new(&more)));
    }
    folders.retain(|folder| folder.join("meta.json").exists());
    let models = |folder: PathBuf| {
        let models = sorted(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
        (folder, models)
    };
    folders.into_iter().map(models).collect()
}

#[test]
fn logits_are_those_of_the_frameworks() {
    let (mut count, mut worst) = (0, 0.0_f64);
    for (folder, models) in cases() {
        let meta: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
        let error = |key: &str| meta["f32_vs_f64"][key].as_f64().unwrap();
        let limit = 4.0 * error("max_abs") + 1e-5 * error("max_value");
        let (shape, values) = read_npy(&folder.join("input.npy"));
        let input = Tensor::from_slice(shape.try_into().unwrap(), &values).unwrap();
        let (_, expected) = read_npy(&folder.join("output.npy"));
        for path in models {
            let name = path.display();
            let onnx = Onnx::open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            let file = onnx.convert(onnx.spec()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let model = Model::from_bytes(file.file).unwrap();
            let mut session = Session::with(&model, SessionOptions::new().threads(1)).unwrap();
            let logits = session.run(input.view()).unwrap();
            assert_eq!(logits.data().len(), expected.len(), "{name}");
            let differences = logits.data().iter().zip(&expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
            let difference = differences.fold(0.0, f64::max);
            assert!(difference <= limit, "{name}: expected within {limit:e}, found {difference:e}");
            (count, worst) = (count + 1, worst.max(difference / limit));
        }
    }
    assert!(count >= 30, "found {count} models");
    println!("{count} models agree; the largest difference is {:.0} % of its tolerance", worst * 100.0);
}

fn spec(model: &str) -> Spec {
    Onnx::open(committed().join(model)).unwrap().spec().clone()
}

#[test]
fn what_the_graphs_tell_is_read() {
    let inverted = spec("inverted-torch/torchscript-20-bn.onnx");
    assert_eq!((inverted.family.as_str(), inverted.head, inverted.classes), ("custom", Some(40), 5));
    assert!(inverted.stages.iter().all(|stage| stage.block == BlockKind::InvertedResidual));
    for (folder, padding) in [("torch", Padding::Torch), ("tf", Padding::Tf)] {
        let model = if folder == "tf" { "tf2onnx-18" } else { "dynamo-20" };
        for network in ["inverted", "sandglass"] {
            assert_eq!(spec(&format!("{network}-{folder}/{model}.onnx")).padding, padding, "{network} {model}");
        }
        let sandglass = spec(&format!("sandglass-{folder}/{model}.onnx"));
        assert_eq!(sandglass.identity, 0.3);
        let residual = spec(&format!("residual-{folder}/{model}.onnx"));
        assert!(residual.stem.max_pool && residual.padding == Padding::Torch);
        let ratios: Vec<_> = residual.stages.iter().map(|stage| (stage.block, stage.ratio, stage.repeats)).collect();
        let expected = [(BlockKind::Basic, 1, 1), (BlockKind::Basic, 1, 1), (BlockKind::Bottleneck, 4, 2)];
        assert_eq!(ratios, expected);
    }
}

/// Batch norms in the graph are folded here as exporters fold them, but for their rounding.
#[test]
fn folded_or_not_the_network_is_the_same() {
    for (_, models) in cases() {
        for kept in models.iter().filter(|path| path.to_str().is_some_and(|name| name.ends_with("-bn.onnx"))) {
            let folded = PathBuf::from(kept.to_str().unwrap().replace("-bn.onnx", ".onnx"));
            let [kept, folded] = [kept, &folded].map(|path| Onnx::open(path).unwrap());
            assert_eq!(kept.spec(), folded.spec());
        }
    }
}
