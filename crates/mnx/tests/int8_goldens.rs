//! Agreement with the model of int8 in NumPy (`tools/int8_model.py`, `testdata/golden/int8`), on every CPU that this machine can
//! be taken for: logits and every block's output to the last bit, for every number of threads, batched or alone. In files
//! that mix int8 with f32, what f32 layers leave in f32 is compared within the tolerance of the other goldens
//! (`testdata/golden/README.md`). `bits.txt` has the model's checksums; the engine never writes it.
//!
//! MNX_ISA restricts the run to one ISA.

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{Cpu, Model, Session, SessionOptions, Tensor};
use serde_json::Value;

/// A network on one input, and what the model computes of it.
struct Case {
    name: String,
    /// Whether all layers are int8.
    int8: bool,
    model: Model,
    input: Tensor,
    logits: Expected,
    /// One per block, or none.
    blocks: Vec<Expected>,
}

/// Values, and how far those found may be from them: not at all, if there is no limit.
struct Expected {
    values: Vec<f32>,
    limit: Option<f64>,
}

impl Expected {
    /// `error` is f32's distance from f64, or null for what is exact.
    fn read(path: &Path, error: &Value) -> Expected {
        let part = |key: &str| error[key].as_f64().unwrap();
        let limit = (!error.is_null()).then(|| 4.0 * part("max_abs") + 1e-5 * part("max_value"));
        Expected { values: read_npy(path).1, limit }
    }

    fn check(&self, found: &[f32], what: &str) {
        assert_eq!(found.len(), self.values.len(), "{what}");
        for (index, (&found, &expected)) in found.iter().zip(&self.values).enumerate() {
            let agrees = match self.limit {
                None => found.to_bits() == expected.to_bits(),
                // A NaN must fail too.
                Some(limit) => (f64::from(found) - f64::from(expected)).abs() <= limit,
            };
            let limit = self.limit.unwrap_or(0.0);
            assert!(agrees, "{what}: value {index}: expected {expected} within {limit:e}, found {found}");
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/int8")
}

fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = npy.shape().iter().map(|&d| usize::try_from(d).unwrap()).collect();
    (shape, npy.into_vec().unwrap())
}

impl Case {
    fn open(meta: &Value) -> Case {
        let text = |key: &str| meta[key].as_str().unwrap();
        let at = folder().join(text("name"));
        let weights = folder().join(text("weights"));
        let file = fs::read(&weights).unwrap_or_else(|e| panic!("{}: {e}", weights.display()));
        let model = Model::from_bytes(file).unwrap_or_else(|e| panic!("{}: {e}", weights.display()));
        let (shape, values) = read_npy(&at.join("input.npy"));
        let errors = meta["blocks"].as_array().unwrap();
        assert_eq!(errors.len(), model.network().blocks.len(), "{}", text("name"));
        let block = |(index, error)| Expected::read(&at.join(format!("blocks/{index:02}.npy")), error);
        let blocks =
            if at.join("blocks").exists() { errors.iter().enumerate().map(block).collect() } else { Vec::new() };
        Case {
            name: text("name").into(),
            int8: meta["int8"].as_bool().unwrap(),
            model,
            input: Tensor::from_slice(shape.try_into().unwrap(), &values).unwrap(),
            logits: Expected::read(&at.join("output.npy"), &meta["logits"]),
            blocks,
        }
    }

    fn session(&self, cpu: Cpu, threads: usize) -> Session {
        let options = SessionOptions::new().threads(threads).isa(cpu.isa()).tuned_for(cpu.tuned_for());
        let session = Session::with(&self.model, options).unwrap();
        assert_eq!((session.isa(), session.tuned_for()), (cpu.isa(), cpu.tuned_for()));
        session
    }

