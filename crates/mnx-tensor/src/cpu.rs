//! Which kernels suit this CPU: its instructions, and how many of them it starts at a time.

use std::fmt;
use std::str::FromStr;

use crate::isa::setting;
use crate::{Error, Isa, Tuning, table};

/// The environment variable that forces a microarchitecture.
const VARIABLE: &str = "MNX_TUNED_FOR";
/// The environment variable that forbids instructions for dot products of bytes, where it is `off`.
const DOT_PRODUCTS: &str = "MNX_DOT_PRODUCTS";
/// The environment variable that forbids AMX, where it is `off`.
const AMX: &str = "MNX_AMX";

/// The kind of core that a kernel's tile was chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TunedFor {
    /// Any core that has the instructions.
    #[default]
    Any,
    /// Cores with two multiply-add units of 512 bits: most of Intel's Xeons with AVX-512, and most of AMD's cores from Zen 5 on.
    Wide,
}

impl TunedFor {
    /// All of them.
    pub const ALL: &'static [TunedFor] = &[TunedFor::Any, TunedFor::Wide];

    /// Lower-case name, as on the command line and in `MNX_TUNED_FOR`.
    pub fn name(self) -> &'static str {
        match self {
            TunedFor::Any => "any",
            TunedFor::Wide => "wide",
        }
    }

    /// What this CPU is. Where it cannot be told, `Any`, whose kernels are good everywhere.
    pub fn detect() -> TunedFor {
        if has_two_wide_units() { TunedFor::Wide } else { TunedFor::Any }
    }

    fn from_env() -> Result<Option<TunedFor>, Error> {
        let Some(found) = setting(VARIABLE) else { return Ok(None) };
        found.parse().map(Some).map_err(|_| Error::TunedForUnknown { found, from_env: true })
    }
}

impl fmt::Display for TunedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TunedFor {
    type Err = Error;

    fn from_str(text: &str) -> Result<TunedFor, Error> {
        let named = TunedFor::ALL.iter().copied().find(|kind| kind.name() == text);
        named.ok_or_else(|| Error::TunedForUnknown { found: text.to_owned(), from_env: false })
    }
}

/// What kernels are selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Cpu {
    /// Whose kernels run; the CPU has it.
    isa: Isa,
    /// Which of them are preferred.
    tuned_for: TunedFor,
    /// Whether the CPU has instructions for dot products of four bytes in that ISA (VNNI, AVX-VNNI, NEON's `dotprod`), and
    /// kernels may use them.
    dot_products: bool,
    /// Whether the CPU has AMX beside that ISA, and kernels may use it if this process may.
    amx: bool,
}

impl Cpu {
    /// As [`Isa::choose`] decides; the microarchitecture that is asked for, else the one that `MNX_TUNED_FOR` names (`auto` or
    /// empty: none), else the one that is found. Every one can be forced on every CPU: it prefers kernels, it adds no
    /// instructions.
    ///
    /// Dot products of bytes are used if the CPU has them, unless the environment variable `MNX_DOT_PRODUCTS` is `off` (`auto`
    /// or empty: no matter). So is AMX, which needs them, unless one of `MNX_DOT_PRODUCTS` and `MNX_AMX` is `off`. Linux lets a process
    /// use AMX only if it asks: it does when the first layer is made whose kernel does.
    ///
    /// # Errors
    /// As [`Isa::choose`]; [`Error::TunedForUnknown`] when `MNX_TUNED_FOR` names none; [`Error::DotProductsUnknown`] when
    /// `MNX_DOT_PRODUCTS` is neither `auto` nor `off`, and [`Error::AmxUnknown`] when `MNX_AMX` is.
    pub fn choose(isa: Option<Isa>, tuned_for: Option<TunedFor>) -> Result<Cpu, Error> {
        let isa = Isa::choose(isa)?;
        let tuned_for = tuned_for.map_or_else(TunedFor::from_env, |kind| Ok(Some(kind)))?;
        let tuned_for = tuned_for.unwrap_or_else(TunedFor::detect);
        let cpu = Cpu { isa, tuned_for, dot_products: false, amx: false };
        let forbids_dot_products = forbids(DOT_PRODUCTS, |found| Error::DotProductsUnknown { found })?;
        let forbids_amx = forbids(AMX, |found| Error::AmxUnknown { found })?;
        Ok(match (forbids_dot_products, forbids_amx) {
            (true, _) => cpu,
            (false, true) => cpu.with_dot_products(),
            (false, false) => cpu.with_dot_products().with_amx(),
        })
    }

    /// The same with instructions for dot products of bytes, if the CPU has them, whatever `MNX_DOT_PRODUCTS` says.
    #[must_use]
    pub fn with_dot_products(self) -> Cpu {
        Cpu { dot_products: table::has_dot_products(self.isa), ..self }
    }

    /// The same without instructions for dot products of bytes, and without AMX. They change no bit of a result.
    #[must_use]
    pub fn without_dot_products(self) -> Cpu {
        Cpu { dot_products: false, amx: false, ..self }
    }

