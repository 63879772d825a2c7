//! AMX, Intel's multiplication of tiles of bytes: whether the CPU has it, and Linux lets this process use it.
//!
//! The tiles are 8 KiB of registers. Linux saves them only for processes that ask for it once, by `arch_prctl`; to others the
//! first instruction on a tile is a signal. Permission holds for all threads of the process. From then on Linux wants alternate
//! signal stacks with room for the tiles. So only two things ask: choosing a kernel that uses them, and `Cpu::available`.
//!
//! The instructions are written in assembly, since Rust's intrinsics for them are not stable.

use std::sync::OnceLock;

/// What Linux said.
static PERMITTED: OnceLock<bool> = OnceLock::new();

/// Whether CPU and system have AMX for bytes. Asks nobody for permission.
pub(crate) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| crate::simd::dot::Avx512Vnni::new().is_some() && cpu_has_it() && system_saves_it())
}

/// Whether this process may run AMX's instructions on bytes. Asks Linux for permission when it is called first.
pub(crate) fn is_permitted() -> bool {
    *PERMITTED.get_or_init(|| is_there() && ask())
}

/// Whether Linux was asked and said no.
pub(crate) fn is_refused() -> bool {
    PERMITTED.get() == Some(&false)
}

/// Whether the CPU has tiles of the one size that kernels are written for, and multiplies bytes.
fn cpu_has_it() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILES_AND_BYTES: u32 = 1 << 24 | 1 << 25;
    const PALETTES: u32 = 0x1d;
    // SAFETY: every x86-64 CPU has this instruction.
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    unsafe {
        if __cpuid(0).eax < PALETTES || __cpuid_count(7, 0).edx & TILES_AND_BYTES != TILES_AND_BYTES {
            return false;
        }
        // Palette 1: 1,024 bytes a tile, 64 a row, 8 tiles of 16 rows.
        let tiles = __cpuid_count(PALETTES, 1);
        __cpuid_count(PALETTES, 0).eax >= 1
            && (tiles.eax >> 16, tiles.ebx & 0xffff, tiles.ebx >> 16, tiles.ecx & 0xffff) == (1024, 64, 8, 16)
    }
}

/// Whether the operating system has switched the tiles on.
fn system_saves_it() -> bool {
    const TILES: u32 = 1 << 17 | 1 << 18;
    if !is_x86_feature_detected!("xsave") {
        return false;
    }
    let enabled: u32;
    // SAFETY: a CPU whose XSAVE the system uses has the instruction. It reads register 0 of those that say what is saved.
    unsafe {
        std::arch::asm!(
            "xgetbv",
            in("ecx") 0,
            out("eax") enabled,
            out("edx") _,
            options(nomem, nostack, preserves_flags)
        );
    }
    enabled & TILES == TILES
}

/// Asks Linux to save the tiles of this process's threads.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn ask() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call that reads and writes no memory of this process. It sets rax, rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags)
        );
    }
    result == 0
}

/// How to ask other systems is not known.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn ask() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux lists in `/proc/cpuinfo` is what this CPU and Linux can do.
    #[test]
    fn what_is_permitted_is_listed() {
        let Ok(listed) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let has = |flag: &str| listed.split_whitespace().any(|word| word == flag);
        assert!(!is_permitted() || (has("amx_tile") && has("amx_int8")));
        if has("amx_tile") && has("amx_int8") && has("avx512_vnni") {
            // A kernel before 5.16 lists the flag and knows no such call; a sandbox may forbid it.
            eprintln!("AMX is listed; permitted: {}", is_permitted());
        }
    }
}
