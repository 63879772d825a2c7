//! Measurements in turns, beside what the machine can do at that time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mnx_tensor::peak::{dot_peak, fma_peak};
use mnx_tensor::{Arithmetic, Isa};

/// On a machine of one's own the peaks of the rounds differ by a few percent. benches/peers has the same limit.
const BUSY: f64 = 1.1;
/// Nothing is faster than the peak. What is measured to be, was not measured beside it.
const TOO_FAST: f64 = 1.06;

/// Seconds of one call, from so many that they take a turn.
pub fn time(turn: Duration, mut run: impl FnMut()) -> f64 {
    let (start, mut calls) = (Instant::now(), 0);
    while calls == 0 || start.elapsed() < turn {
        run();
        calls += 1;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

/// The middle one, of an even number the larger of two.
///
/// # Panics
/// Where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What all rounds gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of the rounds' values.
    ///
    /// # Panics
    /// Where there is none.
    pub fn of(values: &[f64]) -> Spread {
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        Spread { median: median(values.to_vec()), least, most }
    }

    /// How often as fast `a` is as `b`, by the seconds of each in the same rounds; of five rounds or more without the least and
    /// the most, which one interruption makes.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Spread {
        let mut ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
        ratios.sort_by(f64::total_cmp);
        let rest = if ratios.len() < 5 { &ratios[..] } else { &ratios[1..ratios.len() - 1] };
        Spread::of(rest)
    }
}

/// Peak rates of this thread, in what [`Shape::operations`](crate::Shape::operations) counts.
#[derive(Debug, Default)]
pub struct Peaks {
    rounds: BTreeMap<Arithmetic, (Option<Isa>, Vec<f64>)>,
    /// What the machine was busy in, of all that was measured.
    busy: usize,
    measured: usize,
}

impl Peaks {
    /// The peak for kernels in an arithmetic in this moment, which counts as one of the rounds.
    pub fn measure(&mut self, arithmetic: Arithmetic, each: Duration) -> f64 {
        let (rate, isa) = match arithmetic {
            Arithmetic::Int8 => dot_peak(each),
            _ => fma_peak(each),
        };
        let (of, rounds) = self.rounds.entry(arithmetic).or_default();
        *of = Some(isa);
        rounds.push(rate);
        rate
    }

    /// Takes note of a measurement: the peaks in its rounds, and its share of them beside the most that it can have.
    pub fn judge(&mut self, peaks: &[f64], share: f64, most: f64) {
        let differ = !peaks.is_empty() && Spread::of(peaks).most > BUSY * Spread::of(peaks).least;
        self.busy += usize::from(differ || share > TOO_FAST * most);
        self.measured += 1;
    }

    /// A line for those whose machine did something else meanwhile.
    pub fn warning(&self) -> Option<String> {
        let (busy, all) = (self.busy, self.measured);
        let line = format!(
            "The machine was busy: in {busy} of {all} rows the peak's rounds differ by more than {BUSY} x, or a kernel has over \
             {:.0} % of what the peak allows. Measure again when nothing else runs.",
            100.0 * TOO_FAST
        );
        (busy > 0).then_some(line)
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rounds.is_empty() {
            return f.write_str("No peak: nothing here multiplies");
        }
        f.write_str("Peak of one thread:")?;
        for (i, (arithmetic, (isa, rounds))) in self.rounds.iter().enumerate() {
            let (what, unit) = match arithmetic {
                Arithmetic::Int8 => ("int8 dot products", "GMAC/s"),
                _ => ("FMA", "GFLOP/s"),
            };
            let Spread { median, least, most } = Spread::of(rounds);
            let (comma, isa) = (if i > 0 { "," } else { "" }, isa.map_or("", Isa::name));
            write!(f, "{comma} {what} {median:.1} {unit} ({least:.1} to {most:.1} in {} rounds, {isa})", rounds.len())?;
        }
        Ok(())
    }
}

/// Counts what is measured on standard error, where that is a terminal.
pub fn progress(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    // Were the template wrong, the library's own bar would do.
    if let Ok(style) = ProgressStyle::with_template("{pos} of {len}, {eta} left: {msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_the_range_of_its_rounds_without_an_interruption() {
        let ratio = Spread::of_ratios(&[2.0, 3.0, 3.0], &[4.0, 4.0, 6.0]);
        assert_eq!(ratio, Spread { median: 2.0, least: 4.0 / 3.0, most: 2.0 });
        let interrupted = Spread::of_ratios(&[1.0, 1.0, 1.0, 9.0, 1.0], &[2.0; 5]);
        assert_eq!(interrupted, Spread { median: 2.0, least: 2.0, most: 2.0 });
    }

    #[test]
    fn a_busy_machine_is_told_from_a_quiet_one() {
        let mut peaks = Peaks::default();
        peaks.judge(&[100.0, 109.0], 1.05, 1.0);
        peaks.judge(&[], 0.0, 1.0);
        // A depthwise layer on small planes.
        peaks.judge(&[100.0], 1.2, 1.22);
        assert_eq!(peaks.warning(), None);
        peaks.judge(&[100.0, 111.0], 0.9, 1.0);
        peaks.judge(&[100.0], 1.07, 1.0);
        assert!(peaks.warning().is_some_and(|line| line.contains("in 2 of 5 rows")));
    }
}
