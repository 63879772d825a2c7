//! What `convert` learns from the names of a checkpoint's tensors, and what it reports about them.

use std::path::Path;

use mnx::{CheckpointError, Dialect, GraphError, Interpolation, Naming, Problem, Spec};

use crate::args::Convert;
use crate::error::printable;
use crate::table::channels;
use crate::values::Arch;
use crate::words::{counted, first_few};

/// PyTorch's epsilon. If the network was named, it is not mentioned.
const OWN_EPS: f64 = 1e-5;
/// Messages name this many of the tensors that are left out.
const NAMED: usize = 3;

/// The network as networks with such names usually are, before flags change it. A stage table is left as it is.
pub(super) fn base_of(naming: &Naming, arch: &Arch, mut spec: Spec) -> Spec {
    if matches!(arch, Arch::Family(_)) {
        naming.dialect.apply(&mut spec);
        spec.classes = naming.dialect.classes.unwrap_or(spec.classes);
    }
    spec
}

/// Whose names they are, behind which prefix, and a classifier that is unusual, after a comma. Empty for the spec's own names
/// without a prefix.
pub(super) fn found(naming: &Naming) -> String {
    let dialect = match naming.dialect.name {
        "own" => String::new(),
        name => format!(", names of {name}"),
    };
    let prefix = match naming.prefix.as_str() {
        "" => String::new(),
        prefix => format!(", prefix `{prefix}` taken off"),
    };
    let classifier = match &naming.classifier {
        None => String::new(),
        Some(name) => format!(", classifier `{}`", printable(name)),
    };
    let bias = if naming.zero_bias { ", classifier without a bias" } else { "" };
    dialect + &prefix + &classifier + bias
}

/// The same before a list of problems.
pub(super) fn taken_off(naming: &Naming) -> String {
    match found(naming).strip_prefix(", ") {
        Some(found) => format!("{found}: "),
        None => String::new(),
    }
}

/// For a network that was named: what is not as usual, if anything.
pub(super) fn found_and_assumed(args: &Convert, naming: &Naming, spec: &Spec) -> Option<(String, Vec<String>)> {
    let found = found(naming);
    let found = found.strip_prefix(", ")?;
    let dialect = naming.dialect;
    let named = matches!(args.network.arch, Arch::Family(_));
    let rows = [
        (args.bn_eps.is_none() && naming.bn_eps(spec) != OWN_EPS, bn_eps(naming, spec)),
        (args.padding.is_none() && dialect.padding.is_some() && named, padding(spec)),
        (args.mean.is_none() && dialect.mean_std.is_some() && named, mean_std(dialect, spec)),
        (
            args.network.classes.is_none() && dialect.classes.is_some() && named,
            format!("{} classes (--classes)", spec.classes),
        ),
    ];
    let assumed: Vec<_> = rows.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    if assumed.is_empty() {
        return Some((found.to_owned(), Vec::new()));
    }
    let assumed = format!("assumed, as networks with such names have them: {}", assumed.join(", "));
    Some((found.to_owned(), vec![assumed]))
}

/// A line about tensors that lack the prefix which was given.
pub(super) fn left_out(args: &Convert, naming: &Naming) -> Option<String> {
    let count = naming.left_out.len();
    let prefix = args.strip_prefix.as_ref().filter(|_| count > 0)?;
    let tensors = counted(count, "tensor", "tensors");
    let named = first_few(naming.left_out.iter().map(|name| format!("`{name}`")), NAMED);
    Some(format!("left out, as they do not begin with `{prefix}`: {tensors}, {named}"))
}

/// What helps, if something does.
pub(super) fn hint(args: &Convert, naming: Option<&Naming>, error: &GraphError) -> Option<String> {
    let outside = |problem: &Problem, prefix: &str| match problem {
        Problem::Unexpected { name, .. } => !name.starts_with(prefix),
        Problem::Twice { prefixes: [_, other], .. } => !other.starts_with(prefix),
        _ => false,
    };
    if let Some(part) = part_of_several(&args.input) {
        return Some(format!("(its name says that it is {part}: put the tensors of all into one file)"));
    }
    match (error, naming.map(|naming| naming.prefix.as_str())) {
        (GraphError::Checkpoint(CheckpointError::Problems { problems }), _) if are_folded(problems) => {
            let wanted = "the weights from before that, or the network as ONNX";
            Some(format!("(its batch norms seem to be folded into the convolutions: convert takes {wanted})"))
        }
        _ if args.strip_prefix.is_some() => None,
        (GraphError::Checkpoint(CheckpointError::SeveralNetworks { .. }), _) => {
            Some("(--strip-prefix P takes one)".into())
        }
        // Whatever else stands there may be a layer: left out, it would not be missed until answers are wrong.
        (GraphError::Checkpoint(CheckpointError::Problems { problems }), Some(prefix))
            if !prefix.is_empty()
                && Problem::are_beside(problems)
                && problems.iter().all(|problem| outside(problem, prefix)) =>
        {
            Some(format!("(--strip-prefix {prefix} leaves them out)"))
        }
        _ => None,
    }
}

