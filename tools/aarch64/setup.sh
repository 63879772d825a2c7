#!/usr/bin/env bash
# Sets up a Rust cross compiler for aarch64-unknown-linux-gnu (Debian's rustc-web,
# unpacked beside, not installed) and QEMU user emulation. Debian 12 amd64.
# Safe to run again: it does nothing when the set-up is whole.
#
#   MNX_AARCH64_HOME     folder for all that is not an apt package (~/.cache/mnx-aarch64)
#   MNX_AARCH64_RUST     version prefix to take, as 1.85 (default: the newest that apt
#                        has for both amd64 and arm64)
#   MNX_AARCH64_MCA=0    leave out llvm-mca (about 90 MB on disk)
#   MNX_AARCH64_FORCE=1  set up again from nothing (takes a newer rustc-web, if there is one)
#
# Exit code 2: this machine cannot have it (another system, no package server, no root). 1: it is here and broken.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
H=${MNX_AARCH64_HOME:-$HOME/.cache/mnx-aarch64}
case $H in /*) ;; *) H=$PWD/$H ;; esac
T=aarch64-unknown-linux-gnu
LAYOUT=3 # raise when what this script lays down changes
say() { printf 'aarch64: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
cannot() { say "$*"; exit 2; }
mkdir -p "$H"
exec 9>"$H/.lock"
flock 9

plugin_sum=$(cksum <"$HERE/insncount.c" 2>/dev/null || echo none)
# The newest llvm-mca knows the CPUs that kernels.py asks about; a system's own may be too old.
have_mca() {
    local newest
    newest=$(ls /usr/bin/llvm-mca-[0-9]* 2>/dev/null | sort -V | tail -n 1)
    [ -n "$newest" ] || return 1
    case $("$newest" -mtriple=aarch64 -mcpu=neoverse-v2 - <<<nop 2>&1) in *"not a recognized"*) return 1 ;; esac
}
have_tools() {
    command -v aarch64-linux-gnu-gcc && command -v qemu-aarch64 &&
        [ -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ] && command -v c++filt &&
        { [ "${MNX_AARCH64_MCA:-1}" = 0 ] || have_mca; }
} >/dev/null 2>&1
whole() {
    [ "${MNX_AARCH64_FORCE:-0}" != 1 ] && [ -f "$H/stamp" ] || return 1
    local layout home version sum
    { read -r layout && read -r home && read -r version && read -r sum; } <"$H/stamp" || return 1
    [ "$layout" = "$LAYOUT" ] && [ "$home" = "$H" ] && [ "$sum" = "$plugin_sum" ] &&
        [[ $version == "${MNX_AARCH64_RUST:-}"* ]] && have_tools && "$H/bin/rustc" -V >/dev/null 2>&1
}
if whole; then
    say "ready: $("$H/bin/rustc" -V) in $H"
    exit 0
fi
rm -f "$H/stamp"

SUDO=
[ "$(id -u)" = 0 ] || SUDO=sudo
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || cannot "needs a Debian amd64 host"
[ -z "$SUDO" ] || command -v sudo >/dev/null || cannot "needs root or sudo"
APTO=(-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)

# 1. a private view of the same apt sources, with arm64 beside amd64: the system's own
#    list of architectures is left alone
A=$H/apt
rm -rf "$A"
mkdir -p "$A/state/lists/partial" "$A/cache/archives/partial" "$A/debs"
: >"$A/status"
P=(-o "Dir::State=$A/state" -o "Dir::State::status=$A/status" -o "Dir::Cache=$A/cache"
    -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
    -o APT::Sandbox::User=root -o Acquire::Languages=none "${APTO[@]}")
say "reading the package lists"
apt-get "${P[@]}" -qq update >"$A/log" 2>&1 || { cat "$A/log" >&2; cannot "apt-get update failed"; }

# 2. the newest version that both architectures have
versions() { apt-cache "${P[@]}" madison "$1" 2>/dev/null | awk -F'|' '{gsub(/ /, "", $2); print $2}' | sort -u; }
V=
while read -r v; do
    [[ $v == "${MNX_AARCH64_RUST:-}"* ]] || continue
    if [ -z "$V" ] || dpkg --compare-versions "$v" gt "$V"; then V=$v; fi
done < <(comm -12 <(versions rustc-web:amd64) <(versions libstd-rust-web-dev:arm64))
[ -n "$V" ] || cannot "apt has no rustc-web ${MNX_AARCH64_RUST:-} for both amd64 and arm64"
S=$(cut -d. -f1,2 <<<"$V")
LLVM=$(apt-cache "${P[@]}" show "libstd-rust-web-$S:amd64=$V" | sed -n 's/^Depends:.*libllvm\([0-9][0-9]*\).*/\1/p' | head -1)
[ -n "$LLVM" ] || die "which LLVM libstd-rust-web-$S needs is not clear"
say "rustc-web $V, LLVM $LLVM"

