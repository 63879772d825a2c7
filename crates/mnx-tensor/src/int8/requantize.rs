//! What turns an int8 layer's sums into outputs.

/// What an int8 layer needs to know besides weights, bias and factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requantize {
    /// The u8 that stands for 0 in the input. Padding is made of it.
    pub zero_in: u8,
    /// The u8 that stands for 0 in the output. Linear layers, whose output is f32, have none.
    pub zero_out: u8,
    /// Lower bound of what is rounded: an integer, at least `-zero_out`.
    pub lo: f32,
    /// Upper bound of what is rounded: an integer, at most `255 - zero_out`.
    pub hi: f32,
    /// Of the shortcut: the u8 that stands for 0, and the factor that brings it to the output's scale.
    pub shortcut: Option<(u8, f32)>,
    /// Scales of input and output, where the operation computes its factor itself: an average pool's depends on the size of
    /// the plane. The scale of the output is also what [`Operation::Quantize`](crate::Operation::Quantize) divides by.
    pub scales: (f32, f32),
}

impl Requantize {
    /// Zero points of 0 and scales of 1; no activation, no shortcut.
    pub const PLAIN: Requantize =
        Requantize { zero_in: 0, zero_out: 0, lo: 0.0, hi: 255.0, shortcut: None, scales: (1.0, 1.0) };

    /// The factor of a global average pool over so many pixels: `s_in / (s_out · pixels)` in f64, rounded once.
    pub fn pool_factor(&self, pixels: usize) -> f32 {
        (f64::from(self.scales.0) / (f64::from(self.scales.1) * pixels as f64)) as f32
    }

    /// The farthest that an input can be from the zero point.
    pub(crate) fn reach(&self) -> u8 {
        self.zero_in.max(255 - self.zero_in)
    }

    /// Both bounds within what a u8 can hold.
    pub(super) fn bounds_are_good(&self) -> bool {
        let (least, most) = (-f32::from(self.zero_out), 255.0 - f32::from(self.zero_out));
        let integers = self.lo.fract() == 0.0 && self.hi.fract() == 0.0;
        integers && (least..=most).contains(&self.lo) && (self.lo..=most).contains(&self.hi)
    }
}

/// What an int8 [`Layer`](crate::Layer) has beside weights and bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constants<'w> {
    /// One per lane, in the kernel's order.
    pub(crate) factors: &'w [f32],
    pub(crate) requantize: Requantize,
    /// Whether every number that is rounded fits into an i32: then outputs may be clamped after the conversion.
    pub(crate) fits_i32: bool,
}

impl Constants<'_> {
    pub(crate) const NONE: Constants<'static> =
        Constants { factors: &[], requantize: Requantize::PLAIN, fits_i32: false };
}
