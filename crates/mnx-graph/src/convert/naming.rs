//! How a checkpoint names its tensors: in whose dialect, and behind which prefix.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::SafeTensors;

use super::beside::{Head, is_of_training};
use super::dialects::{Alternatives, CLASSIFIERS, COUNTERS, DIALECTS, Dialect, OWN};
use super::modules::Modules;
use super::{ConvertOptions, Problem, parse};
use crate::text::shown;
use crate::{CheckpointError, Error, Layer, Network, Spec};

/// A prefix has at most this many parts.
const DEEPEST: usize = 8;
/// A prefix is considered if at least one in this many tensors has it.
const SHARE: usize = 4;
/// Messages show this many of a stranger's names, and this many characters of each.
const SHOWN_NAMES: usize = 3;
const SHOWN_CHARACTERS: usize = 40;

/// How the tensors of a checkpoint are named.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Naming {
    /// Whose names they are.
    pub dialect: &'static Dialect,
    /// What stands before the names of the network's tensors, e.g. `module.` or `model.backbone.`. It may be empty. The
    /// classifier may have fewer parts of it, e.g. `model.`.
    pub prefix: String,
    /// Tensors that are ignored because they lack the prefix that [`ConvertOptions::strip_prefix`] asks for.
    pub left_out: Vec<String>,
    /// The classifier, where it has none of the usual names: it was taken as the only matrix for the network's features.
    pub classifier: Option<String>,
    /// Whether the classifier has no bias, which counts as zeros.
    pub zero_bias: bool,
}

/// Finds out how a safetensors checkpoint names the tensors of `spec`'s network. Only names are looked at, and of matrices the
/// shapes.
///
/// ```no_run
/// # use mnx_graph as mnx;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mnx::{ConvertOptions, Spec};
///
/// let checkpoint = std::fs::read("checkpoint.safetensors")?;
/// let options = ConvertOptions::default();
/// let mut spec = Spec::family("mobilenetv2").expect("a known family");
/// let naming = mnx::naming(&checkpoint, &spec, &options)?;
/// naming.dialect.apply(&mut spec);
/// println!("names of {}, prefix `{}`", naming.dialect.name, naming.prefix);
/// std::fs::write("weights.mnx", mnx::convert_with(&checkpoint, &spec, &options)?.file)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// - [`CheckpointError::Format`] or [`Error::WrongKind`] if it is not a safetensors file.
/// - [`CheckpointError::Unknown`] if no tensor has the prefix to strip.
/// - [`CheckpointError::SeveralNetworks`] if it has several networks.
/// - As [`Network::new`].
pub fn naming(checkpoint: &[u8], spec: &Spec, options: &ConvertOptions) -> Result<Naming, Error> {
    let tensors = parse(checkpoint)?;
    let names = Names::new(shapes(&tensors), options)?;
    Ok(names.of(spec, &Network::new(spec)?)?.naming)
}

/// Names and shapes of a file.
pub(super) fn shapes<'t>(tensors: &'t SafeTensors) -> impl Iterator<Item = (&'t str, Vec<usize>)> {
    tensors.iter().map(|(name, tensor)| (name, tensor.shape().to_vec()))
}

/// The names of a checkpoint's tensors, without counters, and their shapes.
pub(super) struct Names<'a> {
    all: BTreeMap<&'a str, Vec<usize>>,
    /// Names of two dimensions that may be classifiers.
    matrices: Vec<&'a str>,
    /// The prefix that the user gave.
    stripped: String,
    /// Prefixes behind which to look for networks, the shortest first.
    prefixes: Vec<String>,
}

/// A network's layers as found in a checkpoint. Some may be missing.
pub(super) struct Found {
    pub(super) naming: Naming,
    /// One per layer, in the order of [`Network::layers`].
    pub(super) modules: Vec<Modules>,
    /// How many layers have a weight.
    pub(super) layers: usize,
    /// How many tensors are there.
    tensors: usize,
    /// More than one name that the classifier could have.
    pub(super) rivals: Option<Problem>,
    /// There may be more layers than the classifier after the features.
    pub(super) layers_beside: Option<Problem>,
}

/// Whether the tensor counts batches, operations or the like.
pub(super) fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name))
}

