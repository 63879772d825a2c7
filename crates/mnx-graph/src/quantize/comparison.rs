//! Two networks side by side.

use mnx_tensor::{TensorView, memory};

use super::report::decibels;
use crate::{Error, QuantizeError, Session};

/// How much the values of a quantised network differ from those of the f32 network that it was made of, for the same pictures.
///
/// Threads can have a comparison each. Merged in the order of the pictures they give the same numbers as one.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// use mnx::quantize::Comparison;
/// use mnx::{Model, Session};
///
/// # fn main() -> Result<(), mnx_graph::Error> {
/// let mut f32_session = Session::new(&Model::open("w.mnx")?)?;
/// let mut int8_session = Session::new(&Model::open("w-int8.mnx")?)?;
/// let pictures = mnx::Tensor::zeros([1, 3, 224, 224])?;
/// let mut comparison = Comparison::new();
/// comparison.observe(&mut f32_session, &mut int8_session, pictures.view())?;
/// println!("{:?} dB, same class for {} of {}", comparison.snr("logits"), comparison.same_class(), comparison.pictures());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Names of values, and the sums of squares of numbers and errors.
    values: Vec<(String, f64, f64)>,
    pictures: u64,
    same_class: u64,
}

impl Comparison {
    /// A comparison that has not seen anything yet.
    pub fn new() -> Comparison {
        Comparison::default()
    }

    /// Runs pictures `[N, 3, H, W]` through both networks and adds what differs. Runs on the calling thread alone.
    ///
    /// # Errors
    /// [`QuantizeError::OtherNetwork`] if the two do not have the same values, and as [`Session::run`].
    pub fn observe(
        &mut self,
        reference: &mut Session,
        quantized: &mut Session,
        input: TensorView<'_>,
    ) -> Result<(), Error> {
        let [batch, channels, height, width] = input.shape();
        for picture in 0..batch {
            let input = TensorView::new([1, channels, height, width], input.picture(picture))?;
            let mut expected: Vec<(String, Vec<f32>)> = vec![("input".into(), memory::copy(input.data())?)];
            let mut short = None;
            let outputs = reference.run_observing_values(input, |value| match memory::copy(value.values) {
                Ok(values) if short.is_none() => expected.push((value.name.into(), values)),
                Ok(_) => (),
                Err(error) => short = Some(error),
            })?;
            if let Some(error) = short {
                return Err(error.into());
            }
            let logits = outputs.get("logits").map(|logits| memory::copy(logits.data())).transpose()?;
            for (name, output) in outputs.iter() {
                expected.push((name.into(), memory::copy(output.data())?));
            }
            let mut part = Comparison { pictures: 1, ..Comparison::new() };
            let mut add = |name: &str, found: &[f32]| {
                let same = expected.iter().find(|(known, values)| known == name && values.len() == found.len());
                if let Some((name, values)) = same {
                    let (signal, noise) = signal_and_noise(values, found);
                    part.values.push((name.clone(), signal, noise));
                }
            };
            let found = quantized.run_observing_values(input, |value| add(value.name, value.values))?;
            found.iter().for_each(|(name, output)| add(name, output.data()));
            // An f32 network does not quantise its input.
            if let Some((missing, _)) = expected[1..].iter().find(|(name, _)| part.value(name).is_none()) {
                return Err(QuantizeError::OtherNetwork { value: missing.clone() }.into());
            }
            // Detectors have boxes, not a class.
            part.same_class = u64::from(logits.is_some_and(|logits| best(&logits) == best(found.data())));
            self.merge(&part)?;
        }
        Ok(())
    }

    /// Adds what another comparison of the same networks has seen.
    ///
    /// # Errors
    /// [`QuantizeError::OtherNetwork`] if it is one of other networks.
    pub fn merge(&mut self, other: &Comparison) -> Result<(), Error> {
        if self.values.is_empty() {
            self.values.clone_from(&other.values);
        } else if !other.values.is_empty() {
            let mut others = other.values.iter().map(|value| &value.0);
            let differs = self.values.iter().map(|value| &value.0).find(|&mine| others.next() != Some(mine));
            if let Some(value) = differs.or_else(|| others.next()) {
                return Err(QuantizeError::OtherNetwork { value: value.clone() }.into());
            }
            for (value, other) in self.values.iter_mut().zip(&other.values) {
                value.1 += other.1;
                value.2 += other.2;
            }
        }
        self.pictures += other.pictures;
        self.same_class += other.same_class;
        Ok(())
    }

    /// How many pictures it has seen.
    pub fn pictures(&self) -> u64 {
        self.pictures
    }

    /// For how many of them both networks have the same most probable class. 0 for detectors.
    pub fn same_class(&self) -> u64 {
        self.same_class
    }

    /// Signal to noise in decibels of a value, by its name in a weight file, or of the `logits`. `None` if there is no such
    /// value, or no difference.
    pub fn snr(&self, value: &str) -> Option<f64> {
        let (signal, noise) = self.value(value)?;
        decibels(signal, noise)
    }

    fn value(&self, name: &str) -> Option<(f64, f64)> {
        self.values.iter().find(|value| value.0 == name).map(|value| (value.1, value.2))
    }
}

fn signal_and_noise(expected: &[f32], found: &[f32]) -> (f64, f64) {
    expected.iter().zip(found).fold((0.0, 0.0), |(signal, noise), (&expected, &found)| {
        let (expected, error) = (f64::from(expected), f64::from(expected) - f64::from(found));
        (signal + expected * expected, noise + error * error)
    })
}

/// Index of the largest logit, the first of several.
fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Spec};

    #[test]
    fn a_network_agrees_with_itself_and_not_with_another() {
        let mut spec = Spec::family("mobilenext-cifar").unwrap();
        spec.width = 0.1;
        let session =
            |spec: &Spec, seed| Session::new(&Model::from_bytes(crate::init(spec, seed).unwrap()).unwrap()).unwrap();
        let input = mnx_tensor::Tensor::from_slice([2, 3, 4, 4], &[0.5; 96]).unwrap();
        let (mut one, mut other) = (session(&spec, 1), session(&spec, 2));
        let mut same = Comparison::new();
        same.observe(&mut one, &mut session(&spec, 1), input.view()).unwrap();
        assert_eq!((same.pictures(), same.same_class(), same.snr("logits")), (2, 2, None));
        let mut different = Comparison::new();
        different.observe(&mut one, &mut other, input.view()).unwrap();
        assert!(different.snr("logits").unwrap() < 10.0);
        assert_eq!(different.snr("no such value"), None);
        spec.width = 0.2;
        let error = same.observe(&mut one, &mut session(&spec, 1), input.view()).unwrap_err();
        assert!(matches!(error, Error::Quantize(QuantizeError::OtherNetwork { .. })), "{error}");
    }

    #[test]
    fn comparisons_of_more_or_fewer_values_are_of_other_networks() {
        let of = |names: &[&str]| Comparison {
            pictures: 1,
            values: names.iter().map(|name| ((*name).into(), 1.0, 0.1)).collect(),
            ..Comparison::new()
        };
        let (short, long) = (of(&["input", "a"]), of(&["input", "a", "b"]));
        for (mut one, other) in [(short.clone(), &long), (long.clone(), &short)] {
            let error = one.merge(other).unwrap_err();
            assert!(
                matches!(&error, Error::Quantize(QuantizeError::OtherNetwork { value }) if value == "b"),
                "{error}"
            );
            assert_eq!(one.pictures(), 1);
            // One that has seen nothing fits all.
            one.merge(&Comparison::new()).unwrap();
        }
    }
}
