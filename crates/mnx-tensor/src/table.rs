//! The kernel table: a row for every kernel of every ISA. A kernel that has no row does not exist: layers, tests, benches
//! and `mnx-infer inspect --kernels` read this table.

#[cfg(target_arch = "x86_64")]
mod f16c;
mod int8_table;

use crate::int8::form::{Form, NATURAL, Products};
use crate::operands::Operands;
use crate::part::Geometry;
use crate::simd::Simd;
use crate::{Arithmetic, Element, Isa, Operation, Part, TunedFor, kernels};
use int8_table::{int8_instances, int8_rows};
use kernels::{Bf16, F16, F32};

/// One kernel: what it computes, for which CPUs, how large its tile is, and its entry point.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Kernel {
    /// By the grammar in the [crate's docs](crate).
    pub name: &'static str,
    /// What it computes.
    pub operation: Operation,
    /// The numbers that it computes with.
    pub arithmetic: Arithmetic,
    /// The type in which it reads packed weights: the arithmetic's own, or one that it widens. Operations without weights have
    /// the arithmetic's own.
    pub weights: Element,
    /// The instructions that it is built of.
    pub isa: Isa,
    /// The cores that its tile was chosen for.
    pub tuned_for: TunedFor,
    /// Whether it needs the CPU's instructions for dot products of bytes, beyond the ISA's own.
    pub dot_products: bool,
    /// Whether it needs AMX, too.
    pub amx: bool,
    /// Largest tile: pixels (or rows) x output channels.
    pub tile: (usize, usize),
    /// Of an int8 kernel: in which form it reads weights and inputs.
    pub(crate) form: Option<Form>,
    /// Whether it is an int8 depthwise kernel that interleaves rows in scratch.
    pub(crate) interleaves: bool,
    /// Computes a part of a layer.
    ///
    /// # Safety
    /// As [`Layer::run`](crate::Layer::run)(crate::Layer::run). The CPU has the ISA and, where the row says so, dot products of bytes and AMX, which this process may use.
    pub run: unsafe fn(&Operands<'_>, &Part),
}

impl Kernel {
    /// The form of what an int8 kernel reads.
    pub(crate) fn form(&self) -> Form {
        self.form.unwrap_or(Form { products: Products::Bytes, order: NATURAL })
    }

    /// Bytes of scratch of an int8 kernel.
    pub(crate) fn int8_scratch_bytes(&self, cin: usize, geometry: &Geometry) -> usize {
        match self.operation {
            Operation::Conv { .. } if self.amx => {
                return kernels::int8::conv_tiles_scratch_bytes(cin, geometry, self.operation);
            }
            _ if self.amx => return kernels::int8::tiles_scratch_bytes(cin),
            _ => {}
        }
        kernels::int8::scratch_bytes(self.operation, self.form().products, self.interleaves, cin, geometry)
    }
}

/// What one ISA has.
#[derive(Debug)]
pub(crate) struct Instance {
    /// The ISA, as the kernels' own instance of [`Simd`] names it.
    pub(crate) isa: Isa,
    pub(crate) rows: &'static [Kernel],
    /// Nothing but multiply-adds on registers: `(steps, operand)`, returns operations done and a value that depends on them.
    pub(crate) peak: unsafe fn(u64, f32) -> (u64, f32),
    /// Nothing but loads and stores: `(from, to, panels)`.
    pub(crate) copy: unsafe fn(*const f32, *mut f32, usize),
}

/// Those of this build, slowest first, whether or not this CPU can run them.
///
/// A build for web pages has one: it cannot be asked for another, and every byte of it is loaded over the net.
static INSTANCES: &[&Instance] = &[
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown", target_feature = "simd128")))]
    &SCALAR,
    #[cfg(target_arch = "x86_64")]
    &AVX2,
    #[cfg(target_arch = "x86_64")]
    &AVX512,
    #[cfg(target_arch = "aarch64")]
    &NEON,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    &SIMD128,
];

