//! `completions`: a script with which a shell completes the command line.

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::error::Error;
use crate::stdout;

pub(crate) fn run(args: &Completions) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mnx-infer", &mut script);
    stdout::print_own(&String::from_utf8_lossy(&script))
}