# 3. apt packages
pk=(gcc binutils gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user "libllvm$LLVM")
[ "${MNX_AARCH64_MCA:-1}" = 0 ] || pk+=("llvm-$LLVM")
missing=()
for p in "${pk[@]}"; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    { $SUDO apt-get "${APTO[@]}" -qq update &&
        $SUDO env DEBIAN_FRONTEND=noninteractive apt-get "${APTO[@]}" install -y -qq \
            --no-install-recommends "${missing[@]}"; } >"$A/log" 2>&1 || { cat "$A/log" >&2; cannot "apt-get install failed"; }
fi

# 4. the compiler, its std for the host (build scripts, proc macros) and for aarch64
say "fetching and unpacking the compiler"
want=("rustc-web:amd64=$V" "libstd-rust-web-$S:amd64=$V" "libstd-rust-web-dev:amd64=$V"
    "libstd-rust-web-dev:arm64=$V" "rust-web-clippy:amd64=$V")
(cd "$A/debs" && apt-get "${P[@]}" -qq download "${want[@]}") >"$A/log" 2>&1 || { cat "$A/log" >&2; cannot "apt-get download failed"; }
rm -rf "$H/root" "$H/bin" "$H/lib"
mkdir -p "$H/root" "$H/bin" "$H/lib"
for d in "$A"/debs/*.deb; do dpkg-deb -x "$d" "$H/root"; done
rm -rf "$H/root/usr/share/doc" "$H/root/usr/share/man" "$H/root/usr/libexec"

# 5. wrappers
for n in rustc rustdoc clippy-driver cargo-clippy; do
    sysroot=
    case $n in rust*) sysroot='--sysroot $R' ;; esac # clippy's programs take SYSROOT
    cat >"$H/bin/$n" <<W
#!/bin/sh
R='$H/root/usr'
SYSROOT=\$R LD_LIBRARY_PATH=\$R/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export SYSROOT LD_LIBRARY_PATH
exec \$R/bin/$n $sysroot "\$@"
W
done
cat >"$H/bin/aarch64-run" <<W
#!/bin/sh
# runs an aarch64 program; MNX_AARCH64_CPU: a CPU of 'qemu-aarch64 -cpu help';
# MNX_AARCH64_COUNT: 1, or arguments of the insncount plugin, as top=10,sym=dot
if [ -n "\$MNX_AARCH64_COUNT" ]; then
    p='$H/lib/insncount.so'
    case \$MNX_AARCH64_COUNT in *=*) p=\$p,\$MNX_AARCH64_COUNT ;; esac
    set -- -plugin "\$p" "\$@"
fi
exec qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "\${MNX_AARCH64_CPU:-max}" "\$@"
W
chmod 755 "$H"/bin/*
if [ -f "$HERE/insncount.c" ]; then
    gcc -O2 -Wall -shared -fPIC -fvisibility=hidden -o "$H/lib/insncount.so" "$HERE/insncount.c"
fi

# 6. proof: NEON code is compiled, linked and run
cat >"$A/t.rs" <<'R'
use std::arch::aarch64::*;
fn main() {
    let v: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let x = unsafe { vld1q_f32_x4(v.as_ptr()) };
    let s = unsafe { vaddvq_f32(vfmaq_f32(vfmaq_f32(x.0, x.1, x.1), x.2, x.3)) };
    assert_eq!(s, 650.0);
    println!("ok {}", std::env::consts::ARCH);
}
R
"$H/bin/rustc" --edition 2021 --target $T -C linker=aarch64-linux-gnu-gcc -o "$A/t" "$A/t.rs"
[ "$(env -u MNX_AARCH64_COUNT -u MNX_AARCH64_CPU "$H/bin/aarch64-run" "$A/t")" = "ok aarch64" ] || die "the test program failed"
rm -rf "$A"
printf '%s\n' "$LAYOUT" "$H" "$V" "$plugin_sum" >"$H/stamp"
say "ready: $("$H/bin/rustc" -V) in $H"
