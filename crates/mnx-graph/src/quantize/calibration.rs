//! What a network's values look like on pictures that are like those it will see.

use mnx_tensor::{TensorView, memory};

use super::flow::Flow;
use super::histogram::Histogram;
use crate::{Error, Model, QuantizeError, Session};

/// Numbers that are summed side by side, so that the compiler can use vectors.
const LANES: usize = 8;

/// Statistics of every value of a network, collected from pictures.
///
/// They depend on the pictures and their order, not on how the pictures were divided among calibrations: threads collect
/// their own, one picture each, and the results are [merged](Calibration::merge) in the order of the pictures.
///
/// ```
/// # use mnx_graph as mnx;
/// use mnx::quantize::Calibration;
/// use mnx::{Model, Session, Spec};
///
/// # fn main() -> Result<(), mnx_graph::Error> {
/// # let mut spec = Spec::family("mobilenext").unwrap();
/// # spec.width = 0.1;
/// # let file = mnx_graph::init(&spec, 1)?;
/// let model = Model::from_bytes(file)?;
/// let mut session = Session::new(&model)?;
/// let mut calibration = Calibration::new(&model)?;
/// // Random weights and a grey picture; a real program takes some hundred pictures of all classes.
/// let pictures = mnx::Tensor::zeros([1, 3, 64, 64])?;
/// calibration.observe(&mut session, pictures.view())?;
/// assert_eq!((calibration.pictures(), calibration.uniform_pictures()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    values: Vec<Statistics>,
    pictures: u64,
    uniform_pictures: u64,
}

impl Calibration {
    /// A calibration that has not seen anything yet.
    ///
    /// # Errors
    /// [`QuantizeError::AlreadyInt8`] for a model that has an int8 layer, and [`Error::Tensor`] if there is no memory.
    pub fn new(model: &Model) -> Result<Calibration, Error> {
        super::check_f32(model)?;
        let flow = Flow::new(model.network(), (1, 1));
        Calibration::of(flow.values.into_iter().map(|value| (value.name, value.channels)))
    }

    /// Runs pictures `[N, 3, H, W]`, which are normalised as for [`Session::run`], and adds what every value holds. Runs on
    /// the calling thread alone.
    ///
    /// # Errors
    /// - [`QuantizeError::NotFinite`] if the input or a value holds infinity or NaN.
    /// - [`QuantizeError::OtherNetwork`] if the session's network is another one.
    /// - As [`Session::run`].
    ///
    /// In each case nothing of the picture was added, but the pictures before it were.
    pub fn observe(&mut self, session: &mut Session, input: TensorView<'_>) -> Result<(), Error> {
        let [batch, channels, height, width] = input.shape();
        if self.values.first().map(|value| value.low.len()) != Some(channels) {
            return Err(Error::Input { channels: session.model().spec().channels, found: input.shape() });
        }
        for picture in 0..batch {
            let mut part = self.empty()?;
            let values = input.picture(picture);
            part.add(0, values).map_err(|(index, found)| not_finite("input", picture, index, found))?;
            part.uniform_pictures = u64::from(part.values[0].is_uniform());
            let mut failed = None;
            let outputs =
                session.run_observing_values(TensorView::new([1, channels, height, width], values)?, |value| {
                    failed = failed.take().or_else(|| {
                        let i = part.values.iter().position(|known| known.fits(value.name, value.shape[0]));
                        let Some(i) = i else { return Some(other_network(value.name)) };
                        let wrong = |(index, found)| not_finite(value.name, picture, index, found);
                        part.add(i, value.values).map_err(wrong).err()
                    });
                })?;
            if let Some(error) = failed {
                return Err(error);
            }
            // The outputs are the last values. A detector's numbers are no planes: they count as one channel.
            let count = outputs.iter().count();
            let first = part.values.len().saturating_sub(count);
            for (i, (name, output)) in (first..).zip(outputs.iter()) {
                let channels = if count == 1 { output.shape()[1] } else { 1 };
                match part.values.get(i) {
                    Some(known) if known.fits(name, channels) => (),
                    known => return Err(other_network(known.map_or(name, |known| &known.name))),
                }
                part.add(i, output.data()).map_err(|(index, found)| not_finite(name, picture, index, found))?;
            }
            part.pictures = 1;
            if self.pictures == 0 {
                *self = part;
            } else {
                self.merge(&part)?;
            }
        }
        Ok(())
    }

