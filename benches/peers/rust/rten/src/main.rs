//! rten as `run.py` drives it.

use std::sync::Arc;

use peer_protocol::{Args, Result, serve};
use rten::{Model, RunOptions, ThreadPool};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;

fn main() -> Result<()> {
    let args = Args::parse()?;
    let model = Model::load_file(&args.model)?;
    let pool = Arc::new(ThreadPool::with_num_threads(args.threads));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    let input = NdTensorView::from_data(args.shape, &args.input[..]);
    let infer = |take: &mut dyn FnMut(&[f32])| {
        let logits = model.run_one(input.into(), Some(options.clone()))?.into_tensor::<f32>();
        let logits = logits.ok_or("expected logits of type f32")?;
        take(logits.data().ok_or("logits are not contiguous")?);
        Ok(())
    };
    serve(&args, infer, None)
}