    /// The logits, and every block's output: pictures one after the other.
    fn observe(&self, cpu: Cpu) -> (Vec<f32>, Vec<Vec<f32>>) {
        let mut blocks = vec![Vec::new(); self.model.network().blocks.len()];
        let mut session = self.session(cpu, 1);
        let observe = |output: mnx::BlockOutput| blocks[output.block].extend_from_slice(output.values);
        let logits = session.run_observed(self.input.view(), observe).unwrap().data().to_vec();
        (logits, blocks)
    }
}

fn cases() -> Vec<Case> {
    let meta: Value = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    let cases: Vec<Case> = meta["cases"].as_array().unwrap().iter().map(Case::open).collect();
    assert!(!cases.is_empty());
    cases
}

/// Every CPU that this one can be taken for, or the one that MNX_ISA names.
fn cpus() -> Vec<Cpu> {
    match std::env::var("MNX_ISA") {
        Ok(_) => vec![Cpu::choose(None, None).unwrap()],
        Err(_) => Cpu::available(),
    }
}

fn describe(case: &Case, cpu: Cpu) -> String {
    format!("{} on {}, tuned for {}", case.name, cpu.isa(), cpu.tuned_for())
}

#[test]
fn logits_and_blocks_are_those_of_the_model() {
    for case in cases() {
        for cpu in cpus() {
            let what = describe(&case, cpu);
            let (logits, blocks) = case.observe(cpu);
            for (index, (expected, found)) in case.blocks.iter().zip(&blocks).enumerate() {
                expected.check(found, &format!("{what}: block {index}"));
            }
            case.logits.check(&logits, &what);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_batch_or_who_watches() {
    for case in cases() {
        for cpu in cpus() {
            let what = describe(&case, cpu);
            let (expected, _) = case.observe(cpu);
            let mut session = case.session(cpu, 1);
            assert_eq!(session.run(case.input.view()).unwrap().data(), expected, "{what}: not observed");
            let [n, c, h, w] = case.input.shape();
            for (picture, expected) in expected.chunks(expected.len() / n).enumerate() {
                let alone = Tensor::from_slice([1, c, h, w], case.input.view().picture(picture)).unwrap();
                assert_eq!(session.run(alone.view()).unwrap().data(), expected, "{what}: picture {picture} alone");
            }
            #[cfg(feature = "rayon")]
            for threads in [2, 3] {
                let mut session = case.session(cpu, threads);
                for _ in 0..3 {
                    let found = session.run(case.input.view()).unwrap();
                    assert_eq!(found.data(), expected, "{what}: {threads} threads");
                }
            }
        }
    }
}

/// Of the bits of `values`, in which all zeros are +0. None is NaN.
fn checksum(hasher: &mut crc32fast::Hasher, values: &[f32]) {
    values.iter().for_each(|value| hasher.update(&(value + 0.0).to_le_bytes()));
}

/// A case's line of `bits.txt`, as this CPU computes it. Blocks are taken picture by picture.
fn bits(case: &Case, cpu: Cpu) -> String {
    let (logits, blocks) = case.observe(cpu);
    let [mut of_logits, mut of_blocks] = [crc32fast::Hasher::new(), crc32fast::Hasher::new()];
    checksum(&mut of_logits, &logits);
    let pictures = case.input.shape()[0];
    for picture in 0..pictures {
        for block in &blocks {
            let one = block.len() / pictures;
            checksum(&mut of_blocks, &block[picture * one..][..one]);
        }
    }
    format!("{:<24} {:08x} {:08x}", case.name, of_logits.finalize(), of_blocks.finalize())
}

#[test]
fn bits_are_those_of_the_model() {
    let stored = fs::read_to_string(folder().join("bits.txt")).unwrap();
    let lines: Vec<&str> = stored.lines().filter(|line| !line.starts_with('#')).collect();
    let cases = cases();
    assert_eq!(lines.len(), cases.len());
    for (case, expected) in cases.iter().zip(lines) {
        // f32 layers round twice without fused multiply-add.
        for cpu in cpus().into_iter().filter(|cpu| case.int8 || cpu.isa().fuses()) {
            assert_eq!(bits(case, cpu), expected, "{}", describe(case, cpu));
        }
    }
}
