//! Agreement with PyTorch, on every ISA of this machine: logits and every block's output within the tolerance
//! that PyTorch's own rounding error sets (`testdata/golden/README.md`), and the same bits for every
//! number of threads, batched or alone. The bits of FMA ISAs are stored, so that machines without a common ISA check
//! against each other: `testdata/golden/bits.txt`, which `MNX_WRITE_BITS=1` writes anew.
//!
//! `MNX_GOLDENS=DIR` adds the cases under a folder of your own; MNX_ISA restricts the run to one ISA.

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{Isa, Model, Outputs, Padding, Session, SessionOptions, Spec, Tensor};

/// One golden case: every folder with a `meta.json`.
struct Case {
    folder: PathBuf,
    meta: serde_json::Value,
    model: Model,
    input: Tensor,
}

fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = npy.shape().iter().map(|&d| usize::try_from(d).unwrap()).collect();
    (shape, npy.into_vec().unwrap())
}

impl Case {
    fn open(folder: PathBuf) -> Case {
        let meta: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
        let table = folder.join("../table.json");
        let mut spec = match meta["arch"].as_str().unwrap() {
            "table.json" => Spec::from_json(&fs::read_to_string(table).unwrap()).unwrap(),
            family => Spec::family(family).unwrap(),
        };
        spec.width = meta["width"].as_f64().unwrap();
        spec.identity = meta["identity"].as_f64().unwrap();
        spec.padding = if meta["padding"] == "same" { Padding::Tf } else { Padding::Torch };
        spec.classes = meta["classes"].as_u64().unwrap().try_into().unwrap();
        let weights = [folder.join("weights.safetensors"), folder.join("../weights.safetensors")];
        let weights = weights.iter().find(|p| p.exists()).expect("weights beside the case or above it");
        // The epsilon follows from the names: TensorFlow's are of a network with another one.
        let options = mnx::ConvertOptions::new();
        let file = mnx::convert_with(&fs::read(weights).unwrap(), &spec, &options).unwrap().file;
        let (shape, values) = read_npy(&folder.join("input.npy"));
        let input = Tensor::from_slice(shape.try_into().unwrap(), &values).unwrap();
        Case { model: Model::from_bytes(file).unwrap(), folder, meta, input }
    }

    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    /// The limit for a result whose rounding error in PyTorch `meta` states.
    fn limit(meta: &serde_json::Value) -> f64 {
        let error = |key: &str| meta[key].as_f64().unwrap();
        4.0 * error("max_abs") + 1e-5 * error("max_value")
    }

    /// Compares with the array in `file`; returns the difference as a share of the limit.
    fn compare(&self, found: &[f32], file: &str, limit: f64, what: &str) -> f64 {
        let (_, expected) = read_npy(&self.folder.join(file));
        assert_eq!(found.len(), expected.len(), "{} {file}", self.name());
        let difference = |(f, e): (&f32, &f32)| (f64::from(*f) - f64::from(*e)).abs();
        let worst = found.iter().zip(&expected).map(difference).fold(0.0, f64::max);
        // A NaN difference must fail too.
        assert!(worst <= limit, "{} {file} {what}: expected within {limit:e}, found {worst:e}", self.name());
        assert!(found.iter().all(|v| v.is_finite()));
        if limit > 0.0 { worst / limit } else { 0.0 }
    }
}

/// The numbers of `output.npy`: logits, or for each prior of a detector its scores and then its box.
fn numbers(outputs: &Outputs<'_>) -> Vec<f32> {
    let [Some(scores), Some(boxes)] = ["scores", "boxes"].map(|name| outputs.get(name)) else {
        return outputs.data().to_vec();
    };
    let [batch, priors, classes, 1] = scores.shape() else { panic!("{:?}", scores.shape()) };
    assert_eq!(boxes.shape(), [batch, priors, 4, 1]);
    let rows = scores.data().chunks_exact(classes).zip(boxes.data().chunks_exact(4));
    rows.flat_map(|(scores, boxes)| [scores, boxes].concat()).collect()
}

/// All cases under `folder`, in order.
fn cases_in(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("meta.json").exists() {
        found.push(folder.to_owned());
    }
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders.iter().for_each(|f| cases_in(f, found));
}

/// The folder of the committed cases.
fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

fn cases() -> impl Iterator<Item = Case> {
    let mut folders = Vec::new();
    cases_in(&committed(), &mut folders);
    assert!(!folders.is_empty(), "no goldens in {}", committed().display());
    if let Some(more) = std::env::var_os("MNX_GOLDENS") {
        let before = folders.len();
        cases_in(Path::new(&more), &mut folders);
        assert!(folders.len() > before, "no goldens in {}", Path::new(&more).display());
    }
    folders.into_iter().map(Case::open)
}

/// Every ISA, or the one that MNX_ISA names.
fn isas() -> Vec<Isa> {
    match std::env::var("MNX_ISA") {
        Ok(_) => vec![Isa::choose(None).unwrap()],
        Err(_) => Isa::available(),
    }
}

