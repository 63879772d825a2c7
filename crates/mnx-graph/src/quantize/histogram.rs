//! How often numbers of which size occur.

use mnx_tensor::memory;

/// Bins of each sign.
const BINS: usize = 4096;
/// Numbers that are smaller than 2 to this power are all in the first bin of their sign.
const LEAST_EXPONENT: i32 = -100;

/// Counts of numbers in bins of one width, for each sign.
///
/// The width is a power of two that suits the largest number. When a larger one comes, neighbouring bins become one. So the
/// counts depend on the numbers only, neither on their order nor on how they were divided among histograms.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// All numbers are below 2 to this power.
    exponent: i32,
    /// How many are zero. They are exact in every quantisation, so no bin counts them.
    zeros: u64,
    /// Those above zero, then those below, from small to large.
    counts: Vec<u64>,
}

/// Numbers of about the same size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    /// The middle of the bin.
    pub(super) center: f64,
    pub(super) count: u64,
}

impl Histogram {
    /// # Errors
    /// As [`memory::zeros`].
    pub(super) fn new() -> Result<Histogram, mnx_tensor::Error> {
        Ok(Histogram { exponent: LEAST_EXPONENT, zeros: 0, counts: memory::zeros(2 * BINS)? })
    }

    /// Adds finite numbers, of which none is larger than `largest`.
    pub(super) fn add(&mut self, numbers: &[f32], largest: f32) {
        self.widen(exponent_above(largest));
        // The product is exact, or so small that it belongs to the first bin.
        let per_unit = power_of_two(BINS.ilog2() as i32 - self.exponent);
        let mut zeros = 0;
        for &number in numbers {
            let bin = (number.abs() * per_unit) as usize;
            // A minus zero is not below zero.
            let sign = usize::from(number < 0.0);
            self.counts[sign * BINS + bin.min(BINS - 1)] += 1;
            zeros += u64::from(number == 0.0);
        }
        self.counts[0] -= zeros;
        self.zeros += zeros;
    }

    pub(super) fn merge(&mut self, other: &Histogram) {
        self.widen(other.exponent);
        let shift = self.shift(other.exponent);
        for (sign, counts) in other.counts.chunks_exact(BINS).enumerate() {
            for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                self.counts[sign * BINS + (bin >> shift)] += count;
            }
        }
        self.zeros += other.zeros;
    }

    /// Makes room for numbers below 2 to this power.
    fn widen(&mut self, exponent: i32) {
        if exponent <= self.exponent {
            return;
        }
        let narrow = self.exponent;
        self.exponent = exponent;
        let shift = self.shift(narrow);
        for counts in self.counts.chunks_exact_mut(BINS) {
            for bin in 0..BINS {
                let count = std::mem::take(&mut counts[bin]);
                counts[bin >> shift] += count;
            }
        }
    }

    /// By how many bits the number of a bin in a histogram of this exponent is shifted.
    fn shift(&self, exponent: i32) -> u32 {
        (self.exponent - exponent).clamp(0, 31).unsigned_abs()
    }

    /// How wide a bin is.
    pub(super) fn width(&self) -> f64 {
        f64::from_bits(((self.exponent + 1023) as u64) << 52) / BINS as f64
    }

    /// Bins that are not empty, without zeros, from the lowest numbers to the highest.
    pub(super) fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> {
        let (above, below) = self.counts.split_at(self.counts.len() / 2);
        let width = self.width();
        let bin = move |sign: f64, bin: usize, count: u64| Bin { center: sign * (bin as f64 + 0.5) * width, count };
        let below = below.iter().enumerate().rev().map(move |(i, &count)| bin(-1.0, i, count));
        let above = above.iter().enumerate().map(move |(i, &count)| bin(1.0, i, count));
        below.chain(above).filter(|bin| bin.count > 0)
    }
}

/// The least exponent of which the power of two is above a finite number's magnitude.
fn exponent_above(number: f32) -> i32 {
    let biased = (number.to_bits() >> 23 & 0xff) as i32;
    (biased - 126).max(LEAST_EXPONENT)
}

/// 2 to a power from −126 to 127.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[f32]) -> Histogram {
        let mut histogram = Histogram::new().unwrap();
        histogram.add(numbers, numbers.iter().fold(0.0, |most, number| number.abs().max(most)));
        histogram
    }

    #[test]
    fn numbers_are_counted_where_they_lie() {
        let histogram = of(&[0.0, -0.0, 3.0, 3.0001, -1.0, 1e-30, -1e-30]);
        assert_eq!(histogram.zeros, 2);
        let width = 4.0 / BINS as f64;
        assert_eq!(histogram.width(), width);
        let bins: Vec<_> = histogram.bins().map(|bin| (bin.center, bin.count)).collect();
        let half = width / 2.0;
        assert_eq!(bins, [(-1.0 - half, 1), (-half, 1), (half, 1), (3.0 + half, 2)]);
    }

    #[test]
    fn order_and_division_do_not_matter() {
        let numbers: Vec<f32> =
            (0..999).map(|i| ((i * 7919 % 1000) as f32 - 400.0) * 1.7_f32.powi(i % 40 - 25)).collect();
        let whole = of(&numbers);
        let mut parts = Histogram::new().unwrap();
        for part in numbers.chunks(10).rev() {
            parts.merge(&of(part));
        }
        assert_eq!(parts, whole);
        let mut grown = Histogram::new().unwrap();
        numbers.iter().for_each(|&number| grown.add(&[number], number.abs()));
        assert_eq!(grown, whole);
    }

    #[test]
    fn extremes_have_a_bin() {
        let histogram = of(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -1e-45]);
        assert_eq!(histogram.bins().map(|bin| bin.count).collect::<Vec<_>>(), [1, 1, 2, 1]);
        assert!(histogram.bins().all(|bin| bin.center.is_finite()));
        assert_eq!(of(&[1e-45]).bins().count(), 1);
        assert_eq!(of(&[]).bins().count(), 0);
    }
}
