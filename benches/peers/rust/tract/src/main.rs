//! tract as `run.py` drives it.

use peer_protocol::{Args, Result, serve};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let args = Args::parse()?;
    if args.threads > 1 {
        multithread::set_default_executor(multithread::Executor::multithread(args.threads));
    }
    let model = tract_onnx::onnx()
        .model_for_path(&args.model)?
        .with_input_fact(0, f32::fact(args.shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let input = Tensor::from_shape(&args.shape, &args.input)?.into_tvalue();
    let infer = |take: &mut dyn FnMut(&[f32])| {
        let outputs = model.run(tvec!(input.clone()))?;
        take(outputs[0].to_plain_array_view::<f32>()?.as_slice().ok_or("logits are not contiguous")?);
        Ok(())
    };
    serve(&args, infer, None)
}
