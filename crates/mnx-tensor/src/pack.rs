//! Weights in the order in which kernels read them. The same packed bytes serve every ISA, so weight files store them packed.
//!
//! | layer | logical dims | packed |
//! | --- | --- | --- |
//! | depthwise KxK | `[C][1][K][K]` | `[C/8][K²][8]` |
//! | pointwise, linear | `[Cout][Cin]` | `[Cout/16][Cin][16]` |
//! | dense KxK | `[Cout][Cin][K][K]` | `[Cout/16][Cin·K²][16]` |
//! | bias | `[C]` | `[C]`, up to whole panels of 16 |
//!
//! Lanes past the last channel are zero.

use crate::{AlignedBuf, BLOCK, Error};

/// Output channels of a panel of packed pointwise, dense or linear weights.
pub const PANEL: usize = 16;

/// `outputs` rows of `depth` values (row-major) into groups of `LANES` rows: `[outputs/LANES][depth][LANES]`.
fn interleave<const LANES: usize>(rows: &[f32], outputs: usize, depth: usize) -> Result<AlignedBuf, Error> {
    let mut packed = AlignedBuf::try_zeroed(outputs.div_ceil(LANES).saturating_mul(depth).saturating_mul(LANES))?;
    for (o, row) in rows.chunks_exact(depth.max(1)).take(outputs).enumerate() {
        for (k, &value) in row.iter().enumerate() {
            packed[(o / LANES * depth + k) * LANES + o % LANES] = value;
        }
    }
    Ok(packed)
}

/// `cout` rows of `depth` weights into panels. `depth` is Cin of a pointwise or linear layer, Cin·K² of a dense KxK.
///
/// # Errors
/// [`Error::Memory`] when there is no memory for them.
///
/// # Panics
/// When there are fewer than `cout · depth` weights.
pub fn panels(weights: &[f32], cout: usize, depth: usize) -> Result<AlignedBuf, Error> {
    interleave::<PANEL>(&weights[..cout.saturating_mul(depth)], cout, depth)
}

/// `channels` depthwise filters of `depth` weights (9 of a 3x3) into blocks.
///
/// # Errors
/// [`Error::Memory`] when there is no memory for them.
///
/// # Panics
/// When there are fewer than `channels · depth` weights.
pub fn blocks(weights: &[f32], channels: usize, depth: usize) -> Result<AlignedBuf, Error> {
    interleave::<BLOCK>(&weights[..channels.saturating_mul(depth)], channels, depth)
}

/// A bias, or zeros where there is none, up to whole panels.
///
/// # Errors
/// [`Error::Memory`] when there is no memory for it.
///
/// # Panics
/// When there are more values than `channels`.
pub fn bias(values: &[f32], channels: usize) -> Result<AlignedBuf, Error> {
    let mut packed = AlignedBuf::try_zeroed(bias_len(channels))?;
    packed[..channels][..values.len()].copy_from_slice(values);
    Ok(packed)
}

/// Floats that [`bias`](bias()) makes; `usize::MAX`, which no slice has, if they cannot be counted.
pub fn bias_len(channels: usize) -> usize {
    channels.div_ceil(PANEL).saturating_mul(PANEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reverse of [`interleave`].
    fn separate<const LANES: usize>(packed: &[f32], outputs: usize, depth: usize) -> Vec<f32> {
        let at = |i: usize| packed[(i / depth / LANES * depth + i % depth) * LANES + i / depth % LANES];
        (0..outputs * depth).map(at).collect()
    }

    #[test]
    fn lanes_past_the_last_channel_are_zero() {
        let packed = panels(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2).unwrap();
        assert_eq!(packed.len(), 32);
        assert_eq!(&packed[..4], [1.0, 3.0, 5.0, 0.0]);
        assert_eq!(&packed[16..20], [2.0, 4.0, 6.0, 0.0]);
        assert_eq!(bias(&[7.0], 1).unwrap().iter().sum::<f32>(), 7.0);
        assert_eq!(bias(&[], 17).unwrap().len(), 32);
    }

    proptest! {
        #[test]
        fn packing_round_trips(cout in 1_usize..70, depth in 1_usize..40) {
            let weights: Vec<f32> = (0..cout * depth).map(|v| v as f32 + 1.0).collect();
            let packed = panels(&weights, cout, depth).unwrap();
            prop_assert_eq!(packed.len(), cout.div_ceil(16) * 16 * depth);
            prop_assert_eq!(packed.iter().filter(|&&v| v != 0.0).count(), weights.len());
            prop_assert_eq!(separate::<PANEL>(&packed, cout, depth), weights);

            let filters: Vec<f32> = (0..cout * 9).map(|v| v as f32 + 1.0).collect();
            let packed = blocks(&filters, cout, 9).unwrap();
            prop_assert_eq!(packed.len(), cout.div_ceil(8) * 72);
            prop_assert_eq!(separate::<BLOCK>(&packed, cout, 9), filters);
        }
    }
}
