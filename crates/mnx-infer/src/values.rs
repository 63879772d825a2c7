//! Parsers for values of flags for which clap has none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::embedded::Embedded;
use crate::error::printable;

/// `--arch`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arch {
    /// The network to which the checkpoint belongs.
    Auto,
    /// A network's name.
    Family(String),
    /// A stage table.
    File(PathBuf),
}

impl Arch {
    /// `auto`, a known name, or a path that ends in `.json`.
    pub(crate) fn parse(text: &str) -> Result<Arch, String> {
        if text == "auto" {
            return Ok(Arch::Auto);
        }
        Arch::parse_named(text).map_err(|e| format!("{e}, or auto to convert a checkpoint"))
    }

    /// The stage table, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Arch::File(path) => Some(path),
            Arch::Auto | Arch::Family(_) => None,
        }
    }

    /// A known name, or a path that ends in `.json`.
    fn parse_named(text: &str) -> Result<Arch, String> {
        if mnx::families().any(|name| name == text) {
            Ok(Arch::Family(text.to_owned()))
        } else if is_json(text) {
            Ok(Arch::File(text.into()))
        } else {
            let known: Vec<_> = mnx::families().collect();
            Err(format!("expected {} or a FILE.json", known.join(", ")))
        }
    }
}

fn is_json(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// One thing that `compare` is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Subject {
    /// A weight file.
    Weights(PathBuf),
    /// A network inside this program.
    Embedded(&'static Embedded),
    /// An architecture, which gets random weights. Without a width it has its own.
    Arch(Arch, Option<f64>),
}

impl Subject {
    /// The file that is read for it, if any.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Subject::Weights(path) => Some(path),
            Subject::Embedded(_) => None,
            Subject::Arch(arch, _) => arch.file(),
        }
    }

    /// Parses `embedded:NAME`, `NAME[:WIDTH]` or `FILE.json[:WIDTH]`. Anything else with a dot or a slash is a weight file.
    pub(crate) fn parse(given: OsString) -> Result<Subject, String> {
        let is_arch = |text: &str| is_json(text) || !text.contains(['.', '/', '\\']);
        let arch = |text: &str| {
            let hint = Embedded::find(text).map(|meant| format!("; did you mean embedded:{}?", meant.name));
            let hint = hint.unwrap_or_default();
            Arch::parse_named(text).map_err(|e| format!("{e}, or a weight file W.mnx{hint}"))
        };
        let Some(text) = given.to_str() else { return Ok(Subject::Weights(given.into())) };
        if let Some(name) = text.strip_prefix("embedded:") {
            let known: Vec<_> = Embedded::all().iter().map(|embedded| embedded.name).collect();
            let unknown = || match &known[..] {
                [] => "expected a program that was built with networks inside, found one without".into(),
                known => format!("expected a network inside this program ({}), found {name}", known.join(", ")),
            };
            return Embedded::find(name).map(Subject::Embedded).ok_or_else(unknown);
        }
        match text.rsplit_once(':') {
            // A slash after the colon is that of a folder or a drive.
            Some((name, factor)) if is_arch(name) && !factor.contains(['/', '\\']) => {
                Ok(Subject::Arch(arch(name)?, Some(width(factor)?)))
            }
            _ if is_arch(text) => Ok(Subject::Arch(arch(text)?, None)),
            _ => Ok(Subject::Weights(given.into())),
        }
    }
}

/// Where a plot goes. It is SVG, whatever the name says, so a name that says something else is refused.
pub(crate) fn plot(path: PathBuf) -> Result<PathBuf, String> {
    const OTHERS: [&str; 7] = ["png", "jpg", "jpeg", "gif", "webp", "pdf", "html"];
    match path.extension() {
        Some(suffix) if OTHERS.iter().any(|other| suffix.eq_ignore_ascii_case(other)) => Err(format!(
            "plots are SVG: expected a name like {}",
            printable(&path.with_extension("svg").to_string_lossy())
        )),
        _ => Ok(path),
    }
}

/// A number per channel; R, G, B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Channels(pub(crate) [f32; 3]);

pub(crate) fn width(text: &str) -> Result<f64, String> {
    number(text, "a finite number above 0", |v| v > 0.0)
}

pub(crate) fn identity(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))
}

/// A score, or a share of something.
pub(crate) fn share(text: &str) -> Result<f32, String> {
    number(text, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v)).map(|v| v as f32)
}

pub(crate) fn eps(text: &str) -> Result<f64, String> {
    number(text, "a finite number from 0 on", |v| v >= 0.0)
}

