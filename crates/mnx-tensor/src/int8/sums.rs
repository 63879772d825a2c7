//! Sums of weights: the zero point's share in a layer's bias.

use crate::int8::GROUP;
use crate::{Operation, PANEL};

/// The sum of each output channel's packed weights.
///
/// # Panics
/// Where `weights` are not [`Operation::int8_weights_len`] bytes.
pub fn weight_sums(operation: Operation, [cin, cout]: [usize; 2], weights: &[i8]) -> Vec<i32> {
    assert_eq!(weights.len(), operation.int8_weights_len(cin, cout), "packed weights");
    let panels = cout.div_ceil(PANEL);
    let mut sums = vec![0; panels * PANEL];
    let per_panel = weights.len() / panels.max(1);
    for (sums, weights) in sums.chunks_exact_mut(PANEL).zip(weights.chunks_exact(per_panel.max(1))) {
        if operation.is_per_channel() {
            add_rows::<PANEL>(weights, sums);
        } else {
            add_groups(weights, sums);
        }
    }
    sums.truncate(cout);
    sums
}

/// Adds up a panel's rows of sixteen groups. Every weight goes through this at every start, so it is compiled for wider vectors
/// as well.
fn add_groups(weights: &[i8], sums: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::Avx2::new().is_some() {
        // SAFETY: the CPU has AVX2.
        return unsafe { add_groups_avx2(weights, sums) };
    }
    add_rows::<{ PANEL * GROUP }>(weights, sums);
}

/// # Safety
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_groups_avx2(weights: &[i8], sums: &mut [i32]) {
    add_rows::<{ PANEL * GROUP }>(weights, sums);
}

/// Adds up a panel's rows of `WIDTH` weights, which belong to sixteen channels.
///
/// Places are added up one by one in 16 bits, for as many rows as cannot overflow: the compiler turns that into vectors.
#[inline(always)]
fn add_rows<const WIDTH: usize>(weights: &[i8], sums: &mut [i32]) {
    const ROWS: usize = i16::MAX as usize / 128;
    for rows in weights.chunks(ROWS * WIDTH) {
        let mut places = [0_i16; WIDTH];
        for row in rows.as_chunks::<WIDTH>().0 {
            places.iter_mut().zip(row).for_each(|(sum, &w)| *sum += i16::from(w));
        }
        for (sum, places) in sums.iter_mut().zip(places.chunks_exact(WIDTH / PANEL)) {
            *sum = places.iter().fold(*sum, |sum, &place| sum.wrapping_add(i32::from(place)));
        }
    }
}
