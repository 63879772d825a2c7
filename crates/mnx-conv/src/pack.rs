//! The packings of a weight file, by name and dimensions.

use bytemuck::Pod;
use mnx_tensor::{AlignedBuf, BLOCK, PANEL, memory};

use crate::Error;

/// In which order a tensor is stored.
///
/// Output channels come in groups of [`lanes`](Packing::lanes) and input channels in groups of [`group`](Packing::group),
/// the number that one multiply-add takes together: 1 for f32, 4 for a dot product of bytes. So `[Cout, Cin, K, K]` is
/// stored as `[⌈Cout/lanes⌉][⌈Cin/group⌉][K·K][lanes][group]`. What fills up the last groups is zero.
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
    /// `pw16x4`: `[Cout, Cin, 1, 1]` as `[⌈Cout/16⌉][⌈Cin/4⌉][16][4]`.
    Pointwise16x4,
    /// `dense16x4`: `[Cout, Cin, K, K]` as `[⌈Cout/16⌉][⌈Cin/4⌉][K²][16][4]`, K = 3 or 7.
    Dense16x4,
    /// `dw16`: `[C, 1, 3, 3]` as `[⌈C/16⌉][9][16]`.
    Depthwise16,
    /// `linear16x4`: `[Cout, Cin]` as `[⌈Cout/16⌉][⌈Cin/4⌉][16][4]`.
    Linear16x4,
    /// `plain`: `[N]` as it is.
    Plain,
}

/// The dimensions that a packing is for.
struct Form {
    text: &'static str,
    suits: fn(&[usize]) -> bool,
}

const POINTWISE: Form = Form { text: "[Cout, Cin, 1, 1]", suits: |dims| matches!(dims, [_, _, 1, 1]) };
const DENSE: Form =
    Form { text: "[Cout, Cin, K, K], K = 3 or 7", suits: |dims| matches!(dims, [_, _, 3, 3] | [_, _, 7, 7]) };
const DEPTHWISE: Form = Form { text: "[C, 1, 3, 3]", suits: |dims| matches!(dims, [_, 1, 3, 3]) };
const LINEAR: Form = Form { text: "[Cout, Cin]", suits: |dims| matches!(dims, [_, _]) };
const VECTOR: Form = Form { text: "[C]", suits: |dims| matches!(dims, [_]) };

/// What there is to know of a packing.
struct Row {
    name: &'static str,
    lanes: usize,
    group: usize,
    form: Form,
}