    /// Adds what another calibration of the same network has seen.
    ///
    /// # Errors
    /// [`QuantizeError::OtherNetwork`] if it is one of another network.
    pub fn merge(&mut self, other: &Calibration) -> Result<(), Error> {
        self.check_values(other.values.iter().map(|value| (&*value.name, value.low.len())))?;
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| value.merge(other));
        self.pictures += other.pictures;
        self.uniform_pictures += other.uniform_pictures;
        Ok(())
    }

    /// How many pictures it has seen.
    pub fn pictures(&self) -> u64 {
        self.pictures
    }

    /// How many of them were of one colour. They say nothing about what a network does.
    pub fn uniform_pictures(&self) -> u64 {
        self.uniform_pictures
    }

    /// The least and the largest number of a value, by its name in a weight file, e.g. `input` or
    /// `features.1.conv.0.output`, or of the `logits`. `None` if there is no such value, or before the first picture.
    pub fn observed(&self, value: &str) -> Option<(f32, f32)> {
        let found = self.values.iter().find(|known| known.name == value).filter(|known| known.count > 0)?;
        Some((found.lowest(), found.highest()))
    }

    /// The statistics of value number `index`.
    pub(super) fn value(&self, index: usize) -> &Statistics {
        &self.values[index]
    }

    /// # Errors
    /// [`QuantizeError::OtherNetwork`] if these are not the names and channels of its values.
    pub(super) fn check_values<'a>(&self, mut found: impl Iterator<Item = (&'a str, usize)>) -> Result<(), Error> {
        for known in &self.values {
            if !found.next().is_some_and(|(name, channels)| known.fits(name, channels)) {
                return Err(other_network(&known.name));
            }
        }
        found.next().map_or(Ok(()), |(surplus, _)| Err(other_network(surplus)))
    }

    /// The same without what was seen.
    fn empty(&self) -> Result<Calibration, Error> {
        Calibration::of(self.values.iter().map(|value| (value.name.clone(), value.low.len())))
    }

    /// Of values with these names and so many channels.
    fn of(values: impl Iterator<Item = (String, usize)>) -> Result<Calibration, Error> {
        let values = values.map(|(name, channels)| Statistics::new(name, channels)).collect::<Result<_, _>>()?;
        Ok(Calibration { values, pictures: 0, uniform_pictures: 0 })
    }

    /// Adds one picture's numbers of a value. Index and number of the first that is not finite are an error.
    fn add(&mut self, value: usize, numbers: &[f32]) -> Result<(), (usize, f32)> {
        self.values[value].add(numbers)
    }
}

fn not_finite(value: &str, picture: usize, index: usize, found: f32) -> Error {
    QuantizeError::NotFinite { value: value.into(), picture, index, found }.into()
}

fn other_network(value: &str) -> Error {
    QuantizeError::OtherNetwork { value: value.into() }.into()
}

/// What one value held.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statistics {
    name: String,
    /// The least and the largest number of each channel; infinite before the first picture.
    pub(super) low: Vec<f32>,
    pub(super) high: Vec<f32>,
    /// The sum of each channel.
    sums: Vec<f64>,
    /// The sum of all squares.
    pub(super) squares: f64,
    pub(super) count: u64,
    pub(super) histogram: Histogram,
}

impl Statistics {
    fn new(name: String, channels: usize) -> Result<Statistics, mnx_tensor::Error> {
        Ok(Statistics {
            name,
            low: memory::filled(f32::INFINITY, channels)?,
            high: memory::filled(f32::NEG_INFINITY, channels)?,
            sums: memory::zeros(channels)?,
            squares: 0.0,
            count: 0,
            histogram: Histogram::new()?,
        })
    }

    fn fits(&self, name: &str, channels: usize) -> bool {
        self.name == name && self.low.len() == channels
    }

    fn add(&mut self, numbers: &[f32]) -> Result<(), (usize, f32)> {
        let plane = (numbers.len() / self.low.len().max(1)).max(1);
        for (channel, numbers) in numbers.chunks_exact(plane).enumerate().take(self.low.len()) {
            let Summary { low, high, sum, squares } = Summary::of(numbers);
            // Finite f32 numbers cannot overflow a sum in f64, nor can infinities cancel without leaving NaN.
            if !sum.is_finite() {
                let bad = numbers.iter().position(|number| !number.is_finite()).unwrap_or(0);
                return Err((channel * plane + bad, numbers[bad]));
            }
            self.low[channel] = self.low[channel].min(low);
            self.high[channel] = self.high[channel].max(high);
            self.sums[channel] += sum;
            self.squares += squares;
        }
        self.count += numbers.len() as u64;
        let largest = self.highest().max(-self.lowest()).max(0.0);
        self.histogram.add(numbers, largest);
        Ok(())
    }

