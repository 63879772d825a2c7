//! `convert`: makes a weight file from a checkpoint.

mod names;

use std::path::Path;

use mnx::{
    Assumption, CheckpointError, ConvertOptions, Fit, GraphError, Identified, Interpolation, Naming, Network, Padding,
    Preprocessing, Spec,
};

use super::{network, onnx};
use crate::args::{Convert, FitChoice, InterpolationChoice, PaddingChoice};
use crate::context::Context;
use crate::error::{Error, shown};
use crate::output::{OutputFile, check_apart, read_limited, read_text};
use crate::stdout;
use crate::table::channels;
use crate::values::Arch;
use crate::words::{counted, grouped};

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;
/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

pub(crate) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    let inputs = [Some(&*args.input), args.labels.as_deref(), args.network.arch.file()];
    check_apart(&args.output, inputs.into_iter().flatten())?;
    if onnx::is_model(&args.input) {
        return onnx::run(args, context);
    }
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
    note_flushed(args, converted.flushed);
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
        return Error::file(&args.input, format_args!("{taken}{error}{}", hint.unwrap_or_default()));
    };
    let message = format!("{taken}checkpoint: found {}:", counted(problems.len(), "problem", "problems"));
    let list = problems.iter().map(ToString::to_string).chain(hint).collect();
    Error::Listed { path: args.input.clone(), message, list }
}

/// Says how many values became zero, if any did.
pub(super) fn note_flushed(args: &Convert, flushed: u64) {
    if flushed > 0 {
        stdout::note(format_args!(
            "{}: {} folded weights and biases were almost zero and are zero now (below 2^-40, or in a channel below 2^-28)",
            shown(&args.input),
            grouped(flushed),
        ));
    }
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

/// The network with what the flags change. `labels` is what the file of them says.
pub(super) fn with_flags(args: &Convert, base: Spec, labels: Option<&str>) -> Result<Spec, Error> {
    let mut spec = base;
    network::apply(&args.network, &mut spec)?;
    if let Some((path, text)) = args.labels.as_deref().zip(labels) {
        spec.labels = Some(names_in(path, text, &spec)?);
    }
    preprocessing(args, &mut spec);
    match args.padding {
        None => (),
        Some(PaddingChoice::Torch) => spec.padding = Padding::Torch,
        Some(PaddingChoice::Tf) => spec.padding = Padding::Tf,
    }
    network::check(&spec)?;
    check_range(args, &spec.preprocessing)?;
    Ok(spec)
}

/// What becomes of a picture, with what the flags change.
fn preprocessing(args: &Convert, spec: &mut Spec) {
    let fit = args.fit.map_or(spec.preprocessing.fit, |fit| match fit {
        FitChoice::Crop => Fit::Crop,
        FitChoice::Squash => Fit::Squash,
    });
    if fit != spec.preprocessing.fit {
        spec.preprocessing.fit = fit;
        spec.preprocessing.resize = spec.default_resize(spec.resolution);
    }
    if let Some(resize) = args.resize {
        spec.preprocessing.resize = resize;
    }
    match args.interpolation {
        None => (),
        // Detectors were trained with either; of a classifier, whoever says bilinear means torchvision's.
        Some(InterpolationChoice::Bilinear) if spec.detector.is_some() => {
            spec.preprocessing.interpolation = Interpolation::Bilinear;
        }
        Some(InterpolationChoice::Bilinear | InterpolationChoice::BilinearAntialiased) => {
            spec.preprocessing.interpolation = Interpolation::BilinearAntialiased;
        }
        Some(InterpolationChoice::Bicubic) => spec.preprocessing.interpolation = Interpolation::Bicubic,
    }
    if let Some(mean) = args.mean {
        spec.preprocessing.mean = mean.0;
    }
    if let Some(std) = args.std {
        spec.preprocessing.std = std.0;
    }
}

/// Of the two, which go together: a stage table's are the table's fault.
fn check_range(args: &Convert, found: &Preprocessing) -> Result<(), Error> {
    let Some(meant) = found.in_unit_range().filter(|_| args.mean.is_some()) else { return Ok(()) };
    Err(Error::Usage(format!(
        "--mean and --std: expected values for pixels in 0…1, found {} and {}, which are for 0…255: try --mean {} --std {}",
        channels(found.mean),
        channels(found.std),
        channels(meant.mean),
        channels(meant.std),
    )))
}

/// What the file of labels says. It may be a pipe, which can be read only once.
pub(super) fn labels_text(args: &Convert) -> Result<Option<String>, Error> {
    args.labels.as_deref().map(|path| read_text(path, LARGEST_LABELS)).transpose()
}

/// The labels in a file's text: as many as there are classes.
fn names_in(path: &Path, text: &str, spec: &Spec) -> Result<Vec<String>, Error> {
    let is_detector = spec.detector.is_some();
    let hint = if is_detector { "; a detector's first class is the background" } else { "" };
    let labels = mnx::parse_labels(text, spec.classes).map_err(|e| Error::file(path, format_args!("{e}{hint}")))?;
    let is_background = |label: &String| label.trim_matches('_').eq_ignore_ascii_case("background");
    match labels.iter().position(is_background) {
        Some(place @ 1..) if is_detector && !is_background(&labels[0]) => {
            Err(Error::expected(path, "the background's name first", format_args!("it in line {}", place + 1)))
        }
        _ => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detectors_labels_begin_with_the_background() {
        let mut spec = Spec::family("ssdlite-mobilenext").unwrap();
        spec.classes = 3;
        let read = |text, spec: &Spec| names_in(Path::new("labels.txt"), text, spec).map_err(|e| e.to_string());
        assert_eq!(read("__background__\na\nb\n", &spec).unwrap()[1], "a");
        assert!(read("nothing\na\nb\n", &spec).is_ok());
        let error = read("a\nb\n", &spec).unwrap_err();
        assert!(error.ends_with("3 lines, found 2 lines; a detector's first class is the background"), "{error}");
        let error = read("a\nb\nbackground\n", &spec).unwrap_err();
        assert!(error.ends_with("expected the background's name first, found it in line 3"), "{error}");
        let mut classifier = Spec::family("mobilenext").unwrap();
        classifier.classes = 3;
        assert!(read("a\nb\nbackground\n", &classifier).is_ok());
    }
}
