//! The kernels, each written once over [`Simd`](crate::simd::Simd). Only the entry points in [`table`](crate::table) call them.
//!
//! No vectors in `array::map`, `array::from_fn` and the like: they are not always inlined, and a call passes vectors
//! through memory. Loops over a tile's pixels are [`unrolled`](crate::constant); where a kernel has a plain one, the compiler keeps more
//! in registers with it (tools/check_kernels).

mod conv;
mod dense;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod depthwise_wide;
mod epilogue;
pub(crate) mod int8;
mod lanes;
mod linear;
mod maxpool;
mod pointwise;
// Only a row of AVX-512 uses it.
#[cfg(target_arch = "x86_64")]
mod pointwise_wide;
mod pool;
pub(crate) mod probes;

pub(crate) use conv::conv3x3;
pub(crate) use dense::dense;
pub(crate) use depthwise::depthwise;
#[cfg(target_arch = "x86_64")]
pub(crate) use depthwise_wide::depthwise_wide;
#[cfg(target_arch = "x86_64")]
pub(crate) use linear::F16c;
pub(crate) use linear::{Bf16, F16, F32, linear};
pub(crate) use maxpool::maxpool;
pub(crate) use pointwise::{pw, pw8};
#[cfg(target_arch = "x86_64")]
pub(crate) use pointwise_wide::pw_wide;
pub(crate) use pool::pool;

use crate::part::Span;

/// Cuts a span into tiles of at most `MAX` whose sizes differ by one at most: 49 in tiles of 6 is 4·6 + 5·5, so no lone
/// pixel is left at the end.
#[inline(always)]
pub(crate) fn balanced<const MAX: usize>(span: Span) -> impl Iterator<Item = (usize, usize)> {
    let tiles = span.len().div_ceil(MAX).max(1);
    let (small, larger) = (span.len() / tiles, span.len() % tiles);
    let mut next = span.start;
    (0..tiles).filter_map(move |i| {
        let (start, size) = (next, small + usize::from(i < larger));
        next += size;
        (size > 0).then_some((start, size))
    })
}

/// The same tiles as two runs of equal size: columns and size of the larger ones, then of the smaller.
#[inline(always)]
fn runs<const MAX: usize>(span: Span) -> [(Span, usize); 2] {
    let tiles = span.len().div_ceil(MAX).max(1);
    let (small, larger) = (span.len() / tiles, span.len() % tiles);
    let middle = span.start + larger * (small + 1);
    [((span.start..middle).into(), small + 1), ((middle..span.end).into(), small)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_and_are_balanced() {
        assert_eq!(balanced::<6>((0..49).into()).map(|t| t.1).collect::<Vec<_>>(), [6, 6, 6, 6, 5, 5, 5, 5, 5]);
        assert_eq!(balanced::<6>((3..3).into()).count(), 0);
        for n in 1..100 {
            let tiles: Vec<_> = balanced::<5>((7..7 + n).into()).collect();
            assert!(tiles.iter().all(|t| (1..=5).contains(&t.1)));
            assert_eq!(tiles.iter().map(|t| t.1).sum::<usize>(), n);
            assert!(tiles.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0 && w[0].1 - w[1].1 <= 1));
            let of_runs = runs::<5>((7..7 + n).into())
                .into_iter()
                .flat_map(|(columns, size)| (columns.start..columns.end).step_by(size).map(move |start| (start, size)));
            assert!(of_runs.eq(tiles));
        }
    }
}
