//! Small networks with every kind of layer, in f32, in int8 and mixed, on every CPU and several numbers of threads: the bits
//! of the oracle. It is quick enough for Miri, the sanitizers and valgrind (docs/testing.md).

#[path = "../src/testing.rs"]
mod random;
#[path = "common/walk.rs"]
mod walk;

use mnx_graph::{Arithmetic, Layer, Model, Session, SessionOptions, Spec};
use mnx_tensor::naive::Rounding;
use mnx_tensor::{Cpu, Tensor};

use random::{RandomNetwork, random_input};
use walk::{Walked, walk};

const INVERTED: &str = r#"{
    "stem": {"channels": 5, "stride": 2},
    "stages": [{"block": "inverted_residual", "ratio": 2, "channels": 9, "repeats": 2, "stride": 1}],
    "padding": "tf", "head": 17, "classes": 3
}"#;
const SANDGLASS: &str = r#"{
    "stem": {"channels": 8, "stride": 1},
    "stages": [{"block": "sandglass", "ratio": 2, "channels": 9, "repeats": 2, "stride": 2}],
    "identity": 0.5, "classes": 18
}"#;
const RESIDUAL: &str = r#"{
    "stem": {"channels": 5, "stride": 2, "kernel": 7, "max_pool": true},
    "stages": [
        {"block": "basic", "ratio": 1, "channels": 9, "repeats": 1, "stride": 2},
        {"block": "bottleneck", "ratio": 2, "channels": 18, "repeats": 2, "stride": 1}
    ],
    "activation": "relu", "classes": 3
}"#;
const DETECTOR: &str = r#"{
    "stem": {"channels": 5, "stride": 2},
    "stages": [{"block": "inverted_residual", "ratio": 2, "channels": 9, "repeats": 1, "stride": 2}],
    "classes": 3,
    "detector": {
        "taps": [{"block": 1, "at": "expanded"}, {"block": 1}],
        "extras": [{"block": "depthwise_first", "hidden": 5, "channels": 9}],
        "last_head": "pointwise",
        "priors": [{"scales": [[0.2, 1.0]]}, {"scales": [[0.4, 1.0]]}, {"scales": [[0.8, 1.0], [0.9, 0.5]]}],
        "coder": {"centre": 0.1, "size": 0.2}, "scores": "softmax", "score": 0.1, "iou": 0.5, "top": 10
    }
}"#;

/// One number of threads is all that there is without the feature `rayon`.
const THREADS: &[usize] = if cfg!(feature = "rayon") { &[1, 3] } else { &[1] };

/// Pictures, rows and columns. Miri takes some thousand times as long as a CPU.
const SIZES: &[(usize, usize, usize)] = if cfg!(miri) { &[(1, 3, 4)] } else { &[(2, 9, 7), (1, 4, 10)] };

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn check(table: &str, arithmetic: fn(usize, &Layer) -> Arithmetic) {
    let net = RandomNetwork::new(&Spec::from_json(table).unwrap(), 1, arithmetic);
    let model = Model::from_bytes(net.file()).unwrap();
    for &(batch, height, width) in SIZES {
        let values = random_input(2, batch * 3 * height * width);
        let input = Tensor::from_slice([batch, 3, height, width], &values).unwrap();
        for cpu in Cpu::available() {
            let rounding = if cpu.isa().fuses() { Rounding::Fused } else { Rounding::Separate };
            let of = |picture| walk(&net, input.view().picture(picture), (height, width), rounding);
            let expected: Vec<Walked> = (0..batch).map(of).collect();
            for &threads in THREADS {
                let options = SessionOptions::new().isa(cpu.isa()).tuned_for(cpu.tuned_for()).threads(threads);
                let mut session =
                    Session::with(&model, options.dot_products(cpu.dot_products()).amx(cpu.amx())).unwrap();
                let outputs = session.run(input.view()).unwrap();
                for (at, (name, found)) in outputs.iter().enumerate() {
                    let expected: Vec<_> = expected.iter().flat_map(|of| bits(&of.outputs[at].1)).collect();
                    assert_eq!(bits(found.data()), expected, "{name} on {cpu:?}, {threads} threads");
                }
                let mut blocks = 0;
                let observed = session.run_observed(input.view(), |block| {
                    let expected = &expected[block.picture].blocks[block.block];
                    assert_eq!(bits(block.values), bits(expected), "{} on {cpu:?}", block.name);
                    blocks += 1;
                });
                assert!(observed.is_ok() && blocks == batch * net.network.blocks.len());
                if let Ok(found) = session.features(input.view()) {
                    let expected: Vec<_> =
                        expected.iter().filter_map(|of| of.features.as_deref()).flat_map(bits).collect();
                    assert_eq!(bits(found.data()), expected, "features on {cpu:?}");
                }
            }
        }
    }
}

/// Every second layer in int8: there is a border before and behind most of them.
fn mixed(index: usize, _: &Layer) -> Arithmetic {
    if index.is_multiple_of(2) { Arithmetic::F32 } else { Arithmetic::Int8 }
}

fn check_all(table: &str) {
    check(table, |_, _| Arithmetic::F32);
    check(table, |_, _| Arithmetic::Int8);
    check(table, mixed);
}

#[test]
fn inverted_residual_blocks() {
    check_all(INVERTED);
}

#[test]
fn sandglass_blocks() {
    check_all(SANDGLASS);
}

#[test]
fn residual_blocks() {
    check_all(RESIDUAL);
}

#[test]
fn detectors() {
    check_all(DETECTOR);
}
