//! `convert`: a checkpoint into a weight file.

mod names;

use std::path::Path;

use mnx::{BlockKind, ConvertOptions, Detected, Naming, Network, Padding, Spec};

use super::{Context, network};
use crate::args::{Convert, PaddingChoice};
use crate::error::{Error, printable, shown};
use crate::output::{OutputFile, read_limited, read_text};
use crate::stdout;
use crate::values::Arch;

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;
/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

pub(crate) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    let mut options = ConvertOptions::new();
    options.strip_prefix.clone_from(&args.strip_prefix);
    // Flags are judged before the checkpoint is read, unless it has to say which network it is of.
    let (spec, checkpoint, naming, detected) = if args.network.arch == Arch::Auto {
        let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
        let detected = mnx::detect_with(&checkpoint, &options).map_err(|e| refused(args, None, "", &e))?;
        // Sizes that no network can have are the checkpoint's fault here, not a flag's.
        Network::new(&detected.spec()).map_err(|e| Error::file(&args.input, e))?;
        (spec(args, detected.spec())?, checkpoint, detected.naming.clone(), Some(detected))
    } else {
        let base = network::base(&args.network.arch)?;
        spec(args, base.clone())?;
        let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
        let naming = mnx::naming(&checkpoint, &base, &options).map_err(|e| refused(args, None, "", &e))?;
        (spec(args, names::base_of(&naming, &args.network.arch, base))?, checkpoint, naming, None)
    };
    let output = OutputFile::create(&args.output)?;
    options.bn_eps = args.bn_eps;
    let bytes = mnx::convert_with(&checkpoint, &spec, &options).map_err(|e| {
        let taken = detected.as_ref().map_or(String::new(), |detected| format!("taken for {detected}: "));
        refused(args, Some(&naming), &(taken + &names::taken_off(&naming)), &e)
    })?;
    network::write(&args.output, output, &bytes, &spec, context)?;
    let said = match &detected {
        Some(detected) => Some(read_and_assumed(args, detected, &spec)),
        None => names::found_and_assumed(args, &naming, &spec),
    };
    if let Some(said) = said {
        stdout::note(format_args!("{}: {said}{}", shown(&args.input), names::left_out(args, &naming)));
    }
    Ok(())
}

/// What is wrong with the checkpoint, a line per problem, after what it was taken for.
fn refused(args: &Convert, naming: Option<&Naming>, taken: &str, error: &mnx::GraphError) -> Error {
    // Tensors can have any name.
    let lines: Vec<_> = error.to_string().lines().map(printable).collect();
    Error::file(&args.input, format!("{}{}{}", printable(taken), lines.join("\n"), names::hint(args, naming, error)))
}

/// Two lines: what `--arch auto` read, and what it assumed because neither the checkpoint nor a flag tells.
fn read_and_assumed(args: &Convert, detected: &Detected, spec: &Spec) -> String {
    // What was given has turned out right.
    let width = args.network.width.map_or((detected.width, detected.exact), |width| (width, true));
    let mut read = detected.clone();
    (read.width, read.exact) = width;
    let cifar = format!("{}-cifar", detected.family);
    let has_cifar = mnx::families().any(|family| family == cifar);
    let has_identity = spec.stages.iter().any(|stage| stage.block == BlockKind::Sandglass);
    let dialect = detected.naming.dialect;
    let rows = [
        (has_cifar, format!("ImageNet's strides (else --arch {cifar})")),
        (!has_cifar, "ImageNet's strides".into()),
        (args.network.resolution.is_none(), format!("resolution {} (--resolution)", spec.resolution)),
        (args.padding.is_none() && !spec.stem.max_pool, names::padding(spec)),
        (args.network.identity.is_none() && has_identity, "identity 1 (--identity)".into()),
        (args.mean.is_none(), names::mean_std(dialect)),
        (args.bn_eps.is_none(), names::bn_eps(dialect)),
    ];
    let assumed: Vec<_> = rows.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    let naming = names::found(&detected.naming);
    format!("read off names and shapes: {read}{naming}\n  assumed, as they do not tell: {}", assumed.join(", "))
}

/// The network with what the flags change.
fn spec(args: &Convert, base: Spec) -> Result<Spec, Error> {
    let mut spec = base;
    network::apply(&args.network, &mut spec);
    if let Some(path) = &args.labels {
        spec.labels = Some(labels(path, spec.classes)?);
    }
    if let Some(resize) = args.resize {
        spec.preprocessing.resize = resize;
    }
    if let Some(mean) = args.mean {
        spec.preprocessing.mean = mean.0;
    }
    if let Some(std) = args.std {
        spec.preprocessing.std = std.0;
    }
    match args.padding {
        None => (),
        Some(PaddingChoice::Torch) => spec.padding = Padding::Torch,
        Some(PaddingChoice::Tf) => spec.padding = Padding::Tf,
    }
    network::check(&spec)?;
    Ok(spec)
}

/// The names in the file: as many as there are classes.
fn labels(path: &Path, classes: usize) -> Result<Vec<String>, Error> {
    let text = read_text(path, LARGEST_LABELS)?;
    mnx::parse_labels(&text, classes).map_err(|e| Error::file(path, e))
}
