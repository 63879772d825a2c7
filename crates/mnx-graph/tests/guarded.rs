//! No step of any network touches what lies beside its values, its scratch or the rows of an output: around each of them are
//! pages that fault. `cargo test -p mnx-graph --features guarded --test guarded`; with `MNX_GUARDED=all` more sizes, numbers of
//! threads and ISAs.
#![cfg(feature = "guarded")]

use mnx_graph::guarded::{Side, against};
use mnx_graph::{Arithmetic, Model, Session, SessionOptions, Spec, init};
use mnx_tensor::{Isa, Tensor};

#[path = "../src/testing.rs"]
mod random;
use random::RandomNetwork;

/// Small networks of every family, and one of odd channels with every kind of block.
fn specs() -> Vec<Spec> {
    let families = ["mobilenext", "mobilenetv2", "mobilenext-cifar", "mobilenetv2-cifar", "ssdlite-mobilenext"];
    let mut specs: Vec<Spec> = families.map(|family| Spec::family(family).unwrap()).into();
    for spec in &mut specs {
        spec.width = 0.1;
        spec.classes = 7;
    }
    let tables = [
        r#"{"stem": {"channels": 13, "stride": 2}, "head": 21, "classes": 5, "resolution": 32, "padding": "tf", "stages": [
            {"block": "sandglass", "ratio": 3, "channels": 27, "repeats": 2, "stride": 2},
            {"block": "inverted_residual", "ratio": 2, "channels": 11, "repeats": 2, "stride": 1},
            {"block": "inverted_residual", "ratio": 1, "channels": 35, "repeats": 1, "stride": 2}]}"#,
        r#"{"stem": {"channels": 20, "stride": 2, "kernel": 7, "max_pool": true}, "activation": "relu", "classes": 5, "resolution": 32,
            "stages": [{"block": "basic", "ratio": 1, "channels": 24, "repeats": 2, "stride": 2},
            {"block": "bottleneck", "ratio": 4, "channels": 36, "repeats": 2, "stride": 2}]}"#,
    ];
    specs.extend(tables.map(|table| Spec::from_json(table).unwrap()));
    specs
}

fn input(batch: usize, (height, width): (usize, usize)) -> Tensor {
    let mut random = random::Random((batch * height * width) as u64);
    let values: Vec<f32> = (0..batch * 3 * height * width).map(|_| random.between(-2.0, 2.0)).collect();
    Tensor::from_slice([batch, 3, height, width], &values).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// All bits are those of one thread with the same kernels.
fn check(name: &str, model: &Model, side: Side) {
    against(side);
    let all = std::env::var("MNX_GUARDED").is_ok_and(|what| what == "all");
    let threads: &[usize] = match all {
        _ if !cfg!(feature = "rayon") => &[],
        true => &[2, 3, 8],
        false => &[3],
    };
    let sizes: &[_] = if all { &[(1, 1), (7, 5), (32, 32), (45, 33), (96, 71)] } else { &[(1, 1), (7, 5), (45, 33)] };
    // The last is the one that sessions choose.
    let isas = Isa::available().split_off(if all { 0 } else { Isa::available().len() - 1 });
    for isa in isas {
        let session = |threads| Session::with(model, SessionOptions::new().threads(threads).isa(isa)).unwrap();
        let mut one = session(1);
        let mut several: Vec<_> = threads.iter().map(|&threads| session(threads)).collect();
        for (number, size) in sizes.iter().copied().enumerate() {
            for batch in if all { vec![1, 2 + number % 2, 5] } else { vec![1, 3 + number % 3] } {
                let input = input(batch, size);
                let outputs = |session: &mut Session| {
                    let outputs = session.run(input.view()).unwrap();
                    outputs.iter().flat_map(|(_, values)| bits(values.data())).collect::<Vec<_>>()
                };
                let expected = outputs(&mut one);
                for session in &mut several {
                    assert_eq!(
                        outputs(session),
                        expected,
                        "{name}, {isa}, {} threads, {size:?} x {batch}",
                        session.threads()
                    );
                }
                if batch > 3 {
                    continue;
                }
                let observed = one.run_observed(input.view(), |block| assert!(!block.values.is_empty())).unwrap();
                let observed: Vec<_> = observed.iter().flat_map(|(_, values)| bits(values.data())).collect();
                assert_eq!(observed, expected, "{name}, {isa}, observed, {size:?} x {batch}");
                one.run_observing_values(input.view(), |value| assert!(!value.values.is_empty())).unwrap();
                if model.network().classifier().is_some() {
                    let features = bits(one.features(input.view()).unwrap().data());
                    for session in &mut several {
                        assert_eq!(bits(session.features(input.view()).unwrap().data()), features, "{name}, {isa}");
                    }
                }
            }
        }
    }
}

fn check_all(side: Side) {
    for (number, spec) in specs().into_iter().enumerate() {
        let files = [
            ("f32", init(&spec, 1).unwrap()),
            ("int8", RandomNetwork::int8(&spec, 2).file()),
            ("mixed", RandomNetwork::new(&spec, 3, |index, _| Arithmetic::ALL[index % 3 % 2]).file()),
        ];
        for (arithmetic, file) in files {
            check(&format!("network {number} in {arithmetic}"), &Model::from_bytes(file).unwrap(), side);
        }
    }
}

#[test]
fn nothing_is_touched_before_a_region() {
    check_all(Side::Before);
}

#[test]
fn nothing_is_touched_behind_a_region() {
    check_all(Side::Behind);
}
