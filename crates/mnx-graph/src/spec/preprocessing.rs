//! What happens to a picture before the network sees it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{invalid, is_default, named};
use crate::Error;

/// How a picture is made square for the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fit {
    /// The short side is resized and the long side in proportion. The middle is kept.
    #[default]
    Crop,
    /// Both sides are resized to the same length, whatever the picture's proportions. The middle is kept; if the length is
    /// the resolution, that is all of it.
    Squash,
}

impl Fit {
    /// Both ways.
    pub const ALL: &'static [Fit] = &[Fit::Crop, Fit::Squash];

    /// Its name in stage tables and on the command line: `crop` or `squash`.
    pub fn name(self) -> &'static str {
        match self {
            Fit::Crop => "crop",
            Fit::Squash => "squash",
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fit {
    type Err = Error;

    /// The way of this [name](Fit::name).
    fn from_str(text: &str) -> Result<Fit, Error> {
        named("preprocessing.fit", Fit::ALL, "crop or squash", text)
    }
}

/// How a picture is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Interpolation {
    /// Bilinear. A pixel of a smaller picture averages all the pixels that it covers. It is torchvision's default and Pillow's
    /// `BILINEAR`.
    #[default]
    BilinearAntialiased,
    /// Bilinear between the four nearest pixels, also where the picture becomes smaller: OpenCV's `INTER_LINEAR`, and PyTorch's
    /// `interpolate` without `antialias`.
    Bilinear,
    /// Bicubic, over all covered pixels as well: Pillow's `BICUBIC`.
    Bicubic,
}

impl Interpolation {
    /// All of them.
    pub const ALL: &'static [Interpolation] =
        &[Interpolation::BilinearAntialiased, Interpolation::Bilinear, Interpolation::Bicubic];

    /// Its name in stage tables: `bilinear-antialiased`, `bilinear` or `bicubic`.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::BilinearAntialiased => "bilinear-antialiased",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = Error;

    /// The one of this [name](Interpolation::name).
    fn from_str(text: &str) -> Result<Interpolation, Error> {
        let expected = "bilinear-antialiased, bilinear or bicubic";
        named("preprocessing.interpolation", Interpolation::ALL, expected, text)
    }
}

/// What happens to a picture before the network sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[non_exhaustive]
pub struct Preprocessing {
    /// Length in pixels to which the short side is resized, or both sides with [`Fit::Squash`]. The crop to the resolution
    /// comes after it.
    pub resize: usize,
    /// Whether the picture keeps its proportions. Default: it does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit: Fit,
    /// How it is resized. Default: bilinear.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interpolation: Interpolation,
    /// Subtracted from pixels in 0…1, per channel R, G, B.
    pub mean: [f32; 3],
    /// Divides what is left.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// Preprocessing as is usual in torchvision: bilinear, proportions kept.
    pub fn new(resize: usize, mean: [f32; 3], std: [f32; 3]) -> Preprocessing {
        Preprocessing { resize, fit: Fit::default(), interpolation: Interpolation::default(), mean, std }
    }

    /// Recognises a mean or deviation that is meant for pixels in 0…255, and returns the same preprocessing for pixels in 0…1.
    /// `None` if it is for 0…1 already.
    ///
    /// For pixels in 0…1 neither can be above 1. So values above 1 are divided by 255. A deviation of 1 beside such a mean
    /// becomes 1/255. Beside such a mean, values below 0.05 are factors as ncnn and MNN have them, 1 / (255 · deviation).
    ///
    /// ```
    /// # use mnx_graph::Preprocessing;
    /// let given = Preprocessing::new(256, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    /// let meant = given.in_unit_range().unwrap();
    /// assert_eq!((meant.mean, meant.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
    /// assert_eq!(meant.in_unit_range(), None);
    /// let factors = Preprocessing::new(256, [123.675, 116.28, 103.53], [0.0171, 0.0175, 0.0174]);
    /// assert_eq!(factors.in_unit_range(), Some(meant));
    /// ```
    pub fn in_unit_range(&self) -> Option<Preprocessing> {
        let above = self.mean.iter().any(|mean| mean.abs() > 1.0);
        let wide = self.std.iter().any(|&std| std > 1.0) || above && self.std.iter().all(|&std| std == 1.0);
        let mut meant = self.clone();
        if above {
            meant.mean = self.mean.map(divided);
        }
        if wide {
            meant.std = self.std.map(divided);
        } else if above && self.std.iter().all(|&std| std > 0.0 && std < LEAST_STD) {
            meant.std = self.std.map(|factor| rounded(1.0 / (255.0 * f64::from(factor)), 3));
        }
        (above || wide).then_some(meant)
    }

    /// Checks every value, for a network whose input has `resolution` x `resolution` pixels.
    ///
    /// # Errors
    /// [`Error::Spec`] if the resized side is less than the resolution, if a mean is not finite, or if a deviation is not finite
    /// and above 0.
    pub fn check(&self, resolution: usize) -> Result<(), Error> {
        if self.resize < resolution {
            let expected = format!("at least the resolution, {resolution}");
            return Err(invalid("preprocessing.resize", &expected, self.resize));
        }
        for (i, (&mean, &std)) in self.mean.iter().zip(&self.std).enumerate() {
            if !mean.is_finite() {
                return Err(invalid(format!("preprocessing.mean[{i}]"), "finite", mean));
            }
            if !(std.is_finite() && std > 0.0) {
                return Err(invalid(format!("preprocessing.std[{i}]"), "finite and above 0", std));
            }
        }
        Ok(())
    }

    /// Only for what is converted: what was made before is still read.
    ///
    /// # Errors
    /// [`Error::PixelRange`] for values that are meant for pixels in 0…255.
    #[cfg(any(feature = "convert", test))]
    pub(crate) fn check_range(&self) -> Result<(), Error> {
        let Some(meant) = self.in_unit_range() else { return Ok(()) };
        let pair = |of: &Preprocessing| [of.mean, of.std];
        Err(Error::PixelRange { found: pair(self), meant: pair(&meant) })
    }
}

/// No channel of pictures in 0…1 varies so little.
const LEAST_STD: f32 = 0.05;

/// `value` divided by 255 and rounded to seven digits, so that a decimal number stays one: 123.675 gives 0.485.
fn divided(value: f32) -> f32 {
    rounded(f64::from(value) / 255.0, 7)
}

fn rounded(exact: f64, digits: usize) -> f32 {
    format!("{exact:.*e}", digits - 1).parse().unwrap_or(exact as f32)
}
