//! The command line of mnx. Exit codes: 0 fine, 1 failed, 2 wrong usage.
//!
//! It is a library so that other programs can have it inside: the Python package `mobilenext` does.

mod annotate;
mod args;
mod commands;
mod context;
mod embedded;
mod error;
mod json_path;
mod npy;
mod output;
mod pictures;
mod pipeline;
mod process;
mod progress;
mod source;
mod stdout;
mod table;
mod temporary;
mod values;
mod whole_file;
mod words;

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use context::Context;
use error::Error;

pub use whole_file::WholeFile;

/// Runs the command that `args` name, the program's name first, and returns the exit code.
///
/// It writes to the standard output and error of the process. It expects a process of its own: SIGHUP, SIGINT and SIGTERM end
/// it, after temporary files are removed. [`run_as_guest`] is for others.
///
/// ```no_run
/// assert_eq!(mnx_infer::run(["mnx-infer", "classify", "cat.jpg"]), 0);
/// ```
pub fn run<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> u8 {
    process::survive_large_files();
    mnx::unstable::silence_decoders();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    match dispatch(cli) {
        Ok(()) => 0,
        Err(e) => {
            if !matches!(e, Error::Closed | Error::Reported) {
                stdout::complain_of(&e);
            }
            e.exit_code()
        }
    }
}

/// As [`run`], in a process with signal handlers of its own, such as an interpreter: SIGHUP, SIGINT, SIGTERM and SIGXFSZ do
/// during the call what they do to the program, and afterwards what they did before it.
///
/// One call at a time: others wait.
pub fn run_as_guest<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> u8 {
    let _borrowed = process::borrow_signals();
    run(args)
}

/// Names of the networks inside this build, as `--model` takes them. `cifar` is the default where it is there.
pub fn embedded_models() -> impl Iterator<Item = &'static str> {
    embedded::Embedded::all().iter().map(|embedded| embedded.name)
}

/// The weight file of that name inside this build, aligned for [`Model::from_bytes`](mnx::Model::from_bytes).
///
/// ```
/// // Builds without the feature `embedded-model` have none.
/// if let Some(bytes) = mnx_infer::embedded_model("cifar") {
///     assert_eq!(mnx::Model::from_bytes(bytes)?.spec().classes, 10);
/// }
/// # Ok::<(), mnx::GraphError>(())
/// ```
pub fn embedded_model(name: &str) -> Option<&'static [u8]> {
    embedded::Embedded::find(name).map(|embedded| embedded.bytes)
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
fn usage(e: &clap::Error) -> u8 {
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
        return e.exit_code();
    }
    u8::try_from(e.exit_code()).unwrap_or(2)
}

/// The first paragraph of clap's message, which says what is wrong; usage and hints come after it.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.lines().map(str::trim).collect();
    let line = error::line(&words.join(" "));
    format!("{} (see --help)", line.trim_start_matches("error: "))
}
