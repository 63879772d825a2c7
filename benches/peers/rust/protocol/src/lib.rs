//! How `run.py` talks to an engine: a program `MODEL INPUT BATCH SIDE THREADS WARMUP LOGITS [CALLERS]`.
//!
//! It opens MODEL, runs one inference on INPUT (BATCH × 3 × SIDE × SIDE, little-endian f32) and WARMUP more, writes
//! the logits to the file LOGITS (little-endian f32), and prints `{"first_logits_ms": T}`, from opening the model to
//! the first logits. Then it answers each line N on stdin by a line with the milliseconds of N inferences,
//! `[T, T, …]`, and the line `peak`, where it can, by the FMA peak of THREADS threads together in GFLOP/s. It ends
//! when stdin does.
//!
//! With CALLERS, so many threads want N inferences each, all at once, and THREADS threads in all compute them. The answer is
//! `{"ms": T, "samples_ms": [T, T, …]}`: from the first start to the last end, and of every inference.

use std::error::Error;
use std::fmt::Display;
use std::hint::black_box;
use std::io::Write;
use std::sync::Barrier;
use std::time::Instant;
use std::{env, fs, io, panic, thread};

/// What goes wrong in one of these programs ends it.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The command line, with the input read.
pub struct Args {
    /// Path of the model in the engine's format.
    pub model: String,
    /// The pictures, in the order of [`Args::shape`].
    pub input: Vec<f32>,
    /// `[BATCH, 3, SIDE, SIDE]`.
    pub shape: [usize; 4],
    /// Threads that work on an inference, or on those of all callers.
    pub threads: usize,
    /// How many want inferences at once; `None` without CALLERS.
    pub callers: Option<usize>,
    warmup: usize,
    logits: String,
    opened: Instant,
}

impl Args {
    /// The arguments of this process. The clock of `first_logits_ms` starts at the end.
    ///
    /// # Errors
    /// When there are fewer than seven arguments, one is not a number that should be, or the input is not as long as they say.
    pub fn parse() -> Result<Args> {
        let args: Vec<String> = env::args().skip(1).collect();
        let [model, input, batch, side, threads, warmup, logits, callers @ ..] = &args[..] else {
            return Err("usage: MODEL INPUT BATCH SIDE THREADS WARMUP LOGITS [CALLERS]".into());
        };
        let callers = callers.first().map(|callers| callers.parse()).transpose()?;
        let side = side.parse()?;
        let shape = [batch.parse()?, 3, side, side];
        let bytes = fs::read(input).map_err(|e| format!("{input}: {e}"))?;
        let input = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let expected = shape.iter().try_fold(4, |n: usize, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        if bytes.len() != expected {
            return Err(format!("input: expected {expected} bytes, found {}", bytes.len()).into());
        }
        let (threads, warmup) = (threads.parse()?, warmup.parse()?);
        let (model, logits) = (model.clone(), logits.clone());
        Ok(Args { model, input, shape, threads, callers, warmup, logits, opened: Instant::now() })
    }
}

/// Serves until stdin ends. `infer` is one inference, and hands its logits to what it is given; `peak` answers the line
/// `peak` in GFLOP/s.
///
/// # Errors
/// What `infer` returns, a line that is no request, logits that cannot be written; CALLERS, which it does not serve.
pub fn serve(
    args: &Args,
    mut infer: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<()>,
    peak: Option<&dyn Fn() -> f64>,
) -> Result<()> {
    if args.callers.is_some() {
        return Err("is not measured with several callers".into());
    }
    begin(args, &mut infer)?;
    answer_lines(peak, |count| Ok(format!("{:?}", timed(count, &mut infer)?)))
}

/// The same for CALLERS: after its first inferences, `each` is one inference of a caller, which many threads call at once.
///
/// # Errors
/// As [`serve`].
pub fn serve_callers(
    args: &Args,
    callers: usize,
    infer: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<()>,
    each: impl Fn() -> Result<()> + Sync,
    peak: Option<&dyn Fn() -> f64>,
) -> Result<()> {
    begin(args, infer)?;
    answer_lines(peak, |count| {
        let ready = Barrier::new(callers + 1);
        let one = || {
            ready.wait();
            let times = timed(count, |_| each())?;
            Ok((times, Instant::now()))
        };
        let (start, ended) = thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
            let start = Instant::now();
            ready.wait();
            let ended = callers.into_iter().map(|caller| caller.join().unwrap_or_else(|e| panic::resume_unwind(e)));
            (start, ended.collect::<Result<Vec<_>>>())
        });
        let (samples, ends): (Vec<_>, Vec<_>) = ended?.into_iter().unzip();
        let last = ends.into_iter().max().unwrap_or(start);
        let ms = (last - start).as_secs_f64() * 1e3;
        Ok(format!("{{\"ms\": {ms}, \"samples_ms\": {:?}}}", samples.concat()))
    })
}

/// The first inference and those that warm up.
fn begin(args: &Args, mut infer: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<()>) -> Result<()> {
    let mut bytes = Vec::new();
    let mut keep = |logits: &[f32]| bytes = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    infer(&mut keep)?;
    let first = milliseconds(args.opened);
    for _ in 0..args.warmup {
        infer(&mut keep)?;
    }
    fs::write(&args.logits, bytes).map_err(|e| format!("{}: {e}", args.logits))?;
    answer(format_args!("{{\"first_logits_ms\": {first}}}"))?;
    Ok(())
}

fn answer_lines(peak: Option<&dyn Fn() -> f64>, mut inferences: impl FnMut(usize) -> Result<String>) -> Result<()> {
    for line in io::stdin().lines() {
        match (line?.trim(), peak) {
            ("peak", Some(peak)) => answer(peak())?,
            (line, _) => {
                let count = line.parse().map_err(|_| format!("expected a number of inferences, found {line:?}"))?;
                answer(inferences(count)?)?;
            }
        }
    }
    Ok(())
}

/// Milliseconds of each of `count` inferences.
fn timed(count: usize, mut infer: impl FnMut(&mut dyn FnMut(&[f32])) -> Result<()>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        infer(&mut |logits| {
            black_box(logits);
        })?;
        times.push(milliseconds(start));
    }
    Ok(times)
}

fn answer(what: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