#[test]
fn logits_and_blocks_agree_with_pytorch() {
    let (mut count, mut worst) = (0, 0.0_f64);
    for case in cases() {
        for isa in isas() {
            let mut session = Session::with(&case.model, SessionOptions::new().threads(1).isa(isa)).unwrap();
            let names: Vec<_> = case.model.network().blocks.iter().map(|b| b.name.clone()).collect();
            let mut blocks = vec![Vec::new(); names.len()];
            let observe = |output: mnx::BlockOutput| {
                assert_eq!(output.name, names[output.block]);
                blocks[output.block].extend_from_slice(output.values);
            };
            let logits = numbers(&session.run_observed(case.input.view(), observe).unwrap());
            let limit = Case::limit(&case.meta["f32_vs_f64"]);
            worst = worst.max(case.compare(&logits, "output.npy", limit, isa.name()));
            let metas = case.meta["blocks"].as_array().map_or(&[][..], |m| &m[..]);
            for (index, (values, meta)) in blocks.iter().zip(metas).enumerate() {
                let file = format!("blocks/{index:02}.npy");
                worst = worst.max(case.compare(values, &file, Case::limit(meta), isa.name()));
            }
            assert!(metas.is_empty() || metas.len() == blocks.len());
            // An ordinary run gives the very same bits.
            assert_eq!(numbers(&session.run(case.input.view()).unwrap()), logits, "{} {isa}", case.name());
            count += 1;
        }
    }
    println!("{count} runs agree; the largest difference is {:.0} % of its tolerance", worst * 100.0);
}

#[test]
fn bits_do_not_depend_on_threads_batch_or_isa_of_one_rounding() {
    for case in cases() {
        let mut of_rounding: [Option<Vec<f32>>; 2] = [None, None];
        for isa in isas() {
            let alone = SessionOptions::new().threads(1).isa(isa);
            let mut session = Session::with(&case.model, alone).unwrap();
            let expected = numbers(&session.run(case.input.view()).unwrap());
            let [n, c, h, w] = case.input.shape();
            let row = expected.len() / n;
            for picture in 0..n {
                let one = Tensor::from_slice([1, c, h, w], case.input.view().picture(picture)).unwrap();
                let found = numbers(&session.run(one.view()).unwrap());
                assert_eq!(found, &expected[picture * row..][..row], "{} {isa}", case.name());
            }
            #[cfg(feature = "rayon")]
            for threads in [2, 3, 4, 7, 24] {
                let pool = mnx::ThreadPool::new(threads - 1).unwrap();
                let options = SessionOptions::new().threads(threads).isa(isa).pool(pool);
                let mut session = Session::with(&case.model, options).unwrap();
                for _ in 0..3 {
                    let found = numbers(&session.run(case.input.view()).unwrap());
                    assert_eq!(found, expected, "{} {isa} {threads} threads", case.name());
                }
            }
            let same = &mut of_rounding[usize::from(isa.fuses())];
            assert_eq!(same.get_or_insert_with(|| expected.clone()), &expected, "{} {isa}", case.name());
        }
    }
}

/// Of the bits of `values`, in which all zeros are +0 and all NaN the same.
fn checksum(values: &[f32]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for &value in values {
        let canonical = match value {
            v if v.is_nan() => f32::NAN,
            0.0 => 0.0,
            v => v,
        };
        hasher.update(&canonical.to_le_bytes());
    }
    hasher.finalize()
}

/// A line of `bits.txt` for every committed case, as `isa` computes it.
fn bits(isa: Isa) -> Vec<String> {
    let mut folders = Vec::new();
    cases_in(&committed(), &mut folders);
    let line = |folder: PathBuf| {
        let name = folder.strip_prefix(committed()).unwrap().to_str().unwrap().replace('\\', "/");
        let case = Case::open(folder);
        let mut session = Session::with(&case.model, SessionOptions::new().threads(1).isa(isa)).unwrap();
        let mut blocks = Vec::new();
        let observe = |output: mnx::BlockOutput| blocks.extend_from_slice(output.values);
        let logits = checksum(&numbers(&session.run_observed(case.input.view(), observe).unwrap()));
        format!("{name:<26} {logits:08x} {:08x}", checksum(&blocks))
    };
    folders.into_iter().map(line).collect()
}

#[test]
fn bits_are_those_of_other_machines() {
    const HEAD: &str = "# case                    logits   blocks    CRC-32 of the bits on every FMA ISA";
    let path = committed().join("bits.txt");
    let isas: Vec<Isa> = isas().into_iter().filter(|isa| isa.fuses()).collect();
    if let (Some(_), Some(&isa)) = (std::env::var_os("MNX_WRITE_BITS"), isas.first()) {
        fs::write(&path, format!("{HEAD}\n{}\n", bits(isa).join("\n"))).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    let expected: Vec<&str> = stored.lines().filter(|line| !line.starts_with('#')).collect();
    for isa in isas {
        assert_eq!(bits(isa), expected, "{isa}");
    }
}

/// Several sessions on one model, on several threads and one shared pool, all at once.
#[cfg(feature = "rayon")]
#[test]
fn sessions_share_a_model_and_a_pool() {
    let case = cases().next().unwrap();
    let expected = Session::new(&case.model).unwrap().run(case.input.view()).unwrap().data().to_vec();
    let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let options = SessionOptions::new().threads(3).pool(mnx::unstable::thread_pool(pool.clone()));
                let mut session = Session::with(&case.model, options).unwrap();
                for _ in 0..50 {
                    assert_eq!(session.run(case.input.view()).unwrap().data(), expected);
                }
            });
        }
    });
    // From inside the pool, too: its only thread enters an inference that wants helpers from it.
    let options = SessionOptions::new().threads(2).pool(mnx::unstable::thread_pool(pool.clone()));
    let mut session = Session::with(&case.model, options).unwrap();
    pool.install(|| assert_eq!(session.run(case.input.view()).unwrap().data(), expected));
}