impl Packing {
    /// Every packing.
    pub const ALL: &'static [Packing] = &[
        Packing::Pointwise16,
        Packing::Dense16,
        Packing::Depthwise8,
        Packing::Linear16,
        Packing::Bias16,
        Packing::Pointwise16x4,
        Packing::Dense16x4,
        Packing::Depthwise16,
        Packing::Linear16x4,
        Packing::Plain,
    ];

    fn row(self) -> Row {
        let (name, lanes, group, form) = match self {
            Packing::Pointwise16 => ("pw16", PANEL, 1, POINTWISE),
            Packing::Dense16 => ("dense16", PANEL, 1, DENSE),
            Packing::Depthwise8 => ("dw8", BLOCK, 1, DEPTHWISE),
            Packing::Linear16 => ("linear16", PANEL, 1, LINEAR),
            Packing::Bias16 => ("bias16", PANEL, 1, VECTOR),
            Packing::Pointwise16x4 => ("pw16x4", PANEL, 4, POINTWISE),
            Packing::Dense16x4 => ("dense16x4", PANEL, 4, DENSE),
            Packing::Depthwise16 => ("dw16", PANEL, 1, DEPTHWISE),
            Packing::Linear16x4 => ("linear16x4", PANEL, 4, LINEAR),
            Packing::Plain => ("plain", 1, 1, VECTOR),
        };
        Row { name, lanes, group, form }
    }

    /// Its name in a weight file.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Output channels that are stored side by side: 8 or 16, of a plain tensor 1.
    pub fn lanes(self) -> usize {
        self.row().lanes
    }

    /// Input channels that are stored side by side: 1 or 4.
    pub fn group(self) -> usize {
        self.row().group
    }

    /// Where elements of a tensor of these dimensions go, if `dims` suit the packing and their packed size can be counted.
    fn places(self, dims: &[usize]) -> Result<Places, Error> {
        let Row { name, lanes, group, form } = self.row();
        let places =
            dims.split_first().filter(|_| (form.suits)(dims) && !dims.contains(&0)).and_then(|(&outputs, rest)| {
                let (&inputs, kernel) = rest.split_first().unwrap_or((&1, &[]));
                let taps = kernel.iter().product();
                let depth = inputs.checked_next_multiple_of(group)?.checked_mul(taps)?;
                let packed = outputs.checked_next_multiple_of(lanes)?.checked_mul(depth)?;
                // A slice may not be larger than isize::MAX bytes.
                let fits = packed <= isize::MAX as usize / size_of::<f32>();
                fits.then_some(Places { outputs, inputs, taps, lanes, group, packed })
            });
        places.ok_or_else(|| Error::Dims { packing: name, expected: form.text, found: dims.to_vec() })
    }

    /// Elements of a packed tensor with these (logical) dimensions.
    ///
    /// # Errors
    /// [`Error::Dims`] for dimensions of another form, with a 0 among them, or whose product overflows.
    pub fn packed_len(self, dims: &[usize]) -> Result<usize, Error> {
        Ok(self.places(dims)?.packed)
    }

    /// Packs row-major `values`; unused lanes are zero.
    ///
    /// # Errors
    /// As [`pack_into`](Packing::pack_into); [`mnx_tensor::Error::Memory`] when there is no memory for them.
    pub fn pack(self, values: &[f32], dims: &[usize]) -> Result<AlignedBuf, Error> {
        let mut packed = AlignedBuf::try_zeroed(self.packed_len(dims)?)?;
        self.pack_into(values, dims, &mut packed[..])?;
        Ok(packed)
    }

    /// Packs row-major `values` into `packed`, unused lanes as zeros.
    ///
    /// ```
    /// # use mnx_conv as mnx;
    /// use mnx::Packing;
    ///
    /// // Two outputs of five inputs: two groups of four, of which the second has one input.
    /// let weights: [i8; 10] = [1, 2, 3, 4, 5, -1, -2, -3, -4, -5];
    /// let mut packed = [0_i8; 2 * 16 * 4];
    /// Packing::Pointwise16x4.pack_into(&weights, &[2, 5, 1, 1], &mut packed)?;
    /// assert_eq!(packed[..8], [1, 2, 3, 4, -1, -2, -3, -4]);
    /// assert_eq!(packed[64..72], [5, 0, 0, 0, -5, 0, 0, 0]);
    /// # Ok::<(), mnx_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dims`] as [`packed_len`](Packing::packed_len); [`mnx_tensor::Error::Length`] when there are not
    /// exactly as many values as `dims` say, or not as much room as they take.
    pub fn pack_into<T: Pod>(self, values: &[T], dims: &[usize], packed: &mut [T]) -> Result<(), Error> {
        let places = self.places(dims)?;
        check_len("values to pack", places.outputs * places.inputs * places.taps, values.len())?;
        check_len("room for packed values", places.packed, packed.len())?;
        packed.fill(T::zeroed());
        places.for_each(|i, at| packed[at] = values[i]);
        Ok(())
    }

    /// The reverse of [`pack_into`](Packing::pack_into).
    ///
    /// # Errors
    /// As [`pack_into`](Packing::pack_into); [`mnx_tensor::Error::Memory`] when there is no memory for the values.
    pub fn unpack<T: Pod>(self, packed: &[T], dims: &[usize]) -> Result<Vec<T>, Error> {
        let places = self.places(dims)?;
        check_len("packed values", places.packed, packed.len())?;
        let mut values = memory::room(places.outputs * places.inputs * places.taps)?;
        places.for_each(|_, at| values.push(packed[at]));
        Ok(values)
    }

    /// Index of the first element in an unused lane of which a bit is set (a negative zero has one): kernels count on
    /// zeros there.
    ///
    /// # Errors
    /// As [`pack_into`](Packing::pack_into).
    pub fn used_padding<T: Pod>(self, packed: &[T], dims: &[usize]) -> Result<Option<usize>, Error> {
        let places = self.places(dims)?;
        check_len("packed values", places.packed, packed.len())?;
        Ok(places.used_padding(packed))
    }
}

/// Where the elements of a tensor go.
struct Places {
    outputs: usize,
    inputs: usize,
    /// Rows times columns of the kernel.
    taps: usize,
    lanes: usize,
    group: usize,
    /// Elements, unused lanes included.
    packed: usize,
}

impl Places {
    /// Elements of one group of input channels, and of all of them, of one group of output channels.
    fn strides(&self) -> (usize, usize) {
        let inner = self.taps * self.lanes * self.group;
        (inner, self.inputs.div_ceil(self.group) * inner)
    }

