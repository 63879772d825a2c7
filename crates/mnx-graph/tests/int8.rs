//! Networks in int8, and with some layers in int8, against a walk through the oracle's loops: the same bits on every CPU,
//! whatever the threads, the batch and the size.

#[path = "../src/testing.rs"]
mod random;
#[path = "common/walk.rs"]
mod walk;

use mnx_graph::{Arithmetic, Error, Layer, Model, Outputs, Session, SessionOptions, Spec};
use mnx_tensor::naive::Rounding;
use mnx_tensor::{Cpu, Tensor, TensorView};

use random::{Random, RandomNetwork, random_input};
use walk::{Walked, walk};

/// A family with fewer channels, so that the oracle is quick.
fn small(family: &str) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    spec.classes = 7;
    if family.starts_with("resnet") {
        // Channels that fill neither blocks nor panels.
        spec.stages.iter_mut().for_each(|stage| stage.channels = stage.channels / 16 + 4);
        spec.stages.iter_mut().for_each(|stage| stage.channels = stage.channels.next_multiple_of(stage.ratio));
        spec.stem.channels = 12;
    } else {
        spec.width = 0.1;
        match &mut spec.detector {
            None => spec.stages.iter_mut().for_each(|stage| stage.repeats = stage.repeats.min(2)),
            // Taps are where they are; the last stage or the head is narrow as well.
            Some(detector) => {
                detector.extras.iter_mut().for_each(|extra| (extra.hidden, extra.channels) = (9, 20));
                spec.head = spec.head.map(|_| 36);
                spec.stages.last_mut().unwrap().channels = 40;
            }
        }
    }
    spec
}

fn session(model: &Model, cpu: Cpu, threads: usize) -> Session {
    let options = SessionOptions::new().isa(cpu.isa()).tuned_for(cpu.tuned_for()).threads(threads);
    let session = Session::with(model, options.dot_products(cpu.dot_products()).amx(cpu.amx())).unwrap();
    let chosen = (session.isa(), session.tuned_for(), session.dot_products(), session.amx());
    assert_eq!(chosen, (cpu.isa(), cpu.tuned_for(), cpu.dot_products(), cpu.amx()));
    session
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What the network makes of pictures of this size, which are not alike.
struct Case {
    input: Tensor,
    expected: Vec<Walked>,
}

impl Case {
    fn new(net: &RandomNetwork, batch: usize, (height, width): (usize, usize), rounding: Rounding) -> Case {
        let values = random_input(5 + height as u64, batch * 3 * height * width);
        let input = Tensor::from_slice([batch, 3, height, width], &values).unwrap();
        let of = |picture| walk(net, input.view().picture(picture), (height, width), rounding);
        Case { expected: (0..batch).map(of).collect(), input }
    }

    fn view(&self) -> TensorView<'_> {
        self.input.view()
    }

    /// The outputs by name, each with the rows of all pictures.
    fn outputs(&self) -> Vec<(&str, Vec<u32>)> {
        let names = self.expected[0].outputs.iter().map(|output| output.0);
        let all = |at: usize| self.expected.iter().flat_map(move |picture| bits(&picture.outputs[at].1)).collect();
        names.enumerate().map(|(at, name)| (name, all(at))).collect()
    }

    fn features(&self) -> Option<Vec<u32>> {
        let of = |picture: &Walked| picture.features.as_deref().map(bits);
        self.expected.iter().map(of).collect::<Option<Vec<_>>>().map(|pictures| pictures.concat())
    }

    /// Everything that a session can be asked for.
    fn check(&self, session: &mut Session, what: &str) {
        let found = |outputs: &Outputs<'_>| {
            outputs.iter().map(|(name, view)| (name.to_owned(), bits(view.data()))).collect::<Vec<_>>()
        };
        let expected: Vec<_> = self.outputs().into_iter().map(|(name, bits)| (name.to_owned(), bits)).collect();
        assert_eq!(found(&session.run(self.view()).unwrap()), expected, "{what}");
        match self.features() {
            Some(features) => assert_eq!(bits(session.features(self.view()).unwrap().data()), features, "{what}"),
            None => assert!(matches!(session.features(self.view()), Err(Error::ExpectedClassifier { .. })), "{what}"),
        }
        let mut seen = 0;
        let observe = |output: mnx_graph::BlockOutput<'_>| {
            let expected = &self.expected[output.picture].blocks[output.block];
            assert_eq!(bits(output.values), bits(expected), "{what}: {}", output.name);
            seen += 1;
        };
        let observed = found(&session.run_observed(self.view(), observe).unwrap());
        assert_eq!(observed, expected, "{what}, observed");
        assert_eq!(seen, self.expected.iter().map(|picture| picture.blocks.len()).sum::<usize>(), "{what}");
    }
}

