//! How large a network may be before it is refused.

/// Upper bounds. Each is checked before anything of that size is allocated.
///
/// ```
/// # use mnx_graph as mnx;
/// let mut limits = mnx::Limits::default();
/// limits.arena_bytes = 64 << 20; // a device with little memory
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a weight file's JSON header. Default: 1 MiB.
    pub header_bytes: u64,
    /// Tensors of a weight file: two (weight and bias) per f32 layer, up to five per int8 layer. Default: 4,096.
    pub tensors: usize,
    /// Channels of a layer, or classes. Default: 65,536.
    pub channels: usize,
    /// Elements of a tensor, a weight or a picture at the network's resolution. Default: 2³¹.
    pub elements: u64,
    /// Elements of all weights together. Default: 2²⁷, 512 MiB of f32.
    pub weights: u64,
    /// Multiply-adds of an inference of one picture. Default: 2⁴⁰, about half a minute on one core.
    pub macs: u64,
    /// Priors of a detector's picture. Default: 2²⁰.
    pub priors: u64,
    /// Bytes of a session: its arena, and what its threads share out. Default: 4 GiB.
    pub arena_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: 1 << 20,
            tensors: 4096,
            channels: 65_536,
            elements: 1 << 31,
            weights: 1 << 27,
            macs: 1 << 40,
            priors: 1 << 20,
            arena_bytes: 4 << 30,
        }
    }
}
