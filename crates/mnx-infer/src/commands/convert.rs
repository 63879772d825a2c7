//! `convert`: makes a weight file from a checkpoint or an ONNX model.

mod checkpoint;
mod flags;
mod names;
mod onnx;

use crate::args::Convert;
use crate::context::Context;
use crate::error::Error;
use crate::output::check_apart;

pub(crate) fn run(args: &Convert, context: &Context) -> Result<(), Error> {
    let inputs = [Some(&*args.input), args.labels.as_deref(), args.network.arch.file()];
    check_apart(&args.output, inputs.into_iter().flatten())?;
    if onnx::is_model(&args.input) {
        return onnx::run(args, context);
    }
    checkpoint::run(args, context)
}
