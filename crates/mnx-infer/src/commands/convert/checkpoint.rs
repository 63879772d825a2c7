//! `convert` for checkpoints: tensors and their names.

use mnx::{Assumption, CheckpointError, ConvertOptions, GraphError, Identified, Naming, Network, Spec};

use super::flags::{labels_text, with_flags};
use super::names;
use crate::args::Convert;
use crate::commands::network;
use crate::context::Context;
use crate::error::{Error, shown};
use crate::output::{OutputFile, read_limited};
use crate::stdout;
use crate::values::Arch;
use crate::words::counted;

/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

pub(super) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    let labels = labels_text(args)?;
    let mut options = ConvertOptions::new();
    options.strip_prefix.clone_from(&args.strip_prefix);
    // Flags are judged before the checkpoint is read, unless it has to say which network it is of.
    let (spec, checkpoint, naming, identified) = if args.network.arch == Arch::Auto {
        let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
        let identified = mnx::identify_with(&checkpoint, &options).map_err(|e| refused(args, None, "", &e))?;
        // Sizes that no network can have are the checkpoint's fault here, not a flag's.
        Network::new(&identified.spec()).map_err(|e| Error::file(&args.input, e))?;
        (
            with_flags(args, identified.spec(), labels.as_deref())?,
            checkpoint,
            identified.naming.clone(),
            Some(identified),
        )
    } else {
        let base = network::base(&args.network.arch)?;
        // How many labels there must be, the checkpoint may have a say in.
        with_flags(args, base.clone(), None)?;
        let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
        let naming = mnx::naming(&checkpoint, &base, &options).map_err(|e| refused(args, None, "", &e))?;
        let base = names::base_of(&naming, &args.network.arch, base);
        (with_flags(args, base, labels.as_deref())?, checkpoint, naming, None)
    };
    let output = OutputFile::create(&args.output)?;
    options.bn_eps = args.bn_eps;
    options.classifier_dtype = network::classifier_dtype(&args.network);
    let converted = mnx::convert_with(&checkpoint, &spec, &options).map_err(|e| {
        let taken = identified.as_ref().map_or(String::new(), |identified| format!("taken for {identified}: "));
        refused(args, Some(&naming), &(taken + &names::taken_off(&naming)), &e)
    })?;
    network::write(&args.output, output, &converted.file, &spec, Some(converted.flushed), context)?;
    network::note_flushed(&args.input, converted.flushed);
    let said = match &identified {
        Some(identified) => Some(read_and_assumed(args, identified, &spec)),
        None => names::found_and_assumed(args, &naming, &spec),
    };
    if let Some((said, mut list)) = said {
        list.extend(names::left_out(args, &naming));
        stdout::note_list(format_args!("{}: {said}", shown(&args.input)), &list);
    }
    Ok(())
}

/// What is wrong with the checkpoint, a line per problem, after what it was taken for.
fn refused(args: &Convert, naming: Option<&Naming>, taken: &str, error: &mnx::GraphError) -> Error {
    let hint = names::hint(args, naming, error);
    let GraphError::Checkpoint(CheckpointError::Problems { problems }) = error else {
        let hint = hint.map(|hint| format!(" {hint}")).unwrap_or_default();
        return Error::file(&args.input, format_args!("{taken}{error}{hint}"));
    };
    let message = format!("{taken}checkpoint: found {}:", counted(problems.len(), "problem", "problems"));
    let list = problems.iter().map(ToString::to_string).chain(hint).collect();
    Error::Listed { path: args.input.clone(), message, list }
}

/// Two lines: what `--arch auto` read, and what it assumed because neither the checkpoint nor a flag tells.
fn read_and_assumed(args: &Convert, identified: &Identified, spec: &Spec) -> (String, Vec<String>) {
    // What was given has turned out right.
    let width = args.network.width.map_or((identified.width, identified.exact), |width| (width, true));
    let mut read = identified.clone();
    (read.width, read.exact) = width;
    let dialect = identified.naming.dialect;
    let shown = |assumption: Assumption| match assumption {
        Assumption::Strides { other: Some(other) } => Some(format!("ImageNet's strides (else --arch {other})")),
        Assumption::Activation(_) | Assumption::Pools { .. } => Some(format!("{assumption} (else from ONNX)")),
        Assumption::Resolution(_) if args.network.resolution.is_some() => None,
        Assumption::Resolution(side) => Some(format!("resolution {side} (--resolution)")),
        Assumption::Padding(_) => args.padding.is_none().then(|| names::padding(spec)),
        Assumption::Identity(_) if args.network.identity.is_some() => None,
        Assumption::Identity(identity) => Some(format!("identity {identity} (--identity)")),
        Assumption::MeanStd { .. } => args.mean.is_none().then(|| names::mean_std(dialect, spec)),
        Assumption::BnEps(_) => args.bn_eps.is_none().then(|| names::bn_eps(&identified.naming, spec)),
        Assumption::Interpolation(_) => args.interpolation.is_none().then(|| names::interpolation(spec)),
        other => Some(other.to_string()),
    };
    let assumed: Vec<_> = identified.assumptions(spec).into_iter().filter_map(shown).collect();
    let naming = names::found(&identified.naming);
    let assumed = format!("assumed, as they do not tell: {}", assumed.join(", "));
    (format!("read off names and shapes: {read}{naming}"), vec![assumed])
}
