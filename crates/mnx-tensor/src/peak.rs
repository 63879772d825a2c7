//! The machine's limits: how many multiply-adds a core can do when nothing else happens, how many bytes it can move.

use std::time::{Duration, Instant};

use crate::table::{self, instance};
use crate::{AlignedBuf, Isa};

/// How fast the calling thread moves data in GB/s, bytes read and bytes written both counted, by copying one half of
/// `bytes` (at least 128) to the other again and again for at least `at_least`: the rate of the cache, or the memory,
/// that holds so much. By the fastest ISA's instructions; 0 where there is no memory for it.
pub fn copy_bandwidth(bytes: usize, at_least: Duration) -> f64 {
    let panels = (bytes / 128).max(1);
    let Some(instance) = instance(Isa::detect()) else { return 0.0 };
    let (Ok(src), Ok(mut dst)) = (AlignedBuf::try_zeroed(16 * panels), AlignedBuf::try_zeroed(16 * panels)) else {
        return 0.0;
    };
    // A reading of the clock should cost nothing beside what lies between two.
    let copies = ((1 << 20) / (128 * panels)).max(1);
    let mut copy = || {
        for _ in 0..copies {
            // SAFETY: both buffers hold so many panels; `instance` returned it, so the CPU has the ISA.
            unsafe { (instance.copy)(std::hint::black_box(src.as_ptr()), dst.as_mut_ptr(), panels) };
        }
        std::hint::black_box(dst[0]);
    };
    // The pages come with the first one.
    copy();
    let (start, mut moved) = (Instant::now(), 0);
    loop {
        copy();
        moved += 128 * panels * copies;
        let elapsed = start.elapsed();
        if elapsed >= at_least {
            return moved as f64 / elapsed.as_secs_f64() / 1e9;
        }
    }
}

/// Peak f32 rate of the calling thread in GFLOP/s (a multiply-add counts as two), by the fastest of
/// this CPU's ISAs, and which one that was. Measures each for at least `each`.
///
/// Machines are noisy: call it in turn with what is compared with it.
pub fn fma_peak(each: Duration) -> (f64, Isa) {
    let measured = Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar).map(|isa| (rate(isa, each), isa));
    // Where nothing better is there, scalar arithmetic is the limit.
    measured.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_else(|| (rate(Isa::Scalar, each), Isa::Scalar))
}

fn rate(isa: Isa, at_least: Duration) -> f64 {
    let Some(instance) = instance(isa) else {
        return 0.0;
    };
    let operand = std::hint::black_box(0.5_f32);
    // SAFETY: `instance` returned it, so the CPU has the ISA.
    per_second(at_least, || unsafe { (instance.peak)(20_000, operand) })
}

/// 10⁹ operations a second of what returns how many it has done, and a value that depends on them: the median of slices, because
/// somebody who has the core for a while spoils few of them.
fn per_second(at_least: Duration, work: impl Fn() -> (u64, f32)) -> f64 {
    /// Long beside a reading of the clock, short beside a system's time slices.
    const SLICE: Duration = Duration::from_micros(200);
    let slice = || {
        let (start, mut operations) = (Instant::now(), 0);
        loop {
            let (done, value) = work();
            std::hint::black_box(value);
            operations += done;
            let elapsed = start.elapsed();
            if elapsed >= SLICE {
                return operations as f64 / elapsed.as_secs_f64() / 1e9;
            }
        }
    };
    let (start, mut rates) = (Instant::now(), vec![slice()]);
    while start.elapsed() < at_least {
        rates.push(slice());
    }
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Peak int8 rate of the calling thread in 10⁹ multiply-adds a second, and the ISA: exact dot products of u8 with i8, as the
/// fastest kernels of this CPU multiply in vectors, and nothing else. Kernels on AMX's tiles can exceed it. Measures for at least
/// twice `each`.
///
/// Machines are noisy: call it in turn with what is compared with it.
pub fn dot_peak(each: Duration) -> (f64, Isa) {
    let (isa, probes) = table::dot_probes();
    // SAFETY: the table returned it, so the CPU has the instructions.
    let rate = |probe: &unsafe fn(u64) -> (u64, f32)| per_second(each, || unsafe { probe(2_000) });
    (probes.iter().map(rate).fold(0.0, f64::max), isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_a_positive_rate_of_an_available_isa() {
        let (gflops, isa) = fma_peak(Duration::from_millis(1));
        assert!(gflops > 0.0 && gflops.is_finite());
        assert!(isa.is_available());
    }

    #[test]
    fn the_int8_peak_is_a_positive_rate_of_an_available_isa() {
        let (gmacs, isa) = dot_peak(Duration::from_millis(1));
        assert!(gmacs > 0.0 && gmacs.is_finite());
        assert!(isa.is_available());
    }

    #[test]
    fn bandwidth_is_a_positive_rate_for_every_size() {
        for bytes in [0, 1, 128, 129, 4096, 3 << 20] {
            let rate = copy_bandwidth(bytes, Duration::from_millis(1));
            assert!(rate > 0.0 && rate.is_finite(), "{bytes} bytes: {rate}");
        }
    }

    #[test]
    fn what_is_measured_is_a_copy() {
        let mut src = AlignedBuf::zeroed(16 * 5);
        src.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
        for isa in Isa::available() {
            let mut dst = AlignedBuf::zeroed(16 * 5);
            // SAFETY: both buffers hold five panels; the ISA is available.
            unsafe { (instance(isa).unwrap().copy)(src.as_ptr(), dst.as_mut_ptr(), 4) };
            assert_eq!((&dst[..64], &dst[64..]), (&src[..64], &[0.0; 16][..]), "{isa}");
        }
    }
}
