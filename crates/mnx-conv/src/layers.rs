//! Fused layers: packed weights with the batch norm in them, and the epilogue.
//!
//! A layer owns its packed weights, or borrows them from a weight file. [`forward`](Depthwise3x3::forward) takes and
//! gives plain NCHW tensors. `run_part` is what a plan calls: part of the layer, on channel-blocked memory.

use std::borrow::Cow;

use mnx_tensor::args::{self, Geometry, Planes, PlanesMut, Residual, Span};
use mnx_tensor::ops::{self, Conv};
use mnx_tensor::table::Kernels;
use mnx_tensor::{Clamp, Isa, Tensor, TensorView, pack};

use crate::Error;

/// Packed weights and bias, owned or in a weight file.
#[derive(Clone, Debug)]
struct Packed<'w> {
    weights: Cow<'w, [f32]>,
    bias: Cow<'w, [f32]>,
}

impl<'w> Packed<'w> {
    fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        weights_len: usize,
        bias: impl Into<Cow<'w, [f32]>>,
        bias_len: usize,
    ) -> Result<Self, Error> {
        let packed = Packed { weights: weights.into(), bias: bias.into() };
        let lengths =
            [("packed weights", weights_len, packed.weights.len()), ("packed bias", bias_len, packed.bias.len())];
        for (what, expected, found) in lengths {
            if expected != found {
                return Err(mnx_tensor::Error::Length { what, expected, found }.into());
            }
        }
        Ok(packed)
    }
}

/// Depthwise 3x3 convolution with batch norm folded in, bias and clamp.
#[derive(Clone, Debug)]
pub struct Depthwise3x3<'w> {
    packed: Packed<'w>,
    channels: usize,
    stride: usize,
    clamp: Clamp,
}

impl<'w> Depthwise3x3<'w> {
    /// From weights and bias packed by [`pack::depthwise`] and [`pack::bias`](pack::bias()). `stride` is 1 or 2.
    ///
    /// # Errors
    /// A packed slice of the wrong length.
    pub fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        channels: usize,
        stride: usize,
        clamp: Clamp,
    ) -> Result<Self, Error> {
        check_stride(stride)?;
        let packed = Packed::new(weights, pack::depthwise_len(channels), bias, pack::bias_len(channels))?;
        Ok(Depthwise3x3 { packed, channels, stride, clamp })
    }

    /// The layer on a plain tensor `[N, C, H, W]`; `options` gives padding, residual and ISA (its
    /// stride and clamp are the layer's).
    ///
    /// # Errors
    /// As [`ops::depthwise3x3`].
    pub fn forward(&self, input: TensorView, options: &Conv) -> Result<Tensor, Error> {
        let options = Conv { stride: self.stride, clamp: self.clamp, ..*options };
        check_channels(self.channels, input)?;
        Ok(ops::depthwise3x3_packed(input, &self.packed.weights, &self.packed.bias, &options)?)
    }

    /// Output rows `rows` of blocks `blocks`.
    ///
    /// # Safety
    /// `src`, `dst` and `residual` are valid for the rows and blocks that are touched; nobody else writes to
    /// them or reads what is written; the CPU has the kernels' ISA; `geometry` fits the layer. Lanes past the last
    /// channel are written too, as zeros where 0 is within the layer's clamp.
    #[allow(clippy::too_many_arguments, reason = "one each for what, where from, where to and which part")]
    pub unsafe fn run_part(
        &self,
        kernels: &Kernels,
        geometry: &Geometry,
        src: Planes,
        dst: PlanesMut,
        residual: Option<Residual>,
        rows: Span,
        blocks: Span,
    ) {
        let args = args::Depthwise {
            src,
            dst,
            residual,
            weights: self.packed.weights.as_ptr(),
            bias: self.packed.bias.as_ptr(),
            geometry: *geometry,
            rows,
            blocks,
            clamp: self.clamp,
        };
        // SAFETY: the caller's promise; the weights' lengths were checked when the layer was made.
        unsafe { (kernels.depthwise(self.stride).run)(&args) }
    }
}

/// Pointwise (1x1) convolution with batch norm folded in, bias and clamp.
#[derive(Clone, Debug)]
pub struct Pointwise<'w> {
    packed: Packed<'w>,
    cin: usize,
    cout: usize,
    clamp: Clamp,
}

