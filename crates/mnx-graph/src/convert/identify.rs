//! Identifies which network a checkpoint belongs to, from the names and shapes of its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::modules::Modules;
use super::naming::{Found, Names, Naming};
use super::{ConvertOptions, Problem, parse};
use crate::text::{SENTENCE, shown};
use crate::{CheckpointError, Error, Layer, Network, Spec};

/// A family's name, and widths.
type Listed = (&'static str, &'static [f64]);

/// The networks that can be identified, with the widths that people train. The CIFAR families have the same tensors.
const LISTED: &[Listed] = &[
    ("mobilenext", &[0.1, 0.35, 0.5, 0.75, 1.0, 1.4]),
    ("mobilenetv2", &[0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4]),
    ("resnet18", &[1.0]),
    ("resnet34", &[1.0]),
    ("resnet50", &[1.0]),
    ("ssdlite-mobilenext", &[0.1, 0.35, 0.5, 0.75, 1.0, 1.4]),
    ("ssdlite-mobilenetv2", &[0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4]),
    ("ssdlite300-mobilenetv2-tf", &[0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4]),
];

/// What the names and shapes of a checkpoint tell about its network.
///
/// They do not tell strides, activation, pools, padding, the identity tensor multiplier or the batch norms' epsilon:
/// [`assumptions`](Identified::assumptions) lists what is taken for them. `naming.dialect` says what networks with such names
/// usually have.
///
/// It displays as, e.g., `mobilenetv2, width 1, 1001 classes`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Identified {
    /// Name of the family, one of [`families`](crate::families) at ImageNet's strides.
    pub family: &'static str,
    /// Width multiplier: a common one, or else one of whole hundredths up to 2, that gives exactly these channels; or else the common
    /// one whose channels are nearest. 1 for ResNets, which have no width multiplier.
    pub width: f64,
    /// Whether every convolution has exactly the shape that follows from family and width.
    pub exact: bool,
    /// Outputs of the classifier. Of a detector: classes, the background included.
    pub classes: usize,
    /// Whose names the tensors have, and behind which prefix.
    pub naming: Naming,
}

impl fmt::Display for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.family)?;
        if has_widths(self.family) {
            let nearest = if self.exact { "" } else { " (the nearest listed one)" };
            write!(f, ", width {}{nearest}", self.width)?;
        }
        write!(f, ", {} classes", self.classes)
    }
}

/// Identifies family, width and number of classes of a safetensors checkpoint, from names and shapes alone. Values are not
/// looked at.
///
/// Names may be those that [`convert`](crate::convert()) understands. Missing and unexpected tensors are no errors here;
/// `convert` lists them.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let checkpoint = std::fs::read("checkpoint.safetensors")?;
/// let identified = mnx::identify(&checkpoint)?;
/// let mut spec = identified.spec(); // or `identified.spec_as("mobilenext-cifar")?`
/// spec.padding = mnx::Padding::Tf; // if TensorFlow trained it
/// for assumption in identified.assumptions(&spec) {
///     eprintln!("assumed: {assumption}");
/// }
/// std::fs::write("weights.mnx", mnx::convert(&checkpoint, &spec, 1e-5)?.file)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// - [`CheckpointError::Format`] or [`Error::WrongKind`] if it is not a safetensors file.
/// - [`CheckpointError::Unknown`] if less than half of every family's layers are there, or if the classifier or the class heads
///   do not tell the number of classes.
/// - [`CheckpointError::SeveralNetworks`] if it has several networks.
/// - [`CheckpointError::Problems`] if several layers could be the classifier.
pub fn identify(checkpoint: &[u8]) -> Result<Identified, Error> {
    identify_with(checkpoint, &ConvertOptions::default())
}

/// As [`identify`], with a prefix to strip.
///
/// # Errors
/// As [`identify`]; and [`CheckpointError::Unknown`] if no tensor has that prefix.
pub fn identify_with(checkpoint: &[u8], options: &ConvertOptions) -> Result<Identified, Error> {
    let tensors = parse(checkpoint)?;
    let shapes = tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()));
    Shapes(shapes.collect()).identify(options)
}

