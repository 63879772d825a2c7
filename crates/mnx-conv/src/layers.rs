//! Fused layers: packed weights with the batch norm in them, bias and clamp.

use std::borrow::Cow;

use mnx_tensor::ops::{self, Margins};
use mnx_tensor::{Clamp, Cpu, Layer, Operation, Tensor, TensorView, memory, pack};

use crate::{BatchNorm, Error, Folded, Parameter, fold};

/// A layer that owns its packed weights, or borrows them from a weight file.
///
/// ```
/// use mnx_conv::{BatchNorm, FusedLayer};
/// use mnx_tensor::{Clamp, Operation, Tensor, ops::Margins};
///
/// # fn main() -> Result<(), mnx_conv::Error> {
/// // Two outputs of one input channel, and a batch norm that doubles the first and halves the second.
/// let norm = BatchNorm { gamma: &[2.0, 0.5], beta: &[0.0, 1.0], mean: &[0.0, 0.0], var: &[1.0, 1.0], eps: 0.0 };
/// let layer = FusedLayer::fold(Operation::Pointwise, [1, 2], &[3.0, 3.0], None, Some(&norm), Clamp::NONE)?;
/// let input = Tensor::from_slice([1, 1, 1, 1], &[10.0])?;
/// assert_eq!(layer.forward(input.view(), Margins::ZERO, None)?.data(), [60.0, 16.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FusedLayer<'w> {
    operation: Operation,
    channels: [usize; 2],
    weights: Cow<'w, [f32]>,
    bias: Cow<'w, [f32]>,
    clamp: Clamp,
}

impl<'w> FusedLayer<'w> {
    /// From packed weights and bias, as [`pack`] or a weight file has them. `channels` are those of input and output.
    ///
    /// # Errors
    /// As [`Layer::new`].
    pub fn new(
        operation: Operation,
        channels: [usize; 2],
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        clamp: Clamp,
    ) -> Result<Self, Error> {
        let layer = FusedLayer { operation, channels, weights: weights.into(), bias: bias.into(), clamp };
        layer.on(Cpu::choose(None, None)?)?;
        Ok(layer)
    }

    /// Folds a batch norm into weights as they were trained (`[Cout][…]`, see [`fold`](fold())), and packs them.
    ///
    /// # Errors
    /// As [`fold`](fold()) and [`FusedLayer::new`]; [`Error::Length`] where bias or batch norm is not of as many output channels.
    pub fn fold(
        operation: Operation,
        channels @ [_, cout]: [usize; 2],
        weight: &[f64],
        bias: Option<&[f64]>,
        norm: Option<&BatchNorm<'_>>,
        clamp: Clamp,
    ) -> Result<FusedLayer<'static>, Error> {
        let Folded { weight, bias, .. } = fold(weight, bias, norm)?;
        if bias.len() != cout {
            let parameter = if norm.is_some() { Parameter::Gamma } else { Parameter::Bias };
            return Err(Error::Length { parameter, expected: format!("{cout} values"), found: bias.len() });
        }
        let weights = operation.pack(&weight, channels)?;
        FusedLayer::new(operation, channels, memory::copy(&weights)?, memory::copy(&pack::bias(&bias, cout)?)?, clamp)
    }

    /// The layer with the kernels that suit `cpu`.
    ///
    /// # Errors
    /// As [`Layer::new`].
    pub fn on(&self, cpu: Cpu) -> Result<Layer<'_>, Error> {
        Ok(Layer::new(cpu, self.operation, self.channels, &self.weights, &self.bias, self.clamp)?)
    }

    /// The layer on a plain tensor `[N, Cin, H, W]`, by the fastest kernels; see [`ops::forward`].
    ///
    /// # Errors
    /// As [`ops::forward`] and [`Cpu::choose`].
    pub fn forward(
        &self,
        input: TensorView,
        padding: Margins,
        residual: Option<(TensorView, usize)>,
    ) -> Result<Tensor, Error> {
        Ok(ops::forward(&self.on(Cpu::choose(None, None)?)?, input, padding, residual)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnx_tensor::ops::Conv;

    fn values(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i * 7919 % 1999) as f32 / 999.0 - 1.0).collect()
    }

    /// The two kinds of dense 3x3 have the same bits, and `forward` is what `ops` does with unpacked weights.
    #[test]
    fn dense_layers_are_their_convolutions() {
        let (cin, cout, bias) = (9, 19, values(19));
        let input = Tensor::from_slice([2, cin, 11, 8], &values(2 * cin * 88)).unwrap();
        let packed_bias = pack::bias(&bias, cout).unwrap();
        for (kernel, stride, padding) in [(3, 1, Margins::ONE), (3, 2, Margins::ONE), (7, 2, Margins::THREE)] {
            let weights = values(cout * cin * kernel * kernel);
            let packed = pack::panels(&weights, cout, cin * kernel * kernel).unwrap();
            let all = Conv { stride, padding, clamp: Clamp::RELU, ..Conv::default() };
            let layer = |operation| {
                FusedLayer::new(operation, [cin, cout], &packed[..], &packed_bias[..], Clamp::RELU).unwrap()
            };
            let found = layer(Operation::Dense { kernel, stride }).forward(input.view(), padding, None).unwrap();
            let run = if kernel == 3 { ops::dense3x3 } else { ops::dense7x7 };
            assert_eq!(found.data(), run(input.view(), &weights, Some(&bias), &all).unwrap().data());
            if kernel == 3 {
                let layer = layer(Operation::Conv { kernel, stride });
                assert_eq!(layer.forward(input.view(), padding, None).unwrap().data(), found.data());
                assert!(layer.forward(Tensor::zeros([1, 8, 5, 5]).unwrap().view(), padding, None).is_err());
            }
        }
    }

    /// Two outputs of two inputs; weights that would do for one or for four outputs, too.
    #[test]
    fn bias_and_batch_norm_have_a_value_for_each_output() {
        let folded = |bias: Option<&[f64]>, norm: Option<&BatchNorm<'_>>| {
            FusedLayer::fold(Operation::Pointwise, [2, 2], &[1.0; 4], bias, norm, Clamp::NONE)
        };
        assert!(folded(Some(&[0.0; 2]), None).is_ok());
        let error = folded(Some(&[0.0; 4]), None).unwrap_err();
        assert_eq!(error.to_string(), "bias: expected 2 values, found 4 values");
        let one = BatchNorm { gamma: &[2.0], beta: &[0.0], mean: &[0.0], var: &[1.0], eps: 0.0 };
        let error = folded(None, Some(&one)).unwrap_err();
        assert_eq!(error.to_string(), "batch norm's weight: expected 2 values, found 1 values");
    }

    #[test]
    fn kernels_strides_and_lengths_are_checked() {
        let bias = [0.0; 16];
        let layer = |operation, len: usize| FusedLayer::new(operation, [3, 16], vec![0.0; len], &bias[..], Clamp::NONE);
        let dense = |kernel, stride, len| layer(Operation::Dense { kernel, stride }, len);
        assert!(dense(3, 1, 16 * 27).is_ok() && dense(7, 2, 16 * 147).is_ok());
        assert!(dense(7, 1, 16 * 147).is_err() && dense(5, 2, 16 * 75).is_err() && dense(3, 3, 16 * 27).is_err());
        assert!(dense(7, 2, 16 * 27).is_err());
        assert!(layer(Operation::Conv { kernel: 3, stride: 3 }, 16 * 27).is_err());
        assert!(layer(Operation::Conv { kernel: 3, stride: 1 }, 16 * 26).is_err());
    }
}
