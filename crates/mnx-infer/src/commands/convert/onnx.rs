//! `convert` for ONNX models. Their graph tells almost everything.

use std::path::Path;

use mnx::{BlockKind, Onnx, Spec};

use super::flags::{labels_text, with_flags};
use crate::args::Convert;
use crate::commands::network;
use crate::context::Context;
use crate::error::{Error, printable, shown, with_causes};
use crate::output::{OutputFile, check_apart, start_of};
use crate::stdout;
use crate::values::Arch;

/// Whether a file begins as ONNX models do. Files that cannot be read are reported elsewhere, and pipes are not touched.
pub(super) fn is_model(path: &Path) -> bool {
    start_of(path, Onnx::BYTES).is_some_and(|start| Onnx::begins(&start))
}

pub(super) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    if args.bn_eps.is_some() {
        let expected = "--bn-eps: expected none for an ONNX model, whose batch norms have their own";
        return Err(Error::Usage(expected.into()));
    }
    if args.strip_prefix.is_some() {
        let expected = "--strip-prefix: expected none for an ONNX model, whose names do not matter";
        return Err(Error::Usage(expected.into()));
    }
    let labels = labels_text(args)?;
    let model = Onnx::open(&args.input).map_err(Error::with_causes)?;
    let spec = with_flags(args, base(&args.network.arch, &model)?, labels.as_deref())?;
    check_apart(&args.output, model.files())?;
    let output = OutputFile::create(&args.output)?;
    // Operations can have any name.
    let refused = |e: mnx::GraphError| Error::file(&args.input, with_causes(&e));
    let converted = model.convert_with(&spec, network::classifier_dtype(&args.network)).map_err(refused)?;
    network::write(&args.output, output, &converted.file, &spec, Some(converted.flushed), context)?;
    network::note_flushed(&args.input, converted.flushed);
    let (said, list) = read_and_assumed(args, &model, &spec);
    stdout::note_list(format_args!("{}: {said}", shown(&args.input)), &list);
    Ok(())
}

/// The network before flags change it: that of the graph, except for what `--arch` says.
fn base(arch: &Arch, model: &Onnx) -> Result<Spec, Error> {
    match arch {
        Arch::Auto => Ok(model.spec().clone()),
        Arch::Family(name) => model.spec_as(name).map_or_else(|| network::base(arch), Ok),
        Arch::File(_) => network::base(arch),
    }
}

/// What the graph said, and what was assumed because neither the graph nor a flag says it.
fn read_and_assumed(args: &Convert, model: &Onnx, spec: &Spec) -> (String, Vec<String>) {
    let has = |kind| spec.stages.iter().any(|stage| stage.block == kind);
    let mut read = vec![printable(&spec.family)];
    if has(BlockKind::Sandglass) || has(BlockKind::InvertedResidual) {
        read.push(format!("width {}", spec.width));
    }
    if has(BlockKind::Sandglass) {
        read.push(format!("identity {}", spec.identity));
    }
    read.push(format!("{} classes", spec.classes));
    read.push(format!("padding {}", spec.padding.name()));
    let [height, width] = model.input_size().map(|size| size.map_or("?".into(), |size| size.to_string()));
    read.push(format!("input {height} x {width}"));

    let square = matches!(model.input_size(), [Some(height), Some(width)] if height == width);
    let pixels = if spec.family.ends_with("-cifar") { "CIFAR's" } else { "ImageNet's" };
    let rows = [
        (!square && args.network.resolution.is_none(), format!("resolution {} (--resolution)", spec.resolution)),
        (args.mean.is_none(), format!("{pixels} mean and std (--mean, --std)")),
    ];
    let assumed: Vec<_> = rows.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    let mut list = Vec::new();
    if !assumed.is_empty() {
        list.push(format!("assumed, as it does not tell: {}", assumed.join(", ")));
    }
    if model.has_softmax() {
        let softmax =
            "left out: the softmax at the end; what comes out are the logits, of which `classify` makes probabilities";
        list.push(softmax.into());
    }
    (format!("read off the graph: {}", read.join(", ")), list)
}