    fn merge(&mut self, other: &Statistics) {
        let pairs = |mine: &mut [f32], others: &[f32], which: fn(f32, f32) -> f32| {
            mine.iter_mut().zip(others).for_each(|(mine, &other)| *mine = which(*mine, other));
        };
        pairs(&mut self.low, &other.low, f32::min);
        pairs(&mut self.high, &other.high, f32::max);
        self.sums.iter_mut().zip(&other.sums).for_each(|(mine, other)| *mine += other);
        self.squares += other.squares;
        self.count += other.count;
        self.histogram.merge(&other.histogram);
    }

    pub(super) fn lowest(&self) -> f32 {
        self.low.iter().copied().fold(f32::INFINITY, f32::min)
    }

    pub(super) fn highest(&self) -> f32 {
        self.high.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The mean of each channel.
    pub(super) fn means(&self) -> impl Iterator<Item = f64> {
        let each = self.count as f64 / self.low.len().max(1) as f64;
        self.sums.iter().map(move |sum| if each > 0.0 { sum / each } else { 0.0 })
    }

    /// Whether every channel holds one number only.
    fn is_uniform(&self) -> bool {
        self.low == self.high
    }
}

/// What some numbers come to.
struct Summary {
    low: f32,
    high: f32,
    sum: f64,
    squares: f64,
}

impl Summary {
    fn of(numbers: &[f32]) -> Summary {
        let mut low = [f32::INFINITY; LANES];
        let mut high = [f32::NEG_INFINITY; LANES];
        let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
        for numbers in numbers.chunks(LANES) {
            for (lane, &number) in numbers.iter().enumerate() {
                low[lane] = low[lane].min(number);
                high[lane] = high[lane].max(number);
                let number = f64::from(number);
                sums[lane] += number;
                squares[lane] += number * number;
            }
        }
        Summary {
            low: low.into_iter().fold(f32::INFINITY, f32::min),
            high: high.into_iter().fold(f32::NEG_INFINITY, f32::max),
            sum: sums.iter().sum(),
            squares: squares.iter().sum(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Statistics of a value with one channel.
    pub(in crate::quantize) fn statistics(numbers: &[f32]) -> Statistics {
        let mut statistics = Statistics::new("value".into(), 1).unwrap();
        statistics.add(numbers).unwrap();
        statistics
    }

    #[test]
    fn channels_are_apart() {
        let mut of = Statistics::new("value".into(), 2).unwrap();
        of.add(&[1.0, 2.0, 3.0, -4.0, 0.0, 4.0]).unwrap();
        of.add(&[2.0, -1.0]).unwrap();
        assert_eq!((&of.low[..], &of.high[..]), (&[1.0, -4.0][..], &[3.0, 4.0][..]));
        assert_eq!(of.means().collect::<Vec<_>>(), [2.0, -0.25]);
        assert_eq!((of.squares, of.count), (51.0, 8));
        assert_eq!((of.lowest(), of.highest()), (-4.0, 4.0));
    }

    #[test]
    fn calibrations_of_more_or_fewer_values_are_another_networks() {
        let of = |names: &[&str]| Calibration::of(names.iter().map(|name| ((*name).into(), 1))).unwrap();
        let (short, long) = (of(&["input", "a"]), of(&["input", "a", "b"]));
        for (mut one, other) in [(short.clone(), &long), (long.clone(), &short)] {
            let error = one.merge(other).unwrap_err();
            assert!(
                matches!(&error, Error::Quantize(QuantizeError::OtherNetwork { value }) if value == "b"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named() {
        let mut of = Statistics::new("value".into(), 2).unwrap();
        assert_eq!(of.add(&[0.0, 1.0, 2.0, f32::INFINITY, f32::NEG_INFINITY, 0.0]), Err((3, f32::INFINITY)));
        assert!(matches!(of.add(&[0.0, f32::NAN, 2.0, 3.0]), Err((1, found)) if found.is_nan()));
        assert!(of.add(&[f32::MAX; 4]).is_ok());
    }
}
