//! What the flags of `convert` say about the network and its labels.

use std::path::Path;

use mnx::{Fit, Interpolation, Padding, Preprocessing, Spec};

use crate::args::{Convert, FitChoice, InterpolationChoice, PaddingChoice};
use crate::commands::network;
use crate::error::Error;
use crate::output::read_text;
use crate::table::channels;
use crate::values::Arch;

/// 65,536 names of 256 bytes.
const LARGEST_LABELS: u64 = 16 << 20;

/// The network with what the flags change. `labels` is what the file of them says.
pub(super) fn with_flags(args: &Convert, base: Spec, labels: Option<&str>) -> Result<Spec, Error> {
    let mut spec = base;
    network::apply(&args.network, &mut spec)?;
    if let Some((path, text)) = args.labels.as_deref().zip(labels) {
        // Neither a flag nor the checkpoint says how many classes there are, only what is usual.
        let is_usual = args.network.classes.is_none() && args.network.arch != Arch::Auto;
        spec.labels = Some(names_in(path, text, &spec, is_usual)?);
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

/// The labels in a file's text: as many as there are classes. With `is_usual` that number is what the network usually has, and a flag
/// may say another one.
fn names_in(path: &Path, text: &str, spec: &Spec, is_usual: bool) -> Result<Vec<String>, Error> {
    let is_detector = spec.detector.is_some();
    let labels = mnx::parse_labels(text, spec.classes).map_err(|e| {
        let names = mnx::parse_labels(text, None).unwrap_or_default().len();
        let flag = if is_usual && names > 0 { format!(" (or --classes {names})") } else { String::new() };
        let hint = if is_detector { "; a detector's first class is the background" } else { "" };
        Error::file(path, format_args!("{e}{flag}{hint}"))
    })?;
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
        let read = |text, spec: &Spec| names_in(Path::new("labels.txt"), text, spec, false).map_err(|e| e.to_string());
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

    #[test]
    fn a_number_that_is_only_usual_may_be_another() {
        let read = |text, family, is_usual| {
            names_in(Path::new("labels.txt"), text, &Spec::family(family).unwrap(), is_usual).unwrap_err().to_string()
        };
        let error = read("background\na\nb\n", "ssdlite-mobilenext", true);
        let expected = "21 lines, found 3 lines (or --classes 3); a detector's first class is the background";
        assert!(error.ends_with(expected), "{error}");
        assert!(read("a\nb\n", "mobilenext", true).ends_with("1000 lines, found 2 lines (or --classes 2)"));
        assert!(read("a\nb\n", "mobilenext", false).ends_with("1000 lines, found 2 lines"));
        assert!(read("", "mobilenext", true).ends_with("1000 lines, found 0 lines"));
        assert!(read("a\n\nb\n", "mobilenext", true).ends_with("found a blank line, line 2"));
    }
}
