//! Single layers on plain tensors, without any network: a depthwise separable convolution, timed.
//!
//! ```sh
//! cargo run --release -p mobilenext --example one_kernel
//! MNX_ISA=avx2 cargo run --release -p mobilenext --example one_kernel
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mnx::ops::{self, Conv, Margins};
use mnx::unstable::{Layer, pack};
use mnx::{Clamp, Cpu, Isa, Operation, Tensor, TensorError};

const CIN: usize = 96;
const COUT: usize = 192;
const SIDE: usize = 56;

fn main() -> ExitCode {
    match layers() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn layers() -> Result<(), TensorError> {
    let input = numbers([1, CIN, SIDE, SIDE])?;
    // As PyTorch has them: `[C, 1, 3, 3]`, and `[Cout, Cin, 1, 1]`.
    let (dw, pw) = (numbers([CIN, 1, 3, 3])?, numbers([COUT, CIN, 1, 1])?);
    let relu6 = Conv { padding: Margins::ONE, clamp: Clamp::RELU6, ..Conv::default() };

    // The short way packs the weights on each call…
    let hidden = ops::depthwise3x3(input.view(), dw.data(), None, &relu6)?;
    let output = ops::pointwise(hidden.view(), pw.data(), None, &Conv::default())?;
    println!("{:?} -> {:?} -> {:?} on {}", input.shape(), hidden.shape(), output.shape(), Isa::choose(None)?);

    // …and who calls more than once makes a layer of them once.
    let cpu = Cpu::choose(None, None)?;
    let depthwise = Operation::Depthwise { kernel: 3, stride: 1 };
    let (dw, dw_bias) = (depthwise.pack(dw.data(), [CIN, CIN])?, pack::bias(&[], CIN)?);
    let (pw, pw_bias) = (Operation::Pointwise.pack(pw.data(), [CIN, COUT])?, pack::bias(&[], COUT)?);
    let depthwise = Layer::new(cpu, depthwise, [CIN, CIN], &dw, &dw_bias, Clamp::RELU6)?;
    let pointwise = Layer::new(cpu, Operation::Pointwise, [CIN, COUT], &pw, &pw_bias, Clamp::NONE)?;
    let pixels = SIDE * SIDE;
    report("depthwise 3x3", pixels * CIN * 9, || ops::forward(&depthwise, input.view(), Margins::ONE, None))?;
    report("pointwise", pixels * CIN * COUT, || ops::forward(&pointwise, hidden.view(), Margins::ZERO, None))?;
    println!("Each call also brings NCHW into the kernels' layout and back, which a network does once.");
    println!("The kernels alone: cargo bench -p mnx-benches --bench kernels");
    Ok(())
}

/// The fastest of some calls.
fn report(name: &str, macs: usize, layer: impl Fn() -> Result<Tensor, TensorError>) -> Result<(), TensorError> {
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        layer()?;
        best = best.min(start.elapsed());
    }
    let seconds = best.as_secs_f64();
    println!("{name:<14} {:>7.1} µs {:>7.1} GFLOP/s", seconds * 1e6, 2.0 * macs as f64 / seconds / 1e9);
    Ok(())
}

/// Some numbers between -1 and 1.
fn numbers(shape: [usize; 4]) -> Result<Tensor, TensorError> {
    let mut tensor = Tensor::zeros(shape)?;
    for (i, value) in tensor.data_mut().iter_mut().enumerate() {
        *value = (i * 7919 % 1999) as f32 / 999.0 - 1.0;
    }
    Ok(tensor)
}
