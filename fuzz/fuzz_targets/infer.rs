//! Runs a network of any kind on a picture of any size with every CPU's kernels, on one thread and on several. All bits are
//! those of the oracle's loops.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::random::random_input;
use mnx_fuzz::walk::{Walked, walk};
use mnx_fuzz::{Source, network};
use mnx_graph::{Arithmetic, BlockOutput, Model};
use mnx_tensor::naive::Rounding;
use mnx_tensor::{Cpu, Tensor, TensorView};

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source::new(bytes);
    let Some(spec) = network::spec(&mut source) else { return };
    let net = network::weights(&spec, &mut source);
    let (batch, most) = (source.between(1, 3), source.one_of(&[8, 20, 70]));
    let (height, width) = (source.between(1, most), source.between(1, if most > 20 { 12 } else { most }));
    let (height, width) = if source.flag() { (height, width) } else { (width, height) };
    // Every CPU computes it, and the oracle twice.
    if net.network.macs(height, width) * batch as u64 > network::MACS / 8 {
        return;
    }
    let threads = source.between(1, 5);
    let numbers = random_input(source.byte().into(), batch * 3 * height * width);
    let picture = Tensor::from_slice([batch, 3, height, width], &numbers).expect("so many numbers");
    let model = Model::from_bytes(net.file()).expect("what is written opens");
    let is_int8 = model.arithmetic().iter().all(|&arithmetic| arithmetic == Arithmetic::Int8);
    let oracle = |rounding| -> Vec<Walked> {
        let of = |index| walk(&net, picture.view().picture(index), (height, width), rounding);
        (0..batch).map(of).collect()
    };
    // Sums in f32 depend on how often they round, sums in int8 do not.
    let fused = oracle(Rounding::Fused);
    let separate = if is_int8 { None } else { Some(oracle(Rounding::Separate)) };
    let chosen = network::cpu(&mut source);
    for cpu in Cpu::available() {
        let expected = if cpu.isa().fuses() { &fused } else { separate.as_ref().unwrap_or(&fused) };
        check(&model, picture.view(), expected, cpu, threads, cpu == chosen);
    }
});

/// What `run` gives; with `whole` also blocks and features.
fn check(model: &Model, picture: TensorView<'_>, expected: &[Walked], cpu: Cpu, threads: usize, whole: bool) {
    let mut session = network::session(model, cpu, threads);
    let all = |at: usize| expected.iter().flat_map(|of| network::bits(&of.outputs[at].1)).collect::<Vec<_>>();
    let outputs = session.run(picture).expect("a small picture");
    for (at, (name, found)) in outputs.iter().enumerate() {
        assert_eq!(network::bits(found.data()), all(at), "{name} on {cpu:?}, {threads} threads");
    }
    if !whole {
        return;
    }
    let observe = |found: BlockOutput<'_>| {
        let expected = &expected[found.picture].blocks[found.block];
        assert_eq!(network::bits(found.values), network::bits(expected), "{} on {cpu:?}", found.name);
    };
    session.run_observed(picture, observe).expect("a small picture");
    if let Ok(found) = session.features(picture) {
        let expected: Vec<_> =
            expected.iter().filter_map(|of| of.features.as_deref()).flat_map(network::bits).collect();
        assert_eq!(network::bits(found.data()), expected, "features on {cpu:?}");
    }
}
