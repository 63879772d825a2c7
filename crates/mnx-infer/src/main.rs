//! The command line of mnx. Exit codes: 0 fine, 1 failed, 2 wrong usage.

mod annotate;
mod args;
mod commands;
mod embedded;
mod error;
mod json_path;
mod npy;
mod output;
mod pictures;
mod pipeline;
mod process;
mod progress;
mod stdout;
mod temporary;
mod values;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use commands::Context;
use error::Error;

fn main() -> ExitCode {
    process::survive_large_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if !matches!(e, Error::Closed | Error::Reported) {
                stdout::complain_of(&e);
            }
            ExitCode::from(e.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Error> {
    // Nothing is begun if the answer cannot be told.
    stdout::check()?;
    let context = Context::new(&cli.global, &cli.command)?;
    match cli.command {
        Command::Classify(args) => commands::classify::run(&args, &context),
        Command::Detect(args) => commands::detect::run(&args, &context),
        Command::Run(args) => commands::run::run(&args, &context),
        Command::Convert(args) => commands::convert::run(&args, &context),
        Command::Init(args) => commands::init::run(&args, &context),
        Command::Quantize(args) => commands::quantize::run(&args, &context),
        Command::Bench(args) => commands::bench::run(&args, &context),
        Command::Compare(args) => commands::compare::run(&args, &context),
        Command::Eval(args) => commands::eval::run(&args, &context),
        Command::Inspect(args) => commands::inspect::run(&args, &context),
        Command::Completions(args) => commands::completions::run(&args),
    }
}

/// Help goes out as it is; what is wrong with the flags is one line.
fn usage(e: &clap::Error) -> ExitCode {
    let is_help = matches!(
        e.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !is_help {
        stdout::complain(one_line(&e.to_string()));
    } else if e.use_stderr() {
        let _ = e.print();
    } else if let Err(e @ Error::Failed(_)) = stdout::print_own(&e.render().ansi().to_string()) {
        stdout::complain_of(&e);
        return ExitCode::from(e.exit_code());
    }
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2))
}

/// The first paragraph of clap's message, which says what is wrong; usage and hints come after it.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.lines().map(str::trim).collect();
    let line = error::line(&words.join(" "));
    format!("{} (see --help)", line.trim_start_matches("error: "))
}
