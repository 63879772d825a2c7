//! mnx as `run.py` drives it, and the machine's peak beside it.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;
use std::{panic, thread};

use mnx::{Model, Outputs, Pool, Session, SessionOptions, TensorView, ThreadPool};
use peer_protocol::{Args, Result, serve, serve_callers};

/// How long the peak of each ISA is measured.
const PEAK_TIME: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let args = Args::parse()?;
    #[expect(unsafe_code, reason = "the file is mapped")]
    // SAFETY: nothing writes to the model while peers are measured. Other engines map their files too.
    let model = unsafe { Model::open_mmap(&args.model)? };
    let options = || SessionOptions::new().threads(args.threads);
    let mut session = Session::with(&model, options())?;
    let input = TensorView::new(args.shape, &args.input)?;
    let mut inferences = 0;
    let mut rows = Vec::new();
    let infer = |take: &mut dyn FnMut(&[f32])| {
        // As a service would: the first logits come from the file in place, the others from weights in memory.
        if inferences == 1 {
            session = Session::with(&Model::open(&args.model)?, options())?;
        }
        inferences += 1;
        let outputs = session.run(input)?;
        if outputs.iter().count() == 1 {
            take(outputs.data());
        } else {
            side_by_side(&outputs, &mut rows);
            take(&rows);
        }
        Ok(())
    };
    let peak = || peak(args.threads);
    let Some(callers) = args.callers else { return serve(&args, infer, Some(&peak)) };
    // A session of one thread for each core, of weights in memory; the pool's threads run them, because there are more callers.
    let model = Model::open(&args.model)?;
    let pool = Pool::new(args.threads, || Session::with(&model, SessionOptions::new().threads(1)))?;
    let workers = ThreadPool::new(args.threads)?;
    let one = || {
        let mut session = pool.get();
        black_box(session.run(input)?.data());
        Ok(())
    };
    let each = || if callers > args.threads { workers.run(one) } else { one() };
    serve_callers(&args, callers, infer, each, Some(&peak))
}

/// A detector's outputs as the other engines have them: of each prior the scores, then the box.
fn side_by_side(outputs: &Outputs<'_>, rows: &mut Vec<f32>) {
    let mut outputs: Vec<_> = outputs.iter().map(|(_, view)| view.data().chunks_exact(view.shape()[2])).collect();
    rows.clear();
    while let [Some(scores), Some(box_)] = [outputs[0].next(), outputs[1].next()] {
        rows.extend_from_slice(scores);
        rows.extend_from_slice(box_);
    }
}

/// GFLOP/s of fused multiply-adds alone, of that many threads at once.
fn peak(threads: usize) -> f64 {
    let start = Barrier::new(threads);
    let one = || {
        start.wait();
        mnx::fma_peak(PEAK_TIME).0
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        handles.into_iter().map(|h| h.join().unwrap_or_else(|e| panic::resume_unwind(e))).sum()
    })
}
