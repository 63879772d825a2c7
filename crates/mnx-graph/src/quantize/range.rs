//! From what a value held to its scale and zero point.

use std::fmt;

use super::calibration::Statistics;
use super::histogram::Bin;
use crate::Quantization;

/// Steps from one end of the numbers that u8 stands for to the other.
pub(super) const STEPS: f64 = 255.0;
/// The smallest scale that is chosen, 2⁻⁶⁰. Numbers far below it are zero beside any others, and smaller scales would leave the
/// scales of weights and biases no room.
const LEAST_SCALE: f32 = f32::from_bits((127 - 60) << 23);
/// How many thresholds are tried for each end of a range.
const CANDIDATES: u32 = 128;
/// How often the search goes from one end of a range to the other.
const ROUNDS: usize = 8;

/// How the range of a value is chosen from what it held.
///
/// A range always contains 0. What lies outside is clipped to its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// From the least to the largest number: nothing that calibration saw is clipped.
    MinMax,
    /// The smallest range that clips, on each side, at most 100 minus this many percent of the numbers. Zeros count.
    /// [`Method::PERCENTILE`] is a usual choice. Values from 50 to 100 make sense; others count as the nearest of these.
    Percentile(f64),
    /// The range with the least mean square of the error that clipping and rounding make.
    Mse,
}

impl Method {
    /// At most 0.01 % of the numbers are clipped on each side.
    pub const PERCENTILE: Method = Method::Percentile(99.99);

    /// Its name on the command line: `minmax`, `percentile` or `mse`.
    pub fn name(self) -> &'static str {
        match self {
            Method::MinMax => "minmax",
            Method::Percentile(_) => "percentile",
            Method::Mse => "mse",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Percentile(percent) => f.pad(&format!("percentile {percent}")),
            method => f.pad(method.name()),
        }
    }
}

impl Default for Method {
    /// [`Method::Mse`]: the logits came nearest to those in f32 where it was measured, see docs/int8.md.
    fn default() -> Method {
        Method::Mse
    }
}

/// The range of a value: `low` is 0 or below, `high` 0 or above.
pub(super) fn range(of: &Statistics, method: Method) -> (f64, f64) {
    let whole = (f64::from(of.lowest()).min(0.0), f64::from(of.highest()).max(0.0));
    match method {
        Method::MinMax => whole,
        Method::Percentile(percentile) => by_percentile(of, percentile, whole),
        Method::Mse => by_error(of, whole),
    }
}

fn by_percentile(of: &Statistics, percentile: f64, (low, high): (f64, f64)) -> (f64, f64) {
    let share = 1.0 - percentile.clamp(50.0, 100.0) / 100.0;
    let allowed = (of.count as f64 * share).round() as u64;
    let half = of.histogram.width() / 2.0;
    // The far edge of the first bin that may not be clipped as a whole.
    let edge = |bins: &mut dyn Iterator<Item = Bin>| {
        let mut clipped = 0;
        for bin in bins {
            clipped += bin.count;
            if clipped > allowed {
                return bin.center.abs() + half;
            }
        }
        0.0
    };
    let above = edge(&mut of.histogram.bins().rev().take_while(|bin| bin.center > 0.0));
    let below = edge(&mut of.histogram.bins().take_while(|bin| bin.center < 0.0));
    (low.max(-below), high.min(above))
}

/// Moves one end of the range after the other to where the error is least, until neither moves.
fn by_error(of: &Statistics, whole: (f64, f64)) -> (f64, f64) {
    let bins: Vec<Bin> = of.histogram.bins().collect();
    let mut best = whole;
    let mut least = squared_error(&bins, best);
    for _ in 0..ROUNDS {
        let before = best;
        for step in 1..=CANDIDATES {
            let share = f64::from(step) / f64::from(CANDIDATES);
            for tried in [(best.0, whole.1 * share), (whole.0 * share, best.1)] {
                let error = squared_error(&bins, tried);
                if error < least {
                    (best, least) = (tried, error);
                }
            }
        }
        if best == before {
            break;
        }
    }
    best
}

/// The sum of squared errors if the range is this one.
fn squared_error(bins: &[Bin], (low, high): (f64, f64)) -> f64 {
    let step = (high - low) / STEPS;
    if step <= 0.0 {
        return bins.iter().map(|bin| bin.count as f64 * bin.center * bin.center).sum();
    }
    let zero = (-low / step).round_ties_even();
    let error = |bin: &Bin| {
        let number = (bin.center / step).round_ties_even().clamp(-zero, STEPS - zero);
        let error = bin.center - number * step;
        bin.count as f64 * error * error
    };
    bins.iter().map(error).sum()
}

