//! The kernel for classifiers in f16 on AVX2. Widening takes F16C, a feature of its own, which every CPU with AVX2 has, but a
//! virtual machine may hide. The bits are the same without.

use crate::kernels::{self, F16, F16c};
use crate::simd::Avx2;
use crate::{Operands, Part};

/// # Safety
/// As [`Layer::run`](crate::Layer::run).
#[inline(always)]
pub(super) unsafe fn linear(_: Avx2, layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise, and the CPU has F16C where it is used.
    unsafe { if is_x86_feature_detected!("f16c") { linear_f16(layer, part) } else { without(layer, part) } }
}

/// # Safety
/// As [`Layer::run`](crate::Layer::run), and the CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn linear_f16(layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { kernels::linear::<_, F16c, 6, 4>(Avx2::assume(), layer, part) }
}

/// One panel at a time: widening takes most of the time, and many registers.
///
/// # Safety
/// As [`Layer::run`](crate::Layer::run), and the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn without(layer: &Operands<'_>, part: &Part) {
    // SAFETY: the caller's promise.
    unsafe { kernels::linear::<_, F16, 4, 1>(Avx2::assume(), layer, part) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{Geometry, Planes, PlanesMut};
    use crate::{Clamp, Cpu, Isa, Layer, Operation, PackedWeights};

    /// A CPU that has F16C never takes the other way by itself. Every number of f16 that is finite is among the weights.
    #[test]
    fn f16_is_the_same_with_f16c_and_without() {
        if Avx2::new().is_none() || !is_x86_feature_detected!("f16c") {
            eprintln!("SKIPPED: this CPU has no AVX2 with F16C");
            return;
        }
        let (cin, cout, rows) = (64, 1024, 5);
        let weights: Vec<u16> = (0..=u16::MAX).map(|bits| if bits & 0x7c00 == 0x7c00 { 0 } else { bits }).collect();
        let bias: Vec<f32> = (0..cout).map(|o| o as f32 / 7.0).collect();
        let input: Vec<f32> = (0..rows * cin).map(|i| (i * 7919 % 1999) as f32 / 999.0 - 1.0).collect();
        let cpu = Cpu::choose(Some(Isa::Avx2), None).unwrap();
        let packed = PackedWeights::F16(&weights);
        let layer = Layer::with_weights(cpu, Operation::Linear, [cin, cout], packed, &bias, Clamp::NONE).unwrap();
        let run = |kernel: unsafe fn(&Operands<'_>, &Part)| {
            let mut output = vec![0.0_f32; rows * cout];
            let part = Part {
                src: Planes { ptr: input.as_ptr().cast(), stride: cin * 4 },
                dst: PlanesMut { ptr: output.as_mut_ptr().cast(), stride: cout * 4 },
                residual: None,
                geometry: Geometry { out_height: rows, ..Geometry::POINT },
                scratch: std::ptr::null_mut(),
                pixels: (0..rows).into(),
                channels: (0..cout / 16).into(),
            };
            // SAFETY: all that the part touches is there, and the CPU has AVX2 and FMA.
            unsafe { kernel(layer.operands(), &part) };
            output
        };
        let found = run(layer.kernel().run);
        assert!(found == run(without) && found.iter().all(|value| value.is_finite()));
    }
}
