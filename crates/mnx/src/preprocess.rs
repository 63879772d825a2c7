//! From pixels to the network's input: resize, crop and normalise, as torchvision does it.
//!
//! The result is that of `Compose([Resize(resize, interpolation), CenterCrop(resolution), ToTensor(), Normalize(mean, std)])`
//! on a Pillow picture. For squashed pictures it is that of `Resize((resize, resize), …)`. [`Interpolation::Bilinear`] alone is
//! PyTorch's `interpolate` on floating-point pixels, rounded to bytes.

use mnx_graph::{Fit, Interpolation, Preprocessing, Session};
use mnx_tensor::memory;

use crate::resize::{Axis, Resizer};
use crate::{Error, Frame};

#[cfg(test)]
mod tests;

/// Largest side of the resized square. Its three planes then have at most 2³¹ elements, the engine's default limit.
const MAX_SIDE: usize = 26_754;

/// Where the network's input lies in a picture. Each pair is across and down.
///
/// (x, y) in pixels of the input is ((x + offset\[0\]) · scale\[0\], (y + offset\[1\]) · scale\[1\]) in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Pixels of the picture per pixel of the input.
    pub scale: [f64; 2],
    /// What a crop cuts off before the input's first column and row, in pixels of the input. Negative where the input has a
    /// margin that is not of the picture.
    pub offset: [f64; 2],
    /// Width and height of the picture, in pixels.
    pub size: [usize; 2],
}

/// Prepares pictures for one network. Buffers are kept from picture to picture.
///
/// ```
/// # fn main() -> Result<(), mnx::Error> {
/// let spec = mnx::Preprocessing::new(32, [0.5; 3], [0.25; 3]);
/// let mut preprocessor = mnx::Preprocessor::new(24, &spec)?;
/// let grey = vec![128; 40 * 30 * 3];
/// let input = preprocessor.process(mnx::Frame::rgb8(&grey, 40, 30, 120)?)?;
/// assert_eq!(input.len(), 3 * 24 * 24);
/// assert_eq!(input[0], (128.0 / 255.0 - 0.5) / 0.25);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Preprocessor {
    resolution: usize,
    resize: usize,
    fit: Fit,
    interpolation: Interpolation,
    /// For each channel, the normalised value of every byte. Looking it up gives the same bits as computing it, and is faster.
    values: [[f32; 256]; 3],
    resizer: Resizer,
    /// A frame whose chroma was apart.
    converted: Vec<u8>,
}