/// Scale and zero point of a range from `low`, 0 or below, to `high`, 0 or above. `None` if the scale would be too large for
/// a weight file.
pub(super) fn quantization((low, high): (f64, f64)) -> Option<Quantization> {
    if low == 0.0 && high == 0.0 {
        return Some(Quantization { scale: 1.0, zero_point: 0 });
    }
    let scale = (((high - low) / STEPS) as f32).max(LEAST_SCALE);
    // Rounded to the nearest, so that the end of larger magnitude moves by half a step at most.
    let zero_point = (-low / f64::from(scale)).round_ties_even().clamp(0.0, STEPS) as u8;
    (scale <= super::LARGEST_SCALE).then_some(Quantization { scale, zero_point })
}

/// Scale and zero point of the input, whose numbers are made of bytes: they lie on a grid of about as many numbers as u8 has.
/// If the grid falls just between the steps, as pixels from −1 to 1 do, every number is rounded by half a step. Then slightly
/// larger steps, which meet the grid here and there, cost less. So a few are tried, around the range that `method` chooses and
/// around the whole one.
pub(super) fn input_quantization(of: &Statistics, method: Method) -> Option<Quantization> {
    let bins: Vec<_> = of.histogram.bins().collect();
    let tried = [method, Method::MinMax].into_iter().flat_map(|method| {
        let (low, high) = range(of, method);
        [0.0, 1.0, 2.0].map(|steps| {
            let wider = 1.0 + steps / STEPS;
            quantization((low * wider, high * wider))
        })
    });
    let noise = |of: &Quantization| squared_error(&bins, limits(*of));
    tried.flatten().min_by(|a, b| noise(a).total_cmp(&noise(b)))
}

/// The least and the largest real number that a quantised value can hold.
pub(super) fn limits(of: Quantization) -> (f64, f64) {
    let (scale, zero) = (f64::from(of.scale), f64::from(of.zero_point));
    // Not a minus zero.
    (0.0 - zero * scale, (STEPS - zero) * scale)
}

/// What quantising a value does to the numbers that it held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loss {
    /// Share of the numbers that are clipped, 0 to 1. A number within half a step of the range is rounded, not clipped.
    pub(super) clipped: f64,
    /// Sum of the squares of errors.
    pub(super) noise: f64,
}

