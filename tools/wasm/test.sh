#!/usr/bin/env bash
# cargo test --target wasm32-wasip1 "$@" with simd128, under Node.js. Takes tests of libraries only (--lib, --test NAME).
#
#   MNX_WASM_HOME        as for setup.sh
#   MNX_WASM_CMD         the cargo command instead of test: build, check
#   MNX_WASM_TARGET_DIR  target folder (default: target/wasm of the workspace)
#   MNX_WASM_SIMD=0      without simd128: the kernels of `scalar`
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
W=${MNX_WASM_HOME:-$HOME/.cache/mnx-wasm}
case $W in /*) ;; *) W=$PWD/$W ;; esac
export MNX_WASM_HOME=$W
bash "$HERE/setup.sh"
if [ -z "${MNX_WASM_TARGET_DIR:-}" ]; then
    root=$(cargo locate-project --workspace --message-format plain) || exit
    MNX_WASM_TARGET_DIR=$(dirname "$root")/target/wasm
fi
simd=+simd128
[ "${MNX_WASM_SIMD:-1}" = 1 ] || simd=-simd128
export CARGO_TARGET_DIR=$MNX_WASM_TARGET_DIR RUSTC=$W/rustc
export CARGO_TARGET_WASM32_WASIP1_LINKER=$W/wasm-ld
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $HERE/run.mjs"
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-Ctarget-feature=$simd -Clink-arg=$W/threads.o"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
exec cargo "${MNX_WASM_CMD:-test}" --target wasm32-wasip1 "$@"