impl<'a> Names<'a> {
    pub(super) fn new(
        tensors: impl Iterator<Item = (&'a str, Vec<usize>)>,
        options: &ConvertOptions,
    ) -> Result<Names<'a>, Error> {
        let all: BTreeMap<_, _> = tensors.filter(|(name, _)| !is_counter(name)).collect();
        let stripped = match options.strip_prefix.as_deref().unwrap_or_default() {
            prefix if prefix.is_empty() || prefix.ends_with('.') => prefix.to_owned(),
            prefix => format!("{prefix}."),
        };
        let under: Vec<_> = all.keys().filter(|name| name.starts_with(&stripped)).collect();
        if !stripped.is_empty() && under.is_empty() {
            let expected = format!("names that begin with {}", name_shown(&stripped));
            return Err(Error::Checkpoint(CheckpointError::Unknown { expected, found: listed(all.keys().copied()) }));
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        for name in &under {
            let dots = name.match_indices('.').map(|(at, _)| at + 1).filter(|&end| end > stripped.len());
            dots.take(DEEPEST).for_each(|end| *counts.entry(&name[..end]).or_default() += 1);
        }
        let common = counts.into_iter().filter(|(_, count)| count * SHARE >= under.len());
        let mut prefixes: Vec<_> =
            std::iter::once(stripped.clone()).chain(common.map(|(prefix, _)| prefix.to_owned())).collect();
        prefixes.sort_by_key(String::len);
        let matrices = all.iter().filter(|(name, shape)| shape.len() == 2 && !is_of_training(name));
        let matrices = matrices.map(|(name, _)| *name).collect();
        Ok(Names { all, matrices, stripped, prefixes })
    }

    /// A few of the names, for a message.
    pub(super) fn listed(&self) -> String {
        listed(self.all.keys().copied())
    }

    fn has(&self, module: &str, part: &str) -> bool {
        self.shape(module, part).is_some()
    }

    fn shape(&self, module: &str, part: &str) -> Option<&[usize]> {
        self.all.get(format!("{module}.{part}").as_str()).map(Vec::as_slice)
    }

    /// Finds a network's layers, and looks at what stands beside them.
    pub(super) fn of(&self, spec: &Spec, network: &Network) -> Result<Found, Error> {
        let mut found = self.find(spec, network)?;
        self.look_beside(&mut found, network);
        Ok(found)
    }

    /// Finds a network's layers, in the dialect and behind the prefix that find the most tensors.
    pub(super) fn find(&self, spec: &Spec, network: &Network) -> Result<Found, Error> {
        let mut best: Option<Found> = None;
        let mut rivals = Vec::new();
        for dialect in DIALECTS {
            let Some(layers) = dialect.layers(spec, network) else { continue };
            for prefix in &self.prefixes {
                let found = self.behind(prefix, dialect, &layers, network.classifier());
                let most = best.as_ref().map_or(0, |best| best.tensors);
                if best.is_none() || found.tensors > most {
                    rivals = vec![found.naming.prefix.clone()];
                    best = Some(found);
                } else if found.tensors == most
                    && !rivals.contains(prefix)
                    && !best.as_ref().is_some_and(|best| self.share(best, &found))
                {
                    rivals.push(prefix.clone());
                }
            }
        }
        let own = || self.behind(&self.stripped, &OWN, &[], network.classifier());
        let found = best.unwrap_or_else(own);
        // Several prefixes do equally well. If each has more than half of the layers, there are several networks.
        if rivals.len() > 1 && found.layers * 2 > found.modules.len() {
            return Err(Error::Checkpoint(CheckpointError::SeveralNetworks { prefixes: rivals }));
        }
        Ok(found)
    }

    fn behind(
        &self,
        prefix: &str,
        dialect: &'static Dialect,
        layers: &[Alternatives],
        classifier: Option<&Layer>,
    ) -> Found {
        let naming =
            Naming { dialect, prefix: prefix.to_owned(), left_out: Vec::new(), classifier: None, zero_bias: false };
        let mut found = Found { naming, modules: Vec::new(), layers: 0, tensors: 0, rivals: None, layers_beside: None };
        let modules = layers.iter().map(|names| {
            // The names with the most tensors; among equals the first.
            let modules = names.iter().map(|modules| modules.behind(prefix)).rev();
            modules.max_by_key(|modules| self.there(modules)).unwrap_or_default()
        });
        found.modules.extend(modules);
        if let Some(classifier) = classifier {
            let features = self.features(&found.modules);
            let (conv, rivals) = self.classifier(prefix).unwrap_or_else(|| {
                found.naming.classifier = self.only_matrix(prefix, features);
                let name = found.naming.classifier.clone();
                (name.unwrap_or_else(|| format!("{prefix}{}", classifier.name)), None)
            });
            found.naming.zero_bias = self.has(&conv, "weight") && !self.has(&conv, "bias");
            found.modules.push(Modules { conv, norm: None, bias: !found.naming.zero_bias });
            found.rivals = rivals;
        }
        found.layers = found.modules.iter().filter(|modules| self.has(&modules.conv, "weight")).count();
        found.tensors = found.modules.iter().map(|modules| self.there(modules)).sum();
        found
    }

    /// Whether two findings have a layer in common: then they are the same network, by names with and without the prefix.
    fn share(&self, a: &Found, b: &Found) -> bool {
        let there = |found: &'_ Found| -> BTreeSet<String> {
            let names = found.modules.iter().map(|modules| modules.conv.clone());
            names.filter(|name| self.has(name, "weight")).collect()
        };
        !there(a).is_disjoint(&there(b))
    }