impl Identified {
    /// The family's spec with the identified width and classes, and what the dialect [usually has](crate::Dialect::apply).
    /// Everything else is the family's default: ImageNet's strides, resolution and preprocessing, padding `torch`, identity 1.
    /// [`assumptions`](Identified::assumptions) lists what that is.
    pub fn spec(&self) -> Spec {
        self.spec_of(self.family)
    }

    pub(super) fn spec_of(&self, family: &str) -> Spec {
        let mut spec = Spec { width: self.width, classes: self.classes, ..spec_of(family) };
        self.naming.dialect.apply(&mut spec);
        spec
    }

    /// Where `spec` contradicts this, if its family is listed.
    pub(super) fn disagreements(&self, spec: &Spec) -> Vec<Problem> {
        let given = spec.family.strip_suffix("-cifar").unwrap_or(&spec.family);
        if !LISTED.iter().any(|(family, _)| *family == given) {
            return Vec::new();
        }
        let rows = [
            ("family", given.to_owned(), self.family.to_owned()),
            ("width", spec.width.to_string(), self.width.to_string()),
            ("classes", spec.classes.to_string(), self.classes.to_string()),
        ];
        // The identified width is only the nearest listed one unless it is exact. Then a different one is no disagreement.
        let differ = rows.into_iter().filter(|(field, e, f)| e != f && (*field != "width" || self.exact));
        differ.map(|(field, expected, found)| Problem::Spec { field, expected, found }).collect()
    }
}

/// Shapes by name.
struct Shapes(BTreeMap<String, Vec<usize>>);

impl Shapes {
    fn identify(&self, options: &ConvertOptions) -> Result<Identified, Error> {
        let names = Names::new(self.0.iter().map(|(name, shape)| (name.as_str(), shape.clone())), options)?;
        let ((family, widths), mut found) = family(&names)?;
        names.look_beside(&mut found, &Network::new(&spec_of(family))?);
        let Found { naming, modules, rivals, .. } = found;
        if let Some(rivals) = rivals {
            return Err(Error::Checkpoint(CheckpointError::Problems { problems: vec![rivals] }));
        }
        let network = |width| Network::new(&Spec { width, ..spec_of(family) });
        let mut nearest: Option<(usize, f64)> = None;
        for &width in *widths {
            let distance = self.distance(&network(width)?, &modules);
            if nearest.is_none_or(|(least, _)| distance < least) {
                nearest = Some((distance, width));
            }
        }
        let mut width = nearest.map_or(1.0, |(_, width)| width);
        let mut exact = self.fits(&network(width)?, &modules);
        if !exact && has_widths(family) {
            for other in (1..=200).map(|hundredths| f64::from(hundredths) / 100.0) {
                if self.fits(&network(other)?, &modules) {
                    (width, exact) = (other, true);
                    break;
                }
            }
        }
        let network = network(width)?;
        let (counter, per_class) = counter(&network);
        let classes = modules.get(counter).map_or(Ok(0), |of| self.classes(&of.conv, per_class, &modules))?;
        Ok(Identified { family, width, exact, classes, naming })
    }

    fn weight(&self, modules: &Modules) -> Option<&[usize]> {
        self.0.get(&format!("{}.weight", modules.conv)).map(Vec::as_slice)
    }

    /// Matrices that are no layer's: one may be the classifier by another name.
    fn left_over(&self, modules: &[Modules]) -> Option<String> {
        let layers: BTreeSet<&str> = modules.iter().map(|of| of.conv.as_str()).collect();
        let is_matrix = |shape: &[usize]| matches!(shape, [_, _] | [_, _, 1, 1]);
        let is_other = |name: &str| name.rsplit_once('.').is_none_or(|(layer, _)| !layers.contains(layer));
        let others: Vec<_> = self.0.iter().filter(|(name, shape)| is_matrix(shape) && is_other(name)).collect();
        let named: Vec<_> =
            others.iter().take(LISTED_TENSORS).map(|(name, shape)| format!("`{name}` {shape:?}")).collect();
        let more = if others.len() > LISTED_TENSORS { ", …" } else { "" };
        (!named.is_empty()).then(|| named.join(", ") + more)
    }

    /// Whether every convolution has exactly this network's shape.
    fn fits(&self, network: &Network, modules: &[Modules]) -> bool {
        convolutions(network, modules).all(|(layer, modules)| self.weight(modules) == Some(&layer.weight_dims()[..]))
    }

