//! Makes models of what the command was given.

use std::path::{Path, PathBuf};

use mnx::{Model, Network, Spec};

use crate::args::Compare;
use crate::commands::network;
use crate::embedded::Embedded;
use crate::error::{Error, printable};
use crate::source::{Source, read};
use crate::values::{Arch, Subject};

/// One row of the comparison.
pub(super) struct Entry {
    pub(super) model: Model,
    pub(super) origin: Origin,
    /// Of the weight file, also where it is in memory only.
    pub(super) size_bytes: u64,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    File(PathBuf),
    Embedded(&'static Embedded),
    /// Random weights.
    Random,
}

impl Origin {
    /// What was named, if the weights are not random.
    pub(super) fn source(&self) -> Option<Source> {
        match self {
            Origin::File(path) => Some(Source::File(path.clone())),
            Origin::Embedded(embedded) => Some(Source::Embedded(embedded)),
            Origin::Random => None,
        }
    }

    /// The weight file.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Origin::File(path) => Some(path),
            Origin::Embedded(_) | Origin::Random => None,
        }
    }
}

impl Entry {
    fn of_file(path: &Path) -> Result<Entry, Error> {
        let model = read(path)?;
        let size_bytes = std::fs::metadata(path).map_err(|e| Error::file(path, e))?.len();
        Ok(Entry { model, origin: Origin::File(path.into()), size_bytes })
    }

    fn of_embedded(embedded: &'static Embedded) -> Result<Entry, Error> {
        let size_bytes = embedded.bytes.len() as u64;
        Ok(Entry { model: embedded.open()?, origin: Origin::Embedded(embedded), size_bytes })
    }

    fn random(spec: &Spec, seed: u64) -> Result<Entry, Error> {
        let bytes = mnx::init(spec, seed).map_err(Error::failed)?;
        let size_bytes = bytes.len() as u64;
        Ok(Entry { model: Model::from_bytes(bytes).map_err(Error::failed)?, origin: Origin::Random, size_bytes })
    }
}

/// All models, in the order of the subjects; an architecture that has identity tensor multipliers has as many as are
/// wanted.
///
/// # Errors
/// [`Error::Usage`] for flags that fit none of the subjects, for random weights whose accuracy is asked for and for a
/// width or resolution that makes no network; [`Error::File`] and [`Error::Failed`] for a file that does.
pub(super) fn open(args: &Compare) -> Result<Vec<Entry>, Error> {
    check(args)?;
    let mut entries = Vec::new();
    let mut identity_used = false;
    for subject in &args.subjects {
        match subject {
            Subject::Weights(path) => entries.push(Entry::of_file(path)?),
            Subject::Embedded(embedded) => entries.push(Entry::of_embedded(embedded)?),
            Subject::Arch(arch, width) => {
                let specs = specs(arch, *width, args)?;
                identity_used |= specs.iter().any(has_identity);
                for spec in specs {
                    entries.push(Entry::random(&spec, args.seed)?);
                }
            }
        }
    }
    if !args.identity.is_empty() && !identity_used {
        return Err(Error::Usage("--identity: none of the networks has an identity tensor multiplier".into()));
    }
    Ok(entries)
}

fn check(args: &Compare) -> Result<(), Error> {
    if let (None, Some(flag)) = (&args.eval, args.truth.given()) {
        return Err(Error::Usage(format!("{flag}: expected --eval DIR, whose classes it tells, found none")));
    }
    let mut archs = args.subjects.iter().filter_map(|subject| match subject {
        Subject::Arch(arch, _) => Some(arch),
        Subject::Weights(_) | Subject::Embedded(_) => None,
    });
    let Some(arch) = archs.next() else {
        let unfit = [("--resolution", args.resolution.is_some()), ("--identity", !args.identity.is_empty())];
        return match unfit.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Error::Usage(format!("{flag}: expected an ARCH to apply it to, found trained networks only")))
            }
            None => Ok(()),
        };
    };
    if args.eval.is_some() {
        let name = shown(arch);
        return Err(Error::Usage(format!("--eval: expected trained networks, found {name}, whose weights are random")));
    }
    Ok(())
}

fn shown(arch: &Arch) -> String {
    match arch {
        Arch::Auto => "auto".into(),
        Arch::Family(name) => name.clone(),
        Arch::File(path) => printable(&path.to_string_lossy()),
    }
}

/// One spec, or one for each identity tensor multiplier.
fn specs(arch: &Arch, width: Option<f64>, args: &Compare) -> Result<Vec<Spec>, Error> {
    let mut spec = network::base(arch)?;
    if let Some(width) = width {
        spec.width = width;
    }
    if let Some(resolution) = args.resolution {
        spec.set_resolution(resolution);
    }
    // The network was fine without the flags.
    Network::new(&spec).map_err(|e| Error::Usage(format!("{} of width {:?}: {e}", shown(arch), spec.width)))?;
    if args.identity.is_empty() || !has_identity(&spec) {
        return Ok(vec![spec]);
    }
    Ok(args.identity.iter().map(|&identity| with_identity(&spec, identity)).collect())
}

fn with_identity(spec: &Spec, identity: f64) -> Spec {
    let mut spec = spec.clone();
    spec.identity = identity;
    spec
}

/// Whether the multiplier makes a difference to a network of this kind.
fn has_identity(spec: &Spec) -> bool {
    let covered = |identity| {
        let network = Network::new(&with_identity(spec, identity)).ok()?;
        Some(network.blocks.iter().map(|block| block.identity_channels).sum::<usize>())
    };
    matches!((covered(0.0), covered(1.0)), (Some(none), Some(all)) if none != all)
}
