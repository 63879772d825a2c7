//! A model's layers, each with the kernel that suits the CPU. They are made once per session and run by every inference.

use mnx_tensor::{Clamp, Cpu, Operation};

use crate::{Error, Model, Network};

/// The convolutions and the classifier in the order of the weight file, and the max and average pools.
#[derive(Debug)]
pub(crate) struct Layers {
    cpu: Cpu,
    /// They borrow their weights from `_model`, not for `'static`: [`Layers::get`] shortens the lifetime to its own.
    layers: Vec<mnx_tensor::Layer<'static>>,
    max_pool: Option<mnx_tensor::Layer<'static>>,
    pool: mnx_tensor::Layer<'static>,
    /// Keeps the weights alive.
    _model: Model,
}

impl Layers {
    /// # Errors
    /// [`Error::Tensor`] if a layer has no kernel.
    pub(crate) fn new(model: &Model, cpu: Cpu) -> Result<Layers, Error> {
        let network = model.network();
        let layer = |(index, layer): (usize, &crate::Layer)| {
            let (weights, bias) = model.weights(index);
            // SAFETY: the model's bytes neither move nor change while a clone of the model lives, and `_model` is a clone. No
            // layer leaves this type with a lifetime longer than the type's own.
            let (weights, bias): (&'static [f32], &'static [f32]) =
                unsafe { (&*std::ptr::from_ref(weights), &*std::ptr::from_ref(bias)) };
            let channels = if layer.operation().is_per_channel() { [layer.cout; 2] } else { [layer.cin, layer.cout] };
            mnx_tensor::Layer::new(cpu, layer.operation(), channels, weights, bias, layer.activation.clamp())
        };
        let pool = |operation, channels| mnx_tensor::Layer::new(cpu, operation, [channels; 2], &[], &[], Clamp::NONE);
        let max_pool = max_pooled(network).map(|channels| pool(Operation::MaxPool { kernel: 3, stride: 2 }, channels));
        Ok(Layers {
            cpu,
            layers: network.layers().enumerate().map(layer).collect::<Result<_, _>>()?,
            max_pool: max_pool.transpose()?,
            pool: pool(Operation::Pool, network.classifier.cin)?,
            _model: model.clone(),
        })
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// The layer with this index in [`Network::layers`].
    pub(crate) fn get(&self, index: usize) -> &mnx_tensor::Layer<'_> {
        &self.layers[index]
    }

    /// The max pool, if the network has one.
    pub(crate) fn max_pool(&self) -> Option<&mnx_tensor::Layer<'_>> {
        self.max_pool.as_ref()
    }

    /// The global average pool.
    pub(crate) fn pool(&self) -> &mnx_tensor::Layer<'_> {
        &self.pool
    }
}

/// Channels of the max pool's input, if the network has a max pool.
fn max_pooled(network: &Network) -> Option<usize> {
    let block = network.blocks.iter().find(|block| block.max_pool)?;
    block.layers.last().map(|layer| layer.cout)
}