impl<'w> Pointwise<'w> {
    /// From weights and bias packed by [`pack::panels`] and [`pack::bias`](pack::bias()).
    ///
    /// # Errors
    /// A packed slice of the wrong length.
    pub fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        cin: usize,
        cout: usize,
        clamp: Clamp,
    ) -> Result<Self, Error> {
        let packed = Packed::new(weights, pack::panels_len(cout, cin), bias, pack::bias_len(cout))?;
        Ok(Pointwise { packed, cin, cout, clamp })
    }

    /// The layer on a plain tensor `[N, Cin, H, W]`; `options` gives residual and ISA.
    ///
    /// # Errors
    /// As [`ops::pointwise`].
    pub fn forward(&self, input: TensorView, options: &Conv) -> Result<Tensor, Error> {
        let options = Conv { clamp: self.clamp, ..*options };
        check_channels(self.cin, input)?;
        Ok(ops::pointwise_packed(input, self.cout, &self.packed.weights, &self.packed.bias, &options)?)
    }

    /// Pixels `pixels` of panels `panels`.
    ///
    /// # Safety
    /// As [`Depthwise3x3::run_part`].
    pub unsafe fn run_part(
        &self,
        kernels: &Kernels,
        src: Planes,
        dst: PlanesMut,
        residual: Option<Residual>,
        pixels: Span,
        panels: Span,
    ) {
        let args = args::Pointwise {
            src,
            dst,
            residual,
            weights: self.packed.weights.as_ptr(),
            bias: self.packed.bias.as_ptr(),
            cin: self.cin,
            cout: self.cout,
            pixels,
            panels,
            clamp: self.clamp,
        };
        // SAFETY: the caller's promise; the weights' lengths were checked when the layer was made.
        unsafe { kernels.pointwise(&args) }
    }
}

/// Dense 3x3 convolution with batch norm folded in, bias and clamp.
#[derive(Clone, Debug)]
pub struct Conv3x3<'w> {
    packed: Packed<'w>,
    cin: usize,
    cout: usize,
    stride: usize,
    clamp: Clamp,
}

impl<'w> Conv3x3<'w> {
    /// From weights and bias packed by [`pack::panels`] (of depth Cin·9) and [`pack::bias`](pack::bias()). `stride` is 1 or 2.
    ///
    /// # Errors
    /// A packed slice of the wrong length.
    pub fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        cin: usize,
        cout: usize,
        stride: usize,
        clamp: Clamp,
    ) -> Result<Self, Error> {
        check_stride(stride)?;
        let packed = Packed::new(weights, pack::panels_len(cout, cin.saturating_mul(9)), bias, pack::bias_len(cout))?;
        Ok(Conv3x3 { packed, cin, cout, stride, clamp })
    }

    /// The layer on a plain tensor `[N, Cin, H, W]`; `options` gives padding, residual and ISA.
    ///
    /// # Errors
    /// As [`ops::conv3x3`].
    pub fn forward(&self, input: TensorView, options: &Conv) -> Result<Tensor, Error> {
        let options = Conv { stride: self.stride, clamp: self.clamp, ..*options };
        check_channels(self.cin, input)?;
        Ok(ops::conv3x3_packed(input, self.cout, &self.packed.weights, &self.packed.bias, &options)?)
    }

    /// Output rows `rows`, of `width` pixels each, of panels `panels`. `src` is the input with the zeros around it, as
    /// [`pad_rows`](mnx_tensor::strip::pad_rows) makes it, `row` pixels from row to row.
    ///
    /// # Safety
    /// As [`Depthwise3x3::run_part`].
    #[allow(clippy::too_many_arguments, reason = "one each for what, where from, where to and which part")]
    pub unsafe fn run_part(
        &self,
        kernels: &Kernels,
        src: Planes,
        row: usize,
        dst: PlanesMut,
        residual: Option<Residual>,
        width: usize,
        rows: Span,
        panels: Span,
    ) {
        let args = args::Conv3x3 {
            src,
            row,
            dst,
            residual,
            weights: self.packed.weights.as_ptr(),
            bias: self.packed.bias.as_ptr(),
            cin: self.cin,
            cout: self.cout,
            width,
            rows,
            panels,
            clamp: self.clamp,
        };
        // SAFETY: the caller's promise; the weights' lengths were checked when the layer was made.
        unsafe { (kernels.conv3x3(self.stride).run)(&args) }
    }
}

