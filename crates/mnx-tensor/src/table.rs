//! The kernel table: every kernel of every ISA, with its name and tile. A kernel that is not in it does not exist:
//! dispatch, tests, benches and `mnx-infer inspect --kernels` read this table.

use crate::args::{Conv3x3, Dense, Depthwise, Linear, MaxPool, Pointwise, Pool};
use crate::simd::Simd;
use crate::{Error, Isa, kernels};

/// One kernel: what it is called, how large its tile is, and its entry point.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<Args> {
    /// By the grammar in the [crate's docs](crate).
    pub name: &'static str,
    /// Largest tile: pixels (or rows) x output channels.
    pub tile: (usize, usize),
    /// Entry point.
    ///
    /// # Safety
    /// The pointers in the arguments are valid for the extents in them, and the CPU has the ISA.
    pub run: unsafe fn(&Args),
}

/// All kernels of one ISA.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// The ISA, as the kernels' own instance of [`Simd`] names it.
    pub isa: Isa,
    /// Depthwise 3x3, stride 1.
    pub dw3x3s1: Kernel<Depthwise>,
    /// Depthwise 3x3, stride 2.
    pub dw3x3s2: Kernel<Depthwise>,
    /// Pointwise, whole panels.
    pub pw: Kernel<Pointwise>,
    /// Pointwise, a last panel of at most 8 output channels.
    pub pw8: Kernel<Pointwise>,
    /// Dense 3x3, stride 1.
    pub conv3x3s1: Kernel<Conv3x3>,
    /// Dense 3x3, stride 2.
    pub conv3x3s2: Kernel<Conv3x3>,
    /// Dense 3x3 on NCHW, stride 1.
    pub dense3x3s1: Kernel<Dense>,
    /// Dense 3x3 on NCHW, stride 2.
    pub dense3x3s2: Kernel<Dense>,
    /// Dense 7x7 on NCHW, stride 2.
    pub dense7x7s2: Kernel<Dense>,
    /// Max pool 3x3, stride 2.
    pub maxpool3x3s2: Kernel<MaxPool>,
    /// Global average pool.
    pub pool: Kernel<Pool>,
    /// Linear layer.
    pub linear: Kernel<Linear>,
    /// Nothing but multiply-adds on registers: `(steps, operand)`, returns operations done and a value that depends on them.
    pub(crate) peak: unsafe fn(u64, f32) -> (u64, f32),
    /// Nothing but loads and stores: `(from, to, panels)`.
    pub(crate) copy: unsafe fn(*const f32, *mut f32, usize),
}

impl Kernels {
    /// `(name, tile)` of every kernel, in the order of the fields.
    pub fn list(&self) -> [(&'static str, (usize, usize)); 12] {
        [
            (self.dw3x3s1.name, self.dw3x3s1.tile),
            (self.dw3x3s2.name, self.dw3x3s2.tile),
            (self.pw.name, self.pw.tile),
            (self.pw8.name, self.pw8.tile),
            (self.conv3x3s1.name, self.conv3x3s1.tile),
            (self.conv3x3s2.name, self.conv3x3s2.tile),
            (self.dense3x3s1.name, self.dense3x3s1.tile),
            (self.dense3x3s2.name, self.dense3x3s2.tile),
            (self.dense7x7s2.name, self.dense7x7s2.tile),
            (self.maxpool3x3s2.name, self.maxpool3x3s2.tile),
            (self.pool.name, self.pool.tile),
            (self.linear.name, self.linear.tile),
        ]
    }

    /// The depthwise kernel of a stride, 1 or else 2.
    pub fn depthwise(&self, stride: usize) -> &Kernel<Depthwise> {
        if stride == 1 { &self.dw3x3s1 } else { &self.dw3x3s2 }
    }

    /// The pointwise kernel that does most of a layer with `cout` output channels.
    pub fn pointwise_of(&self, cout: usize) -> &Kernel<Pointwise> {
        if cout <= 8 { &self.pw8 } else { &self.pw }
    }

    /// Runs the pointwise kernels: `pw`, and `pw8` on a last panel that is half empty.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    pub unsafe fn pointwise(&self, args: &Pointwise) {
        let whole = args.panels.end.min(args.cout.div_ceil(8) / 2);
        let split = whole.max(args.panels.start);
        for (kernel, panels) in [(&self.pw, args.panels.start..split), (&self.pw8, split..args.panels.end)] {
            if !panels.is_empty() {
                // SAFETY: the caller's promise, for fewer panels.
                unsafe { (kernel.run)(&Pointwise { panels: panels.into(), ..*args }) }
            }
        }
    }