    /// Calls `place` with the row-major and the packed index of every element, in row-major order.
    fn for_each(&self, mut place: impl FnMut(usize, usize)) {
        let (inner, outer) = self.strides();
        let mut index = 0;
        for output in 0..self.outputs {
            let of_output = output / self.lanes * outer + output % self.lanes * self.group;
            for input in 0..self.inputs {
                let of_input = of_output + input / self.group * inner + input % self.group;
                for tap in 0..self.taps {
                    place(index, of_input + tap * self.lanes * self.group);
                    index += 1;
                }
            }
        }
    }

    fn used_padding<T: Pod>(&self, packed: &[T]) -> Option<usize> {
        let (inner, outer) = self.strides();
        let whole_groups = self.inputs.is_multiple_of(self.group);
        for (n, panel) in packed.chunks_exact(outer).enumerate() {
            let outputs = (self.outputs - n * self.lanes).min(self.lanes);
            // Of a full panel, at most the last group of inputs has unused lanes.
            let start = match (outputs < self.lanes, whole_groups) {
                (true, _) => 0,
                (false, false) => outer - inner,
                (false, true) => continue,
            };
            for (i, of_lane) in panel[start..].chunks_exact(self.group).enumerate() {
                let (at, lane) = (start + i * self.group, i % self.lanes);
                let used = if lane < outputs { (self.inputs - at / inner * self.group).min(self.group) } else { 0 };
                let is_set = |value: &T| bytemuck::bytes_of(value).iter().any(|&byte| byte != 0);
                if let Some(k) = of_lane[used..].iter().position(is_set) {
                    return Some(n * outer + at + used + k);
                }
            }
        }
        None
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
            Packing::Pointwise16 | Packing::Pointwise16x4 => vec![cout, cin, 1, 1],
            Packing::Dense16 | Packing::Dense16x4 => vec![cout, cin, 3, 3],
            Packing::Depthwise8 | Packing::Depthwise16 => vec![cout, 1, 3, 3],
            Packing::Linear16 | Packing::Linear16x4 => vec![cout, cin],
            Packing::Bias16 | Packing::Plain => vec![cout],
        }
    }

    proptest! {
        #[test]
        fn packing_round_trips_and_pads_with_zeros(which in 0..Packing::ALL.len(), cout in 1..50_usize, cin in 1..9_usize) {
            let packing = Packing::ALL[which];
            let dims = dims(packing, cout, cin);
            let values: Vec<f32> = (1..=dims.iter().product()).map(|v: usize| v as f32).collect();
            let mut packed = packing.pack(&values, &dims).unwrap();
            prop_assert_eq!(packed.len(), packing.packed_len(&dims).unwrap());
            prop_assert_eq!(packing.unpack(&packed, &dims).unwrap(), values.clone());
            prop_assert_eq!(packing.used_padding(&packed, &dims).unwrap(), None);
            let bytes: Vec<i8> = values.iter().map(|&v| v as i8 | 1).collect();
            let mut packed_bytes = vec![99; packed.len()];
            packing.pack_into(&bytes, &dims, &mut packed_bytes).unwrap();
            prop_assert_eq!(packing.unpack(&packed_bytes, &dims).unwrap(), bytes);
            // A value anywhere that unpacking does not see is found, even a negative zero; other values are not padding.
            for i in 0..packed.len() {
                let before = std::mem::replace(&mut packed[i], -0.0);
                let padding = before == 0.0;
                prop_assert_eq!(packing.used_padding(&packed, &dims).unwrap(), padding.then_some(i));
                packed[i] = before;
                let before = std::mem::replace(&mut packed_bytes[i], i8::MIN);
                prop_assert_eq!(before == 0, padding);
                prop_assert_eq!(packing.used_padding(&packed_bytes, &dims).unwrap(), padding.then_some(i));
                packed_bytes[i] = before;
            }
        }
    }

    /// By the definition, element by element: place in a group of inputs, lane, row and column, group of inputs, panel.
    #[test]
    fn every_weight_is_where_the_format_says() {
        let (cout, cin) = (19, 3);
        for &packing in Packing::ALL {
            let dims = dims(packing, cout, cin);
            let depth: usize = dims[1..].iter().product();
            let values: Vec<f32> = (0..cout * depth).map(|v| v as f32).collect();
            let packed = packing.pack(&values, &dims).unwrap();
            let (lanes, group) = (packing.lanes(), packing.group());
            let taps: usize = dims.iter().skip(2).product();
            let groups = dims.get(1).copied().unwrap_or(1).div_ceil(group);
            for (i, &value) in values.iter().enumerate() {
                let (o, c, tap) = (i / depth, i % depth / taps, i % taps);
                let place = (((o / lanes * groups + c / group) * taps + tap) * lanes + o % lanes) * group + c % group;
                assert_eq!(packed[place], value, "{packing:?} {i}");
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
