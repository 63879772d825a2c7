//! Checkpoints with the names of other implementations: converted as they stand, they give the logits that those
//! implementations gave (`testdata/dialects/README.md`), on every ISA of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mnx::{ConvertOptions, Isa, Model, Session, SessionOptions, Spec, Tensor};
use safetensors::{Dtype, SafeTensors};

/// An implementation's checkpoint, and what it gave.
struct Case {
    name: String,
    meta: serde_json::Value,
    /// A golden's weights under the implementation's names.
    checkpoint: Vec<u8>,
    /// The same under the spec's own names.
    own: Vec<u8>,
    spec: Spec,
    logits: Vec<f32>,
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    (npy.shape().iter().map(|&d| usize::try_from(d).unwrap()).collect(), npy.into_vec().unwrap())
}

impl Case {
    fn open(folder: &Path) -> Case {
        let meta: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
        let golden = testdata("golden").join(meta["weights"].as_str().unwrap());
        let own = fs::read(golden.join("weights.safetensors")).unwrap();
        let names = fs::read_to_string(folder.join("names.tsv")).unwrap();
        let names: BTreeMap<_, _> = names.lines().map(|line| line.split_once('\t').unwrap()).collect();
        let table = golden.join("table.json");
        let spec = match table.exists() {
            true => Spec::from_json(&fs::read_to_string(table).unwrap()).unwrap(),
            false => {
                let mut spec = Spec::family("mobilenetv2").unwrap();
                (spec.width, spec.classes) = (0.1, 3);
                spec
            }
        };
        Case {
            name: folder.file_name().unwrap().to_str().unwrap().into(),
            checkpoint: renamed(&own, &names),
            own,
            spec,
            logits: read_npy(&folder.join("output.npy")).1,
            meta,
        }
    }

    fn text(&self, key: &str) -> &str {
        self.meta[key].as_str().unwrap()
    }

    fn limit(&self) -> f64 {
        let error = |key: &str| self.meta["f32_vs_f64"][key].as_f64().unwrap();
        4.0 * error("max_abs") + 1e-5 * error("max_value")
    }
}

/// A checkpoint with the names of its modules changed, without counters.
fn renamed(checkpoint: &[u8], names: &BTreeMap<&str, &str>) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(checkpoint).unwrap();
    let floats = tensors.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32);
    let named = floats.map(|(name, tensor)| {
        let (module, part) = name.rsplit_once('.').unwrap();
        (format!("{}.{part}", names[module]), tensor)
    });
    safetensors::serialize(named, None).unwrap()
}

fn cases() -> Vec<Case> {
    let folders = fs::read_dir(testdata("dialects")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 8, "{folders:?}");
    folders.iter().map(|folder| Case::open(folder)).collect()
}

fn logits(file: Vec<u8>, isa: Isa) -> Vec<f32> {
    let (shape, values) = read_npy(&testdata("dialects/input.npy"));
    let input = Tensor::from_slice(shape.try_into().unwrap(), &values).unwrap();
    let model = Model::from_bytes(file).unwrap();
    let mut session = Session::with(&model, SessionOptions::new().threads(1).isa(isa)).unwrap();
    session.run(input.view()).unwrap().data().to_vec()
}

#[test]
fn every_implementations_checkpoint_gives_its_logits() {
    let options = ConvertOptions::new();
    for case in cases() {
        let naming = mnx::naming(&case.checkpoint, &case.spec, &options).unwrap();
        assert_eq!(
            (naming.dialect.name, naming.prefix.as_str()),
            (case.text("dialect"), case.text("prefix")),
            "{}",
            case.name
        );
        assert_eq!(naming.dialect.bn_eps, case.meta["bn_eps"].as_f64().unwrap(), "{}", case.name);
        let mut spec = case.spec.clone();
        naming.dialect.apply(&mut spec);
        let converted =
            mnx::convert_with(&case.checkpoint, &spec, &options).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for isa in Isa::available() {
            let difference = |(f, e): (&f32, &f32)| (f64::from(*f) - f64::from(*e)).abs();
            let found = logits(converted.file.clone(), isa);
            assert_eq!(found.len(), case.logits.len());
            let worst = found.iter().zip(&case.logits).map(difference).fold(0.0, f64::max);
            assert!(worst <= case.limit(), "{} {isa}: expected within {:e}, found {worst:e}", case.name, case.limit());
        }
        // Names alone change no byte.
        let plain = mnx::convert(&case.own, &spec, naming.dialect.bn_eps).unwrap();
        assert!(plain == converted, "{}", case.name);
    }
}

#[test]
fn auto_tells_what_every_implementations_checkpoint_is() {
    for case in cases().into_iter().filter(|case| case.spec.family == "mobilenetv2") {
        let identified = mnx::identify(&case.checkpoint).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(identified.to_string(), "mobilenetv2, width 0.1, 3 classes", "{}", case.name);
        assert!(identified.exact);
        let mut spec = case.spec.clone();
        identified.naming.dialect.apply(&mut spec);
        assert_eq!(identified.spec(), spec, "{}", case.name);
    }
}

/// A layer under another implementation's name is missing and unexpected, whichever of them has the most.
#[test]
fn names_of_two_implementations_do_not_mix() {
    let all: Vec<_> = cases().into_iter().filter(|case| case.spec.family == "mobilenetv2").collect();
    let conv = |case: &Case, own: &str| {
        let names = fs::read_to_string(testdata("dialects").join(&case.name).join("names.tsv")).unwrap();
        let pair = names.lines().find_map(|line| line.strip_prefix(&format!("{own}\t"))).unwrap().to_owned();
        format!("{pair}.weight")
    };
    for case in &all {
        for other in all.iter().filter(|other| other.text("dialect") != case.text("dialect")) {
            let [mine, theirs] = [case, other].map(|case| conv(case, "features.9.conv.1.0"));
            let tensors = SafeTensors::deserialize(&case.checkpoint).unwrap();
            let mixed = tensors.iter().map(|(name, tensor)| (if name == mine { &theirs[..] } else { name }, tensor));
            let mixed = safetensors::serialize(mixed, None).unwrap();
            let error = mnx::convert(&mixed, &case.spec, 1e-5).unwrap_err().to_string();
            let lines: Vec<_> = error.lines().map(str::trim).collect();
            assert_eq!(lines.len(), 3, "{error}");
            assert!(lines.iter().any(|line| line.starts_with(&format!("{mine}: missing, expected shape"))), "{error}");
            // Or a second one, where it has the name of another tensor but for a prefix.
            assert!(lines.iter().any(|line| line.starts_with(&format!("{theirs}: "))), "{error}");
        }
    }
}
