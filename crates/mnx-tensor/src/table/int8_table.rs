//! The int8 rows of the kernel table.

#[cfg(not(all(target_arch = "wasm32", target_os = "unknown", target_feature = "simd128")))]
use crate::simd::Scalar;
use crate::simd::dot::Dot;
use crate::table::Kernel;
use crate::{Arithmetic, Element, Isa, Operands, Operation, Part, TunedFor, kernels::int8};

/// The int8 kernels of one ISA, with its instructions for dot products of bytes or without.
#[derive(Debug)]
pub(super) struct Int8Instance {
    pub(super) isa: Isa,
    pub(super) dot_products: bool,
    /// Whether its rows need AMX.
    pub(super) amx: bool,
    /// Whether this CPU has the instructions. Of AMX: whether Linux permits them, which this asks.
    pub(super) runs: fn() -> bool,
    rows: &'static [Kernel],
    /// Nothing but dot products, with few sums and with many, of which one fits the registers: how many rounds; returns
    /// multiply-adds done and a value that depends on them.
    pub(super) probes: [unsafe fn(u64) -> (u64, f32); 2],
}

/// Those of this build, slowest first.
static INSTANCES: &[&Int8Instance] = &[
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown", target_feature = "simd128")))]
    &SCALAR,
    #[cfg(target_arch = "x86_64")]
    &AVX2_INT8,
    #[cfg(target_arch = "x86_64")]
    &AVX_VNNI,
    #[cfg(target_arch = "x86_64")]
    &AVX512_INT8,
    #[cfg(target_arch = "x86_64")]
    &AVX512_VNNI,
    #[cfg(target_arch = "x86_64")]
    &AVX512_AMX,
    #[cfg(target_arch = "aarch64")]
    &NEON_INT8,
    #[cfg(target_arch = "aarch64")]
    &NEON_DOT,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    &SIMD128_INT8,
];

pub(super) fn int8_instances() -> &'static [&'static Int8Instance] {
    INSTANCES
}

pub(super) fn int8_rows() -> impl Iterator<Item = &'static Kernel> {
    int8_instances().iter().flat_map(|instance| instance.rows)
}