    /// The dense 3x3 kernel on channel-blocked input of a stride, 1 or else 2.
    pub fn conv3x3(&self, stride: usize) -> &Kernel<Conv3x3> {
        if stride == 1 { &self.conv3x3s1 } else { &self.conv3x3s2 }
    }

    /// The dense kernel on planar input of a size and a stride: 3 and 1, 3 and 2, or else 7 and 2.
    pub fn dense(&self, kernel: usize, stride: usize) -> &Kernel<Dense> {
        match (kernel, stride) {
            (3, 1) => &self.dense3x3s1,
            (3, _) => &self.dense3x3s2,
            _ => &self.dense7x7s2,
        }
    }
}

/// The kernels of an ISA, if this build has them and this CPU can run them.
pub fn kernels(isa: Isa) -> Option<&'static Kernels> {
    match isa {
        Isa::Scalar => Some(&SCALAR),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => crate::simd::Avx2::new().map(|_| &AVX2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => crate::simd::Avx512::new().map(|_| &AVX512),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => crate::simd::Neon::new().map(|_| &NEON),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => crate::simd::Simd128::new().map(|_| &SIMD128),
        _ => None,
    }
}

/// What is known of a kernel without running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelInfo {
    /// The ISA that it was built for.
    pub isa: Isa,
    /// By the grammar in the [crate's docs](crate).
    pub name: &'static str,
    /// Largest tile: pixels (or rows) x output channels.
    pub tile: (usize, usize),
    /// Whether this CPU can run it.
    pub available: bool,
}

/// Every kernel of this build, those that this CPU cannot run too: by ISA, slowest first, in the order of
/// [`Kernels::list`].
pub fn all() -> Vec<KernelInfo> {
    #[cfg(target_arch = "x86_64")]
    let tables = [&SCALAR, &AVX2, &AVX512];
    #[cfg(target_arch = "aarch64")]
    let tables = [&SCALAR, &NEON];
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    let tables = [&SCALAR, &SIMD128];
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    )))]
    let tables = [&SCALAR];
    let of_table = |table: &Kernels| {
        let (isa, available) = (table.isa, table.isa.is_available());
        table.list().map(|(name, tile)| KernelInfo { isa, name, tile, available })
    };
    tables.into_iter().flat_map(of_table).collect()
}

/// The kernels to run on: as [`Isa::choose`] decides.
///
/// # Errors
/// As [`Isa::choose`].
pub fn choose(requested: Option<Isa>) -> Result<&'static Kernels, Error> {
    let isa = Isa::choose(requested)?;
    kernels(isa).ok_or_else(|| Error::IsaUnavailable { isa, available: Isa::available() })
}