/// Dense 3x3 or 7x7 convolution of an NCHW input with batch norm folded in, bias and clamp: a network's stem.
#[derive(Clone, Debug)]
pub struct Dense<'w> {
    packed: Packed<'w>,
    cin: usize,
    cout: usize,
    kernel: usize,
    stride: usize,
    clamp: Clamp,
}

impl<'w> Dense<'w> {
    /// From weights and bias packed by [`pack::panels`] (of depth Cin·kernel²) and [`pack::bias`](pack::bias()).
    /// `kernel` is 3 or 7, `stride` 1 or 2; 7 has stride 2 only.
    ///
    /// # Errors
    /// A packed slice of the wrong length, another kernel or stride.
    pub fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        cin: usize,
        cout: usize,
        kernel: usize,
        stride: usize,
        clamp: Clamp,
    ) -> Result<Self, Error> {
        check_stride(stride)?;
        if kernel != 3 && kernel != 7 {
            return Err(mnx_tensor::Error::Value { what: "kernel", expected: "3 or 7", found: kernel }.into());
        }
        if kernel == 7 && stride != 2 {
            return Err(mnx_tensor::Error::Value { what: "stride of a 7x7", expected: "2", found: stride }.into());
        }
        let depth = cin.saturating_mul(kernel * kernel);
        let packed = Packed::new(weights, pack::panels_len(cout, depth), bias, pack::bias_len(cout))?;
        Ok(Dense { packed, cin, cout, kernel, stride, clamp })
    }

    /// The layer on a plain tensor `[N, Cin, H, W]`; `options` gives padding, residual and ISA.
    ///
    /// # Errors
    /// As [`ops::dense3x3`].
    pub fn forward(&self, input: TensorView, options: &Conv) -> Result<Tensor, Error> {
        let options = Conv { stride: self.stride, clamp: self.clamp, ..*options };
        check_channels(self.cin, input)?;
        let run = if self.kernel == 3 { ops::dense3x3_packed } else { ops::dense7x7_packed };
        Ok(run(input, self.cout, &self.packed.weights, &self.packed.bias, &options)?)
    }

    /// Output rows `rows` of one picture whose channels lie one after the other at `src`.
    ///
    /// # Safety
    /// As [`Depthwise3x3::run_part`]; `scratch` is writable for [`args::Dense::scratch_len`] floats and nobody else's.
    pub unsafe fn run_part(
        &self,
        kernels: &Kernels,
        geometry: &Geometry,
        src: *const f32,
        dst: PlanesMut,
        scratch: *mut f32,
        rows: Span,
    ) {
        let args = args::Dense {
            src,
            dst,
            residual: None,
            weights: self.packed.weights.as_ptr(),
            bias: self.packed.bias.as_ptr(),
            scratch,
            cin: self.cin,
            cout: self.cout,
            geometry: *geometry,
            rows,
            clamp: self.clamp,
        };
        // SAFETY: the caller's promise; the weights' lengths were checked when the layer was made.
        unsafe { (kernels.dense(self.kernel, self.stride).run)(&args) }
    }
}

/// Linear layer: the classifier.
#[derive(Clone, Debug)]
pub struct Linear<'w> {
    packed: Packed<'w>,
    cin: usize,
    cout: usize,
}

impl<'w> Linear<'w> {
    /// From weights and bias packed by [`pack::panels`] and [`pack::bias`](pack::bias()).
    ///
    /// # Errors
    /// A packed slice of the wrong length.
    pub fn new(
        weights: impl Into<Cow<'w, [f32]>>,
        bias: impl Into<Cow<'w, [f32]>>,
        cin: usize,
        cout: usize,
    ) -> Result<Self, Error> {
        let packed = Packed::new(weights, pack::panels_len(cout, cin), bias, pack::bias_len(cout))?;
        Ok(Linear { packed, cin, cout })
    }

    /// The layer on features `[N, Cin, 1, 1]`.
    ///
    /// # Errors
    /// As [`ops::linear`].
    pub fn forward(&self, features: TensorView, isa: Option<Isa>) -> Result<Tensor, Error> {
        check_channels(self.cin, features)?;
        Ok(ops::linear_packed(features, self.cout, &self.packed.weights, &self.packed.bias, isa)?)
    }

