//! BMP files of run lengths: refuses those that end early, and gives pixels that are skipped the right colour. The decoder does
//! neither.

use std::borrow::Cow;

use image::RgbImage;
use mnx_tensor::memory;

use super::refusal::Refusal;

/// The palette of a file of run lengths, whose pixels are decoded as numbers of colours.
pub(super) struct Numbered {
    colours: Vec<[u8; 3]>,
}

/// Prepares the file for the decoder. In a file of run lengths every palette colour is replaced by its number. The decoder
/// leaves skipped pixels black, which then means colour number 0, as in Pillow.
pub(super) fn prepare(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, Option<Numbered>), Refusal> {
    let number = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(four.try_into().expect("four bytes")))
    };
    let (Some(header), Some(kind @ (1 | 2))) = (number(14), number(30)) else { return Ok((bytes.into(), None)) };
    let start = 14_usize.saturating_add(header as usize);
    let Some(palette) = bytes.get(start..).filter(|_| header >= 40) else { return Ok((bytes.into(), None)) };
    let colours: Vec<[u8; 3]> = palette.chunks_exact(4).take(256).map(|c| [c[2], c[1], c[0]]).collect();
    // A short palette has fewer than 256 colours, and the pixels begin right after it.
    let count = number(46).filter(|&count| count != 0).unwrap_or(256).min(256) as usize;
    let pixels = number(10).unwrap_or(0) as usize;
    let [width, height] = [18, 22].map(|at| u64::from(number(at).unwrap_or(0).cast_signed().unsigned_abs()));
    let found = told(bytes.get(pixels..).unwrap_or_default(), width, kind == 2);
    if found < width * height {
        return Err(format!("damaged data (run lengths end after {found} of {} pixels)", width * height).into());
    }
    let mut numbered = memory::copy(bytes).map_err(|_| Refusal::Memory { bytes: bytes.len() as u64 })?;
    for (index, colour) in numbered[start..].chunks_exact_mut(4).enumerate().take(count) {
        if start + 4 * index < pixels {
            colour[..3].fill(index as u8);
        }
    }
    Ok((numbered.into(), Some(Numbered { colours })))
}

/// How many pixels run lengths tell, those that they skip included. Numbers of colours have a byte each, or four bits.
fn told(runs: &[u8], width: u64, four_bits: bool) -> u64 {
    let (mut x, mut y, mut at) = (0, 0_u64, 0);
    while let Some(&[count, value]) = runs.get(at..at + 2) {
        at += 2;
        match (count, value) {
            (0, 0) => (x, y) = (0, y + 1),
            (0, 1) => break,
            (0, 2) => {
                let Some(&[right, up]) = runs.get(at..at + 2) else { break };
                (x, y) = (x + u64::from(right), y + u64::from(up));
                at += 2;
            }
            (0, count) => {
                let bytes = if four_bits { count.div_ceil(2) } else { count };
                at += usize::from(bytes).next_multiple_of(2);
                x += u64::from(count);
            }
            (count, _) => x += u64::from(count),
        }
    }
    y.saturating_mul(width).saturating_add(x.min(width))
}

impl Numbered {
    pub(super) fn colour(&self, picture: &mut RgbImage) {
        for pixel in picture.pixels_mut() {
            pixel.0 = self.colours.get(usize::from(pixel.0[0])).copied().unwrap_or_default();
        }
    }
}