/// On every CPU, with these numbers of threads.
fn check(net: &RandomNetwork, batches: &[usize], size: (usize, usize), threads: &[usize], what: &str) {
    let model = Model::from_bytes(net.file()).unwrap();
    for &batch in batches {
        let int8 = model.arithmetic().iter().all(|&arithmetic| arithmetic == Arithmetic::Int8);
        // Sums in f32 depend on how often they round, sums in int8 do not.
        let case = |rounding| Case::new(net, batch, size, rounding);
        let (fused, separate) = (case(Rounding::Fused), if int8 { None } else { Some(case(Rounding::Separate)) });
        for cpu in Cpu::available() {
            let case = if cpu.isa().fuses() { &fused } else { separate.as_ref().unwrap_or(&fused) };
            for &threads in threads {
                if cfg!(not(feature = "rayon")) && threads > 1 {
                    continue;
                }
                let what = format!("{what}, batch {batch} of {size:?}, {threads} threads, {cpu:?}");
                case.check(&mut session(&model, cpu, threads), &what);
            }
        }
    }
}

/// The values reach into both halves of what a u8 holds, or nothing would be tested.
fn assert_lively(net: &RandomNetwork, size: (usize, usize)) {
    let picture = random_input(1, 3 * size.0 * size.1);
    let walked = walk(net, &picture, size, Rounding::Fused);
    let distinct = |values: &[f32]| {
        let mut bits = bits(values);
        bits.sort_unstable();
        bits.dedup();
        bits.len()
    };
    for (block, values) in net.network.blocks.iter().zip(&walked.blocks) {
        let expected = 20.min(values.len() / 8);
        assert!(distinct(values) >= expected, "{}: {} numbers", block.name, distinct(values));
    }
    walked.outputs.iter().for_each(|(name, values)| assert!(distinct(values) > 3, "{name}"));
}

#[test]
fn every_family_gives_the_bits_of_the_oracle() {
    for family in mnx_graph::families() {
        let net = RandomNetwork::int8(&small(family), 3);
        assert_lively(&net, (40, 33));
        check(&net, &[1], (40, 33), &[1, 2], family);
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    for family in ["mobilenext", "mobilenetv2", "resnet50", "ssdlite-mobilenext"] {
        let net = RandomNetwork::int8(&small(family), 4);
        check(&net, &[1, 2, 3], (37, 53), &[1, 2, 3, 7], family);
    }
}

#[test]
fn pictures_of_any_size_are_taken() {
    for family in ["mobilenext", "mobilenetv2-cifar", "resnet18", "ssdlite-mobilenetv2"] {
        if !mnx_graph::families().any(|name| name == family) {
            continue;
        }
        let net = RandomNetwork::int8(&small(family), 5);
        for size in [(1, 1), (1, 2), (2, 1), (3, 5), (5, 64), (64, 5), (1, 70), (9, 9)] {
            check(&net, &[1], size, &[1, 3], family);
        }
    }
}

/// Planes that are large enough to be cut into strips and kept rows.
#[test]
fn large_pictures_are_cut_into_strips() {
    let mut spec = small("mobilenext");
    spec.width = 0.35;
    let net = RandomNetwork::int8(&spec, 6);
    check(&net, &[1], (224, 224), &[1, 2], "mobilenext 0.35");
    let net = RandomNetwork::int8(&small("mobilenetv2"), 6);
    check(&net, &[1], (200, 231), &[1, 2], "mobilenetv2");
}

#[test]
fn partial_shortcuts_cover_some_channels() {
    for identity in [0.0, 0.3, 0.5] {
        let mut spec = small("mobilenext");
        (spec.width, spec.identity) = (0.2, identity);
        check(&RandomNetwork::int8(&spec, 7), &[1], (33, 40), &[1, 2], &format!("identity {identity}"));
    }
}

#[test]
fn zeros_go_where_tensorflow_puts_them() {
    let mut spec = small("mobilenetv2");
    spec.padding = mnx_graph::Padding::Tf;
    check(&RandomNetwork::int8(&spec, 8), &[1], (34, 41), &[1, 2], "tf");
}

/// Feature maps are read by heads and by the backbone, and fused layers must leave them whole.
#[test]
fn detectors_in_f32_give_the_bits_of_the_oracle() {
    for family in ["ssdlite-mobilenext", "ssdlite-mobilenetv2", "ssdlite300-mobilenetv2-tf"] {
        let net = RandomNetwork::new(&small(family), 13, |_, _| Arithmetic::F32);
        check(&net, &[1, 2, 3], (40, 33), &[1, 2, 3, 4], family);
        check(&net, &[1], (1, 1), &[1, 2], family);
        check(&net, &[1], (130, 97), &[1, 2], family);
    }
}

/// Every layer in either arithmetic, by chance: the borders lie everywhere.
#[test]
fn layers_of_both_arithmetics_go_together() {
    for (family, seeds) in [
        ("mobilenext", 0..6),
        ("mobilenetv2", 6..10),
        ("resnet18", 10..16),
        ("resnet50", 16..20),
        ("ssdlite-mobilenext", 20..23),
        ("ssdlite300-mobilenetv2-tf", 23..26),
    ] {
        for seed in seeds {
            // Mostly one or mostly the other.
            let share = [0.5, 0.15, 0.85][seed as usize % 3];
            let chosen = |index: usize, _: &Layer| {
                let mut random = Random(seed * 1000 + index as u64);
                random.bits();
                let int8 = random.unit() < share;
                if int8 { Arithmetic::Int8 } else { Arithmetic::F32 }
            };
            let net = RandomNetwork::new(&small(family), seed, chosen);
            check(&net, &[1, 2], (40, 33), &[1, 2], &format!("{family}, seed {seed}"));
        }
    }
}

/// Single layers of the other arithmetic: first, last, on the shortcut.
#[test]
fn one_layer_may_differ() {
    for family in ["mobilenetv2", "resnet18", "ssdlite-mobilenetv2"] {
        let spec = small(family);
        let layers = RandomNetwork::int8(&spec, 1).layers.len();
        for (odd, usual) in [(Arithmetic::F32, Arithmetic::Int8), (Arithmetic::Int8, Arithmetic::F32)] {
            for index in [0, 1, layers / 2, layers - 2, layers - 1] {
                let net = RandomNetwork::new(&spec, 9, |at, _| if at == index { odd } else { usual });
                check(&net, &[2], (33, 35), &[1, 2], &format!("{family}, {odd} {index}"));
            }
        }
    }
}

#[test]
fn what_is_no_number_is_quantised_too() {
    let net = RandomNetwork::int8(&small("mobilenext"), 10);
    let model = Model::from_bytes(net.file()).unwrap();
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-42, -0.0, 0.01, 0.03, -0.05];
    let values: Vec<f32> = (0..3 * 20 * 21).map(|i| odd[i * 7 % odd.len()]).collect();
    let input = Tensor::from_slice([1, 3, 20, 21], &values).unwrap();
    let expected = walk(&net, &values, (20, 21), Rounding::Fused);
    for cpu in Cpu::available() {
        let mut session = session(&model, cpu, 1);
        assert_eq!(bits(session.run(input.view()).unwrap().data()), bits(&expected.outputs[0].1), "{cpu:?}");
    }
}

