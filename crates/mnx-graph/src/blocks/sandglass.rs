//! MobileNeXt's SandGlass block ("Rethinking Bottleneck Structure for Efficient Mobile Network Design", section 3.2): wide
//! ends and a narrow waist. The depthwise layers are at the wide ends, and the shortcut joins them.
//!
//! ```text
//! cin ─ dw3x3 + ReLU6 ─ pw ─ hidden ─ pw + ReLU6 ─ cout ─ dw3x3, stride ─ (+ input)
//! ```
//!
//! Not every block has both depthwise layers, or the shortcut. As in the authors' code, that depends on the block's site.

use super::{Site, conv, round_channels};
use crate::LayerKind::{Depthwise3x3, Pointwise};
use crate::{Block, Layer};

/// `identity` is the share of the channels that the shortcut covers.
pub(crate) fn sandglass(site: &Site<'_>, identity: f64) -> Block {
    let Site { name, cin, cout, stride, ratio, only, activation, .. } = *site;
    let hidden = sandglass_hidden(cin, cout, ratio);
    let alone = only && stride == 1;
    let changes = cin != cout && !alone;
    let first_dw = ratio == 2 || !changes;
    // A block that keeps its channels keeps its size, too: in a stage that does not change the channels the stride is lost.
    let last_stride = if ratio == 2 || changes { stride } else { 1 };
    let shortcut = ratio != 2 && !changes && !alone;

    // Names number a flat list of modules: convolution, batch norm, and the activation if there is one.
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
    // This is exactly `narrow < cout / 6` in real numbers: an integer is below a fraction iff it is below its ceiling.
    if narrow < sixth { round_channels(sixth as f64, 16) } else { narrow }
}
