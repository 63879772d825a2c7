//! Files with int8 layers: what is written is read.

use std::collections::BTreeMap;

use mnx_conv::Packing;
use mnx_tensor::{AlignedBuf, Arithmetic, Element};
use proptest::prelude::*;

use super::*;
use crate::model::front_of;
use crate::{Error, FileError, Limits, Model, Network, OpenOptions};

/// Every kind of layer of a family, few channels.
fn spec(family: &str) -> Spec {
    let mut spec = Spec::family(family).unwrap();
    spec.classes = 3;
    if family.starts_with("resnet") {
        spec.stages.iter_mut().for_each(|stage| stage.channels /= 16);
        spec.stem.channels = 12;
    } else {
        spec.width = 0.1;
    }
    spec
}

/// `count` numbers of a linear congruential generator.
fn noise(seed: &mut u64, count: usize) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(|| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 32
    })
    .take(count)
}

/// Weights for every layer, in the arithmetic that `int8` says.
fn layers(network: &Network, int8: impl Fn(usize) -> bool) -> Vec<Weights> {
    let mut seed = 1;
    let of = |(index, layer): (usize, &crate::Layer)| {
        let elements = layer.weight_elements() as usize;
        if int8(index) {
            Weights::Int8(Int8Weights {
                weight: noise(&mut seed, elements).map(|n| (n % 255) as i8).map(|w| w.max(-127)).collect(),
                scale: noise(&mut seed, layer.cout).map(|n| (n + 1) as f32 * 1e-12).collect(),
                bias: noise(&mut seed, layer.cout).map(|n| n as i32 / 2).collect(),
            })
        } else {
            Weights::F32(LayerWeights {
                weight: noise(&mut seed, elements).map(|n| n as f32 - 1e9).collect(),
                bias: noise(&mut seed, layer.cout).map(|n| n as f32 - 2e9).collect(),
            })
        }
    };
    network.layers().enumerate().map(of).collect()
}

/// A quantisation that differs from name to name.
fn quantization(name: &str) -> Quantization {
    let hash = crc32fast::hash(name.as_bytes());
    Quantization { scale: (hash >> 8) as f32 + 1.0, zero_point: hash as u8 }
}

/// A file's tensors by name, unpacked, after every check of single tensors.
struct Read {
    version: u32,
    arithmetic: Vec<Arithmetic>,
    tensors: BTreeMap<String, (Element, Vec<u8>)>,
}

fn read(file: &[u8]) -> Result<Read, Error> {
    let front = front_of(file, &OpenOptions::default())?;
    let mut payload = AlignedBuf::zeroed(front.layout.payload_len / 4);
    payload.as_bytes_mut().copy_from_slice(&file[front.payload_start..]);
    check_payload(&front, payload.as_bytes(), true)?;
    let tensors = front.layout.tensors.iter().map(|tensor| {
        let bytes = &payload.as_bytes()[tensor.range.clone()];
        let unpacked = match tensor.role.element().size() {
            1 => tensor.packing.unpack(bytes, &tensor.dims).unwrap(),
            _ => {
                let values = tensor.packing.unpack(bytemuck::cast_slice::<u8, u32>(bytes), &tensor.dims).unwrap();
                bytemuck::cast_slice(&values).to_vec()
            }
        };
        (tensor.name.clone(), (tensor.role.element(), unpacked))
    });
    let tensors = tensors.collect();
    Ok(Read { version: file[4].into(), arithmetic: front.arithmetic, tensors })
}

fn written(spec: &Spec, layers: &[Weights]) -> (Vec<u8>, Vec<String>) {
    let (mut file, mut asked) = (Vec::new(), Vec::new());
    let value = |name: &str| {
        asked.push(name.to_owned());
        quantization(name)
    };
    write_quantized(spec, &Limits::default(), layers, value, &mut file).unwrap();
    (file, asked)
}

