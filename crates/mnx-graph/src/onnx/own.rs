//! Works out a stage table for a graph that is no named network, from the order of its convolutions.

use super::sequence::Event;
use super::step::{Convolution, What};
use super::trace::Trace;
use crate::{Activation, BlockKind, Spec, Stage, Stem, blocks, families};

/// What a network of no family is called.
pub(crate) const FAMILY: &str = "custom";

/// A convolution as far as it tells blocks apart.
#[derive(Clone, Copy, PartialEq)]
struct Shape {
    kind: Kind,
    stride: usize,
    cin: usize,
    cout: usize,
}

/// Kernel, whether it is depthwise, and whether an activation follows.
type Kind = (usize, bool, bool);

/// 1x1, with an activation.
const EXPAND: Kind = (1, false, true);
/// 1x1, without.
const REDUCE: Kind = (1, false, false);
/// Depthwise, with an activation.
const DEPTHWISE: Kind = (3, true, true);
/// Depthwise, without: the end of a SandGlass block.
const LAST_DEPTHWISE: Kind = (3, true, false);
/// Dense, with an activation.
const DENSE: Kind = (3, false, true);
/// Dense, without.
const LAST_DENSE: Kind = (3, false, false);

/// Blocks by their convolutions; the first row that a graph begins with is right.
const BLOCKS: &[(BlockKind, &[Kind])] = &[
    (BlockKind::Sandglass, &[DEPTHWISE, REDUCE, EXPAND, LAST_DEPTHWISE]),
    (BlockKind::Sandglass, &[REDUCE, EXPAND, LAST_DEPTHWISE]),
    (BlockKind::Sandglass, &[REDUCE, EXPAND]),
    (BlockKind::InvertedResidual, &[EXPAND, DEPTHWISE, REDUCE]),
    (BlockKind::InvertedResidual, &[DEPTHWISE, REDUCE]),
    (BlockKind::Bottleneck, &[EXPAND, DENSE, REDUCE]),
    (BlockKind::Basic, &[DENSE, LAST_DENSE]),
];

/// `None` where something is no block. Whether the table makes the graph is for a comparison to say.
pub(crate) fn spec(trace: &Trace, events: &[Event]) -> Option<Spec> {
    let shape = |event: &Event| {
        let Event::Convolution(step) = event else { return None };
        let step = &trace.steps[*step];
        let What::Convolution(Convolution { kernel, stride, depthwise, cin, .. }) = step.what else { return None };
        let kind = (kernel, depthwise, step.bounds.activation()? != Activation::Linear);
        Some(Shape { kind, stride, cin, cout: step.channels })
    };
    let (&first, rest) = events.split_first()?;
    let Event::Convolution(step) = first else { return None };
    let Shape { kind: (kernel, ..), stride, cout: channels, .. } = shape(&first)?;
    let activation = trace.steps[step].bounds.activation()?;
    let max_pool = matches!(rest.first(), Some(Event::MaxPool(_)));
    let mut rest = &rest[usize::from(max_pool)..];
    let mut stages: Vec<Stage> = Vec::new();
    let mut alone = false;
    let mut head = None;
    while !rest.is_empty() {
        let row: Vec<Shape> = rest.iter().map_while(shape).take(4).collect();
        let kinds: Vec<_> = row.iter().map(|layer| layer.kind).collect();
        let Some((block, length)) = BLOCKS.iter().find_map(|(b, k)| kinds.starts_with(k).then_some((*b, k.len())))
        else {
            // What is left may be the layer before the pool.
            head = (kinds == [EXPAND] && rest.len() == 1).then(|| row[0].cout);
            head?;
            break;
        };
        rest = &rest[length..];
        let has_shortcut = matches!(rest.first(), Some(Event::Shortcut(..)));
        rest = &rest[usize::from(has_shortcut)..];
        let layers = &row[..length];
        if !alone && joins(stages.last(), block, layers, has_shortcut) {
            stages.last_mut()?.repeats += 1;
            continue;
        }
        stages.push(stage(block, layers, has_shortcut)?);
        // With a second block, a SandGlass block with all its layers and no shortcut would be another one.
        alone = block == BlockKind::Sandglass && length == 4 && !has_shortcut;
    }
    // What a stage table does not say is as in the first family.
    let defaults = Spec::family(families().next()?)?;
    let stem = Stem { channels, stride, kernel, max_pool };
    Some(Spec { family: FAMILY.into(), stem, stages, activation, head, ..defaults })
}

/// Whether a block can be another one of the stage before it.
fn joins(before: Option<&Stage>, block: BlockKind, layers: &[Shape], has_shortcut: bool) -> bool {
    let Some(before) = before else { return false };
    let (cin, cout) = (layers[0].cin, layers[layers.len() - 1].cout);
    let same = (before.block, before.channels, cin) == (block, cout, cout) && has_shortcut && stride(layers) == 1;
    same && ratio(block, layers, false).contains(&before.ratio)
}

/// A stage of one block.
fn stage(block: BlockKind, layers: &[Shape], has_shortcut: bool) -> Option<Stage> {
    let (cin, channels, mut stride) = (layers[0].cin, layers[layers.len() - 1].cout, stride(layers));
    let sandglass = block == BlockKind::Sandglass;
    let halves = sandglass && layers.len() == 4 && stride == 2;
    let ratio = *ratio(block, layers, halves).first()?;
    // A SandGlass block of equal channels has its shortcut, and loses its stride, where the stage has one.
    if sandglass && has_shortcut {
        stride = 2;
    }
    let first_shortcut = match block {
        BlockKind::InvertedResidual => has_shortcut || stride != 1 || cin != channels,
        _ => true,
    };
    Some(Stage { block, ratio, channels, repeats: 1, stride, first_shortcut })
}

fn stride(layers: &[Shape]) -> usize {
    layers.iter().map(|layer| layer.stride).max().unwrap_or(1)
}

/// Ratios that make a block's hidden channels, the usual ones first; of a SandGlass block that `halves` the size 2 alone.
fn ratio(block: BlockKind, layers: &[Shape], halves: bool) -> Vec<usize> {
    let (cin, cout, hidden) = (layers[0].cin, layers[layers.len() - 1].cout, layers[0].cout);
    match block {
        BlockKind::Basic => vec![1],
        BlockKind::Bottleneck => vec![cout / hidden],
        BlockKind::InvertedResidual if layers.len() == 2 => vec![1],
        BlockKind::InvertedResidual => vec![hidden / cin],
        BlockKind::Sandglass if halves => vec![2],
        BlockKind::Sandglass => {
            let hidden = layers.iter().find(|layer| layer.kind == REDUCE).map(|layer| layer.cout);
            let makes = |&ratio: &usize| Some(blocks::sandglass_hidden(cin, cout, ratio)) == hidden;
            [6].into_iter().chain((1..=64).filter(|&ratio| ratio != 2)).chain([2]).filter(makes).collect()
        }
    }
}