/// Of MobileNeXt 1.0 at its resolution: a quarter of what f32 takes.
#[test]
#[cfg_attr(feature = "guarded", ignore = "values share no memory there")]
fn an_arena_of_bytes_is_small() {
    let net = RandomNetwork::int8(&Spec::family("mobilenext").unwrap(), 11);
    let model = Model::from_bytes(net.file()).unwrap();
    for cpu in Cpu::available() {
        let mut session = session(&model, cpu, 1);
        session.prepare([1, 3, 224, 224]).unwrap();
        // Kernels that multiply words widen their inputs in scratch.
        let bytes = session.arena_bytes();
        assert!(bytes <= if cpu.dot_products() { 650_000 } else { 700_000 }, "{bytes} bytes, {cpu:?}");
    }
}

/// Steps between f32 and u8 are steps as others are; bytes are counted by element.
#[test]
fn steps_are_described() {
    let spec = small("mobilenetv2");
    let describe = |net: RandomNetwork| {
        let model = Model::from_bytes(net.file()).unwrap();
        session(&model, Cpu::choose(None, None).unwrap(), 1).steps([1, 3, 32, 40]).unwrap()
    };
    let int8 = describe(RandomNetwork::int8(&spec, 12));
    let names: Vec<_> = int8.iter().map(|step| step.name()).collect();
    assert_eq!(names[0], "quantize");
    assert_eq!(names[names.len() - 2..], ["pool", "classifier.1"]);
    assert!(int8.iter().flat_map(|step| &step.layers).all(|layer| layer.arithmetic == Arithmetic::Int8), "{names:?}");
    assert_eq!(int8[0].activation_bytes, 3 * 32 * 40 * (4 + 1));
    let pool = &int8[names.len() - 2];
    let [channels, height, width] = pool.layers[0].input;
    assert_eq!(pool.activation_bytes, (channels * height * width + channels) as u64);
    assert_eq!(int8[names.len() - 1].activation_bytes, (channels + 4 * 7) as u64);

    // Of the classifier alone in int8 the pool's output is quantised, of all others the last block's output dequantised.
    let last = RandomNetwork::int8(&spec, 1).layers.len() - 1;
    let of = |odd, usual| {
        let steps = describe(RandomNetwork::new(&spec, 12, |at, _| if at == last { odd } else { usual }));
        let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        names[names.len() - 3..].join(", ")
    };
    assert_eq!(of(Arithmetic::Int8, Arithmetic::F32), "pool, quantize, classifier.1");
    assert_eq!(of(Arithmetic::F32, Arithmetic::Int8), "dequantize, pool, classifier.1");
}
