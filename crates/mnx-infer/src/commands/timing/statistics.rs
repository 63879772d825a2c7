//! Summarises many samples in a few numbers.

use serde::Serialize;

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) median: f64,
    /// 90 % of the samples are this or less.
    pub(crate) p90: f64,
    /// 99 % of the samples are this or less.
    pub(crate) p99: f64,
}

impl Latency {
    /// Of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Latency {
        let sorted = sorted(samples);
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        Latency { min: sorted[0], median: median(&sorted), p90: sorted[rank(90)], p99: sorted[rank(99)] }
    }
}

/// The middle one of at least one value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Of at least one value: a quarter is this or less, a quarter this or more.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 2] {
    let sorted = sorted(values);
    let quarter = (sorted.len() - 1) / 4;
    [sorted[quarter], sorted[sorted.len() - 1 - quarter]]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Latency::of(&samples), Latency { min: 1.0, median: 50.5, p90: 90.0, p99: 99.0 });
        let quarters = [&samples[..], &samples[..20], &samples[..3], &samples[..1]].map(quartiles);
        assert_eq!(quarters, [[25.0, 76.0], [85.0, 96.0], [98.0, 100.0], [100.0, 100.0]]);
        assert_eq!(Latency::of(&[3.0]), Latency { min: 3.0, median: 3.0, p90: 3.0, p99: 3.0 });
        assert_eq!(Latency::of(&[3.0, 1.0, 2.0]), Latency { min: 1.0, median: 2.0, p90: 3.0, p99: 3.0 });
    }
}
