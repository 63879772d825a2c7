//! How a checkpoint names its tensors: in whose dialect, and behind which prefix.

use std::collections::{BTreeMap, BTreeSet};

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
}

/// Finds out how a safetensors checkpoint names the tensors of `spec`'s network. Only names are looked at.
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
    let names = Names::new(tensors.iter().map(|(name, _)| name), options)?;
    Ok(names.of(spec, &Network::new(spec)?)?.naming)
}

/// The names of a checkpoint's tensors, without counters.
pub(super) struct Names<'a> {
    all: BTreeSet<&'a str>,
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
}

/// Whether the tensor counts batches, operations or the like.
pub(super) fn is_counter(name: &str) -> bool {
    COUNTERS.contains(&name.rsplit('.').next().unwrap_or(name))
}

impl<'a> Names<'a> {
    pub(super) fn new(names: impl Iterator<Item = &'a str>, options: &ConvertOptions) -> Result<Names<'a>, Error> {
        let all: BTreeSet<_> = names.filter(|name| !is_counter(name)).collect();
        let stripped = match options.strip_prefix.as_deref().unwrap_or_default() {
            prefix if prefix.is_empty() || prefix.ends_with('.') => prefix.to_owned(),
            prefix => format!("{prefix}."),
        };
        let under: Vec<_> = all.iter().filter(|name| name.starts_with(&stripped)).collect();
        if !stripped.is_empty() && under.is_empty() {
            let expected = format!("names that begin with {}", name_shown(&stripped));
            return Err(Error::Checkpoint(CheckpointError::Unknown { expected, found: listed(all.iter().copied()) }));
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
        Ok(Names { all, stripped, prefixes })
    }

    /// A few of the names, for a message.
    pub(super) fn listed(&self) -> String {
        listed(self.all.iter().copied())
    }

    fn has(&self, module: &str, part: &str) -> bool {
        self.all.contains(format!("{module}.{part}").as_str())
    }

    /// Finds a network's layers, in the dialect and behind the prefix that find the most tensors.
    pub(super) fn of(&self, spec: &Spec, network: &Network) -> Result<Found, Error> {
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
        let mut found = best.unwrap_or_else(own);
        // Several prefixes do equally well. If each has more than half of the layers, there are several networks.
        if rivals.len() > 1 && found.layers * 2 > found.modules.len() {
            return Err(Error::Checkpoint(CheckpointError::SeveralNetworks { prefixes: rivals }));
        }
        found.naming.left_out = self.left_out(&found);
        Ok(found)
    }

    fn behind(
        &self,
        prefix: &str,
        dialect: &'static Dialect,
        layers: &[Alternatives],
        classifier: Option<&Layer>,
    ) -> Found {
        let naming = Naming { dialect, prefix: prefix.to_owned(), left_out: Vec::new() };
        let mut found = Found { naming, modules: Vec::new(), layers: 0, tensors: 0, rivals: None };
        let modules = layers.iter().map(|names| {
            // The names with the most tensors; among equals the first.
            let modules = names.iter().map(|modules| modules.behind(prefix)).rev();
            modules.max_by_key(|modules| self.there(modules)).unwrap_or_default()
        });
        found.modules.extend(modules);
        if let Some(classifier) = classifier {
            let (classifier, rivals) = self.classifier(prefix, classifier);
            found.modules.push(classifier);
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
        modules.tensors().filter(|name| self.all.contains(name.as_str())).count()
    }

    /// Finds the classifier. It stands beside the other layers, or beside a module that holds them.
    fn classifier(&self, prefix: &str, layer: &Layer) -> (Modules, Option<Problem>) {
        let mut outer = prefix;
        loop {
            let names = CLASSIFIERS.iter().map(|name| format!("{outer}{name}"));
            let mut names: Vec<_> = names.filter(|name| self.has(name, "weight") || self.has(name, "bias")).collect();
            if !names.is_empty() {
                let rivals = (names.len() > 1).then(|| Problem::Classifiers { found: names.clone() });
                return (Modules { conv: names.swap_remove(0), norm: None, bias: true }, rivals);
            }
            let Some(inner) = outer.strip_suffix('.') else { break };
            outer = &outer[..inner.rfind('.').map_or(0, |dot| dot + 1)];
        }
        (Modules { conv: format!("{prefix}{}", layer.name), norm: None, bias: true }, None)
    }

    /// Tensors that lack the prefix that the user gave, and that are not used either.
    fn left_out(&self, found: &Found) -> Vec<String> {
        if self.stripped.is_empty() {
            return Vec::new();
        }
        let used: BTreeSet<_> = found.modules.iter().flat_map(Modules::tensors).collect();
        let outside = self.all.iter().filter(|name| !name.starts_with(&self.stripped) && !used.contains(**name));
        outside.map(|name| (*name).to_owned()).collect()
    }
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
