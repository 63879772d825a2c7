#!/usr/bin/env bash
# Builds target/web: the page, the npm package `mobilenext` and the networks, to be put on any static host as they are; and
# target/web/mobilenext.html, all of it in one file, to be opened from a disk.
#
#     tools/wasm/build.sh [--no-single] [--tests]
#
#   --no-single   leaves the single file out
#   --tests       builds what tools/check_web needs besides: a module that panics, in target/wasm-tools/panics
#
# Exit code 77: this machine cannot have it (no rustup, no standard library for WebAssembly). docs/web.md has more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
single=1 tests=0
for argument in "$@"; do
    case $argument in
        --no-single) single=0 ;;
        --tests) tests=1 ;;
        *) echo "usage: tools/wasm/build.sh [--no-single] [--tests]" >&2; exit 2 ;;
    esac
done
say() { printf 'web: %s (%s s)\n' "$*" "$SECONDS" >&2; }
T=wasm32-unknown-unknown
TOOLS=$PWD/target/wasm-tools
OUT=$PWD/target/web
CRATE=crates/mnx-wasm
export CARGO_TERM_COLOR=never

# Whose machine it was built on is nobody's business: panics name their files.
flags() {
    local feature=+simd128
    [ "$1" = simd128 ] || feature=-simd128
    printf '%s\037' -C "target-feature=$feature" --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}/registry/src=crates"
    printf '%s\037%s' --remap-path-prefix "$PWD=mnx"
}

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$T" ]; then
    rustup target add $T >/dev/null 2>&1 || { say "expected Rust's standard library for $T: rustup target add $T"; exit 77; }
fi

say "the tool that makes JavaScript of the modules"
cargo build --quiet --locked --manifest-path tools/wasm/bindgen/Cargo.toml --target-dir "$TOOLS"

rm -rf "$OUT"
mkdir -p "$OUT/mobilenext" "$OUT/models" "$OUT/pictures"
unset RUSTFLAGS CARGO_BUILD_TARGET
for build in simd128 scalar; do
    say "the build $build"
    targets=(--lib)
    [ $tests$build != 1simd128 ] || targets+=(--example panics)
    CARGO_ENCODED_RUSTFLAGS=$(flags $build) \
        cargo build --quiet --locked -p mnx-wasm "${targets[@]}" --profile web --target $T --target-dir "target/wasm-web/$build"
    "$TOOLS/debug/mnx-wasm-bindgen" "target/wasm-web/$build/$T/web/mnx_wasm.wasm" mobilenext "$OUT/mobilenext/$build"
done

rm -rf "$TOOLS/panics"
[ $tests = 0 ] ||
    "$TOOLS/debug/mnx-wasm-bindgen" "target/wasm-web/simd128/$T/web/examples/panics.wasm" panics "$TOOLS/panics"

say "the package and the page"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
sed "s/VERSION/$version/" $CRATE/npm/package.json >"$OUT/mobilenext/package.json"
cp $CRATE/npm/index.js $CRATE/npm/index.d.ts $CRATE/README.md $CRATE/LICENSE-* "$OUT/mobilenext/"
cp $CRATE/web/* "$OUT/"
cp testdata/pictures/chelsea.png testdata/bccd/JPEGImages/BloodImage_00031.jpg "$OUT/pictures/"

# A network that is not there is no choice on the page.
entries=()
network() { # id, file, name, about, example
    [ -f "$2" ] || return 0
    local file=models/${2##*/}
    cp "$2" "$OUT/$file"
    entries+=("$(printf '{ "id": "%s", "file": "%s", "name": "%s", "about": "%s, %s MB", "example": "pictures/%s" }' \
        "$1" "$file" "$3" "$4" "$(wc -c <"$2" | awk '{ printf "%.1f", $1 / 1e6 }')" "$5")")
}
network cifar $CRATE/model/mobilenext-0.35-cifar10-int8.mnx "Ten classes" "animals and vehicles" chelsea.png
network imagenet crates/mnx-infer/model/imagenet/mobilenetv2-1.0-imagenet-int8.mnx "ImageNet" "a thousand classes" chelsea.png
network bccd crates/mnx-infer/model/bccd/ssdlite-mobilenext-0.35-bccd-int8.mnx "Blood cells" "boxes around them" BloodImage_00031.jpg
{
    printf '{\n    "example": "pictures/chelsea.png",\n    "models": [\n'
    for ((i = 0; i < ${#entries[@]}; i++)); do
        comma=,
        [ $((i + 1)) -lt ${#entries[@]} ] || comma=
        printf '        %s%s\n' "${entries[i]}" "$comma"
    done
    printf '    ]\n}\n'
} >"$OUT/models.json"
# What belongs to the embedded ImageNet network goes with it.
[ ! -f "$OUT/models/mobilenetv2-1.0-imagenet-int8.mnx" ] || cp crates/mnx-infer/model/imagenet/NOTICE "$OUT/models/NOTICE"

if [ $single = 1 ]; then
    say "the single file"
    cd "$OUT"
    while IFS= read -r line; do
        case $line in
            *'href="style.css"'*) printf '<style>\n'; cat style.css; printf '</style>\n' ;;
            *'src="app.js"'*)
                for file in worker.js models.json models/*.mnx pictures/* mobilenext/index.js mobilenext/*/mobilenext.js mobilenext/*/*.wasm; do
                    printf '<script type="application/octet-stream" id="asset:%s">' "$file"
                    base64 -w 0 "$file"
                    printf '</script>\n'
                done
                printf '<script type="module">\n'; cat app.js; printf '</script>\n' ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <index.html >mobilenext.html.part
    mv mobilenext.html.part mobilenext.html
    cd - >/dev/null
fi

size() { printf '%9d bytes, %8d gzipped  %s\n' "$(cat "$@" | wc -c)" "$(for file in "$@"; do gzip -9c "$file"; done | wc -c)" "${*##*/web/}"; }
for build in simd128 scalar; do size "$OUT/mobilenext/$build/mobilenext_bg.wasm"; done
size "$OUT/mobilenext/simd128/mobilenext.js"
size "$OUT"/models/mobilenext-*.mnx
size "$OUT/index.html" "$OUT/style.css" "$OUT/app.js" "$OUT/worker.js" "$OUT/mobilenext/index.js"
say "ready: $OUT"
