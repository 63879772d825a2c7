//! Makes a network's spec from the flags of `convert` and `init`.

use std::path::Path;

use mnx::{ClassifierDtype, Network, Spec};
use serde::Serialize;

use crate::args::{self, DtypeChoice};
use crate::context::Context;
use crate::error::{Error, printable, shown};
use crate::json_path::bytes_unless_utf8;
use crate::output::{OutputFile, read_text};
use crate::stdout;
use crate::table::channels;
use crate::values::Arch;
use crate::words::grouped;

/// Largest stage table: a weight file's header must hold it.
const LARGEST_TABLE: u64 = 1 << 20;

/// The architecture with its defaults.
///
/// # Errors
/// [`Error::File`] for a stage table that cannot be read or makes no network; [`Error::Usage`] for `auto`.
pub(crate) fn base(arch: &Arch) -> Result<Spec, Error> {
    match arch {
        Arch::Auto => {
            Err(Error::Usage("--arch: expected a network, found auto, for which there is no checkpoint".into()))
        }
        Arch::Family(name) => Spec::family(name).ok_or_else(|| Error::Usage(format!("--arch: unknown name {name}"))),
        Arch::File(path) => {
            let text = read_text(path, LARGEST_TABLE)?;
            let spec = Spec::from_json(text.trim_start_matches('\u{feff}')).map_err(|e| Error::file(path, e))?;
            Network::new(&spec).map_err(|e| Error::file(path, e))?;
            if let Some(meant) = spec.preprocessing.in_unit_range() {
                let expected = format!("mean {} and std {}", channels(meant.mean), channels(meant.std));
                return Err(Error::expected(path, expected, "values for pixels of 0…255"));
            }
            Ok(spec)
        }
    }
}

/// What both commands can change.
///
/// # Errors
/// [`Error::Usage`] for a detector's flags and a network that is none, and the other way round.
pub(crate) fn apply(flags: &args::Network, spec: &mut Spec) -> Result<(), Error> {
    if let Some(width) = flags.width {
        spec.width = width;
    }
    if let Some(identity) = flags.identity {
        spec.identity = identity;
    }
    if let Some(classes) = flags.classes {
        spec.classes = classes;
    }
    if let Some(resolution) = flags.resolution {
        spec.set_resolution(resolution);
    }
    if spec.detector.is_some() && flags.classifier_dtype != DtypeChoice::F32 {
        let found = printable(&spec.family);
        let expected = "--classifier-dtype: expected a network that classifies, found";
        return Err(Error::Usage(format!("{expected} {found}, a detector")));
    }
    match (&mut spec.detector, flags.thresholds.given()) {
        (_, None) => {}
        (Some(detector), Some(_)) => flags.thresholds.apply(detector),
        (None, Some(flag)) => {
            let found = printable(&spec.family);
            return Err(Error::Usage(format!("{flag}: expected a detector, found {found}, which classifies")));
        }
    }
    Ok(())
}

/// How the classifier's weights are stored.
pub(crate) fn classifier_dtype(flags: &args::Network) -> ClassifierDtype {
    match flags.classifier_dtype {
        DtypeChoice::F32 => ClassifierDtype::F32,
        DtypeChoice::Bf16 => ClassifierDtype::Bf16,
        DtypeChoice::F16 => ClassifierDtype::F16,
    }
}

/// The error for flags that make no network. The network was fine without them, so a flag's value is wrong.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn check(spec: &Spec) -> Result<Network, Error> {
    Network::new(spec).map_err(|e| Error::Usage(format!("these flags make no network: {e}")))
}

/// What was written.
#[derive(Serialize)]
struct Written<'a> {
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<Vec<u8>>,
    family: &'a str,
    width: f64,
    identity: f64,
    resolution: usize,
    classes: usize,
    parameters: u64,
    macs: u64,
    bytes: usize,
    /// Weights and biases of a checkpoint that were almost zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    flushed: Option<u64>,
}

/// Writes the weight file and says what it holds.
///
/// # Errors
/// [`Error::File`] when it cannot be written, and as [`stdout::print`].
pub(crate) fn write(
    path: &Path,
    mut output: OutputFile,
    bytes: &[u8],
    spec: &Spec,
    flushed: Option<u64>,
    context: &Context,
) -> Result<(), Error> {
    output.write(bytes)?;
    output.finish()?;
    let network = check(spec)?;
    let written = Written {
        output: path.to_string_lossy().into(),
        output_bytes: bytes_unless_utf8(path),
        family: &spec.family,
        width: spec.width,
        identity: spec.identity,
        resolution: spec.resolution,
        classes: spec.classes,
        parameters: network.parameters(),
        macs: network.macs(spec.resolution, spec.resolution),
        bytes: bytes.len(),
        flushed,
    };
    if context.is_json() {
        return stdout::print_json(&written);
    }
    stdout::print(&format!(
        "{}: {} {}, {} classes, {r} x {r}: {} parameters, {:.2} M multiply-adds, {} bytes\n",
        shown(path),
        printable(&spec.family),
        spec.width,
        spec.classes,
        grouped(written.parameters),
        written.macs as f64 / 1e6,
        grouped(bytes.len() as u64),
        r = spec.resolution,
    ))
}

/// Says how many values became zero, if any did.
pub(crate) fn note_flushed(input: &Path, flushed: u64) {
    if flushed > 0 {
        stdout::note(format_args!(
            "{}: {} folded weights and biases were almost zero and are zero now (below 2^-40, or in a channel below 2^-28)",
            shown(input),
            grouped(flushed),
        ));
    }
}