/// Takes a tensor that must have these elements.
fn take<T: bytemuck::Pod>(read: &mut Read, name: String, element: Element, expected: &[T]) {
    let found = read.tensors.remove(&name);
    assert_eq!(found, Some((element, bytemuck::cast_slice(expected).to_vec())), "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any network, each layer in any arithmetic: every tensor is there once, with what was written, and no other.
    #[test]
    fn what_is_written_is_read(family in 0..3_usize, int8 in any::<u64>()) {
        let spec = spec(["mobilenext", "mobilenetv2", "resnet18"][family]);
        let network = Network::new(&spec).unwrap();
        let layers = layers(&network, |index| int8 >> (index % 64) & 1 == 1);
        let (file, asked) = written(&spec, &layers);
        let mut read = read(&file).unwrap();
        let arithmetic = |weights: &Weights| match weights {
            Weights::F32(_) => Arithmetic::F32,
            Weights::Int8(_) => Arithmetic::Int8,
        };
        prop_assert!(read.arithmetic.iter().copied().eq(layers.iter().map(arithmetic)));
        prop_assert_eq!(read.version, if int8 == 0 { 1 } else { 2 });
        for (layer, weights) in network.layers().zip(&layers) {
            let name = |part: &str| format!("{}.{part}", layer.name);
            match weights {
                Weights::F32(LayerWeights { weight, bias }) => {
                    take(&mut read, name("weight"), Element::F32, weight);
                    take(&mut read, name("bias"), Element::F32, bias);
                }
                Weights::Int8(Int8Weights { weight, scale, bias }) => {
                    take(&mut read, name("weight"), Element::I8, weight);
                    take(&mut read, name("weight.scale"), Element::F32, scale);
                    take(&mut read, name("bias"), Element::I32, bias);
                }
            }
        }
        for name in &asked {
            let Quantization { scale, zero_point } = quantization(name);
            take(&mut read, format!("{name}.scale"), Element::F32, &[scale]);
            take(&mut read, format!("{name}.zero_point"), Element::U8, &[zero_point]);
        }
        prop_assert!(read.tensors.is_empty(), "{:?}", read.tensors.keys());
        prop_assert_eq!(&file, &written(&spec, &layers).0);
        let model = Model::from_bytes(file).unwrap();
        prop_assert_eq!(model.arithmetic(), layers.iter().map(arithmetic).collect::<Vec<_>>());
        let names = [String::from("input"), "pool.output".into()].into_iter();
        for name in names.chain(network.layers().map(|layer| format!("{}.output", layer.name))) {
            prop_assert_eq!(model.quantization(&name), asked.contains(&name).then(|| quantization(&name)), "{}", name);
        }
        for (index, (layer, weights)) in network.layers().zip(&layers).enumerate() {
            let packed = model.int8_weights(index);
            let Weights::Int8(Int8Weights { weight, scale, bias }) = weights else {
                prop_assert!(packed.is_none());
                continue;
            };
            let packed = packed.unwrap();
            prop_assert_eq!(&packed.packing.unpack(packed.weight, &layer.weight_dims()).unwrap(), weight);
            prop_assert_eq!(&packed.bias[..layer.cout], bias);
            prop_assert_eq!(&packed.scale[..layer.cout], scale);
        }
        prop_assert!(model.int8_weights(layers.len()).is_none());
    }
}

/// The values that are quantised when these layers are int8.
fn quantized(spec: &Spec, int8: &[&str]) -> Vec<String> {
    let network = Network::new(spec).unwrap();
    let names: Vec<_> = network.layers().map(|layer| layer.name.as_str()).collect();
    assert!(int8.iter().all(|name| names.contains(name)), "{names:?}");
    let layers = layers(&network, |index| int8.contains(&names[index]));
    written(spec, &layers).1
}

#[test]
fn a_value_is_quantised_where_an_int8_layer_makes_or_reads_it() {
    let mobile = spec("mobilenetv2");
    assert_eq!(quantized(&mobile, &[]), [""; 0]);
    assert_eq!(quantized(&mobile, &["features.0.0"]), ["input", "features.0.0.output"]);
    assert_eq!(quantized(&mobile, &["classifier.1"]), ["pool.output"]);
    // The last layer's output is pooled in f32 unless an int8 layer made it.
    assert_eq!(quantized(&mobile, &["features.18.0"]), ["features.17.conv.2.output", "features.18.0.output"]);
    // The last layer of a block reads the block's input, too.
    let shortcut = ["features.2.conv.2.output", "features.3.conv.1.0.output", "features.3.conv.2.output"];
    assert_eq!(quantized(&mobile, &["features.3.conv.2"]), shortcut);
    let first = ["features.2.conv.2.output", "features.3.conv.0.0.output"];
    assert_eq!(quantized(&mobile, &["features.3.conv.0.0"]), first);
    // On a shortcut with a layer of its own, what that layer makes.
    let residual = spec("resnet18");
    let last = ["layer2.0.conv1.output", "layer2.0.conv2.output", "layer2.0.downsample.0.output"];
    assert_eq!(quantized(&residual, &["layer2.0.conv2"]), last);
    let projection = ["layer1.1.conv2.output", "layer2.0.downsample.0.output"];
    assert_eq!(quantized(&residual, &["layer2.0.downsample.0"]), projection);

    let names = Network::new(&mobile).unwrap();
    let all: Vec<&str> = names.layers().map(|layer| layer.name.as_str()).collect();
    let values = quantized(&mobile, &all);
    assert_eq!(values.len(), 1 + all.len()); // the input and the pool, and no logits
    assert_eq!(values[values.len() - 2..], ["features.18.0.output", "pool.output"]);
}

#[test]
fn int8_weights_are_stored_in_groups_of_four_inputs() {
    let spec = spec("resnet18");
    let layers = layers(&Network::new(&spec).unwrap(), |_| true);
    let front = front_of(&written(&spec, &layers).0, &OpenOptions::default()).unwrap();
    let packing = |name: &str| front.layout.tensors.iter().find(|t| t.name == name).unwrap().packing;
    assert_eq!(packing("conv1.weight"), Packing::Dense16x4);
    assert_eq!(packing("layer1.0.conv1.weight"), Packing::Dense16x4);
    assert_eq!(packing("layer2.0.downsample.0.weight"), Packing::Pointwise16x4);
    assert_eq!(packing("fc.weight"), Packing::Linear16x4);
    assert_eq!(packing("fc.bias"), Packing::Bias16);
    assert_eq!(packing("fc.weight.scale"), Packing::Bias16);
    assert_eq!(packing("pool.output.zero_point"), Packing::Plain);
}

#[test]
fn a_writer_refuses_int8_that_a_reader_would() {
    let spec = spec("mobilenext");
    let network = Network::new(&spec).unwrap();
    let good = layers(&network, |_| true);
    let mut out = Vec::new();
    let mut refused = |layers: &[Weights], value: fn(&str) -> Quantization, limits: &Limits| {
        let error = write_quantized(&spec, limits, layers, value, &mut out).unwrap_err();
        assert!(out.is_empty());
        assert_eq!(error.to_string().lines().count(), 1);
        error
    };
    let changed = |change: fn(&mut Int8Weights)| {
        let mut layers = good.clone();
        if let Some(Weights::Int8(weights)) = layers.get_mut(1) {
            change(weights);
        }
        layers
    };
    let limits = Limits::default();
    type Change = fn(&mut Int8Weights);
    let values: [(Change, &str, &str); 6] = [
        (|w| w.weight[3] = -128, "weight", "-128"),
        (|w| w.scale[2] = 0.0, "weight.scale", "0.0"),
        (|w| w.scale[2] = -1.0, "weight.scale", "-1.0"),
        (|w| w.scale[2] = f32::INFINITY, "weight.scale", "inf"),
        (|w| w.scale[2] = f32::NAN, "weight.scale", "NaN"),
        (|w| w.scale[2] = f32::MIN_POSITIVE / 2.0, "weight.scale", "5.877472e-39"),
    ];
    for (change, part, shown) in values {
        let error = refused(&changed(change), quantization, &limits);
        let Error::File(FileError::Value { tensor, found, .. }) = &error else { panic!("{error:?}") };
        assert_eq!((tensor.as_str(), found.as_str()), (format!("features.1.conv.0.{part}").as_str(), shown));
    }
    let lengths: [(Change, &str); 3] = [
        (|w| w.weight.truncate(1), "features.1.conv.0.weight"),
        (|w| w.bias.push(1), "features.1.conv.0.bias"),
        (|w| w.scale.clear(), "features.1.conv.0.weight.scale"),
    ];
    for (change, name) in lengths {
        let error = refused(&changed(change), quantization, &limits);
        assert!(matches!(&error, Error::Conv { tensor, .. } if tensor == name), "{error:?}");
    }
    let error = refused(&good, |_| Quantization { scale: 2e19, zero_point: 0 }, &limits);
    assert!(matches!(&error, Error::File(FileError::Value { tensor, .. }) if tensor == "input.scale"), "{error:?}");
    let error = refused(&good[1..], quantization, &limits);
    assert!(matches!(error, Error::File(FileError::LayerCount { .. })), "{error:?}");
    // Two tensors a layer would be within it.
    let tight = Limits { tensors: 2 * good.len() + 2, ..limits };
    let error = refused(&good, quantization, &tight);
    assert!(matches!(error, Error::Limit { .. }), "{error:?}");
    // The bounds themselves are in range.
    let edges = changed(|w| (w.scale[0], w.scale[1], w.weight[0]) = (f32::MIN_POSITIVE, 2_f32.powi(64), -127));
    read(&written(&spec, &edges).0).unwrap();
}
