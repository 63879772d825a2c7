//! The command line of the benches that measure in turns. Criterion's have its own.

use std::fmt;
use std::io::{Write, stdout};
use std::process::{ExitCode, exit};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Args, Command};
use mnx_graph::Network;

use crate::{SIDE, Shape, shapes, spec};

/// What every bench takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Measure only what has this in its name; of tiles and tuning, what begins with it
    filter: Option<String>,
    // Were it unknown to clap, the message would not say that one is enough.
    #[arg(hide = true)]
    more_filters: Vec<String>,
    /// Width multiplier of the MobileNeXt that is measured [default: 1.0]
    #[arg(long, value_parser = width)]
    width: Option<f64>,
    /// Print the names that would be measured, one a line
    #[arg(long)]
    list: bool,
    // What cargo and test runners say.
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    test: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
}

impl Common {
    /// Whether it runs as a test: once, on the least.
    pub fn is_test(&self) -> bool {
        self.test || !self.bench
    }

    /// Of so many rounds and turns so long, what a test needs.
    pub fn turns(&self, rounds: usize, turn: Duration) -> (usize, Duration) {
        if self.is_test() { (1, turn / 100) } else { (rounds, turn) }
    }

    /// The width multiplier.
    pub fn width(&self) -> f64 {
        self.width.unwrap_or(if self.is_test() { 0.1 } else { 1.0 })
    }

    /// Of `all` what the filter lets through, or the exit code where there is nothing to measure: `--list` has printed the
    /// names, or none has the filter in it and `there_are` says what is there instead.
    ///
    /// # Errors
    /// The exit code.
    pub fn select<T: fmt::Display>(
        &self,
        mut all: Vec<T>,
        lets_through: impl Fn(&str, &str) -> bool,
        there_are: impl FnOnce() -> String,
    ) -> Result<Vec<T>, ExitCode> {
        let filter = self.filter.as_deref().unwrap_or_default();
        all.retain(|item| lets_through(&item.to_string(), filter));
        if all.is_empty() {
            // Tests are filtered by names that only some programs have.
            if !self.bench {
                return Err(ExitCode::SUCCESS);
            }
            eprintln!("error: nothing to measure by the filter {filter:?}: {}", there_are());
            return Err(ExitCode::FAILURE);
        }
        if self.list {
            // A reader such as `head` may have enough before the end.
            let _ = all.iter().try_for_each(|item| writeln!(stdout(), "{item}"));
            return Err(ExitCode::SUCCESS);
        }
        Ok(all)
    }
}

/// What benches of single layers take beside that.
#[derive(Args, Clone, Debug)]
pub struct Layers {
    /// What every bench takes.
    #[command(flatten)]
    pub common: Common,
    /// Height and width of the input of MobileNeXt and ResNet-50, whose layers are measured
    #[arg(long, default_value_t = SIDE, value_parser = RangedU64ValueParser::<usize>::new().range(32..=1024))]
    resolution: usize,
    /// Measure this layer instead of the networks', such as pw:96-192@56+relu6: kernel, channels in and out, height and width
    /// of the input, a ReLU6 or not; may be said again
    #[arg(long = "shape", value_name = "KERNEL:CIN-COUT@SIZE", conflicts_with_all = ["width", "resolution"])]
    own: Vec<Shape>,
}

impl Layers {
    /// Whether they are the user's own.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The layers to measure.
    pub fn shapes(&self) -> Vec<Shape> {
        if self.has_own() { self.own.clone() } else { shapes(&[self.common.width()], self.resolution) }
    }
}

fn width(text: &str) -> Result<f64, String> {
    let width = text.parse().map_err(|_| "expected a number such as 0.35".to_owned())?;
    // Whether there is such a network, the network knows.
    Network::new(&spec(width)).map(|_| width).map_err(|error| error.to_string())
}

/// The arguments of this process, which is a bench of this name. For help, and for what cannot be understood, it ends.
pub fn arguments<A: Args + AsRef<Common>>(bench: &'static str, about: &'static str) -> A {
    let command = A::augment_args(Command::new(bench))
        .about(about)
        .bin_name(format!("cargo bench -p mnx-benches --bench {bench} --"))
        .max_term_width(100);
    let parsed = command.try_get_matches().and_then(|matches| A::from_arg_matches(&matches));
    let arguments = parsed.unwrap_or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp => error.exit(),
        // Its first line says it all.
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            refuse(format!("{line} (see --help)"))
        }
    });
    if let Common { filter: Some(filter), more_filters, .. } = arguments.as_ref()
        && let [second, ..] = &more_filters[..]
    {
        refuse(format!("expected one filter, found {filter:?} and {second:?} (see --help)"));
    }
    arguments
}

impl AsRef<Common> for Common {
    fn as_ref(&self) -> &Common {
        self
    }
}

impl AsRef<Common> for Layers {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// Ends the process for wrong usage.
pub fn refuse(error: impl fmt::Display) -> ! {
    eprintln!("error: {error}");
    exit(2)
}
