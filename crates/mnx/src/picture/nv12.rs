//! Frames of video: from luma and chroma to red, green and blue.

/// How a frame of video stands for colours: by which of the two usual definitions of luma, and in which range.
///
/// With luma Y and chroma U and V in their full range, and K the definition's shares of red and blue:
///
/// ```text
/// R = Y + 2 (1 - Kr) V      B = Y + 2 (1 - Kb) U      G = (Y - Kr R - Kb B) / (1 - Kr - Kb)
/// ```
///
/// Each is rounded to the nearest byte and cut off at 0 and 255. All pixels of 2 x 2 have the same chroma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Yuv {
    /// ITU-R BT.601 in the video range, 16…235 and 16…240: most cameras, and video of standard definition.
    #[default]
    Bt601,
    /// ITU-R BT.601 in the range 0…255: JPEG, and cameras of phones that say so.
    Bt601Full,
    /// ITU-R BT.709 in the video range: video of high definition.
    Bt709,
    /// ITU-R BT.709 in the range 0…255.
    Bt709Full,
}

/// Fraction bits of a coefficient. Sums stay below 2³⁰.
const FRACTION_BITS: u32 = 20;

/// Coefficients of a conversion, as integers with fraction bits.
struct Coefficients {
    /// The luma of black.
    black: i32,
    luma: i32,
    /// Of V for red, of U and V for green, of U for blue.
    red: i32,
    green: [i32; 2],
    blue: i32,
}

impl Yuv {
    const fn coefficients(self) -> Coefficients {
        let (kr, kb) = match self {
            Yuv::Bt601 | Yuv::Bt601Full => (0.299, 0.114),
            Yuv::Bt709 | Yuv::Bt709Full => (0.2126, 0.0722),
        };
        let (black, luma, chroma) = match self {
            Yuv::Bt601 | Yuv::Bt709 => (16, 255.0 / 219.0, 255.0 / 224.0),
            Yuv::Bt601Full | Yuv::Bt709Full => (0, 1.0, 1.0),
        };
        let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        let kg = 1.0 - kr - kb;
        Coefficients {
            black,
            luma: fixed(luma),
            red: fixed(red),
            green: [fixed(-kb * blue / kg), fixed(-kr * red / kg)],
            blue: fixed(blue),
        }
    }
}

/// Rounded to the nearest.
const fn fixed(value: f64) -> i32 {
    let scaled = value * (1_u32 << FRACTION_BITS) as f64;
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// The chroma of a frame, whose sizes were checked.
#[derive(Clone, Copy)]
pub(super) struct Chroma<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) yuv: Yuv,
}

impl Chroma<'_> {
    /// Row `y` of the frame, from its luma.
    pub(super) fn convert(&self, luma: &[u8], y: usize, rgb: &mut [u8]) {
        let Coefficients { black, luma: of_luma, red, green, blue } = self.yuv.coefficients();
        let start = y / 2 * self.stride;
        let chroma = self.bytes[start..start + luma.len().div_ceil(2) * 2].as_chunks::<2>().0;
        let pixels = luma.chunks(2).zip(rgb.chunks_mut(6)).zip(chroma);
        for ((luma, rgb), &chroma) in pixels {
            let [u, v] = chroma.map(|byte| i32::from(byte) - 128);
            let half = 1 << (FRACTION_BITS - 1);
            let add = [red * v, green[0] * u + green[1] * v, blue * u].map(|sum| sum + half);
            for (&luma, rgb) in luma.iter().zip(rgb.chunks_exact_mut(3)) {
                let grey = (i32::from(luma) - black) * of_luma;
                for (byte, add) in rgb.iter_mut().zip(add) {
                    *byte = ((grey + add) >> FRACTION_BITS).clamp(0, 255) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in real numbers.
    fn exact(yuv: Yuv, [y, u, v]: [u8; 3]) -> [f64; 3] {
        let (kr, kb) = if matches!(yuv, Yuv::Bt601 | Yuv::Bt601Full) { (0.299, 0.114) } else { (0.2126, 0.0722) };
        let video = matches!(yuv, Yuv::Bt601 | Yuv::Bt709);
        let (black, luma, chroma) = if video { (16.0, 219.0, 224.0) } else { (0.0, 255.0, 255.0) };
        let y = (f64::from(y) - black) * 255.0 / luma;
        let [u, v] = [u, v].map(|c| (f64::from(c) - 128.0) * 255.0 / chroma);
        let (red, blue) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue].map(|c| c.clamp(0.0, 255.0))
    }

    #[test]
    fn every_colour_is_rounded_from_the_definition() {
        for yuv in [Yuv::Bt601, Yuv::Bt601Full, Yuv::Bt709, Yuv::Bt709Full] {
            let steps = || (0..=255_u8).step_by(5);
            for (y, (u, v)) in steps().flat_map(|y| steps().flat_map(move |u| steps().map(move |v| (y, (u, v))))) {
                let mut rgb = [0; 3];
                Chroma { bytes: &[u, v], stride: 2, yuv }.convert(&[y], 0, &mut rgb);
                for (found, expected) in rgb.iter().zip(exact(yuv, [y, u, v])) {
                    assert!(
                        (f64::from(*found) - expected).abs() < 0.501,
                        "{yuv:?} {y} {u} {v}: {found} for {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn four_pixels_share_their_chroma() {
        // 3 x 3 pixels, chroma of 2 x 2, with gaps after rows.
        let chroma = Chroma { bytes: &[128, 255, 255, 128, 9, 128, 128, 128, 128], stride: 5, yuv: Yuv::Bt601Full };
        let colours = |y| {
            let mut rgb = [0; 9];
            chroma.convert(&[100; 3], y, &mut rgb);
            let redder = |pixel: &[u8]| (pixel[0] > 200, pixel[2] > 200);
            rgb.chunks(3).map(redder).collect::<Vec<_>>()
        };
        assert_eq!(colours(0), [(true, false), (true, false), (false, true)]);
        assert_eq!(colours(1), colours(0));
        assert_eq!(colours(2), [(false, false); 3]);
    }
}