/// Instantiates all kernels for one ISA. Only these entry points carry the target features; everything
/// below them is inlined.
macro_rules! instantiate {
    (
        $(#[$features:meta])* $table:ident: $simd:ty,
        dw: $dw1:literal $dw2:literal, pw: $pixels:literal $halves:literal,
        conv: $pair:literal $lone:literal, dense: $dense:literal,
        linear: $rows:literal x $lpanels:literal, peak: $sums:literal
    ) => {
        static $table: Kernels = {
            instantiate!(@entry $(#[$features])* dw_s1, Depthwise, $simd, kernels::depthwise::<$simd, 1, $dw1>);
            instantiate!(@entry $(#[$features])* dw_s2, Depthwise, $simd, kernels::depthwise::<$simd, 2, $dw2>);
            instantiate!(@entry $(#[$features])* pw, Pointwise, $simd, kernels::pw::<$simd, $pixels>);
            instantiate!(@entry $(#[$features])* pw8, Pointwise, $simd, kernels::pw8::<$simd, $halves>);
            instantiate!(@entry $(#[$features])* conv_s1, Conv3x3, $simd, kernels::conv3x3::<$simd, 1, $pair, $lone>);
            instantiate!(@entry $(#[$features])* conv_s2, Conv3x3, $simd, kernels::conv3x3::<$simd, 2, $pair, $lone>);
            instantiate!(@entry $(#[$features])* dense_s1, Dense, $simd, kernels::dense::<$simd, 3, 1, $dense>);
            instantiate!(@entry $(#[$features])* dense_s2, Dense, $simd, kernels::dense::<$simd, 3, 2, $dense>);
            instantiate!(@entry $(#[$features])* dense7_s2, Dense, $simd, kernels::dense::<$simd, 7, 2, $dense>);
            instantiate!(@entry $(#[$features])* maxpool_s2, MaxPool, $simd, kernels::maxpool::<$simd>);
            instantiate!(@entry $(#[$features])* pool, Pool, $simd, kernels::pool::<$simd>);
            instantiate!(@entry $(#[$features])* linear, Linear, $simd, kernels::linear::<$simd, $rows, $lpanels>);

            $(#[$features])*
            unsafe fn peak(steps: u64, operand: f32) -> (u64, f32) {
                // SAFETY: the table's contract: the CPU has the ISA.
                crate::peak::chains::<$simd, $sums>(unsafe { <$simd>::assume() }, steps, operand)
            }

            $(#[$features])*
            unsafe fn copy(src: *const f32, dst: *mut f32, panels: usize) {
                // SAFETY: as above, and the caller's promise.
                unsafe { crate::peak::copy::<$simd>(<$simd>::assume(), src, dst, panels) }
            }

            Kernels {
                isa: <$simd as Simd>::ISA,
                dw3x3s1: Kernel { name: "dw3x3s1", tile: ($dw1, 8), run: dw_s1 },
                dw3x3s2: Kernel { name: "dw3x3s2", tile: ($dw2, 8), run: dw_s2 },
                pw: Kernel { name: "pw", tile: ($pixels, 16), run: pw },
                pw8: Kernel { name: "pw8", tile: ($halves, 8), run: pw8 },
                conv3x3s1: Kernel { name: "conv3x3s1", tile: (2 * $pair, 16), run: conv_s1 },
                conv3x3s2: Kernel { name: "conv3x3s2", tile: (2 * $pair, 16), run: conv_s2 },
                dense3x3s1: Kernel { name: "dense3x3s1", tile: ($dense, 16), run: dense_s1 },
                dense3x3s2: Kernel { name: "dense3x3s2", tile: ($dense, 16), run: dense_s2 },
                dense7x7s2: Kernel { name: "dense7x7s2", tile: ($dense, 16), run: dense7_s2 },
                maxpool3x3s2: Kernel { name: "maxpool3x3s2", tile: (1, 8), run: maxpool_s2 },
                pool: Kernel { name: "pool", tile: (1, 8), run: pool },
                linear: Kernel { name: "linear", tile: ($rows, 16 * $lpanels), run: linear },
                peak,
                copy,
            }
        };
    };
    (@entry $(#[$features:meta])* $name:ident, $args:ty, $simd:ty, $kernel:expr) => {
        $(#[$features])*
        unsafe fn $name(args: &$args) {
            // SAFETY: the table's contract: the CPU has the ISA, the pointers are valid for their extents.
            unsafe { $kernel(<$simd>::assume(), args) }
        }
    };
}

// Tiles are register budgets. Sixteen registers: 6 pixels x 2 sums + 2 weights + 1 broadcast = 15;
// of half a panel 5 pixels, since with more of them the compiler puts sums on the stack (tools/check_kernels);
// conv two rows of 3 pixels, the same 15; depthwise 8 sums + 3 weights + 1 input = 12, at
// stride 2, which needs more loads, 7: the rows of MobileNeXt's strided layers divide by it.
#[cfg(target_arch = "x86_64")]
instantiate!(
    #[target_feature(enable = "avx2,fma")] AVX2: crate::simd::Avx2,
    dw: 8 7, pw: 6 5, conv: 3 6, dense: 6, linear: 6 x 4, peak: 6
);

// Thirty-two registers. 12 pixels x 1 sum + 1 weights use 13 of them only: a larger tile's start and end overlap less
// with its neighbours', and past sixteen blocks of 32 bytes the offsets of the broadcasts take four bytes. Conv two rows
// of 7 (every plane of ResNet's divides by 7) + 1 weights = 15, with long sums that hide start and end. Depthwise
// 14 sums (a row of 14, a quarter of one of 56) + 9 weights + 1 input = 24; at stride 2, where memory leaves nothing to win
// with more, 8.
#[cfg(target_arch = "x86_64")]
instantiate!(
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq")] AVX512: crate::simd::Avx512,
    dw: 14 8, pw: 12 12, conv: 7 14, dense: 8, linear: 6 x 4, peak: 12
);

// Thirty-two registers, four to a panel, two to a block. 6 pixels x 4 sums + 2 weights + 6 quads = 32, 8 x 2 + 2 + 8 = 26
// for half a panel; conv two rows of 3 pixels x 4 sums + 4 weights + up to 4 inputs = 32; depthwise 5 x 2 sums + the whole
// filter, 18, + 2 for one input + 2 bounds = 32.
#[cfg(target_arch = "aarch64")]
instantiate!(
    #[target_feature(enable = "neon")] NEON: crate::simd::Neon,
    dw: 5 5, pw: 6 8, conv: 3 6, dense: 5, linear: 5 x 4, peak: 7
);

// How many registers there are is the engine's affair: sixteen where it runs on x86-64, four to a panel, two to a block.
// 2 pixels x 4 sums + 4 weights + 1 broadcast + 1 product = 14, 4 x 2 + 2 + 2 for half a panel.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
instantiate!(
    #[target_feature(enable = "simd128")] SIMD128: crate::simd::Simd128,
    dw: 4 4, pw: 2 4, conv: 1 2, dense: 2, linear: 2 x 1, peak: 2
);

// The portable fallback knows no register count; four pixels of sixteen lanes vectorise on SSE2 too.
instantiate!(SCALAR: crate::simd::Scalar, dw: 4 4, pw: 4 4, conv: 2 4, dense: 4, linear: 4 x 1, peak: 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_one_that_was_asked_for() {
        for isa in Isa::available() {
            assert_eq!(kernels(isa).map(|k| k.isa), Some(isa));
        }
    }

    #[test]
    fn every_kernel_that_can_run_is_listed() {
        let listed = all();
        for isa in Isa::ALL {
            let of_isa: Vec<_> = listed.iter().filter(|kernel| kernel.isa == isa).collect();
            assert!(of_isa.iter().all(|kernel| kernel.available == isa.is_available()));
            if let Some(table) = kernels(isa) {
                assert!(of_isa.iter().map(|kernel| (kernel.name, kernel.tile)).eq(table.list()));
            }
        }
    }

    /// What runs is seen from the outside: a fused multiply-add keeps the product's low bits, separate ones lose them.
    #[test]
    fn fma_isas_fuse_and_no_others() {
        let (x, w) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
        for isa in Isa::available() {
            let weight: Vec<f32> = (0..9).map(|k| if k == 4 { w } else { 0.0 }).collect();
            let input = crate::Tensor::from_slice([1, 1, 1, 1], &[x]).unwrap();
            let options = crate::ops::Conv { isa: Some(isa), padding: crate::ops::Padding::ONE, ..Default::default() };
            let found = crate::ops::depthwise3x3(input.view(), &weight, Some(&[-1.0]), &options).unwrap();
            let expected = if isa.fuses() { x.mul_add(w, -1.0) } else { x * w - 1.0 };
            assert_eq!(found.data(), [expected], "{isa}");
        }
        assert_ne!(x * w - 1.0, x.mul_add(w, -1.0));
    }
}
