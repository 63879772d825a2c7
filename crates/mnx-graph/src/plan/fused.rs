//! Which layers make one step.

use mnx_tensor::{Element, Tuning};

use super::split::keeps_rows;
use crate::graph::{Graph, ValueId, Work};
use crate::{LayerKind, PlacedLayer};

/// How many nodes from `first` on make one step. All are layers, nobody else reads what lies between them, and only to the last
/// one's output a shortcut is added.
pub(super) fn fused(graph: &Graph<'_>, first: usize, keep: &[ValueId], threads: usize, tuning: &Tuning) -> usize {
    use LayerKind::{Dense3x3, Depthwise3x3, Pointwise};
    let layer = |index: usize| match graph.nodes.get(first + index).map(|node| node.work) {
        Some(Work::Layer(layer)) => Some(layer),
        _ => None,
    };
    let kind = |index: usize| layer(index).map(|layer| layer.layer.kind);
    let same_block = |a: usize, b: usize| graph.nodes[first + a].block == graph.nodes[first + b].block;
    let private = |count: usize| {
        let mut nodes = first..first + count;
        nodes.all(|node| graph.is_between(node, keep) && graph.nodes[node].shortcut.is_none())
    };
    let reads_kept_rows = |index: usize| {
        let kept = |l: PlacedLayer<'_>| {
            l.layer.kind == Depthwise3x3 && l.layer.stride == 1 && keeps_rows(l.input.0, threads, tuning)
        };
        layer(index).is_some_and(kept)
    };
    let is_large = |index: usize| {
        let value = &graph[graph.nodes[first + index].dst];
        let size = if value.quantization.is_some() { Element::U8 } else { Element::F32 }.size();
        let bytes = value.shape.iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        bytes >= tuning.chain_bytes && value.shape[1] / threads >= tuning.min_chain_rows
    };
    match [kind(0), kind(1), kind(2)] {
        // The stem and the first two layers of the next block.
        [Some(Dense3x3), Some(Depthwise3x3), Some(Pointwise)] if same_block(1, 2) && private(2) => 3,
        // A depthwise layer reads rows of its neighbours' threads, so threads that keep their rows must wait for each other
        // before it. No layer up to there makes them wait: depthwise, pointwise and pointwise are one step.
        [Some(Depthwise3x3), Some(Pointwise), Some(Pointwise)]
            if same_block(0, 2) && reads_kept_rows(3) && private(2) =>
        {
            3
        }
        [Some(Pointwise), Some(Depthwise3x3), _] if reads_kept_rows(1) => 1,
        [Some(Pointwise), Some(Depthwise3x3), Some(Pointwise)] if same_block(0, 1) && is_large(1) && private(2) => 3,
        [Some(Pointwise), Some(Depthwise3x3), _] | [Some(Depthwise3x3), Some(Pointwise), _]
            if same_block(0, 1) && private(1) =>
        {
            2
        }
        _ => 1,
    }
}