impl Preprocessor {
    /// Makes a preprocessor for a network whose input has `resolution` x `resolution` pixels.
    ///
    /// # Errors
    /// As [`Preprocessing::check`]; [`Error::Preprocessing`] if the resolution is 0 or the resized side is above 26,754.
    pub fn new(resolution: usize, preprocessing: &Preprocessing) -> Result<Self, Error> {
        let &Preprocessing { resize, fit, interpolation, mean, std, .. } = preprocessing;
        preprocessing.check(resolution)?;
        let wrong = |field, expected: String, found: usize| {
            Err(Error::Preprocessing { field, expected, found: found.to_string() })
        };
        if resolution == 0 {
            return wrong("resolution", "at least 1".into(), resolution);
        }
        if resize > MAX_SIDE {
            return wrong("resize", format!("at most {MAX_SIDE}"), resize);
        }
        let values = std::array::from_fn(|channel| {
            // As in torchvision, the division, the difference and the quotient are rounded once each.
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean[channel]) / std[channel])
        });
        Ok(Preprocessor {
            resolution,
            resize,
            fit,
            interpolation,
            values,
            resizer: Resizer::default(),
            converted: Vec::new(),
        })
    }

    /// Side of the network's input in pixels.
    pub fn resolution(&self) -> usize {
        self.resolution
    }

    /// Number of elements of a prepared picture: 3 x resolution x resolution.
    pub fn elements(&self) -> usize {
        3 * self.resolution * self.resolution
    }

    /// The network's input for a session that has been prepared for it: zeros.
    ///
    /// # Errors
    /// [`GraphError::Limit`](crate::GraphError::Limit) when input, resized picture and arena together would be larger than the
    /// model's limit for the arena; as [`Session::prepare`].
    pub(crate) fn input_of(&self, session: &mut Session) -> Result<Vec<f32>, Error> {
        let side = self.resolution;
        let pixels = (side as u64).saturating_mul(side as u64);
        // Three floats and three bytes of each pixel.
        let own = pixels.saturating_mul(3 * (size_of::<f32>() as u64 + 1));
        let limit = session.model().limits().arena_bytes;
        let check = |arena: usize| {
            let found = own.saturating_add(arena as u64);
            let what = || format!("bytes of the arena and the input for {side} x {side}");
            if found > limit { Err(mnx_graph::Error::Limit { what: what(), limit, found }) } else { Ok(()) }
        };
        check(0)?;
        session.prepare([1, 3, side, side])?;
        check(session.arena_bytes())?;
        Ok(memory::zeros(self.elements())?)
    }

    /// Prepares a frame or a `&Picture`. Returns three planes, red, green and blue, of resolution x resolution values each.
    ///
    /// # Errors
    /// [`GraphError::Tensor`](crate::GraphError::Tensor) when there is no memory for it. Every frame that could be made can be
    /// prepared.
    pub fn process<'a>(&mut self, frame: impl Into<Frame<'a>>) -> Result<Vec<f32>, Error> {
        let mut output = memory::zeros(self.elements())?;
        self.process_into(frame, &mut output)?;
        Ok(output)
    }

    /// As [`process`](Self::process), but writes to the caller's slice, e.g. to one picture of a batch.
    ///
    /// # Errors
    /// [`Error::InputLength`] if the slice does not have [`elements`](Self::elements) elements;
    /// [`GraphError::Tensor`](crate::GraphError::Tensor) when there is no memory for the resized picture.
    pub fn process_into<'a>(&mut self, frame: impl Into<Frame<'a>>, output: &mut [f32]) -> Result<(), Error> {
        if output.len() != self.elements() {
            return Err(Error::InputLength { expected: self.elements(), found: output.len() });
        }
        let mut converted = std::mem::take(&mut self.converted);
        let result = frame.into().in_one_plane(&mut converted).map_err(Error::from);
        let result = result.and_then(|frame| self.prepare(frame, output));
        self.converted = converted;
        result
    }

    /// A frame of one plane.
    fn prepare(&mut self, frame: Frame<'_>, output: &mut [f32]) -> Result<(), Error> {
        let resolution = self.resolution;
        let [x, y] = self.axes(frame.width(), frame.height());
        let order = frame.format().order();
        if x.is_unchanged() && y.is_unchanged() {
            let bytes = frame.format().bytes();
            // Offsets are within the picture.
            let (left, top) = (x.offset as usize, y.offset as usize);
            let columns = left * bytes..(left + resolution) * bytes;
            let rows = (top..top + resolution).map(|row| &frame.row(row)[columns.clone()]);
            normalise(&self.values, rows, bytes, order, output);
        } else {
            let square = self.resizer.resize(frame, &x, &y)?;
            normalise(&self.values, square.chunks_exact(3 * resolution), 3, order, output);
        }
        Ok(())
    }

    /// Where the network's input lies in a frame or a `&Picture`: what
    /// [`PostProcessor::process_at`](crate::PostProcessor::process_at) has to know. Pixels are not looked at.
    ///
    /// ```
    /// # fn main() -> Result<(), mnx::Error> {
    /// // The short side becomes 32 and the long one 42, of which the middle is kept.
    /// let spec = mnx::Preprocessing::new(32, [0.5; 3], [0.25; 3]);
    /// let preprocessor = mnx::Preprocessor::new(32, &spec)?;
    /// let grey = [128; 64 * 48 * 3];
    /// let placement = preprocessor.placement(mnx::Frame::rgb8(&grey, 64, 48, 192)?);
    /// assert_eq!((placement.offset, placement.scale), ([5.0, 0.0], [64.0 / 42.0, 1.5]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn placement<'a>(&self, frame: impl Into<Frame<'a>>) -> Placement {
        let frame = frame.into();
        let (width, height) = (frame.width(), frame.height());
        let axes = self.axes(width, height);
        let [scale, offset] = [axes.each_ref().map(|axis| axis.scale), axes.map(|axis| axis.offset as f64)];
        Placement { scale, offset, size: [width, height] }
    }

    /// Both axes of a picture. The short side becomes `resize`. The long side is in proportion, truncated, or becomes `resize`
    /// as well.
    fn axes(&self, width: usize, height: usize) -> [Axis; 2] {
        let short = width.min(height) as u64;
        [width, height].map(|size| {
            let resized = match self.fit {
                Fit::Squash => self.resize as u64,
                // Sides are below 2³² and `resize` is below 2¹⁵: no overflow of 64 bits, where 32 may overflow.
                _ => self.resize as u64 * size as u64 / short,
            };
            Axis::new(size, resized, self.resolution, self.interpolation)
        })
    }
}

impl std::fmt::Debug for Preprocessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Preprocessor { resolution, resize, .. } = self;
        write!(f, "Preprocessor {{ resolution: {resolution}, resize: {resize} }}")
    }
}

/// Writes interleaved pixels of so many bytes to the three planes of `output`. Red, green and blue are in this order in a pixel.
fn normalise<'a>(
    values: &[[f32; 256]; 3],
    rows: impl Iterator<Item = &'a [u8]> + Clone,
    bytes: usize,
    order: [usize; 3],
    output: &mut [f32],
) {
    let plane = output.len() / 3;
    for ((values, plane), at) in values.iter().zip(output.chunks_exact_mut(plane)).zip(order) {
        let pixels = rows.clone().flat_map(|row| row.chunks_exact(bytes));
        // One byte is all three.
        let at = at.min(bytes - 1);
        for (value, pixel) in plane.iter_mut().zip(pixels) {
            *value = values[usize::from(pixel[at])];
        }
    }
}
