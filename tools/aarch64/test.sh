#!/usr/bin/env bash
# cargo test --target aarch64-unknown-linux-gnu "$@" in the current workspace, under QEMU.
#
#   MNX_AARCH64_HOME        as for setup.sh
#   MNX_AARCH64_CMD         the cargo command instead of test: build, run, bench, clippy,
#                           check, rustc, "nextest run"
#   MNX_AARCH64_TARGET_DIR  target folder (default: target/aarch64-qemu of the workspace)
#   MNX_AARCH64_CPU         CPU to emulate (default max; cortex-a72 has no dotprod, cortex-a76
#                           has dotprod and fp16 but no i8mm)
#   MNX_AARCH64_COUNT       1: print the executed instructions by function when a program ends
#   MNX_AARCH64_RUSTFLAGS   rustc flags (they replace RUSTFLAGS and build.rustflags)
#   MNX_AARCH64_BINFMT=1    have the kernel run aarch64 programs through QEMU: for tests that start a program of
#                           the workspace. Needs root, changes the whole machine until it restarts.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
H=${MNX_AARCH64_HOME:-$HOME/.cache/mnx-aarch64}
case $H in /*) ;; *) H=$PWD/$H ;; esac
export MNX_AARCH64_HOME=$H
bash "$HERE/setup.sh"
T=aarch64-unknown-linux-gnu
U=AARCH64_UNKNOWN_LINUX_GNU

# A test that starts a program of the workspace (CARGO_BIN_EXE_…) does so without cargo's
# runner: for it the kernel is told of the runner.
B=/proc/sys/fs/binfmt_misc
if [ "${MNX_AARCH64_BINFMT:-0}" = 1 ] && [ "$(uname -m)" != aarch64 ]; then
    {
        [ -e $B/register ] || mount -t binfmt_misc none $B
        if [ -e $B/mnx-aarch64 ] && ! grep -qxF "interpreter $H/bin/aarch64-run" $B/mnx-aarch64; then
            echo -1 >$B/mnx-aarch64
        fi
        [ -e $B/mnx-aarch64 ] || [ -e $B/qemu-aarch64 ] || printf '%s' \
            ':mnx-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$H/bin/aarch64-run:" \
            >$B/register
    } 2>/dev/null || printf 'aarch64: no binfmt_misc here: tests that start a built program will fail\n' >&2
fi

if [ -n "${MNX_AARCH64_RUSTFLAGS+x}" ]; then
    unset CARGO_ENCODED_RUSTFLAGS
    export RUSTFLAGS=$MNX_AARCH64_RUSTFLAGS
fi
if [ -z "${MNX_AARCH64_TARGET_DIR:-}" ]; then
    root=$(cargo locate-project --workspace --message-format plain) || exit
    MNX_AARCH64_TARGET_DIR=$(dirname "$root")/target/aarch64-qemu
fi
export CARGO_TARGET_DIR=$MNX_AARCH64_TARGET_DIR
export RUSTC=$H/bin/rustc RUSTDOC=$H/bin/rustdoc
export CARGO_TARGET_${U}_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_${U}_RUNNER=$H/bin/aarch64-run
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
read -ra cmd <<<"${MNX_AARCH64_CMD:-test}"
if [ "${cmd[0]}" = clippy ]; then
    CARGO=$(rustup which cargo 2>/dev/null || command -v cargo)
    export CARGO
    exec "$H/bin/cargo-clippy" clippy --target $T "$@"
fi
exec cargo "${cmd[@]}" --target $T "$@"
