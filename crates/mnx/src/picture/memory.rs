//! Sees to it that decoders, which abort the process if an allocation fails, are not begun unless there is memory for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use image::RgbImage;

use super::PictureLimits;
use super::reader::{PictureReader, Share};
use super::refusal::Refusal;

/// What small allocations take besides the large ones that are counted.
const SLACK: u64 = 1 << 20;

/// Address space of a thread: its stack, and what the system's allocator sets aside for it.
const THREAD: u64 = if cfg!(target_pointer_width = "64") { 68 << 20 } else { 3 << 20 };

/// Bytes of a decoded pixel.
pub(super) const PIXEL: u64 = 3;

/// What the decoders of this process are at work on.
static AT_WORK: AtWork = AtWork(AtomicU64::new(0));

/// Bytes of a decoded picture. Headers can claim more pixels than a number holds bytes.
pub(super) fn decoded_bytes(width: u32, height: u32) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(PIXEL)
}

/// What a picture has to pass before it is decoded.
#[derive(Clone, Copy)]
pub(super) struct Door<'a> {
    pub(super) limits: &'a PictureLimits,
    pub(super) reader: Option<&'a PictureReader>,
}

impl Door<'_> {
    /// Checks a header, and waits until its picture's turn has come. `bytes` is what decoding takes at most at once.
    pub(super) fn admit(&self, width: u32, height: u32, bytes: u64) -> Result<Turn, Refusal> {
        self.admit_threads(width, height, bytes, 0)
    }

    /// As [`admit`](Self::admit), for a decoder that starts so many threads.
    pub(super) fn admit_threads(&self, width: u32, height: u32, bytes: u64, threads: u64) -> Result<Turn, Refusal> {
        self.check(width, height, bytes)?;
        let share = self.reader.map(|reader| reader.share(bytes));
        Ok(Turn { share, _work: AT_WORK.begin(process(), bytes.saturating_add(threads * THREAD))? })
    }

    /// What it takes to turn a picture of so many bytes onto its side, besides the picture: another one, or if that is too much,
    /// a bit for each pixel.
    pub(super) fn turning(&self, bytes: u64) -> u64 {
        if bytes.saturating_mul(2) > self.limits.decoded_bytes { bytes.div_ceil(8 * PIXEL) } else { bytes }
    }

    /// Checks a header. `bytes` is what decoding takes at least.
    pub(super) fn check(&self, width: u32, height: u32, bytes: u64) -> Result<(), Refusal> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(format!("{width} x {height} pixels").into());
        }
        if pixels > self.limits.pixels {
            return Err(Refusal::TooLarge { width, height });
        }
        if bytes > self.limits.decoded_bytes {
            return Err(Refusal::TooMuch { width, height, bytes });
        }
        Ok(())
    }
}

/// The right to decode a picture.
pub(super) struct Turn {
    share: Option<Share>,
    _work: Work<'static>,
}

impl Turn {
    /// Ends the work. What is left of the share is that of the pixels.
    pub(super) fn end(self, pixels: usize) -> Option<Share> {
        let mut share = self.share;
        if let Some(share) = &mut share {
            share.keep(pixels as u64);
        }
        share
    }
}

/// The KiB that all decoders at work were admitted for, and above them the number of their process. There is no lock: a process can
/// fork while a thread would have it, and in the fork nobody is left to give it back, nor to end the work that was begun.
struct AtWork(AtomicU64);

impl AtWork {
    /// So many KiB are at work in this process. What another one left in the number counts nothing.
    fn kib(number: u64, process: u32) -> u32 {
        if (number >> 32) as u32 == process { number as u32 } else { 0 }
    }

    fn number(process: u32, kib: u32) -> u64 {
        u64::from(process) << 32 | u64::from(kib)
    }

    /// Begins if there is memory for this decoder and for all others, which may not have taken theirs yet. Otherwise waits
    /// for the others.
    fn begin(&self, process: u32, bytes: u64) -> Result<Work<'_>, Refusal> {
        const A_WHILE: Duration = Duration::from_millis(1);
        let bytes = bytes.saturating_add(SLACK);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        loop {
            let number = self.0.load(Ordering::Relaxed);
            let at_work = AtWork::kib(number, process);
            let total = at_work.checked_add(kib).filter(|_| is_there((u64::from(at_work) << 10).saturating_add(bytes)));
            match total.map(|total| AtWork::number(process, total)) {
                Some(new) => {
                    if self.0.compare_exchange(number, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                        return Ok(Work { at_work: self, process, kib });
                    }
                }
                None if at_work == 0 => return Err(Refusal::Memory { bytes }),
                None => thread::sleep(A_WHILE),
            }
        }
    }
}

/// A decoder at work.
struct Work<'a> {
    at_work: &'a AtWork,
    process: u32,
    kib: u32,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let less = |number| {
            let at_work = AtWork::kib(number, self.process);
            // Nothing is at work in this process if it was begun in another one.
            (at_work > 0).then(|| AtWork::number(self.process, at_work.saturating_sub(self.kib)))
        };
        let _ = self.at_work.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// The number of this process.
fn process() -> u32 {
    // Elsewhere processes do not fork, nor has each of them a number.
    if cfg!(unix) { std::process::id() } else { 0 }
}

/// Whether so many bytes can be allocated.
fn is_there(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    let mut probe = Vec::<u8>::new();
    let is_there = probe.try_reserve_exact(bytes).is_ok();
    // Otherwise the compiler could leave the allocation out.
    std::hint::black_box(&mut probe);
    is_there
}

/// A buffer of zeros, or that there is no memory for it.
pub(super) fn zeros(bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| Refusal::Memory { bytes: bytes as u64 })?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// A black picture.
pub(super) fn black(width: u32, height: u32) -> Result<RgbImage, Refusal> {
    let bytes = decoded_bytes(width, height);
    let pixels = zeros(usize::try_from(bytes).map_err(|_| Refusal::Memory { bytes })?)?;
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| "fewer pixels than the header says".to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fork has the number of the original process, but none of its decoders.
    #[test]
    fn a_fork_begins_anew() {
        let at_work = AtWork(AtomicU64::new(0));
        let kib = |process| AtWork::kib(at_work.0.load(Ordering::Relaxed), process);
        let first = at_work.begin(7, 5 << 20).ok().unwrap();
        let second = at_work.begin(7, 1).ok().unwrap();
        assert_eq!((kib(7), kib(8)), ((6 << 10) + (1 << 10) + 1, 0));
        drop(second);
        assert_eq!(kib(7), 6 << 10);
        let of_fork = at_work.begin(8, 2 << 20).ok().unwrap();
        assert_eq!((kib(7), kib(8)), (0, 3 << 10));
        drop(first);
        assert_eq!(kib(8), 3 << 10);
        drop(of_fork);
        assert_eq!(kib(8), 0);
    }

    /// What no machine has is refused at once if there is nobody to wait for.
    #[test]
    fn too_much_is_refused() {
        let at_work = AtWork(AtomicU64::new(AtWork::number(7, u32::MAX)));
        assert!(matches!(at_work.begin(8, u64::MAX).err(), Some(Refusal::Memory { .. })));
    }

    /// Threads wait for each other where there is no memory for all.
    #[test]
    fn who_finds_no_memory_waits_for_the_others() {
        let at_work = AtWork(AtomicU64::new(AtWork::number(7, u32::MAX)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| at_work.begin(7, 1).map(drop));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(Work { at_work: &at_work, process: 7, kib: u32::MAX });
            assert!(waiting.join().unwrap().is_ok());
        });
    }
}
