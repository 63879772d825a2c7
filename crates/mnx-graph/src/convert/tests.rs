use std::collections::BTreeMap;

use proptest::prelude::*;
use safetensors::serialize;

use super::*;
use crate::Model;

/// A tensor of a checkpoint: dtype, shape, bytes.
#[derive(Clone)]
struct Stored(Dtype, Vec<usize>, Vec<u8>);

type Tensors = BTreeMap<String, Stored>;

fn small_spec() -> Spec {
    let table = r#"{
        "stem": {"channels": 120, "stride": 2},
        "stages": [{"ratio": 2, "channels": 20, "repeats": 1, "stride": 2}],
        "width": 0.1, "resolution": 8, "classes": 3
    }"#;
    Spec::from_json(table).unwrap()
}

/// A network of every kind of block, each with torchvision's or the authors' names.
fn specs() -> [Spec; 4] {
    let mobile = r#""head": 21, "stem": {"channels": 12, "stride": 2}"#;
    let resnet = r#""stem": {"channels": 12, "stride": 2, "kernel": 7, "max_pool": true}"#;
    let of = |rest: &str, stages: &str| {
        Spec::from_json(&format!(r#"{{{rest}, "stages": [{stages}], "resolution": 8, "classes": 3}}"#)).unwrap()
    };
    [
        small_spec(),
        of(
            mobile,
            r#"{"block": "inverted_residual", "ratio": 1, "channels": 8, "repeats": 1, "stride": 1},
               {"block": "inverted_residual", "ratio": 3, "channels": 16, "repeats": 2, "stride": 2}"#,
        ),
        of(resnet, r#"{"block": "basic", "ratio": 1, "channels": 16, "repeats": 2, "stride": 2}"#),
        of(resnet, r#"{"block": "bottleneck", "ratio": 4, "channels": 16, "repeats": 2, "stride": 1}"#),
    ]
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A checkpoint for the small spec.
fn checkpoint() -> Tensors {
    checkpoint_of(&small_spec())
}

/// Values between 0.25 and 1.25, exact in eleven bits.
fn checkpoint_of(spec: &Spec) -> Tensors {
    let mut tensors = Tensors::new();
    let mut number = 0_u32;
    let mut add = |name: String, shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|_: usize| {
            number = (number * 37 + 11) % 256;
            number as f32 / 256.0 + 0.25
        });
        let bytes = f32s(values);
        tensors.insert(name, Stored(Dtype::F32, shape, bytes));
    };
    let mut counter = None;
    for layer in Network::new(spec).unwrap().layers() {
        add(format!("{}.weight", layer.name), layer.weight_dims());
        match &layer.norm {
            None => add(format!("{}.bias", layer.name), vec![layer.cout]),
            Some(norm) => {
                counter.get_or_insert(format!("{norm}.num_batches_tracked"));
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    add(format!("{norm}.{part}"), vec![layer.cout]);
                }
            }
        }
    }
    tensors.insert(counter.unwrap(), Stored(Dtype::I64, vec![], vec![0; 8]));
    tensors
}

fn file(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(name, Stored(dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

fn values(tensors: &Tensors, name: &str) -> Vec<f64> {
    let Stored(dtype, _, bytes) = &tensors[name];
    exact(*dtype, bytes).unwrap().unwrap()
}

fn problems(tensors: &Tensors) -> Vec<String> {
    match convert(&file(tensors), &small_spec(), 1e-5).unwrap_err() {
        Error::Checkpoint(CheckpointError::Problems { problems }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected a list of problems, found {other}"),
    }
}

#[test]
fn weights_are_folded_packed_and_in_their_place() {
    for spec in specs() {
        in_their_place(&spec);
    }
}

fn in_their_place(spec: &Spec) {
    let (tensors, eps) = (checkpoint_of(spec), 1e-3);
    let model = Model::from_bytes(convert(&file(&tensors), spec, eps).unwrap().file).unwrap();
    for (index, layer) in model.network().layers().enumerate() {
        let weight = values(&tensors, &format!("{}.weight", layer.name));
        let depth = weight.len() / layer.cout;
        let (scale, shift): (Vec<f64>, Vec<f64>) = match &layer.norm {
            None => (vec![1.0; layer.cout], values(&tensors, &format!("{}.bias", layer.name))),
            Some(norm) => {
                let [gamma, beta, mean, var] = ["weight", "bias", "running_mean", "running_var"]
                    .map(|part| values(&tensors, &format!("{norm}.{part}")));
                let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + eps).sqrt()).collect();
                let shift = (0..layer.cout).map(|c| beta[c] + (0.0 - mean[c]) * scale[c]).collect();
                (scale, shift)
            }
        };
        let (packed, bias) = model.weights(index).unwrap();
        let expected: Vec<f32> = weight.iter().enumerate().map(|(i, w)| (w * scale[i / depth]) as f32).collect();
        assert_eq!(layer.packing().unpack(packed, &layer.weight_dims()).unwrap(), expected, "{}", layer.name);
        let expected: Vec<f32> = shift.iter().map(|&s| s as f32).collect();
        assert_eq!(bias[..layer.cout], expected, "{}", layer.name);
    }
}

/// The checkpoint with each value `change`d and stored as another dtype by `bytes`.
fn stored_as(spec: &Spec, dtype: Dtype, change: fn(f64) -> f64, bytes: fn(f64) -> Vec<u8>) -> Tensors {
    let mut tensors = checkpoint_of(spec);
    for Stored(d, _, b) in tensors.values_mut().filter(|t| t.0 == Dtype::F32) {
        *b = exact(*d, b).unwrap().unwrap().into_iter().flat_map(|v| bytes(change(v))).collect();
        *d = dtype;
    }
    tensors
}

/// A positive normal number with at most eleven bits.
fn f16_bytes(value: f64) -> Vec<u8> {
    let exponent = value.log2().floor();
    let fraction = (value / exponent.exp2() - 1.0) * 1024.0;
    (((exponent as i32 + 15) as u16) << 10 | fraction as u16).to_le_bytes().to_vec()
}

#[test]
fn prefixes_and_dtypes_make_no_difference_and_conversion_is_deterministic() {
    for spec in specs() {
        let converted = |tensors: &Tensors| convert(&file(tensors), &spec, 1e-5).unwrap();
        let mut tensors = checkpoint_of(&spec);
        let expected = converted(&tensors);
        assert!(expected == converted(&tensors));
        assert!(expected == converted(&tensors.iter().map(|(n, t)| (format!("module.{n}"), t.clone())).collect()));
        tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        assert!(expected == converted(&tensors));
        let stored_as = |dtype, change, bytes| converted(&stored_as(&spec, dtype, change, bytes));
        assert!(expected == stored_as(Dtype::F64, |v| v, |v| v.to_le_bytes().to_vec()));
        assert!(expected == stored_as(Dtype::F16, |v| v, f16_bytes));
        // Eight bits at most are left of each value.
        let coarse = |v: f64| (v * 64.0).floor() / 64.0;
        let expected = stored_as(Dtype::F32, coarse, |v| f32s([v as f32]));
        assert!(expected == stored_as(Dtype::BF16, coarse, |v| (v as f32).to_le_bytes()[2..].to_vec()));
    }
}

#[test]
fn half_precision_is_read_exactly() {
    let cases = [
        (0x0000, 0.0),
        (0x0001, 2_f64.powi(-24)),
        (0x03ff, 1023.0 * 2_f64.powi(-24)),
        (0x0400, 2_f64.powi(-14)),
        (0x3555, 1365.0 / 4096.0),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x7c00, f64::INFINITY),
        (0xfc00, f64::NEG_INFINITY),
    ];
    let read = |bits: u16| exact(Dtype::F16, &bits.to_le_bytes()).unwrap().unwrap()[0];
    for (bits, expected) in cases {
        assert_eq!(read(bits), expected, "{bits:#06x}");
    }
    assert!(read(0x8000).is_sign_negative());
    assert!(read(0x7e00).is_nan() && read(0xfc01).is_nan());
    assert_eq!(
        exact(Dtype::BF16, &[0x80, 0x3f, 0x01, 0x80]).unwrap().unwrap(),
        [1.0, f64::from(f32::from_bits(0x8001_0000))]
    );
}

#[test]
fn every_wrong_tensor_is_listed_at_once() {
    let mut tensors = checkpoint();
    tensors.remove("classifier.1.weight");
    tensors.remove("features.1.conv.1.running_mean");
    tensors.remove("features.1.conv.1.running_var");
    tensors.get_mut("features.1.conv.3.weight").unwrap().1 = vec![12, 6, 1, 1];
    tensors.insert("features.2.conv.0.weight".into(), Stored(Dtype::F32, vec![1], f32s([0.0])));
    tensors.insert("features.1.conv.0.bias".into(), Stored(Dtype::F32, vec![12], vec![0; 48]));
    tensors.insert("module.features.0.1.bias".into(), Stored(Dtype::F32, vec![12], vec![0; 48]));
    *tensors.get_mut("features.1.conv.9.bias").unwrap() = Stored(Dtype::I32, vec![20], vec![0; 80]);
    tensors.get_mut("features.1.conv.5.weight").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    tensors.get_mut("features.1.conv.6.running_var").unwrap().2[8..12].copy_from_slice(&(-0.5_f32).to_le_bytes());
    tensors.get_mut("features.1.conv.6.running_mean").unwrap().2[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let expected = [
        "features.0.1.bias: expected once, found with and without the prefix `module.`",
        "features.1.conv.1.running_mean: missing, expected shape [12]",
        "features.1.conv.1.running_var: missing, expected shape [12]",
        "features.1.conv.3.weight: expected shape [6, 12, 1, 1], found [12, 6, 1, 1]",
        "features.1.conv.5.weight: expected finite values, found NaN at index 0 (1 of 120 values)",
        "features.1.conv.6.running_mean: expected finite values, found inf at index 1 (1 of 20 values)",
        "features.1.conv.6.running_var: expected no negative values, found -0.5 at index 2 (1 of 20 values)",
        "features.1.conv.9.bias: expected dtype F16, BF16, F32 or F64, found I32",
        "classifier.1.weight: missing, expected shape [3, 20]",
        "features.1.conv.0.bias: unexpected, found with shape [12]",
        "features.2.conv.0.weight: unexpected, found with shape [1]",
    ];
    assert_eq!(problems(&tensors), expected);
    let message = convert(&file(&tensors), &small_spec(), 1e-5).unwrap_err().to_string();
    assert!(message.starts_with("checkpoint: found 11 problems:\n  features.0.1.bias: expected once"), "{message}");
    assert_eq!(message.lines().count(), 12);
}

#[test]
fn a_classifier_without_a_bias_has_zeros() {
    let mut tensors = checkpoint();
    tensors.get_mut("classifier.1.bias").unwrap().2.fill(0);
    let expected = convert(&file(&tensors), &small_spec(), 1e-5).unwrap();
    tensors.remove("classifier.1.bias");
    assert!(convert(&file(&tensors), &small_spec(), 1e-5).unwrap() == expected);
    assert!(naming(&file(&tensors), &small_spec(), &ConvertOptions::new()).unwrap().zero_bias);
    // Other layers need what they have.
    tensors.remove("features.1.conv.9.bias");
    assert_eq!(problems(&tensors), ["features.1.conv.9.bias: missing, expected shape [20]"]);
}

#[test]
fn what_folding_makes_infinite_is_listed() {
    let mut tensors = checkpoint();
    tensors.get_mut("features.0.1.weight").unwrap().2[..4].copy_from_slice(&f32::MAX.to_le_bytes());
    tensors.get_mut("features.0.1.running_var").unwrap().2[..4].fill(0);
    let found = problems(&tensors);
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("features.0.0, folded weight: expected finite values"), "{}", found[0]);
    assert!(found[1].starts_with("features.0.0, folded bias: expected finite values"), "{}", found[1]);
}

#[test]
fn another_network_than_the_checkpoints_is_refused() {
    let mut spec = small_spec();
    spec.classes = 4;
    let error = convert(&file(&checkpoint()), &spec, 1e-5).unwrap_err().to_string();
    assert!(error.contains("classifier.1.weight: expected shape [4, 20], found [3, 20]"), "{error}");
    spec.width = -1.0;
    assert!(matches!(convert(&file(&checkpoint()), &spec, 1e-5), Err(Error::Spec { .. })));
    for eps in [f64::NAN, f64::INFINITY, -1e-5] {
        assert!(matches!(
            convert(&file(&checkpoint()), &small_spec(), eps),
            Err(Error::Checkpoint(CheckpointError::Epsilon { .. }))
        ));
    }
}

#[test]
fn mean_and_deviation_for_other_pixels_are_refused() {
    let mut spec = small_spec();
    (spec.preprocessing.mean, spec.preprocessing.std) = ([127.5; 3], [127.5; 3]);
    let error = convert(&file(&checkpoint()), &spec, 1e-5).unwrap_err();
    assert!(matches!(error, Error::PixelRange { meant, .. } if meant == [[0.5; 3]; 2]), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let good = file(&checkpoint());
    let mut trailing = good.clone();
    trailing.push(0);
    for bytes in [&b""[..], b"PK\x03\x04", &[0xff; 100], &good[..good.len() - 1], &good[..20], &trailing] {
        let error = convert(bytes, &small_spec(), 1e-5).unwrap_err();
        let zip = bytes.starts_with(b"PK");
        let known = matches!(error, Error::WrongKind { expected: Wanted::Checkpoint, found: FileKind::Zip });
        assert!(
            if zip { known } else { matches!(error, Error::Checkpoint(CheckpointError::Format { .. })) },
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn damaged_checkpoints_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), len in any::<prop::sample::Index>()) {
        let mut bytes = file(&checkpoint());
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let at = at.index(header + 8);
        bytes[at] = byte;
        let _ = (convert(&bytes, &small_spec(), 1e-5), identify(&bytes));
        bytes.truncate(len.index(bytes.len()));
        prop_assert!(convert(&bytes, &small_spec(), 1e-5).is_err() && identify(&bytes).is_err());
    }
}
