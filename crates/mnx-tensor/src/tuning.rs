//! Sizes that suit a CPU's caches: how much a plan hands from layer to layer, and how much a kernel goes over again and
//! again. They change no bit of a result.

use std::ops::RangeInclusive;

/// How work is cut for a CPU. The plan, the kernels and the benches read the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tuning {
    /// Bytes of input that a pointwise kernel goes over once per panel: they should stay in the L2 cache meanwhile.
    pub pointwise_chunk_bytes: usize,
    /// Bytes that a unit of some channels may put between two fused layers: they should still be near when the second layer
    /// reads them. Where one panel of a plane is larger, units take some rows instead, up to `rows_bytes`.
    pub channels_bytes: usize,
    /// Panels that a unit of some channels has at least, in f32, even where they are larger: a pointwise kernel's tile may compute
    /// several.
    pub min_panels: usize,
    /// Bytes that a pointwise layer puts into such a unit's strip before the depthwise layer reads them, which then are in the L1
    /// cache.
    pub window_bytes: usize,
    /// Bytes that a unit of rows may put between fused layers: with what is read and written beside them they should fit
    /// into the L2 cache.
    pub rows_bytes: usize,
    /// The same where the first of them is a depthwise layer in f32, which reads few rows more than it writes.
    pub depthwise_rows_bytes: usize,
    /// `rows_bytes` in int8, whose rows have a quarter of the bytes: a third is still more rows than in f32, and scratch stays small
    /// beside the activations.
    pub int8_rows_bytes: usize,
    /// Bytes of a depthwise layer's output from which on it never exists whole: the pointwise layers before and after it are in
    /// one step with it, whose units compute some rows of all three.
    pub chain_bytes: usize,
    /// Rows that each thread must have for that. A unit computes two rows of the first layer more than its own, which costs too
    /// much if it has few.
    pub min_chain_rows: usize,
    /// Bytes of a padded or sampled copy that a unit reads once per panel: they should stay in the L2 cache, beside a
    /// panel of weights.
    pub copy_bytes: usize,
    /// Multiply-adds below which a unit is not worth handing to another thread: some 2 µs.
    pub min_unit_macs: u64,
    /// Units of a thread in a step, at most, where units are made smaller to give every thread the same work. Each has its own
    /// beginning and end.
    pub max_units: usize,
    /// From this height on, a step is split by rows: what one thread writes it mostly reads in the next step.
    pub min_height_for_rows: usize,
    /// How many rows of a plane a thread keeps from layer to layer. With fewer the seams weigh too much; with more the rows
    /// of all channels crowd its L2 cache.
    pub rows_to_keep: RangeInclusive<usize>,
}

impl Tuning {
    /// Fits an L2 cache of 512 KiB.
    pub const DEFAULT: Tuning = Tuning {
        pointwise_chunk_bytes: 192 << 10,
        channels_bytes: 48 << 10,
        min_panels: 1,
        window_bytes: usize::MAX,
        rows_bytes: 192 << 10,
        depthwise_rows_bytes: 192 << 10,
        int8_rows_bytes: 64 << 10,
        // Rows of three layers would crowd such a cache.
        chain_bytes: usize::MAX,
        min_chain_rows: 4,
        copy_bytes: 256 << 10,
        min_unit_macs: 100_000,
        max_units: 3,
        min_height_for_rows: 28,
        rows_to_keep: 7..=14,
    };

    /// Fits an L2 cache of 2 MiB whose L3 cache is slow.
    pub const LARGE_L2: Tuning =
        Tuning { rows_bytes: 384 << 10, depthwise_rows_bytes: 384 << 10, chain_bytes: 1_000_000, ..Tuning::DEFAULT };
}
