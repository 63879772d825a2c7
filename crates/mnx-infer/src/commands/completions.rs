//! `completions`: a script with which a shell completes the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, Completions};
use crate::error::Error;
use crate::stdout;

pub(crate) fn run(args: &Completions) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mnx-infer", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        // clap_complete 4 takes the dash of the program's name for the one before a subcommand in half of the places.
        script = script.replace("mnx__subcmd__infer", "mnx__infer");
    }
    stdout::print_own(&script)
}
