//! Makes an int8 network of one in f32, with weights and pictures of any size. What comes out opens, and has the same bits on
//! every CPU.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::random::{RandomNetwork, random_input};
use mnx_fuzz::{Source, network};
use mnx_graph::quantize::{Calibration, Comparison, Method, Options, quantize};
use mnx_graph::{Arithmetic, Limits, Model, Weights, write_quantized};
use mnx_tensor::{Cpu, Tensor};

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source::new(bytes);
    let Some(spec) = network::spec(&mut source) else { return };
    let mut net = RandomNetwork::new(&spec, source.byte().into(), |_, _| Arithmetic::F32);
    stretch(&mut net, &mut source);
    let mut file = Vec::new();
    write_quantized(&spec, &Limits::default(), &net.layers, |name| net.values[name], &mut file)
        .expect("finite weights");
    let model = Model::from_bytes(file).expect("what is written opens");
    let (height, width) = (source.between(1, 10), source.between(1, 10));
    if net.network.macs(height, width) > network::MACS / 2 {
        return;
    }
    let mut session = network::session(&model, network::cpu(&mut source), 1);
    let mut calibration = Calibration::new(&model).expect("a model in f32");
    let pictures = pictures(&mut source, height, width);
    for picture in &pictures {
        // A picture that leads to infinity or NaN is refused, and nothing of it is kept.
        let _ = calibration.observe(&mut session, picture.view());
    }
    let percentile = Method::Percentile(f64::from(source.f32()));
    let method = source.one_of(&[Method::Mse, Method::MinMax, percentile]);
    let mut options = Options::new().method(method).bias_correction(source.flag());
    if source.below(3) == 0 {
        let layer = source.below(net.layers.len());
        options = options.keep(net.network.layers().nth(layer).map(|layer| layer.name.clone()));
    }
    let Ok(mut quantized) = quantize(&model, &calibration, &options) else { return };
    assert_eq!(quantized.int8_layers() + quantized.f32_layers(), net.layers.len());
    let int8 = Model::from_bytes(quantized.file.clone()).expect("what is quantised opens");
    let mut comparison = Comparison::new();
    let mut reference = None;
    for cpu in Cpu::available().into_iter().filter(|cpu| cpu.isa().fuses()) {
        let mut quick = network::session(&int8, cpu, 1);
        let outputs = quick.run(pictures[0].view()).expect("a small picture");
        let found: Vec<_> = outputs.iter().flat_map(|output| network::bits(output.1.data())).collect();
        assert_eq!(&found, reference.get_or_insert(found.clone()), "{cpu:?}");
        let _ = comparison.observe(&mut session, &mut quick, pictures[0].view());
    }
    quantized.measured(&comparison);
});

/// Makes the weights of some layers larger or smaller by far, or all the same.
fn stretch(net: &mut RandomNetwork, source: &mut Source) {
    for _ in 0..source.below(4) {
        let (layer, by) = (source.below(net.layers.len()), 10_f32.powi(source.between(0, 76) as i32 - 38));
        let Weights::F32(weights) = &mut net.layers[layer] else { continue };
        let all = source.one_of(&[None, None, Some(0.0), Some(1.0)]);
        for number in weights.weight.iter_mut().chain(&mut weights.bias) {
            *number = (all.unwrap_or(*number) * by).clamp(f32::MIN, f32::MAX);
        }
    }
}

fn pictures(source: &mut Source, height: usize, width: usize) -> Vec<Tensor> {
    let picture = |source: &mut Source| {
        let mut numbers = random_input(source.byte().into(), 3 * height * width);
        match source.below(4) {
            0 => numbers.fill(source.f32()),
            1 => {
                let at = source.below(numbers.len());
                numbers[at] = source.f32();
            }
            _ => (),
        }
        Tensor::from_slice([1, 3, height, width], &numbers).expect("so many numbers")
    };
    (0..source.between(1, 3)).map(|_| picture(source)).collect()
}
