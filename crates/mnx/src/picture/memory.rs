//! Sees to it that decoders, which abort the process if an allocation fails, are not begun unless there is memory for them.

use std::sync::{Condvar, Mutex, PoisonError};

use image::RgbImage;

use super::PictureLimits;
use super::decode::Refusal;
use super::reader::{PictureReader, Share};

/// What small allocations take besides the large ones that are counted.
const SLACK: u64 = 1 << 20;

/// Address space of a thread: its stack, and what the system's allocator sets aside for it.
const THREAD: u64 = if cfg!(target_pointer_width = "64") { 68 << 20 } else { 3 << 20 };

/// Bytes of a decoded pixel.
pub(super) const PIXEL: u64 = 3;

/// Bytes that all decoders of the process that are at work were admitted for.
static AT_WORK: Mutex<u64> = Mutex::new(0);
static LESS_WORK: Condvar = Condvar::new();

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
        Ok(Turn { share, _work: Work::begin(bytes.saturating_add(threads * THREAD))? })
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
    _work: Work,
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

/// A decoder at work.
struct Work {
    bytes: u64,
}

impl Work {
    /// Begins if there is memory for this decoder and for all others, which may not have taken theirs yet. Otherwise waits
    /// for the others.
    fn begin(bytes: u64) -> Result<Work, Refusal> {
        let bytes = bytes.saturating_add(SLACK);
        let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_there(at_work.saturating_add(bytes)) {
            if *at_work == 0 {
                return Err(Refusal::Memory { bytes });
            }
            at_work = LESS_WORK.wait(at_work).unwrap_or_else(PoisonError::into_inner);
        }
        *at_work += bytes;
        Ok(Work { bytes })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        *AT_WORK.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        LESS_WORK.notify_all();
    }
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
