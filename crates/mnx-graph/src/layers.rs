//! A model's layers, each with the kernel that suits the CPU. They are made once per session and run by every inference.

use mnx_tensor::int8::{PreparedInt8, Requantize};
use mnx_tensor::{Clamp, Cpu, Error as TensorError, Operation, PackedWeights, Tuning};

use crate::wiring::{Source, Wiring};
use crate::{Error, Layer, Model, Quantization};

/// The convolutions and the classifier in the order of the weight file, and what has no weights.
///
/// Layers in here claim to borrow for `'static`. They borrow from `_int8` and `_model`, and [`Layers::get`] and its like
/// shorten the lifetime to that of this type.
#[derive(Debug)]
pub(crate) struct Layers {
    cpu: Cpu,
    tuning: Tuning,
    layers: Vec<mnx_tensor::Layer<'static>>,
    max_pool: Option<mnx_tensor::Layer<'static>>,
    pool: Option<mnx_tensor::Layer<'static>>,
    quantize: Option<mnx_tensor::Layer<'static>>,
    /// Weights in the form of this CPU's kernels. Nothing is added once layers borrow from them, so they stay where they are.
    _int8: Vec<PreparedInt8<'static>>,
    /// Keeps the weights alive.
    _model: Model,
}

impl Layers {
    /// Sizes are the CPU's where `tuning` has none.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a layer has no kernel, or there is no memory for its weights.
    pub(crate) fn new(model: &Model, cpu: Cpu, tuning: Option<Tuning>) -> Result<Layers, Error> {
        let tuning = tuning.unwrap_or_else(|| cpu.tuning().clone());
        let (network, numbers) = (model.network(), model.numbers());
        let mut int8 = Vec::new();
        for (index, layer) in network.layers().enumerate() {
            let packed = model.int8_weights(index);
            if let Some((packed, constants)) = packed.zip(numbers.constants[index].as_ref()) {
                // SAFETY: the model's bytes neither move nor change while a clone of the model lives, and `_model` is a clone.
                // No layer leaves this type with a lifetime longer than the type's own.
                let weight: &'static [i8] = unsafe { &*std::ptr::from_ref(packed.weight) };
                let (factors, requantize) = (&constants.factors, constants.requantize);
                let (operation, channels) = (int8_operation(layer), channels(layer));
                int8.push(PreparedInt8::new(cpu, operation, channels, weight, packed.bias, factors, requantize)?);
            }
        }
        let wiring = Wiring::new(network);
        // What has no weights: what it computes, of how many channels, and what it reads and makes.
        let max_pool = (0..wiring.layers.len()).find_map(|layer| {
            let (operation, output) = (Operation::MaxPool { kernel: 3, stride: 2 }, wiring.max_pool(layer)?);
            Some((operation, wiring.layers[layer].layer.cout, [Source::Layer(layer), output]))
        });
        let pool = network.classifier().map(|layer| (Operation::Pool, layer.cin, [wiring.pooled(), Source::Pool]));
        let quantize = numbers.values.input.map(|_| (Operation::Quantize, network.channels(), [Source::Input; 2]));
        // Those in int8, in this order.
        let without_weights = [max_pool, pool, quantize].map(|made| {
            let (operation, channels, [input, output]) = made?;
            let requantize = requantize(numbers.values[input]?, numbers.values[output]?);
            Some(PreparedInt8::new(cpu, operation, [channels; 2], &[], &[], &[], requantize))
        });
        let places = without_weights.each_ref().map(Option::is_some);
        int8.extend(without_weights.into_iter().flatten().collect::<Result<Vec<_>, _>>()?);

        let mut made = int8.iter().map(|weights| {
            // SAFETY: the vector does not change any more and becomes `_int8`. Moving it does not move what is in it.
            let weights: &'static PreparedInt8<'static> = unsafe { &*std::ptr::from_ref(weights) };
            weights.layer()
        });
        let mut layers = Vec::with_capacity(numbers.constants.len());
        for (index, layer) in network.layers().enumerate() {
            let int8 = numbers.constants[index].as_ref().and_then(|_| made.next());
            let layer = int8.map_or_else(|| in_f32(model, cpu, index, layer), Ok)?;
            layers.push(layer.tuned(&tuning));
        }
        let [max_pool_int8, pool_int8, quantize] = places.map(|is_int8| if is_int8 { made.next() } else { None });
        let plain =
            |(operation, channels, _)| mnx_tensor::Layer::new(cpu, operation, [channels; 2], &[], &[], Clamp::NONE);
        let or_plain = |int8: Option<_>, place: Option<_>| {
            int8.map_or_else(|| place.map(plain).transpose(), |layer| Ok(Some(layer)))
        };
        Ok(Layers {
            cpu,
            tuning,
            layers,
            max_pool: or_plain(max_pool_int8, max_pool)?,
            pool: or_plain(pool_int8, pool)?,
            quantize,
            _int8: int8,
            _model: model.clone(),
        })
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.cpu
    }

    pub(crate) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The layer with this index in [`Network::layers`](crate::Network::layers).
    pub(crate) fn get(&self, index: usize) -> &mnx_tensor::Layer<'_> {
        &self.layers[index]
    }

    /// The max pool, if the network has one.
    pub(crate) fn max_pool(&self) -> Option<&mnx_tensor::Layer<'_>> {
        self.max_pool.as_ref()
    }

    /// The global average pool, if the network has one.
    pub(crate) fn pool(&self) -> Option<&mnx_tensor::Layer<'_>> {
        self.pool.as_ref()
    }

    /// What quantises the input, if the first layer reads it as u8.
    pub(crate) fn quantize(&self) -> Option<&mnx_tensor::Layer<'_>> {
        self.quantize.as_ref()
    }
}

/// What an int8 layer's kernel computes. The end of a detector's head makes f32, as the classifier does and with weights in the
/// same order.
fn int8_operation(layer: &Layer) -> Operation {
    if layer.makes_output() { Operation::Linear } else { layer.operation() }
}

fn channels(layer: &Layer) -> [usize; 2] {
    if layer.operation().is_per_channel() { [layer.cout; 2] } else { [layer.cin, layer.cout] }
}

fn in_f32(model: &Model, cpu: Cpu, index: usize, layer: &Layer) -> Result<mnx_tensor::Layer<'static>, TensorError> {
    // Without weights it is refused for their length.
    let (weights, bias) = model.f32_weights(index).unwrap_or((PackedWeights::F32(&[]), &[]));
    // SAFETY: as for int8 layers.
    let (bytes, bias): (&'static [u8], &'static [f32]) =
        unsafe { (&*std::ptr::from_ref(weights.bytes()), &*std::ptr::from_ref(bias)) };
    let weights = PackedWeights::of(weights.element(), bytes).unwrap_or(PackedWeights::F32(&[]));
    mnx_tensor::Layer::with_weights(cpu, layer.operation(), channels(layer), weights, bias, layer.activation.clamp())
}

/// What an operation without weights needs to know, if it is in int8.
fn requantize(input: Quantization, output: Quantization) -> Requantize {
    let zero = f32::from(output.zero_point);
    Requantize {
        zero_in: input.zero_point,
        zero_out: output.zero_point,
        lo: -zero,
        hi: 255.0 - zero,
        shortcut: None,
        scales: (input.scale, output.scale),
    }
}