    /// How many of a layer's tensors the checkpoint has.
    fn there(&self, modules: &Modules) -> usize {
        modules.tensors().filter(|name| self.all.contains_key(name.as_str())).count()
    }

    /// Finds the classifier by its name. It stands beside the other layers, or beside a module that holds them.
    fn classifier(&self, prefix: &str) -> Option<(String, Option<Problem>)> {
        around(prefix).find_map(|outer| {
            let names = CLASSIFIERS.iter().map(|name| format!("{outer}{name}"));
            let mut names: Vec<_> = names.filter(|name| self.has(name, "weight") || self.has(name, "bias")).collect();
            let rivals = (names.len() > 1).then(|| Problem::Classifiers { found: names.clone() });
            (!names.is_empty()).then(|| (names.swap_remove(0), rivals))
        })
    }

    /// The only matrix beside the other layers, or beside a module that holds them, if it is one for the features.
    fn only_matrix(&self, prefix: &str, features: Option<usize>) -> Option<String> {
        let within = |outer: &str| self.matrices.iter().filter(|name| name.starts_with(outer)).collect::<Vec<_>>();
        let matrices = around(prefix).map(within).find(|matrices| !matrices.is_empty())?;
        let [name] = matrices[..] else { return None };
        let layer = name.strip_suffix(".weight")?;
        (self.all[name].last().copied() == features).then(|| layer.to_owned())
    }

    /// How many values the last of these layers makes, as far as its shape tells.
    fn features(&self, layers: &[Modules]) -> Option<usize> {
        self.shape(&layers.last()?.conv, "weight")?.first().copied()
    }

    /// Looks at tensors that are not the network's: those that lack the prefix that the user gave are left out, but for those
    /// that may be layers of it.
    pub(super) fn look_beside(&self, found: &mut Found, network: &Network) {
        let used: BTreeSet<_> = found.modules.iter().flat_map(Modules::tensors).collect();
        let others = self.all.iter().filter(|(name, _)| !used.contains(**name));
        let others: BTreeMap<_, _> = others.map(|(name, shape)| (*name, &shape[..])).collect();
        let mut beside = BTreeSet::new();
        if network.classifier().is_some()
            && let Some((classifier, layers)) = found.modules.split_last()
        {
            let classes = self.shape(&classifier.conv, "weight").and_then(|shape| shape.first().copied());
            let (prefix, features) = (&found.naming.prefix, self.features(layers));
            beside = Head { prefix, classifier: &classifier.conv, features, classes }.beside(&others, &used);
            let problem = || Problem::LayersBeside { classifier: classifier.conv.clone() };
            found.layers_beside = (!beside.is_empty()).then(problem);
        }
        if !self.stripped.is_empty() {
            let outside = others.keys().filter(|name| !name.starts_with(&self.stripped) && !beside.contains(**name));
            found.naming.left_out = outside.map(|name| (*name).to_owned()).collect();
        }
    }
}

/// The prefix, and those of the modules around what it stands for, down to none.
fn around(prefix: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(prefix), |inner| {
        let inner = inner.strip_suffix('.')?;
        Some(&inner[..inner.rfind('.').map_or(0, |dot| dot + 1)])
    })
}

impl Naming {
    /// What batch norms of this network add to variances, unless somebody knows better: the family's epsilon if it has one of its
    /// own, as TensorFlow's detector does, else the dialect's.
    pub fn bn_eps(&self, spec: &Spec) -> f64 {
        crate::families::bn_eps(&spec.family).unwrap_or(self.dialect.bn_eps)
    }

    /// The problem with a tensor that is left over: a second copy of one of the network's, or a stranger.
    pub(super) fn left_over(&self, name: &str, found: Vec<usize>, used: &BTreeSet<String>) -> Problem {
        let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
        // Short names are no evidence: `bn1.bias` may belong to the stem, or be the end of a name in a block.
        let mut splits = starts.map(|at| name.split_at(at)).filter(|(_, rest)| rest.matches('.').count() > 1);
        match splits.find(|(start, rest)| *start != self.prefix && used.contains(&format!("{}{rest}", self.prefix))) {
            Some((start, rest)) => {
                Problem::Twice { name: rest.to_owned(), prefixes: [self.prefix.clone(), start.to_owned()] }
            }
            None => Problem::Unexpected { name: name.to_owned(), found },
        }
    }
}

/// The number of names, and the first few of them.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let first: Vec<_> = names.take(SHOWN_NAMES).map(name_shown).collect();
    let more = if count > first.len() { ", …" } else { "" };
    match count {
        0 => "none".into(),
        count => format!("{count} others: {}{more}", first.join(", ")),
    }
}

/// A stranger's name: short, and on one line.
fn name_shown(name: &str) -> String {
    format!("`{}`", shown(name, SHOWN_CHARACTERS))
}

#[cfg(test)]
mod tests;
