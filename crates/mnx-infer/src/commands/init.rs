//! `init`: a weight file with random weights.

use super::network;
use crate::args::Init;
use crate::context::Context;
use crate::error::Error;
use crate::output::{OutputFile, check_apart};

pub(crate) fn run(args: &Init, context: &Context) -> Result<(), Error> {
    check_apart(&args.output, args.network.arch.file())?;
    let mut spec = network::base(&args.network.arch)?;
    network::apply(&args.network, &mut spec)?;
    network::check(&spec)?;
    let output = OutputFile::create(&args.output)?;
    let bytes = mnx::init_with(&spec, args.seed, network::classifier_dtype(&args.network)).map_err(Error::failed)?;
    network::write(&args.output, output, &bytes, &spec, None, context)
}
