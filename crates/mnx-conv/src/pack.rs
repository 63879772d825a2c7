//! The packings of a weight file, by name and dimensions.

use mnx_tensor::{AlignedBuf, pack};

use crate::Error;

/// In which order a tensor is stored: output channels in groups of [`lanes`](Packing::lanes), and within a group
/// lane by lane for every weight of a channel (input channel, row, column). A weight file stores it like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// `pw16`: `[Cout, Cin, 1, 1]` as `[⌈Cout/16⌉][Cin][16]`.
    Pointwise16,
    /// `dense16`: `[Cout, Cin, K, K]` as `[⌈Cout/16⌉][Cin·K²][16]`, K = 3 or 7.
    Dense16,
    /// `dw8`: `[C, 1, 3, 3]` as `[⌈C/8⌉][9][8]`.
    Depthwise8,
    /// `linear16`: `[Cout, Cin]` as `[⌈Cout/16⌉][Cin][16]`.
    Linear16,
    /// `bias16`: `[C]`, up to a multiple of 16.
    Bias16,
}

impl Packing {
    /// Every packing.
    pub const ALL: [Packing; 5] =
        [Packing::Pointwise16, Packing::Dense16, Packing::Depthwise8, Packing::Linear16, Packing::Bias16];

    /// Its name in a weight file.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Pointwise16 => "pw16",
            Packing::Dense16 => "dense16",
            Packing::Depthwise8 => "dw8",
            Packing::Linear16 => "linear16",
            Packing::Bias16 => "bias16",
        }
    }

    /// Output channels of a group: 8 or 16.
    pub fn lanes(self) -> usize {
        if self == Packing::Depthwise8 { mnx_tensor::BLOCK } else { mnx_tensor::PANEL }
    }

    /// `(output channels, weights of each)`, if `dims` suit the packing and their packed size can be counted.
    fn rows(self, dims: &[usize]) -> Result<(usize, usize), Error> {
        let (suits, expected) = match self {
            Packing::Pointwise16 => (matches!(dims, [_, _, 1, 1]), "[Cout, Cin, 1, 1]"),
            Packing::Dense16 => (matches!(dims, [_, _, 3, 3] | [_, _, 7, 7]), "[Cout, Cin, K, K], K = 3 or 7"),
            Packing::Depthwise8 => (matches!(dims, [_, 1, 3, 3]), "[C, 1, 3, 3]"),
            Packing::Linear16 => (matches!(dims, [_, _]), "[Cout, Cin]"),
            Packing::Bias16 => (matches!(dims, [_]), "[C]"),
        };
        let rows = dims.split_first().filter(|_| suits && !dims.contains(&0)).and_then(|(&outputs, rest)| {
            let depth = rest.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim))?;
            let packed = outputs.checked_next_multiple_of(self.lanes())?.checked_mul(depth)?;
            // A slice may not be larger than isize::MAX bytes.
            (packed <= isize::MAX as usize / size_of::<f32>()).then_some((outputs, depth))
        });
        rows.ok_or_else(|| Error::Dims { packing: self.name(), expected, found: dims.to_vec() })
    }

    /// Floats of a packed tensor with these (logical) dimensions.
    ///
    /// # Errors
    /// [`Error::Dims`] for dimensions of another form, with a 0 among them, or whose product overflows.
    pub fn packed_len(self, dims: &[usize]) -> Result<usize, Error> {
        let (outputs, depth) = self.rows(dims)?;
        Ok(outputs.next_multiple_of(self.lanes()) * depth)
    }

    /// Packs row-major `values`; unused lanes are zero.
    ///
    /// # Errors
    /// [`Error::Dims`] as [`packed_len`](Packing::packed_len); [`mnx_tensor::Error::Length`] when there are not
    /// exactly as many values as `dims` say, [`mnx_tensor::Error::Memory`] when there is no memory for them.
    pub fn pack(self, values: &[f32], dims: &[usize]) -> Result<AlignedBuf, Error> {
        let (outputs, depth) = self.rows(dims)?;
        check_len("values to pack", outputs * depth, values.len())?;
        Ok(match self {
            Packing::Depthwise8 => pack::blocks(values, outputs, depth)?,
            _ => pack::panels(values, outputs, depth)?,
        })
    }

    /// The reverse of [`pack`](Packing::pack).
    ///
    /// # Errors
    /// As [`pack`](Packing::pack).
    pub fn unpack(self, packed: &[f32], dims: &[usize]) -> Result<Vec<f32>, Error> {
        let (outputs, depth) = self.rows(dims)?;
        check_len("packed values", self.packed_len(dims)?, packed.len())?;
        Ok(match self {
            Packing::Depthwise8 => pack::unpack_blocks(packed, outputs, depth),
            _ => pack::unpack_panels(packed, outputs, depth),
        })
    }

    /// Index of the first value in an unused lane that is not (positive) zero: kernels count on zeros there.
    ///
    /// # Errors
    /// As [`pack`](Packing::pack).
    pub fn used_padding(self, packed: &[f32], dims: &[usize]) -> Result<Option<usize>, Error> {
        let (outputs, depth) = self.rows(dims)?;
        check_len("packed values", self.packed_len(dims)?, packed.len())?;
        let used = outputs % self.lanes();
        if used == 0 {
            return Ok(None);
        }
        // Only the last group has unused lanes.
        let start = packed.len() - depth * self.lanes();
        let spoilt = |(i, v): (usize, &f32)| i % self.lanes() >= used && v.to_bits() != 0;
        Ok(packed[start..].iter().enumerate().position(spoilt).map(|i| start + i))
    }
}

fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(mnx_tensor::Error::Length { what, expected, found }.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dims(packing: Packing, cout: usize, cin: usize) -> Vec<usize> {
        match packing {
            Packing::Pointwise16 => vec![cout, cin, 1, 1],
            Packing::Dense16 => vec![cout, cin, 3, 3],
            Packing::Depthwise8 => vec![cout, 1, 3, 3],
            Packing::Linear16 => vec![cout, cin],
            Packing::Bias16 => vec![cout],
        }
    }

    proptest! {
        #[test]
        fn packing_round_trips_and_pads_with_zeros(which in 0..5_usize, cout in 1..50_usize, cin in 1..9_usize) {
            let packing = Packing::ALL[which];
            let dims = dims(packing, cout, cin);
            let values: Vec<f32> = (1..=dims.iter().product()).map(|v: usize| v as f32).collect();
            let mut packed = packing.pack(&values, &dims).unwrap();
            prop_assert_eq!(packed.len(), packing.packed_len(&dims).unwrap());
            prop_assert_eq!(packing.unpack(&packed, &dims).unwrap(), values);
            prop_assert_eq!(packing.used_padding(&packed, &dims).unwrap(), None);
            // A value anywhere that unpacking does not see is found, even a negative zero; other values are not padding.
            for i in 0..packed.len() {
                let before = std::mem::replace(&mut packed[i], -0.0);
                let padding = before == 0.0;
                prop_assert_eq!(packing.used_padding(&packed, &dims).unwrap(), padding.then_some(i));
                packed[i] = before;
            }
        }
    }

    /// Lane, then input channel, row and column, then group: by the definition, element by element.
    #[test]
    fn every_weight_is_where_the_format_says() {
        let (cout, cin) = (19, 3);
        for packing in Packing::ALL {
            let dims = dims(packing, cout, cin);
            let depth: usize = dims[1..].iter().product();
            let values: Vec<f32> = (0..cout * depth).map(|v| v as f32).collect();
            let packed = packing.pack(&values, &dims).unwrap();
            for (i, &value) in values.iter().enumerate() {
                let (o, k, lanes) = (i / depth, i % depth, packing.lanes());
                assert_eq!(packed[o / lanes * depth * lanes + k * lanes + o % lanes], value, "{packing:?} {i}");
            }
        }
    }

    #[test]
    fn dense_filters_may_have_seven_rows() {
        let values: Vec<f32> = (0..17 * 3 * 49).map(|v| v as f32).collect();
        let packed = Packing::Dense16.pack(&values, &[17, 3, 7, 7]).unwrap();
        assert_eq!(packed.len(), 32 * 3 * 49);
        // Input channel 2, last row and column, of output channel 16: the second panel's first lane.
        assert_eq!(packed[(3 * 49 + 2 * 49 + 48) * 16], values[16 * 3 * 49 + 2 * 49 + 48]);
        assert_eq!(Packing::Dense16.unpack(&packed, &[17, 3, 7, 7]).unwrap(), values);
    }

    #[test]
    fn dimensions_and_lengths_are_checked() {
        let wrong: [(Packing, &[usize]); 10] = [
            (Packing::Pointwise16, &[8, 8, 3, 3]),
            (Packing::Pointwise16, &[8, 0, 1, 1]),
            (Packing::Pointwise16, &[usize::MAX - 3, 8, 1, 1]),
            (Packing::Dense16, &[8, 8, 3, 7]),
            (Packing::Dense16, &[8, 8, 5, 5]),
            (Packing::Dense16, &[usize::MAX / 16, usize::MAX / 16, 3, 3]),
            (Packing::Depthwise8, &[8, 2, 3, 3]),
            (Packing::Linear16, &[8]),
            (Packing::Linear16, &[1 << (usize::BITS - 24), 1 << 21]),
            (Packing::Bias16, &[]),
        ];
        for (packing, dims) in wrong {
            let error = packing.packed_len(dims).unwrap_err();
            assert!(matches!(error, Error::Dims { .. }), "{packing:?} {dims:?}");
        }
        assert!(matches!(Packing::Bias16.pack(&[0.0; 3], &[4]), Err(Error::Tensor(_))));
        assert!(matches!(Packing::Bias16.unpack(&[0.0; 4], &[4]), Err(Error::Tensor(_))));
        assert!(matches!(Packing::Bias16.used_padding(&[0.0; 4], &[4]), Err(Error::Tensor(_))));
    }
}