impl Loss {
    pub(super) fn new(of: &Statistics, quantization: Quantization) -> Loss {
        let (low, high) = limits(quantization);
        let half = f64::from(quantization.scale) / 2.0;
        let outside = |number: f64| number < low - half || number > high + half;
        let clips = outside(of.lowest().into()) || outside(of.highest().into());
        let clipped = of.histogram.bins().filter(|bin| outside(bin.center)).map(|bin| bin.count).sum::<u64>();
        let bins: Vec<_> = of.histogram.bins().collect();
        Loss {
            clipped: if clips { clipped as f64 / of.count.max(1) as f64 } else { 0.0 },
            noise: squared_error(&bins, (low, high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calibration::tests::statistics;
    use super::*;

    fn found(low: f64, high: f64) -> (f32, u8) {
        let Quantization { scale, zero_point } = quantization((low, high)).unwrap();
        (scale, zero_point)
    }

    #[test]
    fn zero_is_exact_and_the_range_is_covered() {
        assert_eq!(found(0.0, 6.0), ((6.0_f64 / 255.0) as f32, 0));
        assert_eq!(found(-255.0, 0.0), (1.0, 255));
        assert_eq!(found(-1.0, 254.0), (1.0, 1));
        // Ties go to the even number.
        assert_eq!((found(-0.5, 254.5).1, found(-1.5, 253.5).1), (0, 2));
        for (low, high) in [(-3.7, 9.1), (-0.001, 6.0), (-2.118, 2.64), (-1e-3, 1e-6)] {
            let of = quantization((low, high)).unwrap();
            let step = f64::from(of.scale);
            let (least, largest) = limits(of);
            assert!((least - low).abs() <= 0.5001 * step && (largest - high).abs() <= 0.5001 * step, "{low} {high}");
        }
    }

    #[test]
    fn extremes_give_scales_that_a_file_may_have() {
        assert_eq!(found(0.0, 0.0), (1.0, 0));
        assert_eq!(found(0.0, 1e-40), (LEAST_SCALE, 0));
        assert_eq!(found(-1e-45, 0.0), (LEAST_SCALE, 0));
        assert_eq!(found(-1e-12, 1e-12).0, (2e-12_f64 / 255.0) as f32);
        let largest = f64::from(super::super::LARGEST_SCALE) * 255.0;
        assert_eq!(found(0.0, largest).0, super::super::LARGEST_SCALE);
        assert_eq!(quantization((0.0, largest * 1.001)), None);
        assert_eq!(quantization((f64::from(f32::MIN), f64::from(f32::MAX))), None);
    }

    #[test]
    fn methods_choose_their_ranges() {
        // 9,990 numbers from -1 to 1, and ten outliers above.
        let mut numbers: Vec<f32> = (0..9990).map(|i| (i as f32 - 4995.0) / 4995.0).collect();
        numbers.extend([100.0; 10]);
        let of = statistics(&numbers);
        assert_eq!(range(&of, Method::MinMax), (-1.0, 100.0));
        let (low, high) = range(&of, Method::Percentile(99.9));
        assert!((-1.0..-0.97).contains(&low) && (0.97..1.04).contains(&high), "{low} {high}");
        assert_eq!(range(&of, Method::Percentile(100.0)), (-1.0, 100.0));
        let clipped = Loss::new(&of, quantization((low, high)).unwrap()).clipped;
        assert!((0.0009..0.0031).contains(&clipped), "{clipped}");
        // Few outliers, far away, cost more than coarser steps do.
        assert!(range(&of, Method::Mse).1 > 90.0);
        // Against n numbers from 0 to 1, one outlier at 1.5 is clipped at 1.5 / (1 + n / (12 · 255²)), but not below 1.
        for (count, expected) in [(100_000, 1.33), (1_000_000, 1.0)] {
            let mut numbers: Vec<f32> = (0..count).map(|i| (i % 1000) as f32 / 1000.0).collect();
            numbers.push(1.5);
            let (low, high) = range(&statistics(&numbers), Method::Mse);
            assert!(low == 0.0 && (high - expected).abs() < 0.03, "{high}, not {expected}");
        }
    }

    #[test]
    fn ranges_contain_zero_and_stay_within_what_was_seen() {
        for numbers in [&[2.0_f32, 3.0][..], &[-2.0, -3.0], &[0.0, 0.0], &[6.0; 9], &[-1e-30, 1e30]] {
            let of = statistics(numbers);
            let least = f64::from(of.lowest()).min(0.0);
            let largest = f64::from(of.highest()).max(0.0);
            for method in [Method::MinMax, Method::PERCENTILE, Method::Percentile(0.0), Method::Mse] {
                let (low, high) = range(&of, method);
                assert!(least <= low && low <= 0.0 && 0.0 <= high && high <= largest, "{method:?} {numbers:?}");
            }
        }
    }

    #[test]
    fn a_grid_between_the_steps_is_avoided() {
        let pixels: Vec<f32> = (0..=255).map(|byte| byte as f32 / 127.5 - 1.0).collect();
        let of = statistics(&pixels);
        let noise = |quantization| Loss::new(&of, quantization).noise;
        let plain = noise(quantization(range(&of, Method::MinMax)).unwrap());
        for method in [Method::MinMax, Method::PERCENTILE, Method::Mse] {
            let found = input_quantization(&of, method).unwrap();
            assert!(noise(found) < plain / 2.5, "{} {plain}", noise(found));
        }
        // Numbers that do not lie on a grid are best off with the smallest steps.
        let spread: Vec<f32> = (0..9999).map(|i| (i as f32 * 0.618_034).fract() * 4.0 - 1.7).collect();
        let of = statistics(&spread);
        assert_eq!(input_quantization(&of, Method::MinMax), quantization(range(&of, Method::MinMax)));
    }

    #[test]
    fn nothing_is_clipped_by_the_whole_range() {
        let of = statistics(&[-1.0, 0.0, 0.3, 6.0]);
        let loss = Loss::new(&of, quantization(range(&of, Method::MinMax)).unwrap());
        assert_eq!(loss.clipped, 0.0);
        assert!(loss.noise > 0.0 && loss.noise < 1e-3);
        let of = statistics(&[0.0; 7]);
        assert_eq!(Loss::new(&of, quantization((0.0, 0.0)).unwrap()), Loss { clipped: 0.0, noise: 0.0 });
    }
}
