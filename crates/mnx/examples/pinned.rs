//! Keeps each thread of a session on a CPU of one's choice: `cargo run --release -p mobilenext --example pinned -- W.mnx 0 1`.

use std::process::ExitCode;
use std::time::Instant;

use core_affinity::{CoreId, set_for_current};
use mnx::{Model, Session, SessionOptions, Tensor, ThreadPool};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = Model::open(args.next().ok_or("usage: pinned WEIGHTS CPU...")?)?;
    let cpus = args.map(|cpu| Ok(CoreId { id: cpu.parse()? })).collect::<Result<Vec<_>, std::num::ParseIntError>>()?;
    let (&own, others) = cpus.split_first().ok_or("expected the number of a CPU for each thread")?;

    // The thread that calls `run` works too. The pool's threads start on the CPUs of the one that builds it, so they are
    // built first.
    let others = others.to_vec();
    let mut options = SessionOptions::new().threads(cpus.len());
    if !others.is_empty() {
        let pool = ThreadPool::with_start_handler(others.len(), move |thread| report(others[thread]))?;
        options = options.pool(pool);
    }
    report(own);

    let mut session = Session::with(&model, options)?;
    let resolution = model.spec().resolution;
    let input = Tensor::zeros([1, 3, resolution, resolution])?;
    session.run(input.view())?;
    let start = Instant::now();
    for _ in 0..100 {
        session.run(input.view())?;
    }
    println!("{} threads: {:.2} ms an inference", session.threads(), start.elapsed().as_secs_f64() * 10.0);
    Ok(())
}

/// Moves the current thread, or says that it cannot.
fn report(cpu: CoreId) {
    if !set_for_current(cpu) {
        eprintln!("CPU {}: this thread cannot be kept on it", cpu.id);
    }
}
