//! Layers with their sizes for an input of some height and width.

use crate::network::{Layer, Level, Network};
use crate::wiring::{Source, Wire, Wiring};

/// A layer in a network whose input has a known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlacedLayer<'a> {
    /// Index in [`Network::layers`].
    pub index: usize,
    /// Index of its block in [`Network::blocks`]. The classifier's is the number of blocks. Those of a detector's heads count on
    /// from there: the first level's class head, its box head, the second level's class head, and so on.
    pub block: usize,
    /// Whether it is the layer on the block's shortcut.
    pub projection: bool,
    /// The layer.
    pub layer: &'a Layer,
    /// Height and width of its input.
    pub input: (usize, usize),
    /// Height and width of its output.
    pub output: (usize, usize),
}

impl PlacedLayer<'_> {
    /// Multiply-adds of the layer at this size.
    pub fn macs(&self) -> u64 {
        self.layer.macs(self.output.0, self.output.1)
    }
}

impl Network {
    /// Every layer in the order of [`layers`](Network::layers), with its sizes for an input of `h` x `w`. The classifier's
    /// input is the 1 x 1 that the average pool leaves.
    pub fn place(&self, h: usize, w: usize) -> impl Iterator<Item = PlacedLayer<'_>> {
        let mut placed: Vec<PlacedLayer<'_>> = Vec::new();
        for (index, Wire { layer, block, projection, src, .. }) in Wiring::new(self).layers.into_iter().enumerate() {
            let input = match src {
                Source::Input => (h, w),
                Source::Layer(before) => placed[before].output,
                Source::MaxPool(before) => max_pool_size(placed[before].output),
                Source::Pool => (1, 1),
            };
            let output = layer.output_size(input.0, input.1);
            placed.push(PlacedLayer { index, block, projection, layer, input, output });
        }
        placed.into_iter()
    }

    /// Height and width of each level's feature map for an input of `h` x `w`: what
    /// [`DetectorSpec::priors`](crate::DetectorSpec::priors) asks for. A classifier has none.
    ///
    /// ```
    /// # use mnx_graph::{Network, Spec};
    /// let spec = Spec::family("ssdlite-mobilenext").unwrap();
    /// let grids = Network::new(&spec)?.grids(320, 320);
    /// assert_eq!(grids, [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]);
    /// let priors = spec.detector.unwrap().priors(&grids, spec.resolution)?;
    /// assert_eq!(priors.len(), 3234);
    /// # Ok::<(), mnx_graph::Error>(())
    /// ```
    pub fn grids(&self, h: usize, w: usize) -> Vec<(usize, usize)> {
        if self.levels().is_empty() {
            return Vec::new();
        }
        // All layers of a head have the size of its level.
        let mut heads: Vec<_> = self.place(h, w).filter(|layer| layer.block >= self.blocks.len()).collect();
        heads.dedup_by_key(|layer| layer.block);
        heads.iter().step_by(2).map(|layer| layer.output).collect()
    }

    /// Priors of all levels for an input of `h` x `w`, at most `u64::MAX`.
    pub(crate) fn priors(&self, h: usize, w: usize) -> u64 {
        let of = |(level, (h, w)): (&Level, (usize, usize))| {
            (level.priors as u64).saturating_mul(h as u64).saturating_mul(w as u64)
        };
        self.levels().iter().zip(self.grids(h, w)).map(of).fold(0, u64::saturating_add)
    }

    /// Multiply-adds of all layers for one picture of `h` x `w`.
    pub fn macs(&self, h: usize, w: usize) -> u64 {
        self.place(h, w).map(|placed| placed.macs()).fold(0, u64::saturating_add)
    }
}

/// Height and width of the output of a 3x3 max pool of stride 2.
pub(crate) fn max_pool_size((h, w): (usize, usize)) -> (usize, usize) {
    (h.div_ceil(2), w.div_ceil(2))
}
