#!/usr/bin/env bash
# Sets up a Rust cross compiler for wasm32-wasip1: the compiler that tools/aarch64/setup.sh unpacks, and a standard library
# built from Debian's source of the same version. Safe to run again: it does nothing when the set-up is whole.
#
#   MNX_WASM_HOME     folder for what this lays down (~/.cache/mnx-wasm)
#   MNX_WASM_FORCE=1  set up again from nothing
#
# Exit code 2: this machine cannot have it (another system, no package server, no root, no Node.js). 1: it is here and broken.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
W=${MNX_WASM_HOME:-$HOME/.cache/mnx-wasm}
H=${MNX_AARCH64_HOME:-$HOME/.cache/mnx-aarch64}
case $W in /*) ;; *) W=$PWD/$W ;; esac
case $H in /*) ;; *) H=$PWD/$H ;; esac
export MNX_AARCH64_HOME=$H
T=wasm32-wasip1
LAYOUT=1 # raise when what this script lays down changes
say() { printf 'wasm: %s\n' "$*" >&2; }
cannot() { say "$*"; exit 2; }

node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || cannot "needs Node.js 20 or newer"
MNX_AARCH64_MCA=0 bash "$HERE/../aarch64/setup.sh"
V=$(sed -n 3p "$H/stamp")
LLVM=$("$H/bin/rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
mkdir -p "$W"
exec 9>"$W/.lock"
flock 9
stamp="$LAYOUT $W $H $V $(cksum <"$HERE/threads.rs")"
if [ "${MNX_WASM_FORCE:-0}" != 1 ] && [ "$(cat "$W/stamp" 2>/dev/null)" = "$stamp" ] && "$W/wasm-ld" --version >/dev/null 2>&1; then
    say "ready: $("$W/rustc" -V) in $W"
    exit 0
fi
rm -rf "$W/stamp" "$W/root" "$W/sysroot" "$W/build"

# 1. the source of the standard library, a C library for it, the linker
say "fetching the source of $V"
SUDO=
[ "$(id -u)" = 0 ] || SUDO=sudo
mkdir -p "$W/build"
log() { "$@" >"$W/build/log" 2>&1; }
failed() { cat "$W/build/log" >&2; cannot "$1"; }
[ -x "/usr/bin/wasm-ld-$LLVM" ] || log $SUDO apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "lld-$LLVM" ||
    { log $SUDO apt-get -qq update && log $SUDO apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "lld-$LLVM"; } ||
    failed "apt-get cannot install lld-$LLVM"
(cd "$W/build" && apt-get -o APT::Sandbox::User=root -o Acquire::Retries=3 -qq download "rust-web-src=$V" wasi-libc) >"$W/build/log" 2>&1 ||
    failed "apt-get cannot download rust-web-src $V and wasi-libc"
for deb in "$W"/build/*.deb; do
    # Of the source only the library: it is a fifth of the package.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$W/build" --wildcards './usr/src/rustc-*/library' './usr/lib/wasm32-wasi' 2>/dev/null || true
done
cp -a "$W/build/usr" "$W/root"

# 2. the standard library
D=$W/sysroot/lib/rustlib
mkdir -p "$D/$T/lib/self-contained"
ln -s "$H/root/usr/lib/rustlib/x86_64-unknown-linux-gnu" "$D/"
ln -sf "/usr/bin/wasm-ld-$LLVM" "$W/wasm-ld"
say "building the standard library: a minute or two"
(
    cd "$W"/build/usr/src/rustc-*/library
    unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER
    export RUSTC=$H/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zforce-unstable-if-unmarked __CARGO_DEFAULT_LIB_METADATA=mnx
    export CARGO_TARGET_DIR=$W/build/target
    cargo build --release --locked --manifest-path sysroot/Cargo.toml --target $T
) >"$W/build/log" 2>&1 || failed "the standard library does not build"
cp "$W/build/target/$T"/release/deps/*.{rlib,rmeta} "$D/$T/lib/"
cp "$W/root/lib/wasm32-wasi/"{crt1-command.o,crt1-reactor.o,libc.a} "$D/$T/lib/self-contained/"
rm -rf "$W/build" "$W/root"

cat >"$W/rustc" <<R
#!/bin/sh
export LD_LIBRARY_PATH='$H/root/usr/lib/x86_64-linux-gnu'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
exec '$H/root/usr/bin/rustc' --sysroot '$W/sysroot' "\$@"
R
chmod 755 "$W/rustc"
"$W/rustc" --edition 2024 --target $T --crate-type lib --emit obj -O -o "$W/threads.o" "$HERE/threads.rs"

# 3. proof: simd128 is compiled, linked and run
cat >"$W/t.rs" <<'R'
use std::arch::wasm32::*;
fn main() {
    let x = f32x4_mul(f32x4(1.0, 2.0, 3.0, 4.0), f32x4_splat(2.0));
    println!("ok {} {}", std::env::consts::ARCH, f32x4_extract_lane::<3>(x));
}
R
"$W/rustc" --edition 2024 --target $T -C target-feature=+simd128 -C linker="$W/wasm-ld" -o "$W/t.wasm" "$W/t.rs"
[ "$(node --no-warnings "$HERE/run.mjs" "$W/t.wasm")" = "ok wasm32 8" ] || { say "the test program failed"; exit 1; }
rm "$W/t.rs" "$W/t.wasm"
printf '%s\n' "$stamp" >"$W/stamp"
say "ready: $("$W/rustc" -V) in $W"