/// What an ISA has, if this build has it and this CPU can run it.
pub(crate) fn instance(isa: Isa) -> Option<&'static Instance> {
    let runs = match isa {
        Isa::Scalar => true,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => crate::simd::Avx2::new().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => crate::simd::Avx512::new().is_some(),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => crate::simd::Neon::new().is_some(),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => crate::simd::Simd128::new().is_some(),
        _ => false,
    };
    INSTANCES.iter().copied().find(|instance| runs && instance.isa == isa)
}

/// Every row of this build, those too that this CPU cannot run: f32, then int8, each by ISA, slowest first.
pub fn rows() -> impl Iterator<Item = &'static Kernel> {
    INSTANCES.iter().flat_map(|instance| instance.rows).chain(int8_rows())
}

/// Whether this CPU has instructions for dot products of bytes in an ISA, and this build kernels that use them.
pub(crate) fn has_dot_products(isa: Isa) -> bool {
    int8_instances().iter().any(|instance| instance.isa == isa && instance.dot_products && (instance.runs)())
}

/// Whether this CPU has AMX, this process may use it, and this build has kernels for it in an ISA. The first time this asks Linux.
pub(crate) fn may_use_amx(isa: Isa) -> bool {
    int8_instances().iter().any(|instance| instance.isa == isa && instance.amx && (instance.runs)())
}

/// The same, except that Linux is not asked: whether it has not refused.
pub(crate) fn has_amx(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = crate::amx::is_there() && !crate::amx::is_refused();
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has && int8_instances().iter().any(|instance| instance.isa == isa && instance.amx)
}

/// Nothing but dot products on registers: takes steps, returns multiply-adds done and a value that depends on them.
type DotProbe = unsafe fn(u64) -> (u64, f32);

/// Dot products alone, by the fastest instructions on vectors that this CPU has, and whose ISA that is.
pub(crate) fn dot_probes() -> (Isa, [DotProbe; 2]) {
    let fastest = int8_instances().iter().rfind(|instance| !instance.amx && (instance.runs)());
    // The first runs everywhere.
    let instance = fastest.unwrap_or(&int8_instances()[0]);
    (instance.isa, instance.probes)
}

/// What is known of a kernel without running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// The ISA that it was built for.
    pub isa: Isa,
    /// Whether it needs instructions for dot products of bytes as well.
    pub dot_products: bool,
    /// Whether it needs AMX, too.
    pub amx: bool,
    /// The numbers that it computes with.
    pub arithmetic: Arithmetic,
    /// By the grammar in the [crate's docs](crate).
    pub name: &'static str,
    /// The cores that its tile was chosen for.
    pub tuned_for: TunedFor,
    /// Largest tile: pixels (or rows) x output channels.
    pub tile: (usize, usize),
    /// Whether this CPU can run it. Linux is not asked for AMX: it may still refuse it.
    pub available: bool,
}

/// Every kernel of this build, those too that this CPU cannot run: by ISA, slowest first.
pub fn all() -> Vec<KernelInfo> {
    let info = |row: &Kernel| {
        let Kernel { isa, name, tuned_for, tile, arithmetic, dot_products, amx, .. } = *row;
        let available = isa.is_available() && (!dot_products || has_dot_products(isa)) && (!amx || has_amx(isa));
        KernelInfo { isa, dot_products, amx, arithmetic, name, tuned_for, tile, available }
    };
    rows().map(info).collect()
}