pub(crate) fn mean(text: &str) -> Result<Channels, String> {
    channels(text, "three finite numbers R,G,B", |_| true)
}

pub(crate) fn std_dev(text: &str) -> Result<Channels, String> {
    channels(text, "three finite numbers R,G,B above 0", |v| v > 0.0)
}

fn number(text: &str, expected: &str, allowed: impl Fn(f64) -> bool) -> Result<f64, String> {
    let value = text.parse().ok().filter(|v: &f64| v.is_finite() && allowed(*v));
    value.ok_or_else(|| format!("expected {expected}"))
}

fn channels(text: &str, expected: &str, allowed: impl Fn(f32) -> bool) -> Result<Channels, String> {
    let parse = |part: &str| part.trim().parse().ok().filter(|v: &f32| v.is_finite() && allowed(*v));
    let values: Option<Vec<f32>> = text.split(',').map(parse).collect();
    let three = values.and_then(|v| v.try_into().ok());
    three.map(Channels).ok_or_else(|| format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        for text in ["nan", "inf", "-inf", "0", "-1", "1e999", "", "1,0", "one"] {
            assert!(width(text).is_err(), "{text}");
        }
        for text in ["nan", "-0.1", "1.1", "inf"] {
            assert!(identity(text).is_err() && share(text).is_err(), "{text}");
        }
        for text in ["nan", "-1e-9", "inf"] {
            assert!(eps(text).is_err(), "{text}");
        }
        assert_eq!((width("0.35"), identity("0"), identity("1"), eps("0")), (Ok(0.35), Ok(0.0), Ok(1.0), Ok(0.0)));
    }

    #[test]
    fn channels_are_three() {
        assert_eq!(mean("0.5, -1,2e-1"), Ok(Channels([0.5, -1.0, 0.2])));
        for text in ["", "1", "1,2", "1,2,3,4", "1,,3", "nan,1,1", "1,inf,1"] {
            assert!(mean(text).is_err(), "{text}");
        }
        assert!(std_dev("1,0,1").is_err() && std_dev("1,1e-60,1").is_err() && std_dev("-1,1,1").is_err());
    }

    #[test]
    fn an_arch_is_a_known_name_or_a_json_file() {
        assert_eq!(Arch::parse("auto"), Ok(Arch::Auto));
        assert_eq!(Arch::parse("mobilenext"), Ok(Arch::Family("mobilenext".into())));
        assert_eq!(Arch::parse("my/net.JSON"), Ok(Arch::File("my/net.JSON".into())));
        assert!(Arch::parse("mobilenext2").unwrap_err().contains("mobilenext-cifar"));
    }

    #[test]
    fn embedded_networks_have_a_prefix() {
        for embedded in Embedded::all() {
            let text = format!("embedded:{}", embedded.name);
            assert_eq!(Subject::parse(text.into()), Ok(Subject::Embedded(embedded)));
        }
        for wrong in ["embedded:", "embedded:mobilenext", "embedded:cifar:1", "embedded:w.mnx"] {
            let error = Subject::parse(wrong.into()).unwrap_err();
            assert!(Embedded::all().iter().all(|embedded| error.contains(embedded.name)), "{error}");
        }
        assert_eq!(Subject::parse("./embedded:x".into()), Ok(Subject::Weights("./embedded:x".into())));
    }

    #[test]
    fn a_word_is_an_arch_and_a_path_a_weight_file() {
        let subject = |text: &str| Subject::parse(text.into());
        let family = || Arch::Family("mobilenext".into());
        assert_eq!(subject("mobilenext"), Ok(Subject::Arch(family(), None)));
        assert_eq!(subject("mobilenext:0.35"), Ok(Subject::Arch(family(), Some(0.35))));
        assert_eq!(subject("a.b/net.json"), Ok(Subject::Arch(Arch::File("a.b/net.json".into()), None)));
        assert_eq!(subject("net.json:2"), Ok(Subject::Arch(Arch::File("net.json".into()), Some(2.0))));
        for path in ["w.mnx", "./mobilenext", "C:\\w.mnx", "a:1/w", "w.mnx:0.5", "net.json.mnx"] {
            assert_eq!(subject(path), Ok(Subject::Weights(path.into())));
        }
        for wrong in [
            "",
            "auto",
            "auto:1",
            ":1",
            "mobilenetx",
            "mobilenext:",
            "mobilenext:0",
            "mobilenext:nan",
            "net.json:-1",
            "w:1",
        ] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
        assert!(subject("w").unwrap_err().contains("W.mnx"));
    }
}