    /// By how many output channels all convolutions together differ. Missing ones do not count.
    fn distance(&self, network: &Network, modules: &[Modules]) -> usize {
        let channels = |(layer, modules): (&Layer, &Modules)| {
            self.weight(modules)?.first().map(|found| found.abs_diff(layer.cout))
        };
        convolutions(network, modules).filter_map(channels).fold(0, usize::saturating_add)
    }

    /// The number of classes: the length of a layer's bias, or else the rows of its weight, divided by `per_class`.
    fn classes(&self, layer: &str, per_class: usize, modules: &[Modules]) -> Result<usize, Error> {
        let [bias, weight] = ["bias", "weight"].map(|part| self.0.get(&format!("{layer}.{part}")));
        match (bias.map(Vec::as_slice), weight.map(Vec::as_slice)) {
            (Some(&[outputs]), _) | (_, Some(&[outputs, _] | &[outputs, _, 1, 1]))
                if outputs > 0 && outputs.is_multiple_of(per_class) =>
            {
                Ok(outputs / per_class)
            }
            (bias, weight) => {
                let of = |shape: Option<&[usize]>| shape.map_or("none".into(), |shape| format!("{shape:?}"));
                let (classes, rest) = match per_class {
                    1 => ("classes".into(), ""),
                    priors => (format!("{priors} x classes"), ", 1, 1"),
                };
                let found = match (bias, weight, self.left_over(modules)) {
                    (None, None, Some(others)) => format!("neither, but {others}"),
                    _ => format!("{} and {}", of(bias), of(weight)),
                };
                let expected = format!("`{layer}.bias` [{classes}] or `{layer}.weight` [{classes}, features{rest}]");
                // Layers have the checkpoint's prefix, and the others any name.
                let [expected, found] = [expected, found].map(|text| shown(&text, SENTENCE));
                Err(Error::Checkpoint(CheckpointError::Unknown { expected, found }))
            }
        }
    }
}

/// How many tensors without a place a message lists.
const LISTED_TENSORS: usize = 3;

/// The layer that tells the number of classes, and how many outputs it has for each: the classifier, or the end of a detector's
/// first class head.
fn counter(network: &Network) -> (usize, usize) {
    let first = network.layers().position(Layer::makes_output).unwrap_or(0);
    (first, network.levels().first().map_or(1, |level| level.priors))
}

/// The family with the fewest missing and left-over names, and where its layers are.
fn family(names: &Names<'_>) -> Result<(&'static Listed, Found), Error> {
    let mut best: Option<(isize, &Listed, Found)> = None;
    for row in LISTED {
        let spec = spec_of(row.0);
        let found = names.find(&spec, &Network::new(&spec)?)?;
        let (all, there) = (found.modules.len() as isize, found.layers as isize);
        // `all - there` names are missing, and the file's names less `there` are left over. The file's number is the same for
        // every family, so it is left out of the score.
        let score = all - 2 * there;
        if score <= 0 && best.as_ref().is_none_or(|(least, ..)| score < *least) {
            best = Some((score, row, found));
        }
    }
    best.map(|(_, row, found)| (row, found)).ok_or_else(|| unknown(names))
}

fn unknown(names: &Names<'_>) -> Error {
    let families: Vec<_> = LISTED.iter().map(|(family, _)| *family).collect();
    Error::Checkpoint(CheckpointError::Unknown {
        expected: format!("tensors named as in {}", families.join(", ")),
        found: names.listed(),
    })
}

/// Layers whose shapes do not depend on the number of classes, and their names.
fn convolutions<'n>(network: &'n Network, modules: &'n [Modules]) -> impl Iterator<Item = (&'n Layer, &'n Modules)> {
    network.layers().zip(modules).filter(|(layer, _)| layer.norm.is_some())
}

fn has_widths(family: &str) -> bool {
    LISTED.iter().any(|(name, widths)| *name == family && widths.len() > 1)
}

/// The spec of a listed family. A test looks up every one.
fn spec_of(family: &str) -> Spec {
    Spec::family(family).expect("a family of the list")
}

#[cfg(test)]
mod tests;
