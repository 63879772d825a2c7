//! Which vector instructions a kernel uses, and which of them this CPU has.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The environment variable that forces an ISA.
const VARIABLE: &str = "MNX_ISA";

/// An instruction set for which there are kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: the portable fallback. Multiplies and adds separately.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, VL, DQ and BW (and AVX2, FMA).
    Avx512,
    /// aarch64 with Advanced SIMD, as every one has it.
    Neon,
    /// WebAssembly with simd128. Multiplies and adds separately. It cannot be detected at run time: builds with it have it.
    Simd128,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: &'static [Isa] = &[Isa::Scalar, Isa::Simd128, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// Lower-case name, as on the command line and in `MNX_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::Simd128 => "simd128",
        }
    }

    /// Whether its multiply-adds round once: all ISAs that do give the same bits, and so do all that round twice.
    pub fn fuses(self) -> bool {
        matches!(self, Isa::Avx2 | Isa::Avx512 | Isa::Neon)
    }

    /// Whether this build has kernels for it and this CPU can run them.
    pub fn is_available(self) -> bool {
        crate::table::instance(self).is_some()
    }

    /// Those that can run here, slowest first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.iter().copied().filter(|i| i.is_available()).collect()
    }

    /// The fastest that can run here.
    pub fn detect() -> Isa {
        Isa::ALL.iter().copied().rev().find(|i| i.is_available()).unwrap_or(Isa::Scalar)
    }

    /// The ISA to run on: the one that is asked for, else the one that `MNX_ISA` names (`auto` or
    /// empty: none), else the fastest that is there.
    ///
    /// # Errors
    /// [`Error::IsaUnknown`] when `MNX_ISA` names no ISA, [`Error::IsaUnavailable`] when the CPU lacks
    /// the one that was asked for: nothing else is run in its place.
    pub fn choose(requested: Option<Isa>) -> Result<Isa, Error> {
        let Some(isa) = requested.map_or_else(Isa::from_env, |isa| Ok(Some(isa)))? else {
            return Ok(Isa::detect());
        };
        if isa.is_available() { Ok(isa) } else { Err(Error::IsaUnavailable { isa, available: Isa::available() }) }
    }

    fn from_env() -> Result<Option<Isa>, Error> {
        let Some(found) = setting(VARIABLE) else { return Ok(None) };
        found.parse().map(Some).map_err(|_| Error::IsaUnknown { found, from_env: true })
    }
}

/// What an environment variable says: nothing where it is not set, empty or `auto`.
pub(crate) fn setting(variable: &str) -> Option<String> {
    let value = std::env::var_os(variable)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty() && value != "auto")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(text: &str) -> Result<Isa, Error> {
        Isa::ALL
            .iter()
            .copied()
            .find(|i| i.name() == text)
            .ok_or_else(|| Error::IsaUnknown { found: text.to_owned(), from_env: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for &isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert!("AVX2".parse::<Isa>().is_err());
        assert!("auto".parse::<Isa>().is_err());
    }

    #[test]
    fn an_explicit_choice_is_run_or_refused() {
        assert_eq!(Isa::choose(Some(Isa::Scalar)), Ok(Isa::Scalar));
        for &isa in Isa::ALL {
            match Isa::choose(Some(isa)) {
                Ok(chosen) => assert_eq!(chosen, isa),
                Err(e) => assert_eq!(e, Error::IsaUnavailable { isa, available: Isa::available() }),
            }
        }
    }

    /// CI runs the whole suite once per ISA with `MNX_ISA` set: if the variable were ignored, those
    /// runs would silently test another one.
    #[test]
    fn the_environment_decides_what_runs() {
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() && name != "auto" => {
                let wanted: Isa = name.parse().expect("MNX_ISA names an ISA");
                assert_eq!(Isa::choose(None), Ok(wanted), "{name} was asked for");
            }
            _ => assert_eq!(Isa::choose(None), Ok(Isa::detect())),
        }
    }
}
