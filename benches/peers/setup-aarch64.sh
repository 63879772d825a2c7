#!/usr/bin/env bash
# Installs the aarch64 builds of the engines whose instructions instructions.py counts. Usage: benches/peers/setup-aarch64.sh
#
# After setup.sh, into the same $PEERS_DIR (default: target/peers): the Rust engines cross-compiled (tract takes ten minutes),
# Debian's Python for arm64 unpacked beside, not installed, and the wheels of the others. Needs what tools/aarch64/setup.sh needs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${PEERS_DIR:-$here/../../target/peers}
mkdir -p "$work/aarch64" && work=$(cd "$work/aarch64" && pwd)
tools=$here/../../tools/aarch64

build() { # build PACKAGE PROFILE [RUSTFLAGS]
    echo "== $1"
    (cd "$here/rust" && MNX_AARCH64_CMD=build MNX_AARCH64_TARGET_DIR=$work/rust ${3:+env MNX_AARCH64_RUSTFLAGS="$3"} \
        "$tools/test.sh" --quiet --locked --profile "$2" -p "$1")
}
build peer-mnx release
# The peers get every instruction of the emulated CPU from the compiler too; mnx is built as its users build it.
build peer-rten peer '-C target-cpu=neoverse-n1'
build peer-tract peer '-C target-cpu=neoverse-n1'

echo "== Python for arm64"
apt=$work/apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
: >"$apt/status"
view=(-qq -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3)
apt-get "${view[@]}" update
packages=(python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 zlib1g libffi8 libbz2-1.0 liblzma5
    libssl3 libuuid1)
(cd "$apt/debs" && apt-get "${view[@]}" download "${packages[@]/%/:arm64}")
rm -rf "$work/root" "$work/site" "$work/sys"
mkdir -p "$work/root" "$work/site" "$work/sys/proc"
for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done

echo "== wheels"
# The versions of requirements.txt, without what they depend on: none of it is needed to run a network.
mapfile -t wheels < <(grep -E '^(numpy|onnxruntime|ncnn|ai-edge-litert)==' "$here/requirements.txt")
platforms=()
for version in _2_17 2014 _2_24 _2_26 _2_27 _2_28; do platforms+=(--platform "manylinux${version}_aarch64"); done
"$work/../venv/bin/pip" install --quiet --no-deps --only-binary :all: --python-version 3.11 --implementation cp \
    "${platforms[@]}" --target "$work/site" "${wheels[@]}"

# Engines ask the system what CPU this is; QEMU would show them the host's answer. It looks for files here first.
ln -s /usr/aarch64-linux-gnu/lib "$work/sys/lib"
cat >"$work/sys/proc/cpuinfo" <<'C'
processor	: 0
BogoMIPS	: 50.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

C
rm -rf "$apt"
echo "ready: $here/instructions.py"