/// What a file's name says it is, if it belongs to a checkpoint of several files.
fn part_of_several(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with(".index.json") {
        return Some("the index of a checkpoint of several files".into());
    }
    // As Hugging Face's libraries write it: model-00001-of-00002.safetensors.
    let number = |digits: &str| if digits.len() == 5 { digits.parse::<u32>().ok() } else { None };
    let part = |text: &str| {
        let (start, all) = text.rsplit_once("-of-")?;
        Some((number(start.rsplit_once('-')?.1)?, number(all)?))
    };
    let (part, all) = name.split('.').find_map(part).filter(|&(_, all)| all > 1)?;
    Some(format!("part {part} of {all} of a checkpoint"))
}

/// Whether convolutions have biases in place of batch norms, and nothing else is wrong.
fn are_folded(problems: &[Problem]) -> bool {
    let missing = |suffix: &str| {
        problems.iter().any(|problem| matches!(problem, Problem::Missing { name, .. } if name.ends_with(suffix)))
    };
    missing(".running_var")
        && problems.iter().all(|problem| match problem {
            Problem::Missing { expected, .. } => expected.len() == 1,
            Problem::Unexpected { name, found } => name.ends_with(".bias") && found.len() == 1,
            _ => false,
        })
}

pub(super) fn padding(spec: &Spec) -> String {
    format!("padding {} (--padding)", spec.padding.name())
}

pub(super) fn interpolation(spec: &Spec) -> String {
    let plain = spec.preprocessing.interpolation == Interpolation::Bilinear;
    format!("bilinear resizing{} (--interpolation)", if plain { " without antialiasing" } else { "" })
}

pub(super) fn mean_std(dialect: &Dialect, spec: &Spec) -> String {
    match dialect.mean_std {
        None if spec.detector.is_some() => {
            format!("mean {} (--mean, --std)", channels(spec.preprocessing.mean))
        }
        None => "ImageNet's mean and std (--mean, --std)".into(),
        Some((mean, std)) => format!("mean {mean} and std {std} (--mean, --std)"),
    }
}

pub(super) fn bn_eps(naming: &Naming, spec: &Spec) -> String {
    format!("batch-norm epsilon {:e} (--bn-eps)", naming.bn_eps(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told() {
        let part = |name: &str| part_of_several(Path::new(name));
        let second = Some("part 2 of 3 of a checkpoint".to_owned());
        assert_eq!(part("a-of-b/v2-1.0-00002-of-00003.safetensors"), second);
        assert!(part("x/model.safetensors.index.json").unwrap().contains("index"));
        for other in
            ["model.safetensors", "model-00001-of-00001.safetensors", "one-of-us.safetensors", "1-of-2.json", "/"]
        {
            assert_eq!(part(other), None, "{other}");
        }
    }

    #[test]
    fn biases_in_place_of_norms_are_folded() {
        let missing = |name: &str| Problem::Missing { name: name.into(), expected: vec![8] };
        let unexpected = |name: &str, found: &[usize]| Problem::Unexpected { name: name.into(), found: found.into() };
        let norm =
            ["weight", "bias", "running_mean", "running_var"].map(|part| missing(&format!("features.0.1.{part}")));
        let folded = [&norm[..], &[unexpected("features.0.0.bias", &[8])]].concat();
        assert!(are_folded(&folded));
        // Another network, or one with something else missing.
        assert!(!are_folded(&[&folded[..], &[unexpected("head.weight", &[8, 8])]].concat()));
        assert!(!are_folded(&[missing("classifier.1.bias")]));
        assert!(!are_folded(&[]));
    }
}
