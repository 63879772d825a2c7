//! Makes an int8 network of an f32 network and pictures.
//!
//! [`Calibration`] runs pictures through the f32 network and notes what each value holds. [`quantize()`] chooses a range for
//! every value, rounds the weights, and writes a weight file. Its report says what that costs in each layer. [`Comparison`]
//! measures the cost on pictures.
//!
//! ```
//! # use mnx_graph as mnx;
//! use mnx::quantize::{Calibration, Comparison, Method, Options, quantize};
//! use mnx::{Model, Session, Spec};
//!
//! # fn main() -> Result<(), mnx_graph::Error> {
//! # let mut spec = Spec::family("mobilenext").unwrap();
//! # spec.width = 0.1;
//! # let file = mnx_graph::init(&spec, 1)?;
//! let model = Model::from_bytes(file)?;
//! let mut session = Session::new(&model)?;
//! let mut calibration = Calibration::new(&model)?;
//! // A real program takes some hundred pictures of all classes.
//! let numbers: Vec<f32> = (0..3 * 64 * 64).map(|i| (i % 89) as f32 / 44.0 - 1.0).collect();
//! let pictures = mnx::Tensor::from_slice([1, 3, 64, 64], &numbers)?;
//! calibration.observe(&mut session, pictures.view())?;
//!
//! let options = Options::new().method(Method::Mse).keep(["classifier"]);
//! let mut quantized = quantize(&model, &calibration, &options)?;
//! let int8 = Model::from_bytes(quantized.file.clone())?;
//!
//! let mut comparison = Comparison::new();
//! comparison.observe(&mut session, &mut Session::new(&int8)?, pictures.view())?;
//! quantized.measured(&comparison);
//! for layer in &quantized.layers {
//!     println!("{}: weights {:?} dB, output {:?} dB", layer.name, layer.weight_snr, layer.output_snr);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same model, pictures in the same order and options give the same bytes, however many threads calibrate.

mod calibration;
mod comparison;
mod flow;
mod histogram;
mod options;
mod range;
mod report;
mod scales;
#[cfg(test)]
mod tests;
mod weights;

pub use calibration::Calibration;
pub use comparison::Comparison;
pub use options::Options;
pub use range::Method;
pub use report::LayerReport;

use mnx_tensor::memory;

use crate::file::{Int8Weights, LARGEST_SCALE, LayerWeights, Weights, quantized_file};
use crate::{Arithmetic, Element, Error, Layer, LayerKind, Model, QuantizeError};
use flow::{Flow, LayerFlow, shares_on_input};
use range::Loss;
use report::decibels;
use scales::Scales;
use weights::Surroundings;

/// A little more than 1: what is multiplied by it is not rounded to less than it was.
const ABOVE_ONE: f64 = 1.0 + 1.0 / (1 << 20) as f64;

/// Below so many pictures, ranges depend on chance: programs should warn their users.
pub const FEW_PICTURES: u64 = 32;

/// A quantised network.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quantized {
    /// The weight file.
    pub file: Vec<u8>,
    /// The input, the layers and the average pool, in order of execution.
    pub layers: Vec<LayerReport>,
}

impl Quantized {
    /// Notes how much each value differs from the f32 network's on pictures.
    pub fn measured(&mut self, comparison: &Comparison) {
        self.layers.iter_mut().for_each(|layer| layer.measured(comparison));
    }

    /// How many layers compute in int8.
    pub fn int8_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.arithmetic == Some(Arithmetic::Int8)).count()
    }

    /// How many layers stay f32.
    pub fn f32_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.arithmetic == Some(Arithmetic::F32)).count()
    }
}

