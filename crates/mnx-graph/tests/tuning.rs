//! Work cut to any sizes, sensible or not: the same bits.

#[path = "../src/testing.rs"]
mod random;

use mnx_graph::{Arithmetic, Model, Session, SessionOptions, Spec, unstable};
use mnx_tensor::{Tensor, Tuning};

use random::{RandomNetwork, random_input};

/// Sizes that cut as finely as can be, as coarsely as can be, and in ways of their own.
fn tunings() -> Vec<Tuning> {
    let mut finest = Tuning::DEFAULT;
    let bytes = [
        &mut finest.pointwise_chunk_bytes,
        &mut finest.channels_bytes,
        &mut finest.window_bytes,
        &mut finest.rows_bytes,
        &mut finest.depthwise_rows_bytes,
        &mut finest.int8_rows_bytes,
        &mut finest.chain_bytes,
        &mut finest.min_chain_rows,
        &mut finest.copy_bytes,
        &mut finest.min_height_for_rows,
        &mut finest.min_panels,
        &mut finest.max_units,
    ];
    bytes.into_iter().for_each(|size| *size = 0);
    finest.min_unit_macs = 0;
    let mut coarsest = finest.clone();
    coarsest.channels_bytes = usize::MAX;
    coarsest.min_panels = usize::MAX;
    coarsest.max_units = 7;
    (coarsest.rows_bytes, coarsest.depthwise_rows_bytes, coarsest.int8_rows_bytes) =
        (usize::MAX, usize::MAX, usize::MAX);
    (coarsest.copy_bytes, coarsest.chain_bytes) = (usize::MAX, usize::MAX);
    let mut windows = Tuning::LARGE_L2;
    (windows.min_panels, windows.window_bytes, windows.rows_bytes) = (3, 6 << 10, 20 << 10);
    vec![finest, coarsest, windows, Tuning::LARGE_L2]
}

/// ResNets' blocks, whose layers read copies.
const RESIDUAL: &str = r#"{
    "stem": {"channels": 5, "stride": 2, "kernel": 7, "max_pool": true},
    "stages": [
        {"block": "basic", "ratio": 1, "channels": 9, "repeats": 1, "stride": 2},
        {"block": "bottleneck", "ratio": 2, "channels": 18, "repeats": 2, "stride": 1}
    ],
    "activation": "relu", "classes": 5
}"#;

fn narrow(family: &str) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    (spec.width, spec.classes) = (0.35, 5);
    spec
}

#[test]
fn sizes_change_no_bit() {
    let (height, width) = (43, 58);
    for spec in [narrow("mobilenext"), narrow("mobilenetv2"), Spec::from_json(RESIDUAL).unwrap()] {
        for arithmetic in [Arithmetic::F32, Arithmetic::Int8] {
            let network = RandomNetwork::new(&spec, 1, |_, _| arithmetic);
            let model = Model::from_bytes(network.file()).unwrap();
            let values = random_input(2, 3 * height * width);
            let input = Tensor::from_slice([1, 3, height, width], &values).unwrap();
            let logits = |threads: usize, tuning: Option<Tuning>| -> Vec<u32> {
                let options = SessionOptions::new().threads(threads);
                let options = match tuning {
                    Some(tuning) => unstable::tuned(options, tuning),
                    None => options,
                };
                let mut session = Session::with(&model, options).unwrap();
                let outputs = session.run(input.view()).unwrap();
                outputs.iter().flat_map(|(_, found)| found.data().iter().map(|value| value.to_bits())).collect()
            };
            let expected = logits(1, None);
            assert_eq!(expected.len(), 5);
            for tuning in tunings() {
                for threads in if cfg!(feature = "rayon") { &[1, 3][..] } else { &[1] } {
                    let found = logits(*threads, Some(tuning.clone()));
                    assert_eq!(found, expected, "{:?}, {arithmetic:?}, {threads} threads, {tuning:?}", spec.family);
                }
            }
        }
    }
}
