//! The global flags, checked: on what and how a command runs.

use mnx::{Cpu, Isa, PictureLimits, PictureReader, Session, SessionOptions, TunedFor};
use serde::Serialize;

use crate::args::{Amx, Command, DotProducts, Format, Global};
use crate::error::Error;

/// The global flags, checked.
pub(crate) struct Context {
    /// As many as were given; without any, as many as there are physical cores.
    pub(crate) threads: Vec<usize>,
    pub(crate) cpu: Cpu,
    pub(crate) format: Format,
    /// Reads pictures, on all threads within one limit of memory.
    pictures: PictureReader,
}

impl Context {
    /// # Errors
    /// [`Error::Usage`] for a list of threads or a format that the command does not take, [`Error::Failed`] for an ISA
    /// that the CPU lacks, and for what `MNX_ISA`, `MNX_TUNED_FOR`, `MNX_DOT_PRODUCTS` or `MNX_AMX` misspell.
    pub(crate) fn new(global: &Global, command: &Command) -> Result<Context, Error> {
        if global.threads.len() > 1 && !matches!(command, Command::Bench(_) | Command::Compare(_)) {
            let found = global.threads.len();
            return Err(Error::Usage(format!("--threads: expected one number for this command, found {found}")));
        }
        if global.format == Format::Markdown && !matches!(command, Command::Compare(_)) {
            return Err(Error::Usage("--format: expected text or json for this command, found markdown".into()));
        }
        // `auto` is what is found, whatever the environment says.
        let isa = global.isa.map(|choice| choice.0.unwrap_or_else(Isa::detect));
        let tuned_for = global.tuned_for.map(|choice| choice.0.unwrap_or_else(TunedFor::detect));
        let cpu = Cpu::choose(isa, tuned_for).map_err(Error::failed)?;
        let cpu = match global.dot_products {
            None => cpu,
            Some(DotProducts::Auto) => cpu.with_dot_products(),
            Some(DotProducts::Off) => cpu.without_dot_products(),
        };
        let cpu = match global.amx {
            None => cpu,
            Some(Amx::Auto) => cpu.with_amx(),
            Some(Amx::Off) => cpu.without_amx(),
        };
        let limits = command.max_pixels().map_or_else(PictureLimits::default, PictureLimits::for_pixels);
        let pictures = PictureReader::new(limits);
        Ok(Context { threads: global.threads.clone(), cpu, format: global.format, pictures })
    }

    /// The same with this number of threads.
    pub(crate) fn with_threads(&self, threads: usize) -> Context {
        Context { threads: vec![threads], pictures: self.pictures.clone(), ..*self }
    }

    /// What reads pictures.
    pub(crate) fn pictures(&self) -> &PictureReader {
        &self.pictures
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The first number of threads, else as many as there are physical cores.
    pub(crate) fn threads(&self) -> usize {
        self.threads.first().copied().unwrap_or_else(mnx::default_threads)
    }

    /// Options of a session that the thread which calls it runs alone.
    pub(crate) fn lone_options(&self) -> SessionOptions {
        self.options_of(Some(1))
    }

    /// Options of a session with the first number of threads.
    pub(crate) fn options(&self) -> SessionOptions {
        self.options_of(self.threads.first().copied())
    }

    /// Options of a session with this number of threads; without one, as many as there are physical cores.
    pub(crate) fn options_of(&self, threads: Option<usize>) -> SessionOptions {
        let options = SessionOptions::new().isa(self.cpu.isa()).tuned_for(self.cpu.tuned_for());
        let options = options.dot_products(self.cpu.dot_products()).amx(self.cpu.amx());
        threads.map_or(options.clone(), |threads| options.threads(threads))
    }
}

/// Which kernels a session uses.
#[derive(Serialize)]
pub(crate) struct Kernels {
    pub(crate) isa: &'static str,
    /// The kind of core that they suit.
    pub(crate) tuned_for: &'static str,
    /// Whether int8 layers use the CPU's instructions for dot products of bytes.
    pub(crate) dot_products: bool,
    /// Whether they use AMX.
    pub(crate) amx: bool,
}

impl Kernels {
    pub(crate) fn of(session: &Session) -> Kernels {
        Kernels {
            isa: session.isa().name(),
            tuned_for: session.tuned_for().name(),
            dot_products: session.dot_products(),
            amx: session.amx(),
        }
    }

    /// For headings.
    pub(crate) fn name(&self) -> String {
        let core = if self.tuned_for == TunedFor::Any.name() { "" } else { " for wide cores" };
        format!("{}{core}", self.isa)
    }
}

/// What is written behind a kernel's name: which instructions it needs beyond its ISA's.
pub(crate) fn instructions(dot_products: bool, amx: bool) -> &'static str {
    match (amx, dot_products) {
        (true, _) => " amx",
        (false, true) => " dot",
        (false, false) => "",
    }
}