    /// The same with AMX, if it uses dot products of bytes and the CPU has AMX, whatever `MNX_AMX` says.
    #[must_use]
    pub fn with_amx(self) -> Cpu {
        Cpu { amx: self.dot_products && table::has_amx(self.isa), ..self }
    }

    /// The same without AMX. It changes no bit of a result.
    #[must_use]
    pub fn without_amx(self) -> Cpu {
        Cpu { amx: false, ..self }
    }

    /// Whether kernels may use AMX, which the CPU has. No more once Linux has refused it to this process.
    pub fn amx(self) -> bool {
        self.amx && table::has_amx(self.isa)
    }

    /// Whether kernels may use instructions for dot products of bytes, which the CPU has.
    pub fn dot_products(self) -> bool {
        self.dot_products
    }

    /// Every ISA that can run here, with every microarchitecture for which it has kernels, with dot products of bytes and
    /// without; and with AMX, for which this asks Linux.
    pub fn available() -> Vec<Cpu> {
        let with = |isa, dot_products| {
            TunedFor::ALL.iter().map(move |&tuned_for| Cpu { isa, tuned_for, dot_products, amx: false })
        };
        let amx = |isa| Some(Cpu { isa, tuned_for: TunedFor::Any, dot_products: true, amx: table::may_use_amx(isa) });
        let all = move |isa| with(isa, false).chain(with(isa, true)).chain(amx(isa).filter(|cpu| cpu.amx));
        let has_kernels = |cpu: &Cpu| {
            let rows: Vec<_> = table::rows().filter(|row| row.isa == cpu.isa).collect();
            rows.iter().any(|row| row.tuned_for == cpu.tuned_for)
                && (!cpu.dot_products || table::has_dot_products(cpu.isa))
        };
        Isa::available().into_iter().flat_map(all).filter(has_kernels).collect()
    }

    /// Whose kernels run.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Which of them are preferred.
    pub fn tuned_for(self) -> TunedFor {
        self.tuned_for
    }

    /// How work is cut for it.
    pub fn tuning(self) -> &'static Tuning {
        const DEFAULT: &Tuning = &Tuning::DEFAULT;
        const LARGE_L2: &Tuning = &Tuning::LARGE_L2;
        match self.tuned_for {
            TunedFor::Any => DEFAULT,
            // Xeons have 2 MiB. Zen 5 has 1 MiB, in which half of that and what lies beside it fits as well.
            TunedFor::Wide => LARGE_L2,
        }
    }
}

/// Whether an environment variable says `off`.
fn forbids(variable: &str, unknown: impl Fn(String) -> Error) -> Result<bool, Error> {
    match setting(variable) {
        None => Ok(false),
        Some(text) if text == "off" => Ok(true),
        Some(text) => Err(unknown(text)),
    }
}

/// Whether both multiply-add units are 512 bits wide. No flag says so; maker and name are a good guess, and a wrong one costs only
/// speed.
#[cfg(target_arch = "x86_64")]
fn has_two_wide_units() -> bool {
    use std::arch::x86_64::__cpuid;
    if !is_x86_feature_detected!("avx512f") {
        return false;
    }
    // SAFETY: every x86-64 CPU has this instruction.
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    let leaf = |number| unsafe { __cpuid(number) };
    let vendor = leaf(0);
    match [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() {
        b"GenuineIntel" => {
            let words = (0x8000_0002..=0x8000_0004).map(leaf).flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx]);
            let brand: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            brand.windows(4).any(|part| part == b"Xeon")
        }
        b"AuthenticAMD" => {
            let signature = leaf(1).eax;
            let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
            const ZEN5: u32 = 0x1a;
            family >= ZEN5
        }
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has_two_wide_units() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for &kind in TunedFor::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("Wide".parse::<TunedFor>().is_err());
    }

    #[test]
    fn a_choice_is_taken_and_the_default_is_what_is_found() {
        for cpu in Cpu::available() {
            let chosen = Cpu::choose(Some(cpu.isa()), Some(cpu.tuned_for())).unwrap();
            assert_eq!(chosen.without_dot_products(), cpu.without_dot_products());
            assert!(chosen.dot_products() || !cpu.dot_products() || std::env::var_os(DOT_PRODUCTS).is_some());
            assert!(chosen.with_dot_products().dot_products() || !cpu.dot_products());
            let forbidden = [DOT_PRODUCTS, AMX].iter().any(|variable| std::env::var_os(variable).is_some());
            assert!(chosen.amx() || !cpu.amx() || forbidden);
            assert!(chosen.with_dot_products().with_amx().amx() || !cpu.amx());
            assert!(!chosen.without_dot_products().with_amx().amx());
        }
        if std::env::var_os(VARIABLE).is_none() {
            assert_eq!(Cpu::choose(None, None).map(Cpu::tuned_for), Ok(TunedFor::detect()));
        }
    }
}
