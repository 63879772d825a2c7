//! `convert`: a checkpoint into a weight file.

use std::path::Path;

use mnx::{BlockKind, Detected, Network, Padding, Spec};

use super::{Context, network, onnx};
use crate::args::{Convert, PaddingChoice};
use crate::error::{Error, printable, shown};
use crate::output::{OutputFile, read_limited, read_text};
use crate::stdout;
use crate::values::Arch;

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;
/// What batch norms add to variances where no flag tells.
const PYTORCH_EPS: f64 = 1e-5;
/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

pub(crate) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    if onnx::is_model(&args.input) {
        return onnx::run(args, context);
    }
    // Flags are judged before the checkpoint is read, unless it has to say which network it is of.
    let (spec, checkpoint, detected) = if args.network.arch == Arch::Auto {
        let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
        let detected = mnx::detect(&checkpoint).map_err(|e| Error::file(&args.input, e))?;
        // Sizes that no network can have are the checkpoint's fault here, not a flag's.
        Network::new(&detected.spec()).map_err(|e| Error::file(&args.input, e))?;
        (with_flags(args, detected.spec())?, checkpoint, Some(detected))
    } else {
        let spec = with_flags(args, network::base(&args.network.arch)?)?;
        (spec, read_limited(&args.input, LARGEST_CHECKPOINT)?, None)
    };
    let output = OutputFile::create(&args.output)?;
    let bytes = mnx::convert(&checkpoint, &spec, args.bn_eps.unwrap_or(PYTORCH_EPS)).map_err(|e| {
        // A line per problem; tensors can have any name.
        let lines: Vec<_> = e.to_string().lines().map(printable).collect();
        let taken = detected.as_ref().map_or(String::new(), |detected| format!("taken for {detected}: "));
        Error::file(&args.input, taken + &lines.join("\n"))
    })?;
    network::write(&args.output, output, &bytes, &spec, context)?;
    if let Some(detected) = &detected {
        stdout::note(format_args!("{}: {}", shown(&args.input), read_and_assumed(args, detected, &spec)));
    }
    Ok(())
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
    let rows = [
        (has_cifar, format!("ImageNet's strides (else --arch {cifar})")),
        (!has_cifar, "ImageNet's strides".into()),
        (args.network.resolution.is_none(), format!("resolution {} (--resolution)", spec.resolution)),
        (args.padding.is_none() && !spec.stem.max_pool, "padding torch (--padding)".into()),
        (args.network.identity.is_none() && has_identity, "identity 1 (--identity)".into()),
        (args.mean.is_none(), "ImageNet's mean and std (--mean, --std)".into()),
    ];
    let assumed: Vec<_> = rows.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    format!("read off names and shapes: {read}\n  assumed, as they do not tell: {}", assumed.join(", "))
}

/// The network with what the flags change.
pub(super) fn with_flags(args: &Convert, base: Spec) -> Result<Spec, Error> {
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
