//! The flags that name a network.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::embedded::Embedded;

/// Which network: a weight file, an embedded one, or where neither is named, the default.
#[derive(Args, Debug)]
#[group(id = "network", multiple = false)]
pub(crate) struct Weights {
    /// Weight file [default: the embedded network cifar]
    ///
    /// The file must not change while the program runs, because it is mapped into memory. `bench`, `eval` and
    /// `quantize`, which have much to do, make a copy.
    #[arg(long, value_name = "W.mnx")]
    pub(crate) weights: Option<PathBuf>,
    /// Network inside this program, instead of a weight file; `inspect --models` lists them
    #[arg(long, value_name = "NAME", value_parser = embedded_parser(), hide = Embedded::all().is_empty())]
    pub(crate) model: Option<&'static Embedded>,
}

/// Which detector: a weight file, an embedded one, or where neither is named, the default.
#[derive(Args, Debug)]
#[group(id = "network", multiple = false)]
pub(crate) struct DetectorWeights {
    /// Weight file of a detector [default: the embedded network bccd]
    ///
    /// The file must not change while the program runs, because it is mapped into memory.
    #[arg(long, value_name = "D.mnx")]
    pub(crate) weights: Option<PathBuf>,
    /// Detector inside this program, instead of a weight file; `inspect --models` lists them
    #[arg(long, value_name = "NAME", value_parser = embedded_parser(), hide = Embedded::all().is_empty())]
    pub(crate) model: Option<&'static Embedded>,
}

/// Which network, for commands without a default.
#[derive(Args, Debug)]
#[group(id = "network", required = true, multiple = false)]
pub(crate) struct NeededWeights {
    /// Weight file
    ///
    /// The file is mapped into memory, not copied, so it must not change while the program runs.
    #[arg(long, value_name = "W.mnx")]
    pub(crate) weights: Option<PathBuf>,
    /// Network inside this program, instead of a weight file; `inspect --models` lists them
    #[arg(long, value_name = "NAME", value_parser = embedded_parser(), hide = Embedded::all().is_empty())]
    pub(crate) model: Option<&'static Embedded>,
}

fn embedded_parser() -> impl TypedValueParser<Value = &'static Embedded> {
    let names = Embedded::all().iter().map(|embedded| PossibleValue::new(embedded.name).help(embedded.about));
    PossibleValuesParser::new(names).try_map(|name| Embedded::find(&name).ok_or("no such network"))
}
