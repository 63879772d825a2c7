//! Times weight files in turn, one inference each on one thread, on every ISA or on the one that MNX_ISA names.
//!
//! cargo run --release -p mobilenext --example time_weights -- a.mnx b.mnx
//!
//! Prints a line per ISA and file: the fastest of 30 inferences in milliseconds, the ISA, the file. `tools/measure_denormals.py` runs it as
//! WebAssembly.

use std::time::{Duration, Instant};

use mnx::{Isa, Model, Session, SessionOptions, Tensor};

const ROUNDS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let models = files.iter().map(Model::open).collect::<Result<Vec<_>, _>>()?;
    let isas = if std::env::var_os("MNX_ISA").is_some() { vec![Isa::choose(None)?] } else { Isa::available() };
    for isa in isas {
        let mut runs = Vec::new();
        for model in &models {
            let side = model.spec().resolution;
            // Anything but one value: flat pictures are quicker where products of their pixels are zero.
            let values: Vec<f32> = (0..3 * side * side).map(|i| (i * 7 % 255) as f32 / 127.5 - 1.0).collect();
            let input = Tensor::from_slice([1, 3, side, side], &values)?;
            runs.push((Session::with(model, SessionOptions::new().isa(isa).threads(1))?, input, Duration::MAX));
        }
        for _ in 0..ROUNDS {
            for (session, input, fastest) in &mut runs {
                let start = Instant::now();
                session.run(input.view())?;
                *fastest = start.elapsed().min(*fastest);
            }
        }
        for ((_, _, fastest), file) in runs.iter().zip(&files) {
            println!("{:.4} {isa} {file}", fastest.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}
