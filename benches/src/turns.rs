//! Measurements in turns.

use std::time::Duration;

use mnx_tensor::peak::{dot_peak, fma_peak};
use mnx_tensor::{Arithmetic, Isa};

/// How a bench that measures in turns runs, and what it measures.
#[derive(Debug)]
pub struct Turns {
    /// How often everything gets a turn.
    pub rounds: usize,
    /// How long a turn takes at least.
    pub turn: Duration,
    /// The width multiplier of the MobileNeXt whose layers are measured.
    pub width: f64,
    /// Which names to measure; empty for all.
    pub filter: String,
}

impl Turns {
    /// From the command line: `[--width W] [FILTER]`. As a test it runs once, on the least.
    ///
    /// # Panics
    /// For a width that is no number.
    pub fn from_args(rounds: usize, turn: Duration) -> Turns {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let mut turns = if args.iter().any(|arg| arg == "--bench") {
            Turns { rounds, turn, width: 1.0, filter: String::new() }
        } else {
            Turns { rounds: 1, turn: turn / 100, width: 0.1, filter: String::new() }
        };
        let mut rest = args.into_iter().filter(|arg| arg != "--bench");
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--width" => {
                    turns.width = rest.next().and_then(|w| w.parse().ok()).expect("--width takes a width multiplier")
                }
                _ => turns.filter = arg,
            }
        }
        turns
    }
}

/// The middle one, of an even number the larger of two.
///
/// # Panics
/// Where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The peak rate of this thread for kernels in an arithmetic, in what [`Shape::operations`] counts, and the ISA that has it.
pub fn peak(arithmetic: Arithmetic, each: Duration) -> (f64, Isa) {
    match arithmetic {
        Arithmetic::Int8 => dot_peak(each),
        _ => fma_peak(each),
    }
}