    /// Panels `panels` of 16 outputs, of `batch` rows of features that lie `src_stride` floats apart; rows of exactly
    /// Cout outputs lie one after the other at `dst`.
    ///
    /// # Safety
    /// As [`Depthwise3x3::run_part`].
    pub unsafe fn run_part(
        &self,
        kernels: &Kernels,
        src: *const f32,
        src_stride: usize,
        dst: *mut f32,
        batch: usize,
        panels: Span,
    ) {
        let args = args::Linear {
            src,
            src_stride,
            dst,
            dst_stride: self.cout,
            weights: self.packed.weights.as_ptr(),
            bias: self.packed.bias.as_ptr(),
            cin: self.cin,
            cout: self.cout,
            batch,
            panels,
        };
        // SAFETY: the caller's promise; the weights' lengths were checked when the layer was made.
        unsafe { (kernels.linear.run)(&args) }
    }
}

fn check_stride(stride: usize) -> Result<(), Error> {
    if (1..=2).contains(&stride) {
        return Ok(());
    }
    Err(mnx_tensor::Error::Value { what: "stride", expected: "1 or 2", found: stride }.into())
}

fn check_channels(expected: usize, input: TensorView) -> Result<(), Error> {
    let found = input.shape();
    if found[1] == expected {
        return Ok(());
    }
    let expected = [found[0], expected, found[2], found[3]];
    Err(mnx_tensor::Error::Shape { what: "input", expected, found }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnx_tensor::ops::Padding;

    fn values(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i * 7919 % 1999) as f32 / 999.0 - 1.0).collect()
    }

    /// The two kinds of dense 3x3 have the same bits, and `forward` is what `ops` does with unpacked weights.
    #[test]
    fn dense_layers_are_their_convolutions() {
        let (cin, cout, bias) = (9, 19, values(19));
        let input = Tensor::from_slice([2, cin, 11, 8], &values(2 * cin * 88)).unwrap();
        let packed_bias = pack::bias(&bias, cout).unwrap();
        for (kernel, stride, padding) in [(3, 1, Padding::ONE), (3, 2, Padding::ONE), (7, 2, Padding::THREE)] {
            let weights = values(cout * cin * kernel * kernel);
            let packed = pack::panels(&weights, cout, cin * kernel * kernel).unwrap();
            let options = Conv { padding, ..Conv::default() };
            let all = Conv { stride, clamp: Clamp::RELU, ..options };
            let layer = Dense::new(&packed[..], &packed_bias[..], cin, cout, kernel, stride, Clamp::RELU).unwrap();
            let found = layer.forward(input.view(), &options).unwrap();
            let run = if kernel == 3 { ops::dense3x3 } else { ops::dense7x7 };
            assert_eq!(found.data(), run(input.view(), &weights, Some(&bias), &all).unwrap().data());
            if kernel == 3 {
                let layer = Conv3x3::new(&packed[..], &packed_bias[..], cin, cout, stride, Clamp::RELU).unwrap();
                assert_eq!(layer.forward(input.view(), &options).unwrap().data(), found.data());
                assert!(layer.forward(Tensor::zeros([1, 8, 5, 5]).unwrap().view(), &options).is_err());
            }
        }
    }

    #[test]
    fn kernels_strides_and_lengths_are_checked() {
        let bias = [0.0; 16];
        let dense =
            |kernel, stride, len: usize| Dense::new(vec![0.0; len], &bias[..], 3, 16, kernel, stride, Clamp::NONE);
        assert!(dense(3, 1, 16 * 27).is_ok() && dense(7, 2, 16 * 147).is_ok());
        assert!(dense(7, 1, 16 * 147).is_err() && dense(5, 2, 16 * 75).is_err() && dense(3, 3, 16 * 27).is_err());
        assert!(dense(7, 2, 16 * 27).is_err());
        assert!(Conv3x3::new(vec![0.0; 16 * 27], &bias[..], 3, 16, 3, Clamp::NONE).is_err());
        assert!(Conv3x3::new(vec![0.0; 16 * 26], &bias[..], 3, 16, 1, Clamp::NONE).is_err());
    }
}
