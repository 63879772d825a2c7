//! How messages say what a graph has, and which graphs are told apart from other networks.

use std::ops::Range;

use super::super::constant::{Misfit, Scalar, misfit};
use super::super::operation::Operation;
use super::{Axis, Channel, Column, Picture, Row};

/// Dimensions as they stand in messages, e.g. `N x C`.
pub(super) fn names(axes: &[Axis]) -> String {
    let name = |axis: &Axis| match axis {
        Picture => "N",
        Channel => "C",
        Row => "H",
        Column => "W",
    };
    axes.iter().map(name).collect::<Vec<_>>().join(" x ")
}

/// Numbers of which some are known, e.g. `7 x ?`.
pub(super) fn size(size: &[Option<usize>]) -> String {
    let number = |side: &Option<usize>| side.map_or("?".into(), |side| side.to_string());
    size.iter().map(number).collect::<Vec<_>>().join(" x ")
}

/// Numbers of an attribute, which may be missing.
pub(super) fn list(numbers: Option<&[i64]>) -> String {
    numbers.map_or("none".into(), |numbers| format!("{numbers:?}"))
}

/// Dimensions to reshape to.
pub(super) fn scalars(to: &[Scalar]) -> String {
    let number = |scalar: &Scalar| match scalar {
        Scalar::Float(v) => v.to_string(),
        Scalar::Int(v) => v.to_string(),
        Scalar::Batch => "N".into(),
        Scalar::Unknown => "?".into(),
    };
    to.iter().map(number).collect::<Vec<_>>().join(" x ")
}

/// Some channels, the end not included.
pub(super) fn channels(channels: &Range<usize>) -> String {
    format!("channels {} to {}", channels.start, channels.end)
}

/// Operations of graphs that a program made of another graph, which could be read: that one is wanted.
pub(super) fn foreign(op: Operation) -> Result<(), Misfit> {
    let kind = op.kind();
    let quantised = ["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"]
        .contains(&kind)
        || ["QLinear", "QGemm", "DynamicQuantize"].iter().any(|start| kind.starts_with(start));
    let domain = op.node.domain.as_str();
    match domain {
        _ if quantised => misfit(
            "floating-point operations",
            "a quantised graph: convert the f32 model, then `mnx-infer quantize` what comes of it",
        ),
        "" | "ai.onnx" => Ok(()),
        _ if domain.starts_with("com.microsoft") => misfit(
            "ONNX's own operations",
            format!(
                "one of `{domain}`, of a graph that ONNX Runtime optimised: convert the model from before, or save it with \
                 basic optimisation"
            ),
        ),
        _ => misfit("ONNX's own operations", format!("one of `{domain}`")),
    }
}