/// The rows of one instance of [`Dot`]: as `rows!` makes those of f32. Each instance has every operation, but the one `with amx`;
/// what differs is the largest tile of each, in pixels.
macro_rules! int8_rows {
    (
        $features:tt $table:ident $(with $amx:ident)?: $dot:ty, $runs:expr,
        $($entry:ident: $operation:ident $({ $($field:ident: $value:literal),* })?,
            $name:literal, $pixels:literal x $channels:literal $(for $tuned_for:ident)? = $kernel:expr;)*
    ) => {
        static $table: Int8Instance = {
            $(int8_rows!(@entry $features $entry, $dot, $kernel);)*
            int8_rows!(@probe $features few, $dot, 6);
            int8_rows!(@probe $features many, $dot, 12);
            const WITH_AMX: bool = int8_rows!(@amx $($amx)?);
            Int8Instance {
                isa: <$dot as Dot>::ISA,
                dot_products: <$dot as Dot>::DOT_PRODUCTS,
                amx: WITH_AMX,
                runs: $runs,
                rows: &[$(Kernel {
                    name: $name,
                    operation: Operation::$operation $({ $($field: $value),* })?,
                    arithmetic: Arithmetic::Int8,
                    weights: Element::I8,
                    isa: <$dot as Dot>::ISA,
                    tuned_for: [$(TunedFor::$tuned_for,)? TunedFor::Any][0],
                    dot_products: <$dot as Dot>::DOT_PRODUCTS,
                    amx: WITH_AMX,
                    form: Some(<$dot as Dot>::FORM),
                    interleaves: <$dot as Dot>::INTERLEAVES,
                    tile: ($pixels, $channels),
                    run: $entry,
                }),*],
                probes: [few, many],
            }
        };
    };
    (@amx amx) => { true };
    (@amx) => { false };
    (@probe [$(#[$features:meta])*] $name:ident, $dot:ty, $pixels:literal) => {
        /// # Safety
        /// The CPU has the instructions.
        $(#[$features])*
        unsafe fn $name(steps: u64) -> (u64, f32) {
            // SAFETY: the table's contract: the CPU has the instructions.
            crate::kernels::probes::dots::<$dot, $pixels>(unsafe { <$dot>::assume() }, steps)
        }
    };
    (@entry [$(#[$features:meta])*] $name:ident, $dot:ty, $kernel:expr) => {
        /// # Safety
        /// As [`Layer::run`](crate::Layer::run), and the CPU has the instructions.
        $(#[$features])*
        unsafe fn $name(layer: &Operands<'_>, part: &Part) {
            // SAFETY: the table's contract: the CPU has the instructions, and what the part touches is there.
            unsafe { $kernel(<$dot>::assume(), layer, part) }
        }
    };
}

// Thirty-two registers. 12 pixels x 1 sum + 1 weights + broadcasts: wider tiles are slower at few channels, where what happens
// to the sums outweighs the sums.
#[cfg(target_arch = "x86_64")]
int8_rows! {
    [#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw,avx512vnni")]]
    AVX512_VNNI: crate::simd::dot::Avx512Vnni, || crate::simd::dot::Avx512Vnni::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 14 x 16 = int8::by_width::<_, 1, 8, 14>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 14 x 16 = int8::by_width::<_, 2, 8, 14>;
    pw: Pointwise, "pw-int8", 12 x 16 = int8::pw::<_, 12>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 12 x 16 = int8::conv::<_, 3, 1, 12>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 12 x 16 = int8::conv::<_, 3, 2, 12>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 8 x 16 = int8::dense::<_, 3, 1, 8>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 8 x 16 = int8::dense::<_, 3, 2, 8>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 8 x 16 = int8::dense::<_, 7, 2, 8>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 6 x 16 = int8::linear::<_, 6>;
}

// Eight tiles: two sets of 2 sums, 2 of inputs and 1 of weights. What is not multiplied in tiles is multiplied as above.
#[cfg(target_arch = "x86_64")]
int8_rows! {
    [#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw,avx512vnni")]]
    AVX512_AMX with amx: crate::simd::dot::Avx512Vnni, crate::amx::is_permitted,
    pw: Pointwise, "pw-int8", 32 x 16 = int8::by_depth;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 32 x 16 = int8::conv_by_depth::<1>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 32 x 16 = int8::conv_by_depth::<2>;
}

// Sixteen registers. 6 pixels x 2 sums + 2 weights + 1 broadcast + 1 product = 16.
#[cfg(target_arch = "x86_64")]
int8_rows! {
    [#[target_feature(enable = "avx2,fma")]]
    AVX2_INT8: crate::simd::dot::Ymm<false>, || crate::simd::dot::Ymm::<false>::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 5 x 16 = int8::interleaved::<_, 1, 5>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 5 x 16 = int8::interleaved::<_, 2, 5>;
    pw: Pointwise, "pw-int8", 6 x 16 = int8::pw::<_, 6>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 6 x 16 = int8::conv::<_, 3, 1, 6>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 6 x 16 = int8::conv::<_, 3, 2, 6>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 6 x 16 = int8::dense::<_, 3, 1, 6>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 6 x 16 = int8::dense::<_, 3, 2, 6>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 6 x 16 = int8::dense::<_, 7, 2, 6>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 6 x 16 = int8::linear::<_, 6>;
}

// As above: 6 pixels x 2 sums + 2 weights + 1 broadcast = 15.
#[cfg(target_arch = "x86_64")]
int8_rows! {
    [#[target_feature(enable = "avx2,fma,avxvnni")]]
    AVX_VNNI: crate::simd::dot::AvxVnni, || crate::simd::dot::AvxVnni::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 5 x 16 = int8::interleaved::<_, 1, 5>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 6 x 16 = int8::interleaved::<_, 2, 6>;
    pw: Pointwise, "pw-int8", 6 x 16 = int8::pw::<_, 6>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 6 x 16 = int8::conv::<_, 3, 1, 6>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 6 x 16 = int8::conv::<_, 3, 2, 6>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 6 x 16 = int8::dense::<_, 3, 1, 6>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 6 x 16 = int8::dense::<_, 3, 2, 6>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 6 x 16 = int8::dense::<_, 7, 2, 6>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 6 x 16 = int8::linear::<_, 6>;
}

// Thirty-two registers. 12 pixels x 1 sum + 1 weights + 1 product.
#[cfg(target_arch = "x86_64")]
int8_rows! {
    [#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]]
    AVX512_INT8: crate::simd::dot::Zmm<false>, || crate::simd::dot::Zmm::<false>::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 14 x 16 = int8::interleaved::<_, 1, 14>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 14 x 16 = int8::interleaved::<_, 2, 14>;
    pw: Pointwise, "pw-int8", 12 x 16 = int8::pw::<_, 12>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 12 x 16 = int8::conv::<_, 3, 1, 12>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 12 x 16 = int8::conv::<_, 3, 2, 12>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 8 x 16 = int8::dense::<_, 3, 1, 8>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 8 x 16 = int8::dense::<_, 3, 2, 8>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 8 x 16 = int8::dense::<_, 7, 2, 8>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 6 x 16 = int8::linear::<_, 6>;
}

// Thirty-two registers, four to a panel. 4 pixels x 4 sums + 4 weights + 4 quads + 4 words of products + 2 pairs of inputs = 30;
// depthwise 3 columns x 4 + 4 sums + 4 taps + 4 words of products + 5 constants of the epilogue = 29.
#[cfg(target_arch = "aarch64")]
int8_rows! {
    [#[target_feature(enable = "neon")]]
    NEON_INT8: crate::simd::dot::NeonDot<false>, || crate::simd::dot::NeonDot::<false>::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 2 x 16 = int8::depthwise_rows::<_, 1>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 1 x 16 = int8::depthwise_rows::<_, 2>;
    pw: Pointwise, "pw-int8", 4 x 16 = int8::pw::<_, 4>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 4 x 16 = int8::conv::<_, 3, 1, 4>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 4 x 16 = int8::conv::<_, 3, 2, 4>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 4 x 16 = int8::dense::<_, 3, 1, 4>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 4 x 16 = int8::dense::<_, 3, 2, 4>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 4 x 16 = int8::dense::<_, 7, 2, 4>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 4 x 16 = int8::linear::<_, 4>;
}

// 5 pixels x 4 sums + 4 weights + 5 quads + 1 constant = 30; depthwise as above without the products.
#[cfg(target_arch = "aarch64")]
int8_rows! {
    [#[target_feature(enable = "neon,dotprod")]]
    NEON_DOT: crate::simd::dot::NeonDot<true>, || crate::simd::dot::NeonDot::<true>::new().is_some(),
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 2 x 16 = int8::depthwise_rows::<_, 1>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 1 x 16 = int8::depthwise_rows::<_, 2>;
    pw: Pointwise, "pw-int8", 5 x 16 = int8::pw::<_, 5>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 5 x 16 = int8::conv::<_, 3, 1, 5>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 5 x 16 = int8::conv::<_, 3, 2, 5>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 5 x 16 = int8::dense::<_, 3, 1, 5>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 5 x 16 = int8::dense::<_, 3, 2, 5>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 5 x 16 = int8::dense::<_, 7, 2, 5>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 5 x 16 = int8::linear::<_, 5>;
}

// Sixteen registers where the engine runs on x86-64: 2 pixels x 4 sums + 4 weights + 2 pairs of inputs + 1 sum of products = 15.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
int8_rows! {
    [#[target_feature(enable = "simd128")]]
    SIMD128_INT8: crate::simd::Simd128, || true,
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 2 x 16 = int8::depthwise_rows::<_, 1>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 1 x 16 = int8::depthwise_rows::<_, 2>;
    pw: Pointwise, "pw-int8", 2 x 16 = int8::pw::<_, 2>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 2 x 16 = int8::conv::<_, 3, 1, 2>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 2 x 16 = int8::conv::<_, 3, 2, 2>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 2 x 16 = int8::dense::<_, 3, 1, 2>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 2 x 16 = int8::dense::<_, 3, 2, 2>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 2 x 16 = int8::dense::<_, 7, 2, 2>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 2 x 16 = int8::linear::<_, 2>;
}

// The portable fallback knows no register count.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown", target_feature = "simd128")))]
int8_rows! {
    [] SCALAR: Scalar, || true,
    quantize: Quantize, "quantize", 1 x 4 = int8::quantize;
    dw_s1: Depthwise { kernel: 3, stride: 1 }, "dw3x3s1-int8", 2 x 16 = int8::depthwise_rows::<_, 1>;
    dw_s2: Depthwise { kernel: 3, stride: 2 }, "dw3x3s2-int8", 2 x 16 = int8::depthwise_rows::<_, 2>;
    pw: Pointwise, "pw-int8", 2 x 16 = int8::pw::<_, 2>;
    conv_s1: Conv { kernel: 3, stride: 1 }, "conv3x3s1-int8", 2 x 16 = int8::conv::<_, 3, 1, 2>;
    conv_s2: Conv { kernel: 3, stride: 2 }, "conv3x3s2-int8", 2 x 16 = int8::conv::<_, 3, 2, 2>;
    dense_s1: Dense { kernel: 3, stride: 1 }, "dense3x3s1-int8", 2 x 16 = int8::dense::<_, 3, 1, 2>;
    dense_s2: Dense { kernel: 3, stride: 2 }, "dense3x3s2-int8", 2 x 16 = int8::dense::<_, 3, 2, 2>;
    dense7_s2: Dense { kernel: 7, stride: 2 }, "dense7x7s2-int8", 2 x 16 = int8::dense::<_, 7, 2, 2>;
    maxpool_s2: MaxPool { kernel: 3, stride: 2 }, "maxpool3x3s2-int8", 1 x 16 = int8::maxpool;
    pool: Pool, "pool-int8", 1 x 16 = int8::pool;
    linear: Linear, "linear-int8", 2 x 16 = int8::linear::<_, 2>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_count_multiply_adds() {
        for instance in int8_instances().iter().filter(|instance| (instance.runs)()) {
            for (probe, pixels) in instance.probes.iter().zip([6, 12]) {
                // SAFETY: the CPU has the instructions.
                let found = unsafe { probe(3) };
                assert_eq!(found, (3 * 16 * 16 * pixels, 0.0), "{} {}", instance.isa, instance.dot_products);
            }
        }
    }
}
