//! What measuring commands share: an input, the machine's limits, statistics.

pub(super) mod cpu;
pub(super) mod machine;
pub(super) mod macs;
pub(super) mod statistics;

use std::io;
use std::panic::resume_unwind;
use std::sync::RwLock;
use std::thread::{self, Builder};
use std::time::Instant;

use mnx::{Model, Tensor};

use crate::error::Error;

/// The shape of a batch of pictures.
///
/// # Errors
/// [`Error::Failed`] for a batch that is larger than the model's limit for its arena.
pub(super) fn shape(model: &Model, batch: usize) -> Result<[usize; 4], Error> {
    let spec = model.spec();
    let shape = [batch, spec.channels, spec.resolution, spec.resolution];
    let bytes = shape.iter().try_fold(4, |n: u64, &d| n.checked_mul(d as u64)).unwrap_or(u64::MAX);
    let limit = model.limits().arena_bytes;
    if bytes > limit {
        let what = format!("--batch {batch}: the input: expected at most {limit} bytes, found {bytes}");
        return Err(Error::failed(what));
    }
    Ok(shape)
}

/// Values as a normalised picture has them, by a fixed seed: about normal, none of them special.
///
/// # Errors
/// As [`shape`], and [`Error::Failed`] where there is no memory.
pub(super) fn input(model: &Model, batch: usize) -> Result<Tensor, Error> {
    let mut tensor = Tensor::zeros(shape(model, batch)?).map_err(Error::failed)?;
    let mut state = 0_u64;
    for value in tensor.data_mut() {
        // A linear congruential generator (Knuth's constants); the sum of four uniform values is near normal.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        // A uniform value has variance 1/12.
        *value = (next() + next() + next() + next() - 2.0) * 3_f32.sqrt();
    }
    Ok(tensor)
}

/// How many of `iterations` inferences round `round` of `rounds` has: all rounds have about as many.
pub(super) fn in_round(iterations: usize, round: usize, rounds: usize) -> usize {
    iterations * (round + 1) / rounds - iterations * round / rounds
}

/// What threads return that begin at once.
///
/// # Errors
/// If one cannot be started. Then none begins.
pub(super) fn at_once<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> io::Result<Vec<T>> {
    // Locked until it is known whether all are there.
    let go = RwLock::new(false);
    let one = || (*go.read().expect("nobody panics with the lock")).then(&work);
    thread::scope(|scope| {
        let mut wait = go.write().expect("nobody panics with the lock");
        let started: io::Result<Vec<_>> = (0..threads).map(|_| Builder::new().spawn_scoped(scope, one)).collect();
        *wait = started.is_ok();
        drop(wait);
        let ended = started?.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        Ok(ended.flatten().collect())
    })
}

/// Since `start`.
pub(super) fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
