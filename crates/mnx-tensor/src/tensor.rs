//! Plain NCHW tensors.

use crate::{AlignedBuf, Error};

/// Number of elements of a shape, unless that overflows.
fn elements(shape: [usize; 4]) -> Result<usize, Error> {
    // A dimension of 0 does not make the others harmless: they must be countable by themselves.
    let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d.max(1)));
    // A slice may not be larger than isize::MAX bytes.
    let count = count.filter(|&n| n <= isize::MAX as usize / 4).ok_or(Error::TooLarge { shape })?;
    Ok(if shape.contains(&0) { 0 } else { count })
}

fn check(what: &'static str, shape: [usize; 4], found: usize) -> Result<(), Error> {
    let expected = elements(shape)?;
    if found == expected { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// An owned tensor `[N, C, H, W]` of f32, contiguous and aligned to 64 bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: [usize; 4],
    data: AlignedBuf,
}

impl Tensor {
    /// All zero.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the element count overflows, [`Error::Memory`] when there is no memory for them.
    pub fn zeros(shape: [usize; 4]) -> Result<Tensor, Error> {
        Ok(Tensor { shape, data: AlignedBuf::try_zeroed(elements(shape)?)? })
    }

    /// A copy of `values`, in NCHW order.
    ///
    /// # Errors
    /// [`Error::Length`] when there are not exactly N·C·H·W of them, [`Error::Memory`] when there is no memory for the copy.
    pub fn from_slice(shape: [usize; 4], values: &[f32]) -> Result<Tensor, Error> {
        check("tensor", shape, values.len())?;
        let mut data = AlignedBuf::try_zeroed(values.len())?;
        data.copy_from_slice(values);
        Ok(Tensor { shape, data })
    }

    /// As [`from_slice`](Tensor::from_slice), for values that are not needed otherwise. They are copied once, because a
    /// tensor is aligned and a vector need not be; a [`TensorView`] needs no copy.
    ///
    /// # Errors
    /// As [`from_slice`](Tensor::from_slice).
    pub fn from_vec(shape: [usize; 4], values: Vec<f32>) -> Result<Tensor, Error> {
        Tensor::from_slice(shape, &values)
    }

    /// `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values in NCHW order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values in NCHW order, to be written.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Borrowed.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: self.shape, data: &self.data }
    }
}

/// The same shape and the same numbers, as f32 compares them: NaN is equal to nothing.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.view() == other.view()
    }
}

/// A borrowed tensor `[N, C, H, W]` of f32, contiguous; any alignment that f32 allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: [usize; 4],
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// A view of `data` in NCHW order.
    ///
    /// # Errors
    /// [`Error::Length`] when there are not exactly N·C·H·W values.
    pub fn new(shape: [usize; 4], data: &'a [f32]) -> Result<Self, Error> {
        check("tensor view", shape, data.len())?;
        Ok(TensorView { shape, data })
    }

    /// `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values in NCHW order.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// The C·H·W values of picture `n`.
    ///
    /// # Panics
    /// When `n` is not under N.
    pub fn picture(&self, n: usize) -> &'a [f32] {
        // Where overflow is not checked, a huge `n` would come round to a picture that is there.
        assert!(n < self.shape[0], "picture {n} of {} pictures", self.shape[0]);
        let len = self.shape[1] * self.shape[2] * self.shape[3];
        &self.data[n * len..(n + 1) * len]
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> TensorView<'a> {
        tensor.view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "of 2 pictures")]
    fn a_picture_is_under_their_number() {
        let tensor = Tensor::from_slice([2, 1, 2, 4], &[0.5; 16]).unwrap();
        assert_eq!(tensor.view().picture(1), [0.5; 8]);
        // Times eight values it is 0 where overflow is not checked.
        tensor.view().picture(1 << (usize::BITS - 3));
    }

    #[test]
    fn equal_tensors_have_one_shape_and_the_same_numbers() {
        let tensor = Tensor::from_slice([1, 2, 1, 1], &[0.0, 2.0]).unwrap();
        assert_eq!(tensor, Tensor::from_slice([1, 2, 1, 1], &[-0.0, 2.0]).unwrap());
        assert_ne!(tensor, Tensor::from_slice([1, 1, 2, 1], &[0.0, 2.0]).unwrap());
        assert_ne!(tensor, Tensor::from_slice([1, 2, 1, 1], &[f32::NAN, 2.0]).unwrap());
        assert_eq!(TensorView::from(&tensor), tensor.view());
    }

    #[test]
    fn shapes_are_checked_and_never_overflow() {
        assert!(TensorView::new([1, 2, 3, 4], &[0.0; 24]).is_ok());
        let short = TensorView::new([1, 2, 3, 4], &[0.0; 23]).unwrap_err();
        assert_eq!(short, Error::Length { what: "tensor view", expected: 24, found: 23 });
        let huge = [usize::MAX, 2, 3, 4];
        assert_eq!(Tensor::zeros(huge).unwrap_err(), Error::TooLarge { shape: huge });
        let side = 1 << (usize::BITS / 2 + 8);
        let without_pictures = [0, side, side, 1];
        assert_eq!(Tensor::zeros(without_pictures).unwrap_err(), Error::TooLarge { shape: without_pictures });
        #[cfg(target_pointer_width = "64")]
        assert!(matches!(Tensor::zeros([1, 1, 1, 1 << 50]), Err(Error::Memory { .. })));
        assert_eq!(Tensor::zeros([0, 3, 1, 1]).unwrap().data().len(), 0);
        let tensor = Tensor::from_vec([1, 1, 2, 1], vec![1.0, 2.0]).unwrap();
        assert_eq!((tensor.shape(), tensor.data()), ([1, 1, 2, 1], &[1.0, 2.0][..]));
        let short = Tensor::from_vec([1, 1, 2, 1], vec![1.0]).unwrap_err();
        assert_eq!(short, Error::Length { what: "tensor", expected: 2, found: 1 });
    }
}