/// Makes an int8 network of an f32 network.
///
/// Activations become u8, with one scale and zero point per value, whose range `options.method` chooses from what
/// `calibration` saw. Weights become i8, symmetric, with a scale per output channel. Layers in `options.keep` stay f32.
///
/// # Errors
/// - [`QuantizeError::AlreadyInt8`] for a model that has an int8 layer.
/// - [`QuantizeError::NoPictures`] or [`QuantizeError::OtherNetwork`] for a calibration that says nothing about the model.
/// - [`QuantizeError::Keep`] or [`QuantizeError::NothingLeft`] for names of layers.
/// - [`QuantizeError::TooLarge`] for weights or activations that no scale is large enough for.
/// - [`Error::Limit`] or [`Error::Memory`] as [`write_quantized`](crate::write_quantized).
pub fn quantize(model: &Model, calibration: &Calibration, options: &Options) -> Result<Quantized, Error> {
    check_f32(model)?;
    if calibration.pictures() == 0 {
        return Err(QuantizeError::NoPictures.into());
    }
    let (network, spec) = (model.network(), model.spec());
    let flow = Flow::new(network, (spec.resolution, spec.resolution));
    calibration.check_values(flow.values.iter().map(|value| (&*value.name, value.channels)))?;
    let kept = options.kept(network)?;
    let scales =
        Scales::choose(&flow, calibration, options.method, &kept, spec.resolution.saturating_mul(spec.resolution))?;
    let maker = Maker { model, calibration, options, flow: &flow, scales: &scales };
    let mut layers = Vec::new();
    let mut reports = vec![maker.report("input", 0)];
    for (index, (layer, &keep)) in network.layers().zip(&kept).enumerate() {
        if layer.kind == LayerKind::Linear {
            reports.push(maker.report("pool", flow.layers[index].input));
        }
        let (weights, report) = maker.layer(index, layer, keep)?;
        layers.push(weights);
        reports.push(report);
    }
    let quantization = |name: &str| {
        let value = flow.values.iter().position(|value| value.name == name);
        value.and_then(|value| scales.get(value)).unwrap_or(scales::ALWAYS_ZERO)
    };
    let file = quantized_file(spec, model.limits(), model.classifier_dtype(), &layers, quantization)?;
    Ok(Quantized { file, layers: reports })
}

/// Refuses a model that has an int8 layer.
fn check_f32(model: &Model) -> Result<(), Error> {
    match model.tensors().find(|tensor| tensor.element == Element::I8) {
        None => Ok(()),
        Some(tensor) => {
            let layer = tensor.name.trim_end_matches(".weight").into();
            Err(QuantizeError::AlreadyInt8 { layer }.into())
        }
    }
}

/// Makes a network's layers and the reports on them.
struct Maker<'a> {
    model: &'a Model,
    calibration: &'a Calibration,
    options: &'a Options,
    flow: &'a Flow,
    scales: &'a Scales,
}

impl Maker<'_> {
    /// One layer's weights, and what became of them. A layer that is kept has its f32 weights; a classifier's are stored as they
    /// were.
    fn layer(&self, index: usize, layer: &Layer, keep: bool) -> Result<(Weights, LayerReport), Error> {
        let LayerFlow { input, output, .. } = self.flow.layers[index];
        let mut report = self.report(&layer.name, output);
        report.arithmetic = Some(if keep { Arithmetic::F32 } else { Arithmetic::Int8 });
        // No layer is in int8 yet.
        let weights = self.model.unpacked(index, layer)?.unwrap_or_default();
        let Some(input) = self.scales.get(input).filter(|_| !keep) else {
            return Ok((Weights::F32(weights), report));
        };
        let output_scale = report.quantization.map_or(1.0, |output| output.scale);
        let quantized = self.quantized(index, layer, &weights, Surroundings { input, output_scale })?;
        let quantized = quantized
            .ok_or_else(|| QuantizeError::TooLarge { what: format!("the weights of layer {}", layer.name) })?;
        let (signal, noise) = weights::signal_and_noise(&weights, &quantized);
        report.weight_snr = decibels(signal, noise);
        Ok((Weights::Int8(quantized), report))
    }

    fn quantized(
        &self,
        index: usize,
        layer: &Layer,
        weights: &LayerWeights,
        around: Surroundings,
    ) -> Result<Option<Int8Weights>, Error> {
        let Some(quantized) = weights::quantize(weights, around)? else { return Ok(None) };
        if !self.options.bias_correction {
            return Ok(Some(quantized));
        }
        let LayerFlow { input, size, .. } = self.flow.layers[index];
        let operation = layer.operation();
        let shares = shares_on_input(self.model.spec().padding, operation.kernel(), layer.stride, size);
        let means: Vec<f64> = self.calibration.value(input).means().collect();
        let mut corrected = LayerWeights { weight: memory::copy(&weights.weight)?, bias: memory::copy(&weights.bias)? };
        weights::correct_bias(&mut corrected, &quantized, operation.is_per_channel(), &means, &shares);
        Ok(weights::quantize(&corrected, around)?)
    }

    /// What became of a value. `name` is the name of what makes it.
    fn report(&self, name: &str, value: usize) -> LayerReport {
        let seen = self.calibration.value(value);
        let quantization = self.scales.get(value);
        let loss = quantization.map(|quantization| Loss::new(seen, quantization));
        LayerReport {
            name: name.into(),
            arithmetic: None,
            value: self.flow.values[value].name.clone(),
            observed: (seen.lowest(), seen.highest()),
            quantization,
            clipped: loss.map(|loss| loss.clipped),
            weight_snr: None,
            value_snr: loss.and_then(|loss| decibels(seen.squares, loss.noise)),
            output_snr: None,
        }
    }
}
