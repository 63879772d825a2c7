//! The flags of every command.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::count_to;

/// The heading under which help lists the flags of all commands.
const COMMON: &str = "Common options";

/// Flags of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Threads that work on an inference, 1 to 1024; a list for `bench` and `compare` [default: physical cores]
    #[arg(long, global = true, help_heading = COMMON, value_name = "N[,N]", value_delimiter = ',', value_parser = count_to(1024))]
    pub(crate) threads: Vec<usize>,
    /// Instruction set of the kernels; overrides the environment variable MNX_ISA [default: MNX_ISA, else auto]
    ///
    /// `auto` is the fastest one that this CPU has, whatever MNX_ISA says. Asking for one that the CPU lacks is an error.
    #[arg(long, global = true, help_heading = COMMON, value_name = "ISA", value_parser = isa_parser())]
    pub(crate) isa: Option<IsaChoice>,
    /// For which kind of core the kernels' tiles were chosen; beats the environment variable MNX_TUNED_FOR [default: this
    /// CPU's]
    ///
    /// The results have the same bits for every choice. `inspect --kernels` lists the kernels of each.
    #[arg(long, global = true, help_heading = COMMON, value_name = "CORE", value_parser = tuned_for_parser())]
    pub(crate) tuned_for: Option<TunedForChoice>,
    /// Whether int8 layers use the CPU's instructions for dot products of bytes (VNNI, NEON's dotprod); beats the environment
    /// variable MNX_DOT_PRODUCTS [default: auto]
    ///
    /// `auto` uses them if the CPU has them. The results have the same bits with and without.
    #[arg(long, global = true, help_heading = COMMON, value_name = "auto|off")]
    pub(crate) dot_products: Option<DotProducts>,
    /// Whether int8 layers use AMX; beats the environment variable MNX_AMX [default: auto]
    ///
    /// `auto` uses it if the CPU has it, Linux lets the process use it, and dot products of bytes are used. The results have
    /// the same bits with and without.
    #[arg(long, global = true, help_heading = COMMON, value_name = "auto|off")]
    pub(crate) amx: Option<Amx>,
    /// What goes to standard output
    #[arg(long, global = true, help_heading = COMMON, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `--isa`: one of the library's, or none for `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsaChoice(pub(crate) Option<mnx::Isa>);

/// `--tuned-for`: one of the library's, or none for `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunedForChoice(pub(crate) Option<mnx::TunedFor>);

/// `--dot-products`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DotProducts {
    /// If the CPU has them
    Auto,
    /// Never
    Off,
}

/// `--amx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Amx {
    /// If it is there
    Auto,
    /// Never
    Off,
}

/// `auto` and these names, which the library parses.
fn auto_or<T: std::str::FromStr<Err = mnx::TensorError> + Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = Option<T>> {
    let names = ["auto"].into_iter().chain(names);
    PossibleValuesParser::new(names).try_map(|name| match &*name {
        "auto" => Ok(None),
        name => name.parse().map(Some),
    })
}

fn isa_parser() -> impl TypedValueParser<Value = IsaChoice> {
    auto_or(mnx::Isa::ALL.iter().map(|isa| isa.name())).map(IsaChoice)
}

fn tuned_for_parser() -> impl TypedValueParser<Value = TunedForChoice> {
    auto_or(mnx::TunedFor::ALL.iter().map(|kind| kind.name())).map(TunedForChoice)
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: aligned tables
    Text,
    /// For programs: one JSON value
    Json,
    /// For documents: a Markdown table (`compare` only)
    Markdown,
}
