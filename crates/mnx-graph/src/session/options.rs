//! What can be chosen of a session.

use mnx_tensor::{Isa, TunedFor, Tuning};

use crate::ThreadPool;

/// Most threads that a session accepts.
pub const MAX_THREADS: usize = 1024;

/// How a session runs. The default: one thread per physical core, the fastest ISA.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads that work on an inference, the calling one included, 1 to [`MAX_THREADS`]. `None`: as many as
    /// there are physical cores that the calling thread may run on, slow ones of big.LITTLE left out (1 without the
    /// feature `rayon`). The result has the same bits for every number.
    pub threads: Option<usize>,
    /// Which kernels run. `None`: those that the environment variable `MNX_ISA` names, else the fastest.
    pub isa: Option<Isa>,
    /// For which cores the kernels' tiles were chosen. `None`: as the environment variable `MNX_TUNED_FOR` says, else what
    /// this CPU is. The result has the same bits for every choice.
    pub tuned_for: Option<TunedFor>,
    /// Whether int8 layers use instructions for dot products of bytes, if the CPU has them. `None`: unless the environment
    /// variable `MNX_DOT_PRODUCTS` is `off`. The result has the same bits with and without.
    pub dot_products: Option<bool>,
    /// Whether int8 layers use AMX, if the CPU has it, Linux lets this process use it, and dot products of bytes are used.
    /// `None`: unless the environment variable `MNX_AMX` is `off`. The result has the same bits with and without.
    pub amx: Option<bool>,
    /// Where the other threads come from. `None`: a pool that all such sessions of the process share.
    pub pool: Option<ThreadPool>,
    /// Sizes that work is cut to. `None`: the CPU's.
    pub(crate) tuning: Option<Tuning>,
}

impl SessionOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this many threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// With the kernels of this ISA.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// With the kernels for these cores, where there are any of their own.
    #[must_use]
    pub fn tuned_for(mut self, tuned_for: TunedFor) -> Self {
        self.tuned_for = Some(tuned_for);
        self
    }

    /// With instructions for dot products of bytes, if the CPU has them, or without.
    #[must_use]
    pub fn dot_products(mut self, dot_products: bool) -> Self {
        self.dot_products = Some(dot_products);
        self
    }

    /// With AMX, if it is there, or without.
    #[must_use]
    pub fn amx(mut self, amx: bool) -> Self {
        self.amx = Some(amx);
        self
    }

    /// With helpers from this pool. It is entered once per inference and may be shared: a session makes
    /// progress alone while the pool is busy.
    #[must_use]
    pub fn pool(mut self, pool: ThreadPool) -> Self {
        self.pool = Some(pool);
        self
    }
}

/// These options, with work cut to other sizes than the CPU's. They change no bit of a result, and a size of 0 counts as 1.
#[must_use]
pub fn tuned(options: SessionOptions, tuning: Tuning) -> SessionOptions {
    SessionOptions { tuning: Some(tuning), ..options }
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("threads", &self.threads)
            .field("isa", &self.isa)
            .field("tuned_for", &self.tuned_for)
            .field("dot_products", &self.dot_products)
            .field("amx", &self.amx)
            .finish_non_exhaustive()
    }
}
