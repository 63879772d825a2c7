//! What the CPU could do: multiply-adds and bytes per second, on as many threads as the network uses.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use super::at_once;
use super::statistics::median;
use crate::error::Error;

/// How long a measurement of the peak takes, per ISA that the CPU has.
const PEAK_TIME: Duration = Duration::from_millis(15);
/// How long a measurement of the bandwidth takes, per size.
const COPY_TIME: Duration = Duration::from_millis(1);
/// From this ratio on, the rounds of one peak, or a share of it, are not of a machine at rest.
const BUSY: f64 = 1.1;
/// Working sets are powers of two: 16 KiB, half of the smallest first cache, to 64 MiB, beyond most last ones.
const SIZES: RangeInclusive<u32> = 14..=26;
/// After an inference the session's threads look out for another one for a moment.
const FALL_ASLEEP: Duration = Duration::from_millis(5);

/// Waits until the threads of the session that ran last sleep.
pub(crate) fn settle() {
    std::thread::sleep(FALL_ASLEEP);
}

/// How many multiply-adds the machine could do, of all threads together; medians of the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Peaks {
    /// In f32; a multiply-add is two operations.
    pub(crate) fma_peak_gflops: f64,
    /// The least and the most of a round: far apart where others had the cores meanwhile.
    pub(crate) fma_peak_range_gflops: [f64; 2],
    /// In int8, in 10⁹ multiply-adds a second. None where no network needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dot_peak_gmacs: Option<f64>,
}

impl Peaks {
    /// A line for people where others had the cores meanwhile. `share` is that of the peak that was measured, in percent.
    pub(crate) fn doubt(&self, share: f64) -> Option<String> {
        let [least, most] = self.fma_peak_range_gflops;
        if most > BUSY * least {
            let more = 100.0 * (most / least - 1.0);
            return Some(format!("The machine was busy: its peak rose and fell by {more:.0} %. Better measure again."));
        }
        // AMX multiplies faster than the vectors whose peak in int8 it is judged by.
        let impossible = self.dot_peak_gmacs.is_none() && share > 100.0 * BUSY;
        let found = format!("{share:.1} % of the peak");
        impossible.then(|| format!("The machine was busy: it cannot do {found}. Better measure again."))
    }
}

/// Measurements that come in turn with inferences.
pub(crate) struct Machine {
    threads: usize,
    with_int8: bool,
    /// GFLOP/s, per round.
    fma_peaks: Vec<f64>,
    /// GMAC/s in int8, per round.
    dot_peaks: Vec<f64>,
    /// GB/s per size, per round.
    copies: Vec<Vec<f64>>,
}

impl Machine {
    /// At most one thread per CPU: those that take turns on one have no more. `with_int8`: whether there are layers in int8
    /// to be judged.
    pub(crate) fn new(threads: usize, with_int8: bool) -> Machine {
        let cpus = std::thread::available_parallelism().map_or(threads, usize::from);
        let copies = vec![Vec::new(); SIZES.count()];
        Machine { threads: threads.min(cpus), with_int8, fma_peaks: Vec::new(), dot_peaks: Vec::new(), copies }
    }

    /// # Errors
    /// [`Error::Failed`] if a thread cannot be started.
    pub(crate) fn measure_peak(&mut self) -> Result<(), Error> {
        if self.threads > 1 {
            settle();
        }
        self.fma_peaks.push(together(self.threads, || mnx::fma_peak(PEAK_TIME).0)?);
        if self.with_int8 {
            self.dot_peaks.push(together(self.threads, || mnx::dot_peak(PEAK_TIME).0)?);
        }
        Ok(())
    }

    /// # Errors
    /// As [`measure_peak`](Machine::measure_peak).
    pub(crate) fn measure_bandwidth(&mut self) -> Result<(), Error> {
        for (size, rates) in SIZES.zip(&mut self.copies) {
            let share = (1 << size) / self.threads;
            rates.push(together(self.threads, || mnx::copy_bandwidth(share, COPY_TIME))?);
        }
        Ok(())
    }

    /// Rates of multiply-adds alone.
    pub(crate) fn peaks(&self) -> Peaks {
        let dot_peak_gmacs = self.with_int8.then(|| median(&self.dot_peaks));
        let least = self.fma_peaks.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.fma_peaks.iter().copied().fold(0.0, f64::max);
        Peaks { fma_peak_gflops: median(&self.fma_peaks), fma_peak_range_gflops: [least, most], dot_peak_gmacs }
    }

    /// Medians of what was measured; none without a measurement.
    pub(crate) fn bandwidths(&self) -> Vec<Bandwidth> {
        let measured = SIZES.zip(&self.copies).filter(|(_, rates)| !rates.is_empty());
        measured.map(|(size, rates)| Bandwidth { bytes: 1 << size, gb_per_second: median(rates) }).collect()
    }
}

/// How fast a working set of a size can be moved.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bandwidth {
    /// Of the working set, which the threads share.
    pub(crate) bytes: u64,
    /// Bytes read and bytes written, of all threads together.
    pub(crate) gb_per_second: f64,
}

/// The sum of a rate over threads that begin at once.
fn together(threads: usize, rate: impl Fn() -> f64 + Sync) -> Result<f64, Error> {
    if threads == 1 {
        return Ok(rate());
    }
    let failed = |error| Error::failed(format_args!("the machine's peak: cannot start a thread: {error}"));
    Ok(at_once(threads, rate).map_err(failed)?.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_doubted() {
        let peaks = |range| Peaks { fma_peak_range_gflops: range, ..Peaks::default() };
        let doubt = |range, share| peaks(range).doubt(share);
        assert_eq!(doubt([100.0, 109.0], 105.0), None);
        let said = doubt([60.0, 94.0], 50.0).unwrap();
        assert!(said.contains("rose and fell by 57 %"), "{said}");
        let said = doubt([94.0, 94.0], 589.5).unwrap();
        assert!(said.contains("589.5 % of the peak"), "{said}");
        // AMX can.
        assert_eq!(Peaks { dot_peak_gmacs: Some(1.0), ..peaks([94.0, 94.0]) }.doubt(300.0), None);
    }
}
