//! `convert`: a checkpoint into a weight file.

use std::path::Path;

use mnx::{Padding, Spec};

use super::{Context, network};
use crate::args::{Convert, PaddingChoice};
use crate::error::{Error, printable};
use crate::output::{OutputFile, read_limited, read_text};

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;
/// Far above any network here, and far below what would bring a machine down.
const LARGEST_CHECKPOINT: u64 = 4 << 30;

pub(crate) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    let spec = spec(args)?;
    let checkpoint = read_limited(&args.input, LARGEST_CHECKPOINT)?;
    let output = OutputFile::create(&args.output)?;
    let bytes = mnx::convert(&checkpoint, &spec, args.bn_eps).map_err(|e| {
        // A line per problem; tensors can have any name.
        let lines: Vec<_> = e.to_string().lines().map(printable).collect();
        Error::file(&args.input, lines.join("\n"))
    })?;
    network::write(&args.output, output, &bytes, &spec, context)
}

fn spec(args: &Convert) -> Result<Spec, Error> {
    let mut spec = network::base(&args.network.arch)?;
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
