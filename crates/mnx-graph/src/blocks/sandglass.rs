//! MobileNeXt's SandGlass block ("Rethinking Bottleneck Structure for Efficient Mobile Network Design", section 3.2):
//! wide ends, a narrow waist, depthwise layers and the shortcut at the wide ends.
//!
//! ```text
//! cin ─ dw3x3 + ReLU6 ─ pw ─ hidden ─ pw + ReLU6 ─ cout ─ dw3x3, stride ─ (+ input)
//! ```
//!
//! As in the authors' code, which of the depthwise layers and whether the shortcut exists depends on the block's site in its stage.

use super::{Site, conv, round_channels};
use crate::LayerKind::{Depthwise3x3, Pointwise};
use crate::{Block, Layer};

/// `identity`: the share of the channels that the shortcut covers.
pub(crate) fn sandglass(site: &Site<'_>, identity: f64) -> Block {
    let Site { name, cin, cout, stride, ratio, only, activation, .. } = *site;
    let hidden = sandglass_hidden(cin, cout, ratio);
    let alone = only && stride == 1;
    let changes = cin != cout && !alone;
    let first_dw = ratio == 2 || !changes;
    // Where the channels stay, so does the size: a stage of equal channels loses its stride.
    let last_stride = if ratio == 2 || changes { stride } else { 1 };
    let shortcut = ratio != 2 && !changes && !alone;

    // A flat list of convolution, batch norm and, where there is one, activation.
    let mut modules = 0;
    let mut layer = |kind, cin, cout, activates: bool| {
        let at = |module: usize| format!("{name}.conv.{module}");
        let plain = conv(kind, at(modules), at(modules + 1), cin, cout);
        modules += if activates { 3 } else { 2 };
        if activates { Layer { activation, ..plain } } else { plain }
    };
    let mut layers = Vec::with_capacity(4);
    if first_dw {
        layers.push(layer(Depthwise3x3, cin, cin, true));
    }
    layers.push(layer(Pointwise, cin, hidden, false));
    layers.push(layer(Pointwise, hidden, cout, true));
    if first_dw || stride == 2 {
        layers.push(Layer { stride: last_stride, ..layer(Depthwise3x3, cout, cout, false) });
    }
    let covered = (cin as f64 * identity).round_ties_even() as usize;
    Block { layers, identity_channels: if shortcut { covered } else { 0 }, ..Block::named(name) }
}

/// Channels of the waist.
pub(crate) fn sandglass_hidden(cin: usize, cout: usize, ratio: usize) -> usize {
    let narrow = cin / ratio;
    let sixth = cout.div_ceil(6);
    // Exact for `narrow < cout / 6`: an integer is below a fraction iff below its ceiling.
    if narrow < sixth { round_channels(sixth as f64, 16) } else { narrow }
}