/// The rows of one ISA. Only these entry points carry the target features; everything below them is inlined. `tuned_for` is
/// `Any` where a row does not say, `weights` f32.
macro_rules! rows {
    (
        $features:tt $table:ident: $simd:ty, peak: $sums:literal,
        $($entry:ident: $operation:ident $({ $($field:ident: $value:literal),* })?,
            $name:literal, $pixels:literal x $channels:literal $(for $tuned_for:ident)? $(of $weights:ident)? = $kernel:expr;)*
    ) => {
        static $table: Instance = {
            $(rows!(@entry $features $entry, $simd, $kernel);)*
            rows!(@probes $features $simd, $sums);
            Instance {
                isa: <$simd as Simd>::ISA,
                rows: &[$(Kernel {
                    name: $name,
                    operation: Operation::$operation $({ $($field: $value),* })?,
                    arithmetic: Arithmetic::F32,
                    weights: [$(Element::$weights,)? Element::F32][0],
                    isa: <$simd as Simd>::ISA,
                    tuned_for: [$(TunedFor::$tuned_for,)? TunedFor::Any][0],
                    dot_products: false,
                    amx: false,
                    form: None,
                    interleaves: false,
                    tile: ($pixels, $channels),
                    run: $entry,
                }),*],
                peak,
                copy,
            }
        };
    };
    (@entry [$(#[$features:meta])*] $name:ident, $simd:ty, $kernel:expr) => {
        /// # Safety
        /// As [`Layer::run`](crate::Layer::run)(crate::Layer::run), and the CPU has the ISA.
        $(#[$features])*
        unsafe fn $name(layer: &Operands<'_>, part: &Part) {
            // SAFETY: the table's contract: the CPU has the ISA, and what the part touches is there.
            unsafe { $kernel(<$simd>::assume(), layer, part) }
        }
    };
    (@probes [$(#[$features:meta])*] $simd:ty, $sums:literal) => {
        /// # Safety
        /// The CPU has the ISA.
        $(#[$features])*
        unsafe fn peak(steps: u64, operand: f32) -> (u64, f32) {
            // SAFETY: the table's contract: the CPU has the ISA.
            crate::kernels::probes::chains::<$simd, $sums>(unsafe { <$simd>::assume() }, steps, operand)
        }

        /// # Safety
        /// The CPU has the ISA; `src` is readable and `dst` writable for so many panels.
        $(#[$features])*
        unsafe fn copy(src: *const f32, dst: *mut f32, panels: usize) {
            // SAFETY: as above, and the caller's promise.
            unsafe { crate::kernels::probes::copy::<$simd>(<$simd>::assume(), src, dst, panels) }
        }
    };
}

// Tiles are register budgets. Sixteen registers: 6 pixels x 2 sums + 2 weights + 1 broadcast = 15;
// of half a panel 5 pixels, since with more of them the compiler puts sums on the stack (tools/check_kernels);
// conv two rows of 3 pixels, the same 15; depthwise 8 sums + 3 weights + 1 input = 12; at stride 2, which needs more loads, 7 sums:
// the rows of MobileNeXt's strided layers divide by 7.
#[cfg(target_arch = "x86_64")]
rows! {
    [#[target_feature(enable = "avx2,fma")]] AVX2: crate::simd::Avx2, peak: 6,
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 8 x 8 = kernels::depthwise::<_, 1, 8>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 7 x 8 = kernels::depthwise::<_, 2, 7>;
    pw: Pointwise, "pw", 6 x 16 = kernels::pw::<_, 6>;
    pw8: PointwiseHalf, "pw8", 5 x 8 = kernels::pw8::<_, 5>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1", 6 x 16 = kernels::conv3x3::<_, 1, 3, 6>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2", 6 x 16 = kernels::conv3x3::<_, 2, 3, 6>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 6 x 16 = kernels::dense::<_, 3, 1, 6, 1>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 6 x 16 = kernels::dense::<_, 3, 2, 6, 1>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 6 x 16 = kernels::dense::<_, 7, 2, 6, 1>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2", 1 x 8 = kernels::maxpool;
    pool: Pool, "pool", 1 x 8 = kernels::pool;
    linear: Linear, "linear", 6 x 64 = kernels::linear::<_, F32, 6, 4>;
    linear_bf16: Linear, "linear-bf16", 6 x 64 of Bf16 = kernels::linear::<_, Bf16, 6, 4>;
    linear_f16: Linear, "linear-f16", 6 x 64 of F16 = f16c::linear;
}

// Thirty-two registers. 12 pixels x 1 sum + 1 weights use 13 of them only: a larger tile's start and end overlap less
// with its neighbours', and past sixteen blocks of 32 bytes the offsets of the broadcasts take four bytes. Conv two rows
// of 7 (every plane of ResNet's divides by 7) + 1 weights = 15, with long sums that hide start and end. Depthwise
// 14 sums (a row of 14, a quarter of one of 56) + 9 weights + 1 input = 24; at stride 2, where memory leaves nothing to win
// with more, 8.
// Two units of 512 bits ask for two operands a cycle, so each broadcast serves several panels: 8 pixels x 3 = 24 sums + 3 weights
// + 1 broadcast, or 14 x 2 + 2 + 1 = 31. Depthwise layers fill their vectors with two blocks: 2 rows x 8 pixels + 9 weights
// + 1 bias + 1 input + 2 bounds = 29.
#[cfg(target_arch = "x86_64")]
rows! {
    [#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq")]] AVX512: crate::simd::Avx512, peak: 12,
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 14 x 8 = kernels::depthwise::<_, 1, 14>;
    dw_s1_wide: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 16 x 16 for Wide = kernels::depthwise_wide::<_, 1, 8, 14>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 8 x 8 = kernels::depthwise::<_, 2, 8>;
    dw_s2_wide: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 16 x 16 for Wide = kernels::depthwise_wide::<_, 2, 8, 8>;
    pw: Pointwise, "pw", 12 x 16 = kernels::pw::<_, 12>;
    pw_wide: Pointwise, "pw", 8 x 48 for Wide = kernels::pw_wide::<_, 8, 14, 12>;
    pw8: PointwiseHalf, "pw8", 12 x 8 = kernels::pw8::<_, 12>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1", 14 x 16 = kernels::conv3x3::<_, 1, 7, 14>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2", 14 x 16 = kernels::conv3x3::<_, 2, 7, 14>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 8 x 16 = kernels::dense::<_, 3, 1, 8, 1>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 8 x 16 = kernels::dense::<_, 3, 2, 8, 1>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 8 x 16 = kernels::dense::<_, 7, 2, 8, 1>;
    dense_s1_wide: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 8 x 32 for Wide = kernels::dense::<_, 3, 1, 8, 2>;
    dense_s2_wide: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 8 x 32 for Wide = kernels::dense::<_, 3, 2, 8, 2>;
    dense7_s2_wide: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 8 x 32 for Wide = kernels::dense::<_, 7, 2, 8, 2>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2", 1 x 8 = kernels::maxpool;
    pool: Pool, "pool", 1 x 8 = kernels::pool;
    linear: Linear, "linear", 6 x 64 = kernels::linear::<_, F32, 6, 4>;
    linear_bf16: Linear, "linear-bf16", 6 x 64 of Bf16 = kernels::linear::<_, Bf16, 6, 4>;
    linear_f16: Linear, "linear-f16", 6 x 64 of F16 = kernels::linear::<_, F16, 6, 4>;
}

// Thirty-two registers, four to a panel, two to a block. 6 pixels x 4 sums + 2 weights + 6 quads = 32, 8 x 2 + 2 + 8 = 26
// for half a panel; conv two rows of 3 pixels x 4 sums + 4 weights + up to 4 inputs = 32; depthwise 5 x 2 sums + the whole
// filter, 18, + 2 for one input + 2 bounds = 32.
#[cfg(target_arch = "aarch64")]
rows! {
    [#[target_feature(enable = "neon")]] NEON: crate::simd::Neon, peak: 7,
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 5 x 8 = kernels::depthwise::<_, 1, 5>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 5 x 8 = kernels::depthwise::<_, 2, 5>;
    pw: Pointwise, "pw", 6 x 16 = kernels::pw::<_, 6>;
    pw8: PointwiseHalf, "pw8", 8 x 8 = kernels::pw8::<_, 8>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1", 6 x 16 = kernels::conv3x3::<_, 1, 3, 6>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2", 6 x 16 = kernels::conv3x3::<_, 2, 3, 6>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 5 x 16 = kernels::dense::<_, 3, 1, 5, 1>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 5 x 16 = kernels::dense::<_, 3, 2, 5, 1>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 5 x 16 = kernels::dense::<_, 7, 2, 5, 1>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2", 1 x 8 = kernels::maxpool;
    pool: Pool, "pool", 1 x 8 = kernels::pool;
    linear: Linear, "linear", 5 x 64 = kernels::linear::<_, F32, 5, 4>;
    linear_bf16: Linear, "linear-bf16", 5 x 64 of Bf16 = kernels::linear::<_, Bf16, 5, 4>;
    linear_f16: Linear, "linear-f16", 5 x 64 of F16 = kernels::linear::<_, F16, 5, 4>;
}

// How many registers there are is the engine's affair: sixteen where it runs on x86-64, four to a panel, two to a block.
// 2 pixels x 4 sums + 4 weights + 1 broadcast + 1 product = 14, 4 x 2 + 2 + 2 for half a panel.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
rows! {
    [#[target_feature(enable = "simd128")]] SIMD128: crate::simd::Simd128, peak: 2,
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 4 x 8 = kernels::depthwise::<_, 1, 4>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 4 x 8 = kernels::depthwise::<_, 2, 4>;
    pw: Pointwise, "pw", 2 x 16 = kernels::pw::<_, 2>;
    pw8: PointwiseHalf, "pw8", 4 x 8 = kernels::pw8::<_, 4>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1", 2 x 16 = kernels::conv3x3::<_, 1, 1, 2>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2", 2 x 16 = kernels::conv3x3::<_, 2, 1, 2>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 2 x 16 = kernels::dense::<_, 3, 1, 2, 1>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 2 x 16 = kernels::dense::<_, 3, 2, 2, 1>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 2 x 16 = kernels::dense::<_, 7, 2, 2, 1>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2", 1 x 8 = kernels::maxpool;
    pool: Pool, "pool", 1 x 8 = kernels::pool;
    linear: Linear, "linear", 2 x 16 = kernels::linear::<_, F32, 2, 1>;
    linear_bf16: Linear, "linear-bf16", 2 x 16 of Bf16 = kernels::linear::<_, Bf16, 2, 1>;
    linear_f16: Linear, "linear-f16", 2 x 16 of F16 = kernels::linear::<_, F16, 2, 1>;
}

// The portable fallback knows no register count; four pixels of sixteen lanes vectorise on SSE2 too.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown", target_feature = "simd128")))]
rows! {
    [] SCALAR: crate::simd::Scalar, peak: 2,
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1", 4 x 8 = kernels::depthwise::<_, 1, 4>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2", 4 x 8 = kernels::depthwise::<_, 2, 4>;
    pw: Pointwise, "pw", 4 x 16 = kernels::pw::<_, 4>;
    pw8: PointwiseHalf, "pw8", 4 x 8 = kernels::pw8::<_, 4>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1", 4 x 16 = kernels::conv3x3::<_, 1, 2, 4>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2", 4 x 16 = kernels::conv3x3::<_, 2, 2, 4>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1", 4 x 16 = kernels::dense::<_, 3, 1, 4, 1>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2", 4 x 16 = kernels::dense::<_, 3, 2, 4, 1>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2", 4 x 16 = kernels::dense::<_, 7, 2, 4, 1>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2", 1 x 8 = kernels::maxpool;
    pool: Pool, "pool", 1 x 8 = kernels::pool;
    linear: Linear, "linear", 4 x 16 = kernels::linear::<_, F32, 4, 1>;
    linear_bf16: Linear, "linear-bf16", 4 x 16 of Bf16 = kernels::linear::<_, Bf16, 4, 1>;
    linear_f16: Linear, "linear-f16", 4 x 16 of F16 = kernels::linear::<_, F16, 4, 1>;
}
